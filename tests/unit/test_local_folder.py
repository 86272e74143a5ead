"""The data folder: one holder at a time, and nothing kept of a start that never came to an end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from services.local import folder
from services.local.errors import StartError
from services.local.logs import tail

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_holder_is_refused_with_the_first_one_named(tmp_path: Path) -> None:
    with folder.held(tmp_path / "data"), pytest.raises(StartError, match=f"process {os.getpid()}"), folder.held(tmp_path / "data"):
        pass


def test_the_folder_is_free_again_after(tmp_path: Path) -> None:
    for _ in range(2):
        with folder.held(tmp_path / "data"):
            assert (tmp_path / "data").is_dir()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="BOWERBIRD_DATA"), folder.held(tmp_path / "file" / "data"):
        pass


def test_data_of_a_server_that_was_never_ready_is_thrown_away(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder.prepare(data)
    (data / "half").touch()
    folder.prepare(data)
    assert list(data.iterdir()) == []


def test_data_that_was_used_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder.prepare(data)
    folder.used(data)
    (data / "image").touch()
    folder.prepare(data)
    assert [file.name for file in data.iterdir()] == ["image"]


def test_the_tail_of_a_log_names_it_and_has_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert tail(log, 2) == f"The end of {log}:\n  line 9998\n  line 9999"


def test_a_log_that_is_missing_has_no_lines(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == f"The end of {tmp_path / 'none'}:"
