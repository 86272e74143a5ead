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

from tests.chaos.run import Report, Run
from tests.chaos.world import world


async def chaos(*, seed: int, images: int, seconds: float, folder: Path) -> Report:
    """One run in a folder of its own."""
    async with world(folder) as made:
        return await Run(made, seed=seed, images=images, seconds=seconds).run()


def shown(report: Report) -> str:
    """The report as text."""
    faults = "\n".join(f"  {count:>4}  {name}" for name, count in report.faults.items())
    refused = ", ".join(f"{count} x {name}" for name, count in report.refused.items()) or "none"
    violations = "\n".join(f"  {violation}" for violation in report.violations[:50]) or "  none"
    return f"""\
chaos, seed {report.seed}, {report.duration:g} s
faults injected
{faults}
  {report.repeated_messages:>4}  message published twice
accepted          {report.accepted:>6}   of {report.images} ({report.posts} POSTs; refused or broken, and sent again: {refused})
stored            {report.stored:>6}
failed            {report.failed:>6}
lost              {report.lost:>6}
duplicated        {report.duplicated:>6}
longest recovery  {report.longest_recovery:>6.1f} s, after {report.longest_recovery_after}
all settled       {report.settled_after_last_fault:>6.1f} s after the last fault
violations
{violations}
"""


def main() -> int:
    """The exit code: 1 if anything was lost, doubled or left over."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a random one")
    parser.add_argument("--images", type=int, default=2000)
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
    return 1 if report.violations or report.lost or report.duplicated or report.accepted != report.images else 0


if __name__ == "__main__":
    sys.exit(main())
