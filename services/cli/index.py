"""The index of an export: a line for each file, as CSV and as JSON lines."""

from __future__ import annotations

import csv
import json
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from services.cli.link import Json
    from services.cli.saving import Copy

NAMES = ("index.csv", "index.jsonl")
_FACTS = ("id", "source_url", "status", "format", "content_type", "width", "height")
_TIMES = ("added_at", "completed_at", "checked_at")
COLUMNS = ("file", *_FACTS, "size", "sha256", *_TIMES)


class Index:
    """Both of them, into files that are open for text, without translation of line ends (RFC 4180 has its own)."""

    def __init__(self, table: IO[str], lines: IO[str]) -> None:
        self._table = csv.writer(table)
        self._lines = lines
        self._table.writerow(COLUMNS)

    def add(self, image: Json, file: str, copy: Copy) -> None:
        """An image and its file. What was saved says what its size and hash are: the image may have been replaced since it was listed."""
        facts = {name: image.get(name) for name in (*_FACTS, *_TIMES)} | {"file": file, "size": copy.size, "sha256": copy.sha256}
        row = {name: facts[name] for name in COLUMNS}
        self._table.writerow("" if value is None else value for value in row.values())
        self._lines.write(json.dumps(row) + "\n")
