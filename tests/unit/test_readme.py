"""README.md, CONTRIBUTING.md, ARCHITECTURE.md and docs/api.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import Reason
from shared.settings import Settings
from shared.topology import queues
from tests.documents import Command, read

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING, API = ((ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md", "docs/api.md"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def test_every_reason_is_named() -> None:
    assert all(f"`{reason}`" in API for reason in Reason)


@pytest.mark.parametrize(
    "document", [path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if path.name != "CHANGELOG.md"], ids=lambda path: path.name
)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"`make (\w+)|^(?:\$ )?(?:[A-Z_]+=\S+ )*make (\w+)", document.read_text("utf-8"), re.MULTILINE))
    assert all(re.search(rf"^{inline or line}:", MAKEFILE, re.MULTILINE) for inline, line in named)


def test_every_make_target_is_explained_to_those_who_work_on_it() -> None:
    [targets] = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert all(f"| `make {target}` |" in CONTRIBUTING for target in targets.split())


def test_every_folder_of_tests_is_explained() -> None:
    folders = [path for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("*.py"))]
    assert all(f"| `tests/{folder.name}` |" in CONTRIBUTING for folder in folders)


def test_every_file_that_contributing_names_exists() -> None:
    assert [name for name in re.findall(r"`((?:shared|services|tests|docs)/[\w/.*]+)`", CONTRIBUTING) if not list(ROOT.glob(name))] == []


def test_the_start_is_shown_as_it_is() -> None:
    """Each line that `make up` prints comes from the Makefile or from services/local; its summary is whole."""
    [start] = [step for step in read(README) if isinstance(step, Command) and "make up" in step.text]
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "Makefile", *ROOT.glob("services/local/*.py"))).replace("$(VENV)", ".venv")
    labels = [label for label in re.findall(r'say\(f?"  (\w[\w ]*?)  ', sources) if label != "Metrics"]  # which are off
    assert [line[2:].partition("  ")[0] for line in start.output if line.startswith("  ")] == labels
    plain = [
        line for line in start.output if line and not line.startswith("  ") and "RabbitMQ and MongoDB" not in line and "python3.11-venv" not in line
    ]
    assert [line for line in plain if line not in sources] == []


def test_the_readme_is_short() -> None:
    first = re.sub(r"\s+", " ", README.partition("# Bowerbird\n\n")[2].partition("\n\n")[0])
    assert len(re.findall(r"[.](?= |$)", first)) == 3
    assert len(README.splitlines()) < 100


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
