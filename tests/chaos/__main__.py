"""`make chaos`: python -m tests.chaos [--seed N] [--tasks N] .. Exits 1 if a task was lost or predicted twice."""

import argparse
import json
import random
import sys
from pathlib import Path

from tests.chaos.run import Plan, run, save

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    parser.add_argument("--tasks", type=int, default=Plan.tasks)
    parser.add_argument("--kills", type=int, default=Plan.kills)
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--model", choices=("stub", "embedded"), default=Plan.model)
    parser.add_argument("--json", type=Path, default=Path("build/chaos.json"))
    given = parser.parse_args()
    result = run(Plan(given.seed, given.tasks, given.workers, given.kills, model=given.model))
    save(result, given.json)
    print(json.dumps(result, indent=2))  # noqa: T201
    sys.exit(bool(result["lost"] or result["duplicated"]))
