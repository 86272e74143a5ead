"""`bowerbird show`: all that is known of an image or page, and what was tried to get it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.client import id_in
from services.cli.errors import Failure, Refused
from services.cli.session import current
from services.cli.words import history, pixels, reason, text, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.link import Json

FEW = 5
"""Other images that are named."""


def show(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="ID|URL", show_default=False, help="An image's or page's id, or its URL.")]
) -> None:
    """Show all about an image or page, and what was tried to get it. Times are in UTC."""
    here = current(context)
    try:
        image = here.api.find(name)
    except Refused as refused:
        raise Failure(f"{name}: {refused}") from None
    if here.output.as_json:
        here.output.json(image)
        return
    here.output.facts((label, value) for label, value in _facts(image) if value)
    here.output.facts([("history", "")])
    here.output.block("\n".join(history(image, now=datetime.now(UTC))) or "Nothing yet.")


def _facts(image: Json) -> Iterator[tuple[str, str]]:
    yield "id", text(image, "id")
    yield "URL", text(image, "source_url")
    yield "status", text(image, "status")
    yield "why", reason(image.get("error"))
    yield "added", when(image.get("added_at"))
    yield "completed", when(image.get("completed_at"))
    yield "checked", when(image.get("checked_at"))
    if image.get("sha256"):
        yield "format", f"{text(image, 'format')} ({text(image, 'content_type')})"
        yield "pixels", pixels(image)
        yield "size", f"{text(image, 'size')} bytes"
        yield "sha256", text(image, "sha256")
    page = image.get("page")
    if isinstance(page, dict):
        yield "images", _counted(page)
    for label, name in (("on pages", "pages"), ("same bytes", "same_bytes"), ("also as", "alternatives")):
        others = image.get(name)
        if isinstance(others, list):
            yield label, ", ".join([id_in(other) or str(other) for other in others[:FEW]] + ["..."] * (len(others) > FEW))


def _counted(page: Json) -> str:
    counts = page.get("images")
    named = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count) if isinstance(counts, dict) else ""
    left_out = ", ".join(f"{page[name]:,} {words}" for name, words in _LEFT_OUT.items() if page.get(name))
    return f"{text(page, 'found')} found{f' ({named})' if named else ''}{f'; {left_out}' if left_out else ''}"


_LEFT_OUT = {"skipped": "within the page itself", "refused": "refused", "beyond": "beyond the limit"}
