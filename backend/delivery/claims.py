"""Who may deliver a task's prediction.

A prediction reaches Label Studio in two ways: in an answer to /predict, which Label Studio stores, or by a worker
through its API. Label Studio itself removes no duplicates. So whoever wants to deliver a task's prediction first claims
the task; and a worker writes only where Label Studio does not hold a prediction of the model version yet. Claims are
never given back after delivery, they expire: what was underway meanwhile finds the task claimed, and later finds the
prediction stored.

A claim is its owner's alone: whoever was held up until it expired can neither give back nor prolong that of the next
owner, and both learn of it once they have written, so that they look for a second prediction and delete it.

That is not enough where a request is carried out late, or twice, and nobody is left who knows of it. So each task that
was claimed is looked at once more, some time after the claim's end: the claim itself notes that.

Keys, of one Label Studio:
    refam:<studio>:claim:<version>:<project>/<task>    string that expires: token of who is delivering this task, and
        a "!" for each who lost the task and may have delivered it all the same
    refam:<studio>:claimed    sorted set: <project>/<task> -> when the task is to be looked at once more
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from backend.label_studio.numbers import is_number
from backend.label_studio.request import TaskRequest
from backend.queue.keyspace import Keyspace

__all__ = ["Claim", "Claims", "Target"]

LATE = 30  # seconds after its claim's end that a request may still be carried out


# Whether the claim is the caller's and was so all the time. If nobody has it any more, it is the caller's again; if
# somebody else has it, they are told.
EXTEND = """
local owner = redis.call('GET', KEYS[1])
if owner and string.sub(owner, 1, #ARGV[1]) ~= ARGV[1] then
    redis.call('APPEND', KEYS[1], '!')
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return owner == ARGV[1] and 1 or 0
"""

LOOKED_AT = """
for number, task in ipairs(ARGV) do
    if number > 1 and tonumber(redis.call('ZSCORE', KEYS[1], task) or 0) <= tonumber(ARGV[1]) then
        redis.call('ZREM', KEYS[1], task)
    end
end
"""

RELEASE = """
for number, key in ipairs(KEYS) do
    local owner = redis.call('GET', key)
    if owner and string.sub(owner, 1, #ARGV[number]) == ARGV[number] then redis.call('DEL', key) end
end
"""


@dataclass(frozen=True)
class Target:
    """A task that a prediction is due for.

    replace: whether RefAM's predictions of other versions are deleted once this one is stored.
    """

    project: str
    task: str
    replace: bool = False

    @classmethod
    def of(cls, request: TaskRequest) -> "Target":
        """The task of a request."""
        return cls(request.project, request.task)

    @property
    def key(self) -> str:
        return f"{self.project}/{self.task}"

    @property
    def is_stored(self) -> bool:
        """Whether Label Studio can have such a task: it gives numbers."""
        return is_number(self.project) and is_number(self.task)


@dataclass(frozen=True)
class Claim:
    """The right to deliver one task's prediction, until it expires. The token tells whose it is."""

    key: str
    token: str


class Claims:
    """Hands out claims."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._connection = keyspace.connection
        self._keyspace = keyspace
        self._extend = keyspace.connection.register_script(EXTEND)
        self._release = keyspace.connection.register_script(RELEASE)
        self._looked_at = keyspace.connection.register_script(LOOKED_AT)

    def claim(self, targets: Sequence[Target], version: str, seconds: float) -> list[Claim | None]:
        """For each task, the right to deliver its prediction, for that long; None where somebody else has it."""
        claims = [Claim(self._key(target, version), secrets.token_hex(8)) for target in targets]
        looks = {target.key: time.time() + seconds + LATE for target in targets if target.is_stored}
        with self._connection.pipeline() as pipe:
            for claim in claims:
                pipe.set(claim.key, claim.token, nx=True, px=round(seconds * 1000))
            if looks:
                pipe.zadd(self._keyspace.key("claimed"), looks, gt=True)
            return [claim if taken else None for claim, taken in zip(claims, pipe.execute(), strict=False)]

    def ended(self, when: float, count: int) -> list[Target]:
        """Tasks that were to be looked at once more by a time, `count` at most."""
        key = self._keyspace.key("claimed")
        found = cast(list[bytes], self._connection.zrangebyscore(key, "-inf", when, 0, count))
        return [Target(project, task) for project, _, task in (entry.decode().partition("/") for entry in found)]

    def looked_at(self, targets: Sequence[Target], when: float) -> None:
        """Tasks were looked at; those that were not claimed anew since that time need no further look."""
        self._looked_at(keys=[self._keyspace.key("claimed")], args=[when, *(target.key for target in targets)])

    def extend(self, claim: Claim, seconds: float) -> bool:
        """Let a claim last that long from now: whatever is underway shall not deliver once more.

        Returns whether nobody else can have delivered since it was given.
        """
        return bool(self._extend(keys=[claim.key], args=[claim.token, round(seconds * 1000)]))

    def release(self, claims: Sequence[Claim]) -> None:
        """Give claims back, where nothing was delivered. Those that have expired are others' business."""
        if claims:
            self._release(keys=[claim.key for claim in claims], args=[claim.token for claim in claims])

    def claimed_for(self, target: Target, version: str) -> float:
        """Seconds until a task can be claimed again."""
        return max(self._connection.pttl(self._key(target, version)), 0) / 1000

    def _key(self, target: Target, version: str) -> str:
        return self._keyspace.key("claim", version, target.key)
