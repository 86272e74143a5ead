"""What the client prints. Nothing from elsewhere reaches a terminal raw: it could move the cursor, retitle the window or forge lines.

A terminal gets tables; anything else gets lines with tabs between the fields, complete and unwrapped, for cut, awk and sort. With --json, one JSON
document in ASCII: exact, since JSON has an escape for everything.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TABLE_WIDTH = 120
"""Columns of a terminal from which on a table is readable; a narrower one gets two lines a row."""


def visible(text: str, keep: str = "") -> str:
    r"""The text with what isn't printable written out (as \x1b, \n, \u202e), but for the characters in `keep`."""
    return "".join(c if c in keep or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Output:
    """Standard output and standard error."""

    def __init__(self, *, as_json: bool, out: Console | None = None, err: Console | None = None) -> None:
        self.as_json = as_json
        self._out = out or Console()
        self.progress = err or Console(stderr=True)
        """Where it is shown how far a command has come, and what hinders it: standard error."""

    @property
    def for_people(self) -> bool:
        """Whether somebody looks at it, rather than a program."""
        return self._out.is_terminal and not self.as_json

    def json(self, value: object) -> None:
        """A JSON document."""
        self._out.file.write(json.dumps(value, indent=2) + "\n")

    def json_line(self, value: object) -> None:
        """A JSON document on a line of its own: for lists that may be long."""
        self._out.file.write(json.dumps(value) + "\n")

    def row(self, cells: Iterable[str]) -> None:
        """A line with tabs between its fields, at once: what a table is for programs."""
        self._out.file.write("\t".join(visible(cell) for cell in cells) + "\n")
        self._out.file.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str] = ()) -> None:
        """Rows under headings. On a terminal, the columns in `whole` are never broken, and the first two make the row's title where it is narrow."""
        columns, *shown = ([visible(cell) for cell in row] for row in (columns, *rows))
        if not self._out.is_terminal:
            self._out.file.writelines("\t".join(row) + "\n" for row in [columns, *shown])
            return
        if self._out.width < TABLE_WIDTH:
            for first, second, *rest in shown:
                self._out.print(Text.assemble((first, "bold"), "  ", second), soft_wrap=True)
                named = (part for name, cell in zip(columns[2:], rest, strict=True) for part in ((f"  {name} ", "dim"), cell))
                self._out.print(Text.assemble(*named), soft_wrap=True)
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(Text(column), no_wrap=column in whole, overflow="fold", justify="right" if column == "size" else "left")
        for row in shown:
            table.add_row(*map(Text, row))  # Text: nothing in it is markup
        self._out.print(table)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Names and values, a line for each."""
        for name, value in facts:
            self._out.print(Text.assemble((visible(name), "bold"), ": ", visible(value)), soft_wrap=True, highlight=False)

    def block(self, text: str) -> None:
        """Text of several lines, indented, so that none of them passes for one of ours."""
        lines = visible(text.replace("\r\n", "\n"), keep="\n\t").split("\n")
        self._out.file.writelines(f"  {line}\n" for line in lines)

    def say(self, sentence: str) -> None:
        """A sentence on what was done: the output of a command that has no other, so not with --json."""
        if not self.as_json:
            self._out.file.write(visible(sentence) + "\n")
            self._out.file.flush()

    def complain(self, sentence: str) -> None:
        """A sentence on standard error."""
        # Through the console, which knows what else it is drawing there.
        self.progress.print(Text(visible(sentence)), soft_wrap=True, highlight=False)


def tolerate_narrow_encodings() -> None:
    """Where a stream can't show a character, show its escape rather than stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def nowhere_to_write() -> None:
    """Has what is still buffered for standard output go nowhere: it can't be written, and Python would try again at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
