"""Packages of Debian and Ubuntu, installed without letting them start anything."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.local.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Path("/usr/sbin/policy-rc.d")  # asked by a package before it starts its service; 101 forbids that
POLICY_TEXT = "#!/bin/sh\n# Put here by bowerbird while it installs a package, and removed after.\nexit 101\n"

ONE_AT_A_TIME = threading.Lock()


def available() -> bool:
    """Whether packages can be had this way: Debian or a descendant, and root."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install(*packages: str) -> None:
    """Install packages, asking nothing and starting no service. Raises StartError."""
    with ONE_AT_A_TIME, _no_services():
        # An old index names files that are gone; a failing one may still do.
        _run("update", "--quiet")
        done = _run("install", "--yes", "--quiet", "--no-install-recommends", *packages)
    if done.returncode != 0:
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no output")
        raise StartError(f"apt-get couldn't install {' '.join(packages)}: {last}")


def disable(service: str) -> None:
    """Keep a service that came with a package from starting with the machine."""
    if systemctl := shutil.which("systemctl"):
        subprocess.run([systemctl, "--quiet", "disable", service], check=False, capture_output=True)  # noqa: S603


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A session of its own: Ctrl-C doesn't reach it, since dpkg is best not stopped in the middle.
    return subprocess.run(  # noqa: S603
        ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments],  # seconds, if the system is at it by itself  # noqa: S607
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    ours = not POLICY.exists() or POLICY.read_text("utf-8", "replace") == POLICY_TEXT  # left behind by a killed run
    if not ours:
        yield
        return
    POLICY.write_text(POLICY_TEXT, "utf-8")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
