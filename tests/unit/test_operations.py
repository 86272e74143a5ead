"""docs/operations.md: its table of settings is the code's."""

from __future__ import annotations

from pathlib import Path

from shared.settings import FIELDS, PREFIX
from tests.settings_table import HEAD, rows

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")


def test_the_settings_are_those_of_the_code() -> None:
    section = OPERATIONS.partition("\n## Settings\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table == rows(), "python -m tests.settings_table prints it"


def test_each_setting_has_a_row_with_a_reader_and_a_meaning() -> None:
    made = rows()[len(HEAD) :]
    assert len(made) == len(FIELDS)
    for row, (name, field) in zip(made, FIELDS.items(), strict=True):
        variable, default, unit, readers, meaning = (cell.strip() for cell in row.strip("|").split(" | "))
        assert (variable.strip("| `"), meaning.rstrip(" |")) == (name, field.metadata["meaning"])
        assert unit
        assert readers
        assert default or field.default in {None, ()}, f"{name.removeprefix(PREFIX)} has no default"
