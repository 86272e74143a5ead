"""On what it was measured, and what each process took of it, as Linux tells."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("aio-pika", "aiohttp", "faststream", "httpx", "litestar", "motor", "msgspec", "pymongo", "uvicorn", "uvloop")
PROC = Path("/proc")
MIB = 1024**2


def facts(folder: Path) -> dict[str, str]:
    """The machine, and how long its disk takes to be sure of 4 KiB, which decides about everything that is durable."""
    model = next((line.partition(":")[2].strip() for line in _lines(PROC / "cpuinfo") if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{model}, {cores()} cores",
        "memory": f"{memory / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": f"{file_system(folder)}, fsync of 4 KiB {1000 * _fsync_seconds(folder):.2f} ms",
    }


def versions() -> dict[str, str]:
    """Of Python and of the libraries that matter here."""
    return {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def cores() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_system(folder: Path) -> str:
    """The type of the file system on which a folder is; tmpfs would make durable writes free of charge."""
    mounts = [line.split()[1:3] for line in _lines(PROC / "self/mounts")]
    inside = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1] if inside else "unknown"


def _fsync_seconds(folder: Path) -> float:
    taken = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            began = time.monotonic()
            os.fsync(file.fileno())
            taken.append(time.monotonic() - began)
    return statistics.median(taken)


def peak_memory(pid: int) -> float:
    """The most memory that a process and those it started ever held at once, each for itself, in MiB."""
    return sum(_status(each, "VmHWM") for each in [pid, *(child for child, _ in _descendants(pid))]) / 1024


def cpu_seconds() -> dict[str, float]:
    """The CPU seconds that the living processes which we started have taken, by what they are."""
    taken: dict[str, float] = {}
    for pid, name in _descendants(os.getpid()):
        with contextlib.suppress(OSError, IndexError):
            fields = (PROC / str(pid) / "stat").read_text("utf-8").rpartition(")")[2].split()
            taken[name] = taken.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return taken


def _descendants(pid: int) -> Iterator[tuple[int, str]]:
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((entry / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    waiting = list(children.get(pid, ()))
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, ())
        with contextlib.suppress(OSError):
            yield one, _what(one)


def _what(pid: int) -> str:
    words = (PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    if "services" in words:
        return words[words.index("services") + 1]
    program = Path(words[0].split(":")[0]).name
    return {"beam.smp": "RabbitMQ", "mongod": "MongoDB"}.get(program, program or "ended")


def _status(pid: int, name: str) -> float:
    found = [line.split()[1] for line in _lines(PROC / str(pid) / "status") if line.startswith(f"{name}:")]
    return float(found[0]) if found else 0.0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
