"""What a task points to -> pixels, fetched and decoded safely."""
