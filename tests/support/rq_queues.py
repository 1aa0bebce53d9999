"""RQ's own view of the queues, which JobQueue keeps to itself."""

from rq.serializers import JSONSerializer

from backend.queue.keyspace import Keyspace
from backend.queue.line import Line
from backend.queue.priorities import Priority


def rq_queue(keyspace: Keyspace, priority: Priority) -> Line:
    return Line(keyspace.queue(priority), connection=keyspace.connection, serializer=JSONSerializer)


def rq_queues(keyspace: Keyspace) -> list[Line]:
    return [rq_queue(keyspace, priority) for priority in Priority]
