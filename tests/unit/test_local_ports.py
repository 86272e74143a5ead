"""Ports of the private servers: our own range, remembered, and never one that is taken."""

from __future__ import annotations

import dataclasses
import json
import socket
from typing import TYPE_CHECKING

import pytest

from services.local import ports
from services.local.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

STANDARD = {4369, 5672, 15672, 25672, 27017}


def test_no_port_is_a_standard_one_or_chosen_twice(tmp_path: Path) -> None:
    for chosen in (ports.remembered(tmp_path / "ports.json"), ports.of_tests()):
        numbers = dataclasses.astuple(chosen)
        assert len(set(numbers)) == len(numbers)
        assert not STANDARD & set(numbers)


def test_ports_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    before = dataclasses.asdict(ports.of_tests())
    file.write_text(json.dumps(before))
    assert dataclasses.asdict(ports.remembered(file)) == before


def test_only_a_port_that_was_taken_meanwhile_changes(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    before = ports.of_tests()
    file.write_text(json.dumps(dataclasses.asdict(before)))
    with socket.create_server(("127.0.0.1", before.mongodb)):
        after = ports.remembered(file)
    assert after.mongodb != before.mongodb
    assert dataclasses.replace(after, mongodb=before.mongodb) == before
    assert json.loads(file.read_text())["mongodb"] == after.mongodb


@pytest.mark.parametrize("text", ["", "[]", "{", '{"amqp": "x", "epmd": -1}'])
def test_a_broken_file_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(text)
    assert set(dataclasses.astuple(ports.remembered(file))) <= set(ports.OURS)


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_any_free_is_free() -> None:
    assert ports.is_free(ports.any_free("127.0.0.1"))


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(StartError, match=r"Can't listen on 192\.0\.2\.1"):
        ports.is_free(8000, "192.0.2.1")
