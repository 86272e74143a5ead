"""`make bench`: everything measured on this machine, in one run, side by side. `QUICK=1` shows within two minutes that all of it can be."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from bench import accept, browse, end_to_end, latency, machine, memory, report, serve
from bench.crew import ROOT
from bench.measure import BenchError, Section
from bench.origin import origin
from bench.peers import Peers
from bench.photos import LARGE
from bench.report import Results
from bench.world import World, room, rounds
from services.local.errors import StartError
from services.local.servers import local_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECTIONS = {section.NAME: section for section in (latency, end_to_end, accept, browse, serve, memory)}
DATA = ROOT / ".bowerbird" / "bench"
CANCELLED = 130


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


@asynccontextmanager
async def world(data: Path, folder: Path, *, quick: bool) -> AsyncIterator[World]:
    """The servers and the origin, with their data in `folder`, which must be on a disk; nothing runs on when the block ends."""
    async with AsyncExitStack() as stack:
        # Each run has images of its own: what was stored before is neither downloaded nor stored again.
        stock = {size: end_to_end.TIMES * count * len(rounds(quick=quick)) for size, count in end_to_end.stock(quick=quick).items()}
        there = await stack.enter_async_context(origin(folder, {**stock, LARGE: 1}, say))
        say("Starting RabbitMQ and MongoDB ...")
        servers = await stack.enter_async_context(local_servers(folder, say=say))
        yield World(servers=servers, origin=there, folder=folder, data=data, quick=quick, say=say)


async def bench(names: list[str], data: Path, folder: Path, *, quick: bool) -> tuple[Results, bool]:
    """The sections' results, and whether all of them could be measured."""
    complete = True
    async with world(data, folder, quick=quick) as made:
        results = Results(machine=machine.facts(folder), versions=machine.versions() | await _servers(made))
        if "tmpfs" in results.machine["file system"]:
            say("The data is in memory (tmpfs), so durable writes cost nothing here: choose another folder with --data.")
        for name in names:
            section, done = await _section(made, name)
            results.sections[name] = section
            complete = complete and done
    return results, complete


async def _section(made: World, name: str) -> tuple[Section, bool]:
    module = SECTIONS[name]
    say(f"{module.TITLE} ...")
    began, load, done = time.monotonic(), os.getloadavg()[0], True
    try:
        section = await module.measure(made)
    except Exception as error:  # noqa: BLE001  (half an hour of other figures must not be lost with this one)
        traceback.print_exc()
        section, done = Section(name=name, title=module.TITLE, skipped={"the whole section": f"{type(error).__name__}: {error}"}), False
    section.command = "make bench QUICK=1" if made.quick else f'make bench ARGS="--only {name}"'
    section.measured_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    section.commit, section.load_before, section.seconds = _commit(), load, time.monotonic() - began
    for figure in section.figures:
        what, median, _, goal, met = report.row(figure)
        say(f"    {what}: {median}" + (f" ({goal}: {met.strip('*')})" if goal else ""))
    for what, why in section.skipped.items():
        say(f"    not measured: {what}: {why}")
    return section, done


async def _servers(made: World) -> dict[str, str]:
    async with room(made.servers) as where:
        mongodb = (await where.client.server_info())["version"]
    async with httpx.AsyncClient(base_url=made.servers.rabbitmq.management_url, auth=("guest", "guest"), trust_env=False) as client:
        rabbitmq = (await client.get("api/overview")).raise_for_status().json()["rabbitmq_version"]
    return {"MongoDB": mongodb, "RabbitMQ": rabbitmq, "origin": made.origin.kind, **Peers(made.data).versions}


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _merged(new: Results, before: Results | None) -> Results:
    """With the sections of an earlier run, if that was on the same machine: figures of different machines have no place side by side."""
    if before and {**before.machine, "file system": ""} == {**new.machine, "file system": ""}:
        new.sections = before.sections | new.sections
    new.sections = {name: new.sections[name] for name in SECTIONS if name in new.sections}
    return new


def main() -> int:
    """The exit code: 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything; its figures mean nothing")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; may be given several times")
    parser.add_argument("--data", type=Path, default=DATA, help="folder for the servers' data and the peers, on a disk")
    parser.add_argument(
        "--output", type=Path, help="folder for bench/results.json and docs/performance.md; default: here, or with --quick the data's"
    )
    arguments = parser.parse_args()
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is ended, and its data deleted
    data = arguments.data.resolve()
    output = arguments.output or (data if arguments.quick else ROOT)
    data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=data))
    began = time.monotonic()
    try:
        results, complete = asyncio.run(bench(arguments.only or list(SECTIONS), data, folder, quick=arguments.quick))
    except (StartError, BenchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return CANCELLED
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    path, document = output / "bench" / "results.json", output / "docs" / "performance.md"
    report.write(_merged(results, report.read(path)), path, document)
    say(f"{path} and {document} written after {time.monotonic() - began:.0f} s.")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
