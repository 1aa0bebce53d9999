"""Label Studio ML backend: tasks with an image and a text come in, masks go back through a Redis queue.

Importing this package, or any module of the web process, loads neither torch nor refam's models.
"""
