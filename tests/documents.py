"""Does what a document says: types its commands into a bash, one after the other, and compares what comes with what is written there.

    $ curl -s http://127.0.0.1:8000/images/4cqso75qtyka5r5ss25iivu6nk
    {"id":"4cqso75qtyka5r5ss25iivu6nk", …}

In blocks of the kind `console`, a line that begins with `$ ` is a command, one with `> ` goes on with it, and the lines below are its output.
There, … stands for anything in a line (with a space before it or without), and on a line of its own for any lines; a time for any time, and `took_ms` for any such; and an id or a hash for whichever comes in its
place the first time, from when on it stands for that one, in commands too. Nothing under a command means that nothing comes. Between blocks, the
comment `<!-- then: an hour later -->` has the test do what it calls that. Where a document's figures differ from run to run, its shape is compared: a
number stands for any number, a duration for any duration, spaces and rules for as many as come.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

MARK = "-- this was its output --"
_CONTROL = re.compile(r"\x1b\[(?P<count>[0-9;?]*)(?P<what>[A-Za-z])|(?P<back>\r)|(?P<down>\n)")
_THEN = re.compile(r"<!-- then: (.+) -->")
_ANY = "…"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
_TOOK = r"\"took_ms\": ?\d+"
_ID = r"(?<![0-9a-z])(?:[0-9a-f]{64}|[0-9a-f]{32}|[a-z2-7]{26})(?![0-9a-z])"
_FIGURE = re.compile(r"(?P<took>\d[\d.,]* (?:ms|s|min)\b)|(?P<number>\d(?:[\d.,]*\d)?)|(?P<space> +)|(?P<rule>─+)")
_SHAPES = {"took": r"\d[\d.,]* (?:ms|s|min)(?: \d+ s)?", "number": r"\d(?:[\d.,]*\d)?", "space": " +", "rule": "─+"}
_PART = re.compile(rf"(?P<any> ?…)|(?P<time>{_TIME})|(?P<took>{_TOOK})|(?P<id>{_ID})")


class Command(NamedTuple):
    """A command and the lines that should come of it; `line` is where in the document it is, from 1."""

    line: int
    text: str
    output: list[str]


class Then(NamedTuple):
    """Something for the test to do."""

    line: int
    what: str


def read(text: str) -> Iterator[Command | Then]:
    """What a document has to be done, in its order."""
    command: Command | None = None
    in_console = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            in_console = line == "```console"
            if command:
                yield command
            command = None
        elif in_console and line.startswith("$ "):
            if command:
                yield command
            command = Command(number, line[2:], [])
        elif in_console and command and line.startswith("> ") and not command.output:
            command = command._replace(text=f"{command.text}\n{line[2:]}")
        elif in_console:
            assert command, f"line {number}: output before any command"
            command.output.append(line.rstrip())
        elif found := _THEN.fullmatch(line):
            yield Then(number, found[1])


class Ids:
    """What the ids in a document stand for; with `shape`, figures stand for any."""

    def __init__(self, *, shape: bool = False) -> None:
        self._known: dict[str, str] = {}
        self._shape = shape

    def replace(self, command: str) -> str:
        """A command with the ids that are known by now."""
        return _PART.sub(lambda found: self._known.get(found[0], found[0]), command)

    def match(self, expected: list[str], came: str) -> bool:
        """Whether this is the output that was expected; learns the ids that are in it."""
        groups: dict[str, str] = {}
        pattern = "".join(r"(?:.*\n)*" if line.strip() == _ANY else f"{self._pattern(line, groups)}[ \t\r]*\n" for line in expected)
        found = re.fullmatch(pattern, came)
        if found:
            self._known |= {written: found[group] for written, group in groups.items()}
        return found is not None

    def _pattern(self, line: str, groups: dict[str, str]) -> str:
        pieces, at = [], 0
        for part in _PART.finditer(line):
            pieces.append(self._plain(line[at : part.start()]))
            pieces.append({"any": ".*", "time": _TIME, "took": _TOOK}.get(part.lastgroup or "") or self._id(part[0], groups))
            at = part.end()
        return "".join(pieces) + self._plain(line[at:])

    def _plain(self, text: str) -> str:
        if not self._shape:
            return re.escape(text)
        pieces, at = [], 0
        for part in _FIGURE.finditer(text):
            pieces += [re.escape(text[at : part.start()]), _SHAPES[part.lastgroup or ""]]
            at = part.end()
        return "".join(pieces) + re.escape(text[at:])

    def _id(self, written: str, groups: dict[str, str]) -> str:
        if written in self._known:
            return re.escape(self._known[written])
        if written in groups:
            return f"(?P={groups[written]})"
        groups[written] = f"id{len(groups)}"
        alphabet = "0-9a-f" if len(written) in {32, 64} else "a-z2-7"
        return f"(?P<{groups[written]}>[{alphabet}]{{{len(written)}}})"


class Shell:
    """A bash in a folder. What it starts in the background ends with it. With `columns`, its output is a terminal that wide."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None, *, columns: int = 0) -> None:
        self._folder = folder
        self._environ = {**os.environ, **(environ or {})}
        self._columns = columns

    async def __aenter__(self) -> Self:
        master, terminal = pty.openpty() if self._columns else (None, None)
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 50, self._columns, 0, 0))
        self._process = await asyncio.create_subprocess_exec(
            "bash", "--noprofile", "--norc", cwd=self._folder, env=self._environ, stdin=asyncio.subprocess.PIPE,
            stdout=terminal or asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True, limit=2**24,
        )  # fmt: skip
        if master is None or terminal is None:
            assert self._process.stdout
            self._output = self._process.stdout
        else:
            os.close(terminal)
            self._output = asyncio.StreamReader(limit=2**24)
            protocol = asyncio.StreamReaderProtocol(self._output)
            self._reading, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(master, "rb"))
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()
        with contextlib.suppress(OSError):
            await self._process.stdin.wait_closed()
        if self._columns:
            self._reading.close()
        else:
            # To its end, and it closes itself: a loop that is closed before that fails.
            async with asyncio.timeout(5):
                await self._output.read()

    async def run(self, command: str, *, seconds: float = 30.0) -> str:
        """What a command prints, as it reads. Raises TimeoutError, or AssertionError when it ended the shell."""
        stdin = self._process.stdin
        assert stdin
        # In the end, `$?` is the command's.
        stdin.write(f"{{ {command}\n}} </dev/null; ended=$?; printf '%s\\n' '{MARK}'; (exit $ended)\n".encode())
        lines: list[str] = []
        async with asyncio.timeout(seconds):
            while not (line := (await self._output.readline()).decode()).rstrip("\r\n").endswith(MARK):
                assert line, f"bash ended: {''.join(lines)}"
                lines.append(line)
        last = line.rstrip("\r\n").removesuffix(MARK)  # of output that doesn't end its last line
        came = "".join(lines) + (f"{last}\n" if last else "")
        return as_seen(came) if self._columns else came


def as_seen(written: str) -> str:
    """What stays to be read in a terminal: a bar that was drawn in place and taken away is gone."""
    lines, row, at = [""], 0, 0
    for control in (*_CONTROL.finditer(written), None):
        text = written[at : control.start() if control else None]
        lines[row] += text
        if control is None:
            break
        at = control.end()
        if control["down"]:
            row += 1
            lines += [""] if row == len(lines) else []
        elif control["back"]:
            # Whatever comes next is written over it, unless that is the end of the line.
            lines[row] = lines[row] if written[at : at + 1] in {"\r", "\n"} else ""
        elif control["what"] == "A":
            row = max(0, row - int(control["count"] or 1))
        elif control["what"] == "K":
            lines[row] = ""
    return "\n".join(lines[: row + 1])


async def follow(
    document: Path,
    shell: Shell,
    *,
    instead: Mapping[str, str],
    then: Mapping[str, Callable[[], Awaitable[object]]] | None = None,
    only: Callable[[str], bool] = lambda _: True,
    shape: bool = False,
) -> int:
    """Does what a document says, and returns how many commands that were.

    `instead` has what the test has in place of a text of the document's, such as other ports; with `shape`, figures may differ. Raises AssertionError for the first output that is another.
    """
    ids, done = Ids(shape=shape), 0
    for step in read(document.read_text("utf-8")):  # noqa: ASYNC240  (a moment)
        if isinstance(step, Then):
            await (then or {})[step.what]()
        elif only(step.text):
            came = await shell.run(_replace(ids.replace(step.text), instead))
            came = _replace(came, {real: written for written, real in instead.items()})
            assert ids.match(step.output, came), _differs(document, step, came)
            done += 1
    return done


def _replace(text: str, by: Mapping[str, str]) -> str:
    """All at once: what has come in another's place stays, even if it looks like a third."""
    return re.sub("|".join(map(re.escape, by)), lambda found: by[found[0]], text) if by else text


def _differs(document: Path, step: Command, came: str) -> str:
    expected = "\n".join(step.output)
    return f"{document.name}, line {step.line}: $ {step.text}\n--- the document says\n{expected}\n--- this came\n{came}"
