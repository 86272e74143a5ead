"""README.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import Reason
from shared.settings import FIELDS, Settings
from shared.topology import queues

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_documented_with_its_meaning(name: str) -> None:
    [row] = [line for line in README.splitlines() if line.startswith(f"| `{name}` |")]
    assert str(FIELDS[name].metadata["meaning"]) in row


def test_no_setting_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `(BOWERBIRD_\w+)`", README, re.MULTILINE)) == set(FIELDS)


def test_every_reason_is_named() -> None:
    assert all(f"`{reason}`" in README for reason in Reason)


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in re.findall(r"make (\w+)", README) if target != "it")


def test_every_link_leads_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_architecture_names_every_event_queue_reader_and_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    readers = {queue.name.partition(".")[0] for queue in queues() if "." in queue.name}
    assert all(reader in text for reader in readers)
    rooms = [path for path in (ROOT / "services").iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert all(f"services/{room.name}/" in text for room in rooms if room.name != "cli")


def test_defaults_are_safe() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert not settings.allow_anonymous
    assert settings.fetch_allow == ()
