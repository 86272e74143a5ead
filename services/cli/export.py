"""`bowerbird export`: the files of many images, with an index."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path  # noqa: TC003  (Typer resolves annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import filters
from services.cli.destinations import archive, folder
from services.cli.errors import Failure
from services.cli.exporting import Export
from services.cli.progress import Ticker
from services.cli.saving import named, writing
from services.cli.session import Session, current
from services.cli.tally import lasting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.destinations import Destination


def export(  # noqa: PLR0913  (as many options as it has)
    context: typer.Context,
    to: Annotated[Path | None, typer.Argument(metavar="DIR", show_default=False, help="A folder; it is made if it isn't there.")] = None,
    *,
    tar: Annotated[Path | None, typer.Option("--tar", show_default=False, help="A tar archive instead; - for standard output.")] = None,
    status: filters.Status = None,
    host: filters.Host = None,
    form: filters.Format = None,
    page: filters.Page = None,
    batch: filters.Batch = None,
    after: filters.After = None,
    before: filters.Before = None,
) -> None:
    """Save the files of images, named by id and format, with an index as CSV and JSON lines.

    Into a folder it can be repeated: what is there with the right bytes isn't downloaded again.
    """
    here = current(context)
    if bool(to) == bool(tar):
        raise typer.BadParameter("Name a folder, or a --tar archive; one of them.", param_hint="DIR or --tar")
    wanted = filters.query(status=status, host=host, form=form, page=page, batch=batch, after=after, before=before)
    began = time.monotonic()
    work = Export(here.patient, here.patience, here.output.complain)
    try:
        with _destination(here, to, tar) as destination, Ticker(here.output.progress) as shown:
            work.run(wanted, destination, shown.show)
    except KeyboardInterrupt:
        here.output.complain(f"Stopped: {work.counts.sentence()}.{_again(to)}")
        raise typer.Exit(130) from None
    except Failure as failure:
        raise Failure(f"{failure}{_again(to)}") from None
    _report(here, work, to or tar, seconds=time.monotonic() - began)


@contextmanager
def _destination(here: Session, to: Path | None, tar: Path | None) -> Iterator[Destination]:
    if to:
        with folder(to) as found:
            yield found
        return
    with ExitStack() as stack:
        if tar is None or str(tar) == "-":
            if sys.stdout.isatty() or here.output.as_json:
                raise typer.BadParameter("Standard output can't take an archive here: name a file, or lead it on with > or |.", param_hint="--tar")
            file = sys.stdout.buffer
        else:
            stack.enter_context(writing(tar))
            file = stack.enter_context(named(tar))
        yield stack.enter_context(archive(file))


def _report(here: Session, work: Export, to: Path | None, *, seconds: float) -> None:
    if here.output.as_json:
        here.output.json({"to": str(to), **work.counts.json()})
    elif str(to) == "-":
        here.output.complain(f"{work.counts.sentence()}, in {lasting(seconds)}.")
    else:
        here.output.say(f"{to}: {work.counts.sentence()}, in {lasting(seconds)}.")
    if work.counts.missed:
        raise typer.Exit(1)


def _again(to: Path | None) -> str:
    if to:
        return " The same command again goes on from here: what is there isn't downloaded again."
    return " An archive is written whole or not at all; into a folder, an export can be continued."
