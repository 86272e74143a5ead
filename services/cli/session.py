"""What a command works with: the api that the global options name, its output, and a way to ask the person."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.client import Api
    from services.cli.output import Output


@dataclass(frozen=True)
class Seams:
    """What tests replace: the network, and the person at the terminal."""

    transport: httpx.BaseTransport | None = None
    confirm: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class Session:
    """One run of the client."""

    api: Api
    output: Output
    confirm: Callable[[str], bool]


def current(context: typer.Context) -> Session:
    """The session of a command."""
    session: Session = context.obj
    return session


def confirm(question: str) -> bool:
    """Asks on standard error, so that standard output stays the command's own. Without a person to ask, wrong usage."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("There is nobody to ask on standard input: add --yes if you mean it.", param_hint="--yes")
    return typer.confirm(question, err=True)


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
