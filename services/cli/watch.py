"""`bowerbird watch`: how far batches have come, until nothing of them is on its way any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import recent
from services.cli.client import BATCH_ID
from services.cli.errors import Failure, Refused
from services.cli.progress import progress
from services.cli.session import Session, current
from services.cli.tally import lasting
from services.cli.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.link import Json
    from services.cli.progress import Progress
    from services.cli.tally import Tally

LOOK_EVERY = 0.5
"""Seconds between two rounds of questions; more while all that is left waits for another attempt."""
LOOK_SELDOM = 2.0
FEW = 5
"""Batches that are still named one by one."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def watch(
    context: typer.Context,
    batches: Annotated[
        list[str] | None, typer.Argument(metavar="BATCH", help="Their ids; without any, those of the last `bowerbird add`.", show_default=False)
    ] = None,
) -> None:
    """Watch batches until each image has arrived or failed.

    Exit codes: 0 all arrived, 1 some failed or were refused, 130 Ctrl-C: the work goes on.
    """
    here = current(context)
    api = here.patient
    named = [batch.rpartition("/")[2] for batch in batches or recent.recall(here.api.shown)]
    if not named:
        raise typer.BadParameter("Name a batch: nothing is known of an earlier `bowerbird add` to this api.", param_hint="BATCH")
    watching, began = Watch(api), time.monotonic()
    for batch in dict.fromkeys(named):
        if not BATCH_ID.fullmatch(batch):
            raise Failure(f"{batch}: No batch has an id like this; `bowerbird add` says which ones it made.")
        try:
            watching.follow(api.batch(batch))
        except Refused as refused:
            raise Failure(f"{batch}: {refused}") from None
    try:
        with progress(here.output.progress) as shown:
            until_done(here, watching, shown)
    except KeyboardInterrupt:
        here.output.complain(f"The work goes on. To watch it again: {how_to_watch(here, watching.batches)}")
        raise typer.Exit(INTERRUPTED) from None
    if here.output.as_json:
        here.output.json(summary(watching))
    conclude(here, watching, here.output.say, seconds=time.monotonic() - began)


def until_done(here: Session, watching: Watch, shown: Progress) -> None:
    """Looks and shows until nothing is on its way any more."""
    while True:
        watching.look()
        tally = watching.tally()
        shown.show(tally, more=False)
        if watching.done:
            return
        here.seams.sleep(LOOK_SELDOM if tally.left and tally.left == tally.images["delayed"] else LOOK_EVERY)


def summary(watching: Watch) -> Json:
    """What became of everything, for programs."""
    return {"batches": watching.batches, **watching.tally().json()}


def conclude(here: Session, watching: Watch, say: Callable[[str], None], *, seconds: float) -> None:
    """Says what became of everything, with no word more for programs. Raises Exit when something failed or was refused."""
    tally = watching.tally()
    if not here.output.as_json:
        say(f"{tally.lines:,} {'URL' if tally.lines == 1 else 'URLs'} in {lasting(seconds)}: {tally.sentence()}.")
        if tally.images["failed"]:
            say(f"What failed, and why: {_failed(here, watching, tally)}")
    if not tally.flawless:
        raise typer.Exit(1)


def how_to_watch(here: Session, batches: list[str]) -> str:
    """The command that watches these."""
    return here.command("watch", *(batches if len(batches) <= FEW else ()))


def _failed(here: Session, watching: Watch, tally: Tally) -> str:
    """The command that lists it."""
    [*several] = watching.batches
    narrowed = ("--batch", several[0]) if len(several) == 1 and not tally.images["expanded"] else ()
    return here.command("ls", "--status", "failed", *narrowed)
