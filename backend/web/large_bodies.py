"""Large bodies of /predict are read by a process of their own: `python -m backend.web.large_bodies <body`.

Reading JSON holds the interpreter's lock for about 2 ms a megabyte, and /health must not wait for that. Most of a large
body are old predictions, which are not used. The process answers the body without them, and its memory goes with it.
"""

import subprocess
import sys
import threading

import msgspec
from msgspec import Struct

from backend.web.bodies import PredictBody, RequestError, parse

__all__ = ["LARGE", "parse_predict"]

LARGE = 8 * 2**20  # bytes; the process takes 0.3 s to start
REFUSED = 3  # exit code
ONE_AT_A_TIME = threading.Lock()  # each takes as much memory as its body


class Refusal(Struct):
    """What a RequestError is made of."""

    status: int
    field: str
    message: str
    remedy: str


def parse_predict(raw: bytes | bytearray) -> PredictBody:
    """What is used of a body of /predict. Raises RequestError."""
    if len(raw) <= LARGE:
        return parse(PredictBody, raw)
    with ONE_AT_A_TIME:
        found = subprocess.run(  # noqa: S603  # this file
            [sys.executable, "-m", __name__], input=raw, stdout=subprocess.PIPE, check=False
        )
    if found.returncode == REFUSED:
        refusal = msgspec.json.decode(found.stdout, type=Refusal)
        raise RequestError(refusal.status, refusal.field, refusal.message, refusal.remedy)
    if found.returncode:
        raise RequestError(503, "body", "it could not be read; memory may be short.", "Select fewer tasks.")
    return parse(PredictBody, found.stdout)


def main() -> int:
    """Answer what is used of standard input, or why it is refused."""
    try:
        answer: Struct = parse(PredictBody, sys.stdin.buffer.read())
    except RequestError as error:
        reason = error.reason
        answer = Refusal(error.status, reason.field, reason.message, reason.remedy)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return REFUSED if isinstance(answer, Refusal) else 0


if __name__ == "__main__":
    sys.exit(main())
