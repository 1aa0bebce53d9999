"""RQ's own view of the queues, which JobQueue keeps to itself."""

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from backend.queue.priorities import Priority


def rq_queue(connection: Redis, priority: Priority) -> Queue:
    return Queue(priority.queue_name, connection=connection, serializer=JSONSerializer)


def rq_queues(connection: Redis) -> list[Queue]:
    return [rq_queue(connection, priority) for priority in Priority]
