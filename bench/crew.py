"""Tasks in processes of their own that begin at the same moment: for load generators, and for what is measured bare.

A task is a picklable `async (go) -> value`. It prepares itself, awaits `go()`, and then does what is to be measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop

from bench.measure import BenchError
from services.local.children import LIFELINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    Go = Callable[[], Awaitable[None]]
    Task = Callable[[Go], Awaitable[Any]]

ROOT = Path(__file__).parents[1]
READY = b"ready\n"


class Outcome(NamedTuple):
    """What a task returned, the CPU seconds that its process took, and from when to when (of the machine's monotonic clock)."""

    value: Any
    cpu: float
    began: float
    ended: float


async def together(tasks: Sequence[Task], *, seconds: float) -> list[Outcome]:
    """Each task in a process of its own, all let go at once. Raises BenchError when one fails or takes longer than `seconds`."""
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(_worker()) for _ in tasks]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(_prepare(worker, task) for worker, task in zip(workers, tasks, strict=True)))
                for worker in workers:
                    _input(worker).write(b"go\n")
                return list(await asyncio.gather(*(_outcome(worker) for worker in workers)))
        except TimeoutError:
            raise BenchError(f"not done within {seconds:g} s") from None


def rate(outcomes: Sequence[Outcome]) -> float:
    """How many a second, all of them together, where each value is how many one of them did."""
    took = max(outcome.ended for outcome in outcomes) - min(outcome.began for outcome in outcomes)
    return float(sum(outcome.value for outcome in outcomes) / took)


@asynccontextmanager
async def _worker() -> AsyncIterator[asyncio.subprocess.Process]:
    # In a session of its own, so that Ctrl-C reaches only us, who end it; by its lifeline it ends with us in any case.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", LIFELINE, str(os.getpid()), sys.executable, "-c", "from bench.crew import main; main()",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _prepare(worker: asyncio.subprocess.Process, task: Task) -> None:
    pickled = pickle.dumps(task)
    _input(worker).write(len(pickled).to_bytes(8, "big") + pickled)
    if await _output(worker).readline() != READY:
        raise BenchError("a process of the bench failed; its traceback is above")


async def _outcome(worker: asyncio.subprocess.Process) -> Outcome:
    pickled = await _output(worker).read()
    if not pickled:
        raise BenchError("a process of the bench failed; its traceback is above")
    outcome: Outcome = pickle.loads(pickled)
    return outcome


def _input(worker: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    if worker.stdin is None:
        raise TypeError
    return worker.stdin


def _output(worker: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if worker.stdout is None:
        raise TypeError
    return worker.stdout


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The process of one task."""
    length = int.from_bytes(sys.stdin.buffer.read(8), "big")
    task: Task = pickle.loads(sys.stdin.buffer.read(length))
    began, cpu = 0.0, 0.0

    async def go() -> None:
        nonlocal began, cpu
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.readline)
        began, cpu = time.monotonic(), _cpu()

    async def work() -> Any:  # noqa: ANN401  (whatever the task is for)
        return await task(go)

    value = uvloop.run(work())
    sys.stdout.buffer.write(pickle.dumps(Outcome(value, _cpu() - cpu, began, time.monotonic())))
