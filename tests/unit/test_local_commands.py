"""The command line: its help, its exit codes, and what goes to which stream."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bowerbird(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments], cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )


def test_help_has_a_line_for_each_command() -> None:
    done = bowerbird("--help")
    assert (done.returncode, done.stderr) == (0, "")
    first_words = {line.strip("│ ").partition(" ")[0] for line in done.stdout.splitlines()}
    assert {"up", "api", "fetcher", "storer", "asyncapi", "dead", "requeue", "--url", "--key", "--json"} <= first_words


def test_wrong_settings_end_it_with_a_line_for_each() -> None:
    done = bowerbird("up", BOWERBIRD_PORT="none", BOWERBIRD_APIS="0")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["BOWERBIRD_APIS", "BOWERBIRD_PORT"]


def test_a_port_that_cannot_be_had_ends_it_before_anything_starts(tmp_path: Path) -> None:
    done = bowerbird("up", BOWERBIRD_HOST="192.0.2.1", BOWERBIRD_DATA=str(tmp_path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]
