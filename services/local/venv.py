"""A virtual environment for the Makefile, with the system's Python and nothing else: `python3 -m services.local.venv .venv`."""

from __future__ import annotations

import subprocess
import sys

from services.local import apt
from services.local.errors import StartError
from services.local.terminal import complain, say


def main() -> int:
    """Make the environment that the argument names; the exit code."""
    folder = sys.argv[1]
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    try:
        said = _make(folder)
        if said and "ensurepip" in said:
            if not apt.available():
                complain(f"Python can't make a virtual environment here: install it first (sudo apt-get install {package}).")
                return 1
            say(f"Installing {package} with apt-get ...")
            apt.install(package)
            said = _make(folder)
    except StartError as error:
        said = str(error)
    if said:
        complain(f"Can't make {folder}: {said}")
    return 1 if said else 0


def _make(folder: str) -> str:
    """Nothing, or why it failed."""
    # --clear: an attempt that was broken off may have left half of one.
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "venv", "--clear", folder], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return "" if done.returncode == 0 else done.stdout.strip() or f"exit code {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
