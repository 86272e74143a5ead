"""`bowerbird open`: the gallery, in the person's browser."""

from __future__ import annotations

import typer  # noqa: TC002  (Typer resolves annotations at run time)

from services.cli.errors import Failure
from services.cli.session import current


def open_gallery(context: typer.Context) -> None:
    """Open the gallery in a browser."""
    here = current(context)
    url = f"{here.api.shown.rstrip('/')}/"
    if here.output.as_json:
        here.output.json({"url": url})
        return
    if not here.seams.browse(url):
        raise Failure(f"No browser could be started here. The gallery is at {url}")
    here.output.say(f"The gallery is at {url}")
