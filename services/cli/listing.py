"""`bowerbird ls`: the images, newest first."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import filters
from services.cli.client import PAGE
from services.cli.session import current
from services.cli.words import pixels, reason, size, text, when

if TYPE_CHECKING:
    from services.cli.link import Json

DEFAULT_LIMIT = 50
_COLUMNS = ("id", "status", "added (UTC)", "format", "pixels", "size", "URL", "why")


def list_images(  # noqa: PLR0913  (as many options as it has)
    context: typer.Context,
    *,
    status: filters.Status = None,
    host: filters.Host = None,
    form: filters.Format = None,
    page: filters.Page = None,
    batch: filters.Batch = None,
    after: filters.After = None,
    before: filters.Before = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="So many at most.")] = DEFAULT_LIMIT,
    everything: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
) -> None:
    """List images, newest first.

    In a terminal a table, with --json a JSON document on each line, else lines with tabs between the fields.
    """
    here = current(context)
    wanted = filters.query(status=status, host=host, form=form, page=page, batch=batch, after=after, before=before)
    # One more than wanted shows whether there are more.
    asked = wanted if everything else {**wanted, "limit": str(min(limit + 1, PAGE))}
    found = here.patient.images(asked)
    images = found if everything else itertools.islice(found, limit)
    if here.output.as_json:
        for image in images:
            here.output.json_line(image)
    elif here.output.for_people:
        shown = list(images)
        if shown:
            here.output.table(_COLUMNS, map(_row, shown), whole=("id", "status", "added (UTC)", "format", "pixels", "size"))
        else:
            here.output.say("There are no images like these." if wanted else f"There are no images yet. To submit one: {here.command('add', 'URL')}")
    else:
        rows = (_row(image, exact=True) for image in images)
        first = next(rows, None)  # before the headings: an answer that can't be had is none
        for row in itertools.chain([_COLUMNS], [first] if first else [], rows):
            here.output.row(row)
    if not everything and next(found, None) is not None:
        here.output.complain("There are more: --all lists them, --limit so many of them.")


def _row(image: Json, *, exact: bool = False) -> tuple[str, ...]:
    """A line of the list; `exact` for programs, which reckon with sizes and times."""
    return (
        text(image, "id"),
        text(image, "status"),
        text(image, "added_at") if exact else when(image.get("added_at")),
        text(image, "format"),
        pixels(image),
        text(image, "size") if exact else size(image.get("size")),
        text(image, "source_url"),
        reason(image.get("error")),
    )
