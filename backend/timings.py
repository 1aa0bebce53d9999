"""How long the processes wait for each other. Not settings: they hold together as they are, and only tests differ."""

from dataclasses import dataclass

__all__ = ["Timings"]


@dataclass(frozen=True)
class Timings:
    """Seconds.

    life: after its last heartbeat, a worker counts as dead and its job as abandoned; whole seconds, for Redis.
    heartbeat: between two heartbeats.
    overdue: what a job may take beside its timeout, for its failure handler and for Redis.
    delivery: how long a claim covers one post, whose requests time out sooner.
    latest_post: after the claim; whoever was held up longer leaves the post to others.
    unsure: after a post without an answer, which Label Studio may still carry out.
    claimed: until a task that somebody else is delivering is looked at again: most are stored within a second.
    soon: until somebody else's deed, which is underway, is looked at again.
    full: between two looks at a queue that is full.
    opening: that a task's page waits for a mask which somebody else is about to post.
    request: that Label Studio may take to answer.
    patience: between a command's tries to read from Label Studio.
    body: that a request's body may take to arrive; Label Studio gives up after as long.
    room: that a large body waits for room in memory.
    """

    life: int = 30
    heartbeat: float = 2
    overdue: float = 90
    delivery: float = 60
    latest_post: float = 20
    unsure: float = 60
    claimed: float = 5
    soon: float = 1
    full: float = 10
    opening: float = 5
    request: float = 10
    patience: tuple[float, ...] = (1, 5, 30, 60)
    body: float = 100
    room: float = 20
