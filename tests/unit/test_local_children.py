"""Child processes: they end with us, in order or at once, and are started again with a growing delay."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.local.children import Child, Supervisor, describe, restart_delay
from services.local.errors import StartError

ENDS_WHEN_ASKED = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('up', flush=True); time.sleep(60)"
NEVER_ENDS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
HAS_A_CHILD = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"


def python(code: str, tmp_path: Path, *, grace: float = 10, fatal: int | None = None) -> Child:
    return Child("child", [sys.executable, "-c", code], environ=os.environ, log=tmp_path / "log", grace=grace, fatal=fatal)


async def said(tmp_path: Path) -> str:
    async with asyncio.timeout(10):
        while not (text := (tmp_path / "log").read_text()):
            await asyncio.sleep(0.01)
    return text


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def ended(pid: int) -> bool:
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not alive(pid)


@pytest.mark.parametrize(("deaths", "delay"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (1000, 30)])
def test_the_delay_doubles_up_to_a_bound(deaths: int, delay: float) -> None:
    assert restart_delay(deaths) == delay


@pytest.mark.parametrize(("code", "text"), [(0, "exit code 0"), (1, "exit code 1"), (-9, "SIGKILL"), (-99, "signal 99")])
def test_exit_codes_are_named(code: int, text: str) -> None:
    assert describe(code) == text


def test_stop_asks_first(tmp_path: Path) -> None:
    async def run() -> int:
        child = python(ENDS_WHEN_ASKED, tmp_path)
        await child.start()
        await said(tmp_path)
        await child.stop()
        return await child.wait()

    assert asyncio.run(run()) == 3


def test_stop_kills_after_the_grace_period(tmp_path: Path) -> None:
    async def run() -> int:
        child = python(NEVER_ENDS, tmp_path, grace=0.1)
        await child.start()
        await said(tmp_path)
        await child.stop()
        return await child.wait()

    assert asyncio.run(run()) == -signal.SIGKILL


def test_kill_ends_the_whole_group(tmp_path: Path) -> None:
    async def run() -> int:
        child = python(HAS_A_CHILD, tmp_path)
        await child.start()
        grandchild = int(await said(tmp_path))
        child.kill()
        return grandchild

    assert ended(asyncio.run(run()))


def test_a_program_that_is_missing_ends_with_a_line_in_the_log(tmp_path: Path) -> None:
    async def run() -> int:
        child = Child("child", ["/no/such/program"], environ=os.environ, log=tmp_path / "log")
        await child.start()
        return await child.wait()

    assert asyncio.run(run()) == 1
    assert "/no/such/program: No such file" in (tmp_path / "log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, time
from pathlib import Path
from services.local.children import Child
child = Child("child", ["sleep", "60"], environ=os.environ, log=Path({str(tmp_path / "log")!r}))
asyncio.run(child.start())
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    assert ended(pid)


def test_what_dies_is_started_again_and_said(tmp_path: Path) -> None:
    async def run() -> list[str]:
        lines: list[str] = []
        supervisor = Supervisor(lines.append)
        child = python(ENDS_WHEN_ASKED, tmp_path)
        await supervisor.start(child)
        watching = asyncio.ensure_future(supervisor.watch())
        first = child.pid
        child.kill()
        async with asyncio.timeout(10):
            while child.pid == first or not child.running or len(lines) < len(("died", "runs again")):
                await asyncio.sleep(0.05)
        watching.cancel()
        await supervisor.stop()
        return [*lines, f"running: {child.running}"]

    assert asyncio.run(run()) == ["child died (SIGKILL); starting it again in 0.5 s.", "child runs again.", "running: False"]


def test_a_fatal_exit_code_ends_the_watch(tmp_path: Path) -> None:
    async def run() -> None:
        supervisor = Supervisor(print)
        await supervisor.start(python("raise SystemExit(2)", tmp_path, fatal=2))
        await supervisor.watch()

    with pytest.raises(StartError, match="child refused to start"):
        asyncio.run(run())
