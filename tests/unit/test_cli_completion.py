"""Completion in bash: installed as a person would, and used in a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli import ROOT, Terminal, bowerbird

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a `bowerbird` on its PATH."""
    program = tmp_path / "bin" / "bowerbird"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m services "$@"\n')
    program.chmod(0o755)
    return tmp_path


async def test_it_is_installed_and_completes_commands_options_and_their_values(home: Path) -> None:
    (home / ".bashrc").write_text("PS1='ready> '\n")
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    bash = ("bash", "--noprofile", "--rcfile", str(home / ".bashrc"), "-i")
    async with Terminal(bash, {"HOME": str(home), "PATH": path, "HISTFILE": ""}, columns=120) as screen:
        await screen.shows("ready> ")
        screen.types("bowerbird --install-completion\n")
        await screen.shows("bash completion installed in ")
        screen.types("source ~/.bashrc; echo sour''ced\n")
        await screen.shows("sourced")
        screen.types("bowerbird exp\t")
        await screen.shows("bowerbird export ")
        screen.types("--stat\t")
        await screen.shows("export --status ")
        screen.types("exp\t")
        await screen.shows("--status expanded")
        screen.types("\x15bowerbird dead re\t")
        await screen.shows("dead replay")
        screen.types("\x15exit\n")
        await screen.ends()
    assert (home / ".bashrc").read_text().startswith("PS1='ready> '\n")


async def test_completing_asks_no_api_and_needs_no_settings() -> None:
    done = await bowerbird("nonsense", _BOWERBIRD_COMPLETE="complete_bash", COMP_WORDS="bowerbird --url nonsense w", COMP_CWORD="3")
    assert done.out.split() == ["watch"]
    assert done.err == ""


async def test_a_script_for_other_shells_is_shown() -> None:
    for shell, part in (("bash", "complete -o default"), ("zsh", "#compdef bowerbird"), ("fish", "complete --command bowerbird")):
        # Which shell it is run from is Typer's to find out, and the test's is any.
        shown = await bowerbird("http://127.0.0.1:9", "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
        assert part in shown.out
