"""`bowerbird up` with its own servers and services that only wait: what it leaves behind, and what it finds again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymongo
import pytest

from services.local import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
WAITS = """
import logging, signal
from shared.telemetry import log_to_stderr

def main():
    log_to_stderr("info", "json")
    logging.getLogger("bowerbird.test").info("all is well")
    logging.getLogger("bowerbird.test").warning("something is not", extra={"number": 7})
    signal.sigwait({signal.SIGTERM})
"""
REFUSES = """
import sys

def main():
    sys.stderr.write("BOWERBIRD_HOST is '0.0.0.0', and that is not good.\\n")
    return 2
"""
IS_READY = """
import http.server, os, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def main():
    assert os.environ["BOWERBIRD_WEBHOOK_SECRET"].startswith("whsec_")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    http.server.HTTPServer((os.environ["BOWERBIRD_HOST"], int(os.environ["BOWERBIRD_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy whose services do nothing."""
    for folder in ("shared", "services/local"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("services/__init__.py", "services/__main__.py", "requirements-embedded.lock"):
        shutil.copy(ROOT / file, tmp_path / file)
    for service, code in {"api": IS_READY, "fetcher": WAITS, "storer": WAITS}.items():
        (tmp_path / "services" / service).mkdir()
        (tmp_path / "services" / service / "__init__.py").touch()
        (tmp_path / "services" / service / "main.py").write_text(code)
    # Two that begin at the same moment would choose the same ports.
    (tmp_path / ".bowerbird").mkdir()
    (tmp_path / ".bowerbird" / "ports.json").write_text(json.dumps(dataclasses.asdict(ports.of_tests())))
    return tmp_path


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def environ(port: int) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
    return {**ours, "BOWERBIRD_PORT": str(port), "BOWERBIRD_FETCHERS": "2"}


@contextlib.contextmanager
def up(project: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A running one that has said that it is ready."""
    output = project / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "services", "up"], cwd=project, env=environ(port), stdout=file, stderr=file)
    try:
        until = time.monotonic() + 60
        while "Ctrl-C" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def survivors(pids: set[int]) -> list[str]:
    """Command lines of those that are still there after a moment."""
    until = time.monotonic() + 5
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists() and "\tZ" not in _status(pid)]:
        if time.monotonic() > until:
            return [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in alive]
        time.sleep(0.05)
    return []


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text().partition("State:")[2].partition("\n")[0]
    except OSError:
        return "\tZ"


def mongo_url(project: Path) -> str:
    ports = json.loads((project / ".bowerbird" / "ports.json").read_text())
    return f"mongodb://127.0.0.1:{ports['mongodb']}/?directConnection=true"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.timeout(180)
def test_every_end_leaves_nothing_running_and_every_start_finds_the_data(project: Path, port: int) -> None:
    for runs, number in enumerate((signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        with up(project, port) as process:
            with pymongo.MongoClient[dict[str, Any]](mongo_url(project), journal=True) as client:
                kept = client["bowerbird"]["kept"]
                assert kept.count_documents({}) == runs
                kept.insert_one({"_id": runs})
            pids = family(process.pid)
            assert len(pids) > len(("up", "epmd", "beam", "mongod", "api", "fetcher", "fetcher", "storer"))
            process.send_signal(number)
            assert process.wait(40) == (-number if number == signal.SIGKILL else 0)
            assert survivors(pids) == []


@pytest.mark.timeout(120)
def test_the_terminal_has_a_summary_and_what_is_grave_and_the_files_the_rest(project: Path, port: int) -> None:
    with up(project, port) as process:
        output = project / "output"
        until = time.monotonic() + 20
        while (text := output.read_text()).count("something is not") < 2:
            assert time.monotonic() < until, text
            time.sleep(0.05)
        said = [line[9:] for line in text.splitlines() if "something" in line]
        assert said[0] == "warning storer: something is not  number=7"
        assert re.fullmatch(r"warning fetcher [12]: something is not  number=7", said[1])
        assert "{" not in text
        assert "all is well" not in text
        logs = project / ".bowerbird" / "logs"
        assert f"  Logs             {logs.relative_to(project)}\n" in text
        assert sorted(log.name for log in logs.iterdir()) == ["api.log", "fetcher-1.log", "fetcher-2.log", "storer.log"]
        assert [json.loads(line)["event"] for line in (logs / "storer.log").read_text().splitlines()] == ["all is well", "something is not"]
        process.terminate()
        assert process.wait(40) == 0


@pytest.mark.timeout(120)
def test_a_service_that_refuses_to_start_says_why_and_everything_ends(project: Path, port: int) -> None:
    (project / "services" / "api" / "main.py").write_text(REFUSES)
    done = subprocess.run([sys.executable, "-m", "services", "up"], cwd=project, env=environ(port), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "api: BOWERBIRD_HOST is '0.0.0.0', and that is not good.\n" in done.stdout
    assert done.stderr == "api refused to start; why is said above.\n"


@pytest.mark.timeout(120)
def test_a_second_one_in_the_same_folder_and_one_on_the_same_port_end_with_a_line(project: Path, port: int) -> None:
    with up(project, port) as process:
        command = [sys.executable, "-m", "services", "up"]
        second = subprocess.run(command, cwd=project, env=environ(port), capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith(f"Another `bowerbird up` (process {process.pid}) already runs")
        elsewhere = environ(port) | {"BOWERBIRD_DATA": str(project / "elsewhere")}
        third = subprocess.run(command, cwd=project, env=elsewhere, capture_output=True, text=True, check=False)
        assert (third.returncode, third.stderr.count("\n")) == (1, 1)
        assert third.stderr.startswith(f"Port {port} on 127.0.0.1 is taken")
