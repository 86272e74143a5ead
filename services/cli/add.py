"""`bowerbird add`: submits URLs, from the command line, a file or standard input, and watches them arrive."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path  # noqa: TC003  (Typer resolves annotations at run time)
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli import recent, sources
from services.cli.errors import Failure
from services.cli.progress import progress
from services.cli.session import Session, current
from services.cli.submitting import Fate, Fates, Submission
from services.cli.watch import INTERRUPTED, conclude, how_to_watch, summary, until_done
from services.cli.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.cli.progress import Progress

SHOWN = 10
"""Refused lines that a person is shown."""


def add(
    context: typer.Context,
    urls: Annotated[
        list[str] | None, typer.Argument(metavar="URL...", help="URLs of images or pages; - reads them from standard input.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", exists=True, dir_okay=False, readable=True, show_default=False, help="A file with URLs.")
    ] = None,
    form: Annotated[
        Literal["lines", "csv", "jsonl"] | None,
        typer.Option("--format", show_default=False, help="What the input is, where its name doesn't say: a URL a line, CSV, or JSON lines."),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", "-c", show_default=False, help="Which column of CSV (its name, or its number), or member of JSON lines.")
    ] = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", show_default=False, help="Watch until all have arrived or failed: in a terminal unless you say no."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Download those that are known already once more.")] = False,
) -> None:
    """Submit URLs of images, or of pages with images on them; they are downloaded in the background.

    Exit codes: 0 all stored (or, without --wait, submitted), 1 some failed or were refused, 130 Ctrl-C: what was submitted goes on.
    """
    here = current(context)
    waits = here.output.for_people if wait is None else wait
    given = _given(here, urls or [], file, form, column)
    fates = Fates(_rows(here))
    watch = Watch(here.patient)
    submission = Submission(here.patient, watch, fates, note=lambda: recent.remember(here.api.shown, watch.batches), refresh=refresh)
    began = time.monotonic()
    try:
        with progress(here.output.progress) as shown:
            submission.send_all(given, (lambda: _look(watch, shown)) if waits else None)
            if waits:
                until_done(here, watch, shown)
    except KeyboardInterrupt:
        here.output.complain(_interrupted(here, watch, submission))
        raise typer.Exit(INTERRUPTED) from None
    except sources.WrongColumn as error:
        raise typer.BadParameter(str(error), param_hint="--column") from None
    except Failure as failure:
        raise Failure(f"{failure}{_so_far(submission)}") from None
    _report(here, watch, fates, waited=waits, seconds=time.monotonic() - began)


def _rows(here: Session) -> Callable[[Fate], None] | None:
    """Writes what became of each line, for programs; nothing where a person looks at the whole."""
    if here.output.as_json or here.output.for_people:
        return None
    here.output.row(Fate._fields)
    return here.output.row


def _given(here: Session, urls: list[str], file: Path | None, form: sources.Format | None, column: str | None) -> Iterator[str | sources.Unreadable]:
    """What is to be submitted, read when it is asked for."""
    if bool(urls) == bool(file):
        raise typer.BadParameter("Give URLs, - for standard input, or a --file; one of them.", param_hint="URL... or --file")
    if file:
        return _of_file(file, form or sources.format_of(file.name, column), column)
    if "-" in urls and sys.stdin.isatty():
        here.output.complain("Type or paste URLs, one a line; Ctrl-D on an empty line ends them.")
    from_input = sources.read(here.seams.read, form or sources.format_of("", column), column)
    return itertools.chain.from_iterable(from_input if url == "-" else [url] for url in urls)


def _of_file(file: Path, form: sources.Format | None, column: str | None) -> Iterator[str | sources.Unreadable]:
    try:
        with file.open("rb") as source:
            yield from sources.read(source.read1, form, column)
    except OSError as error:
        raise Failure(f"{file} can't be read: {error.strerror}.") from None


def _look(watch: Watch, shown: Progress) -> None:
    watch.look()
    shown.show(watch.tally(), more=True)


def _report(here: Session, watch: Watch, fates: Fates, *, waited: bool, seconds: float) -> None:
    """Says what became of it. Raises Exit when something failed or was refused."""
    say = here.output.say if here.output.for_people else here.output.complain
    if here.output.as_json:
        refusals = [{"url": fate.url, "detail": fate.detail} for fate in fates.refused]
        here.output.json({**summary(watch), "refusals": refusals, "waited": waited})
    else:
        for fate in fates.refused[:SHOWN] if here.output.for_people else ():
            say(f"Refused: {fate.url}  {fate.detail}")
        if fates.counts["refused"] > SHOWN and here.output.for_people:
            say(f"... and {fates.counts['refused'] - SHOWN:,} more were refused.")
    if waited:
        conclude(here, watch, say, seconds=seconds)
        return
    if not here.output.as_json:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in fates.counts.items())
        say(f"Submitted: {counts or 'nothing'}.{f' To watch them arrive: {how_to_watch(here, watch.batches)}' if watch.batches else ''}")
    if fates.counts["refused"]:
        raise typer.Exit(1)


def _interrupted(here: Session, watch: Watch, submission: Submission) -> str:
    if not watch.batches:
        return "The api had confirmed nothing yet."
    return f"What was submitted goes on in the background.{_so_far(submission)} To watch it: {how_to_watch(here, watch.batches)}"


def _so_far(submission: Submission) -> str:
    """How far it came, if it didn't come to the end."""
    if submission.whole or not submission.lines:
        return ""
    return f" {submission.lines:,} lines were submitted before that; the same command again goes through all of them, and leaves out what is known."
