"""What is had from npm for the length of a run, and never kept."""

from __future__ import annotations

import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def file_of(package: str, name: str, folder: Path) -> bytes:
    """A file of a package, which is packed into an empty folder; skips the test where npm, or the package, can't be had."""
    try:
        done = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{package} can't be had from npm: {error}")
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        pytest.skip(f"{package} can't be had from npm: {done.stderr[-200:]}")
    with tarfile.open(archives[0]) as archive:
        found = archive.extractfile(f"package/{name}")
        assert found
        return found.read()
