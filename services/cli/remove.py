"""`bowerbird rm`: deletes images and pages."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.each import each
from services.cli.errors import Failure
from services.cli.session import current


def remove(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="ID|URL...", show_default=False, help="Images or pages: their ids or URLs.")],
    *,
    images: Annotated[bool, typer.Option("--images", help="Of a page: its images too, but those that something else has as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask first.")] = False,
) -> None:
    """Delete images or pages, with their former copies; asks first."""
    here = current(context)
    named = list(dict.fromkeys(names))
    what = named[0] if len(named) == 1 else f"{len(named):,} images or pages"
    if not yes and not here.seams.confirm(f"Delete {what} for ever?"):
        raise Failure("Nothing was deleted.")

    def delete(name: str) -> str:
        here.api.remove(here.api.id_of(name), images=images)
        return "deleted"

    each(here, named, "deleted", delete, hint="`bowerbird ls` lists what is there.")
