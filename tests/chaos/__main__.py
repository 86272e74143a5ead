"""`make chaos`: breaks everything at random, from a seed, and says what was lost."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import Report, shown
from tests.chaos.run import run
from tests.chaos.world import world


async def chaos(*, seed: int, images: int, seconds: float, folder: Path) -> Report:
    """One run in a folder of its own."""
    async with world(folder) as made:
        return await run(made, seed=seed, images=images, seconds=seconds)


def main() -> int:
    """The exit code: 1 if anything was lost, doubled or left over."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a random one")
    parser.add_argument("--images", type=int, default=2000, help="how many URLs are submitted by themselves")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults are injected")
    parser.add_argument("--keep", action="store_true", help="keep the data and logs")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it tells of each connection that is broken on purpose
    folder = Path(tempfile.mkdtemp(prefix="bowerbird-chaos-"))
    try:
        report = asyncio.run(chaos(seed=seed, images=arguments.images, seconds=arguments.seconds, folder=folder))
    finally:
        if arguments.keep:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(shown(report))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
