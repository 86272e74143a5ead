"""What a command works with: the api that the global options name, its output, and what tests replace."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import typer

from services.cli.errors import Failure, Refused
from services.cli.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.client import Api
    from services.cli.output import Output


DEFAULT_URL = "http://127.0.0.1:8000"


def confirm(question: str) -> bool:
    """Asks on standard error, so that standard output stays the command's own. Without a person to ask, wrong usage."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("There is nobody to ask on standard input: add --yes if you mean it.", param_hint="--yes")
    return typer.confirm(question, err=True)


def standard_input(size: int) -> bytes:
    """Up to so many bytes of standard input, as soon as there are some; none at its end."""
    # Unbuffered: Python couldn't end while a thread of ours waits within its buffer.
    return os.read(0, size)


@dataclass(frozen=True)
class Seams:
    """What tests replace: the network, the person at the terminal and what they type, their browser, and the time that passes."""

    transport: httpx.BaseTransport | None = None
    confirm: Callable[[str], bool] = confirm
    read: Callable[[int], bytes] = standard_input
    browse: Callable[[str], bool] = webbrowser.open
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Session:
    """One run of the client."""

    api: Api
    output: Output
    seams: Seams
    patience: Patience

    @property
    def patient(self) -> Api:
        """The api, asked again when it doesn't answer for a while: for work that is long, and safe to repeat."""
        return self.api.patient(self.patience)

    def named(self, name: str) -> str:
        """The id of an image or page, from its id, its address or its URL. Raises Failure, which repeats the name."""
        try:
            return self.api.id_of(name)
        except Refused as refused:
            raise Failure(f"{name}: {refused}") from None

    def command(self, *words: str) -> str:
        """A command to type next, for the same api."""
        named = os.environ.get("BOWERBIRD_URL", DEFAULT_URL).rstrip("/") == self.api.shown.rstrip("/")
        return " ".join(("bowerbird", *words, *(() if named else ("--url", self.api.shown))))


def session(api: Api, output: Output, seams: Seams) -> Session:
    """A session of a run that begins."""
    return Session(api, output, seams, Patience(output.complain, sleep=seams.sleep))


def current(context: typer.Context) -> Session:
    """The session of a command."""
    here: Session = context.obj
    return here


def address(value: str) -> httpx.URL:
    """The api's URL. Raises BadParameter."""
    try:
        url = httpx.URL(value.strip().rstrip("/"))
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise typer.BadParameter(f"It is {value!r}, but should be like http://127.0.0.1:8000.", param_hint="--url (BOWERBIRD_URL)")
    return url


def key(value: str | None) -> str | None:
    """The key, as it can stand in a header. Raises BadParameter, which doesn't show it."""
    value = (value or "").strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise typer.BadParameter("A key has only visible ASCII characters, and no spaces.", param_hint="--key (BOWERBIRD_KEY)")
    return value or None
