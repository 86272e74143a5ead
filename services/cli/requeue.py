"""`bowerbird requeue`: downloads afresh what a wiped broker lost, or all that failed."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.client import Waiting  # noqa: TC001  (Typer resolves annotations at run time)
from services.cli.session import current


def requeue(
    context: typer.Context,
    status: Annotated[Waiting, typer.Option("--status", help="Which images: those with this status.", show_default=False)],
) -> None:
    """Download afresh all images with a status: `queued` ones that a wiped broker lost, or those that `failed`."""
    here = current(context)
    total = 0
    try:
        for count in here.api.requeue(status):
            if total:
                here.output.complain(f"{total:,} so far ...")
            total += count
    finally:
        if here.output.as_json:
            here.output.json({"status": status, "requeued": total})
    if total:
        here.output.say(f"{total:,} {'image is' if total == 1 else 'images are'} being downloaded afresh, in the background.")
    else:
        here.output.say(f"No image is {status}: there is nothing to do.")
