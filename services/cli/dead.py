"""`bowerbird dead`: messages that could not be processed: what they are, again, or gone."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from services.cli.bodies import readable
from services.cli.each import each
from services.cli.errors import Failure, Refused
from services.cli.link import Json  # noqa: TC001  (Typer resolves annotations at run time)
from services.cli.session import Session, current

app = typer.Typer(name="dead", help="Messages that could not be processed: look, send them again, delete them.", no_args_is_help=True)

Letters = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids, as `bowerbird dead ls` shows them.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All that are there now.")]

_HINT = "`bowerbird dead ls` lists those that are there."
_NONE = "There are no dead letters."
_FACTS = {"id": "id", "queue": "queue", "reason": "reason", "detail": "detail", "type": "type", "message_id": "message id",
          "correlation_id": "correlation id", "content_type": "content type"}  # fmt: skip


@app.command("ls")
def list_letters(context: typer.Context) -> None:
    """List all of them, newest first. Looking changes nothing."""
    here = current(context)
    letters = list(here.api.dead_letters())
    if here.output.as_json:
        here.output.json(letters)
    elif letters or not here.output.for_people:
        rows = [(_text(it, "id"), _when(it), *(_text(it, name) for name in ("queue", "reason", "detail", "size"))) for it in letters]
        here.output.table(("id", "when (UTC)", "queue", "reason", "detail", "size"), rows, whole=("id", "reason", "size"))
    else:
        here.output.say(_NONE)


@app.command()
def show(context: typer.Context, letter: Annotated[str, typer.Argument(metavar="ID", show_default=False)]) -> None:
    """Show one: how it died, its headers, and its body as far as it can be read."""
    here = current(context)
    try:
        found = here.api.dead_letter(letter)
    except Refused as refused:
        raise Failure(_unknown(letter, refused)) from None
    if here.output.as_json:
        here.output.json(found)
        return
    kind, body = readable(found)
    headers = found.get("headers")
    here.output.facts((shown, _text(found, name) or "-") for name, shown in _FACTS.items())
    here.output.facts([("when", f"{_when(found)} UTC")])
    here.output.facts(
        (f"header {name}", json.dumps(value, ensure_ascii=False)) for name, value in (headers.items() if isinstance(headers, dict) else ())
    )
    here.output.facts([("body", kind)])
    if body:
        here.output.block(body)


@app.command()
def replay(context: typer.Context, letters: Letters = None, *, everything: All = False) -> None:
    """Send them to the queues that they came from, as they were, and take them off the list."""
    here = current(context)
    named = _named(here, letters, everything=everything)
    each(here, named, "replayed", lambda letter: f"sent to {here.api.replay(letter).get('queue')} again", hint=_HINT, none=_NONE)


@app.command()
def delete(
    context: typer.Context,
    letters: Letters = None,
    *,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask first.")] = False,
) -> None:
    """Delete them for ever; asks first."""
    here = current(context)
    named = _named(here, letters, everything=everything)
    what = "a dead letter" if len(named) == 1 else f"{len(named):,} dead letters"
    if named and not yes and not here.seams.confirm(f"Delete {what} for ever?"):
        raise Failure("Nothing was deleted.")

    def deleted(letter: str) -> str:
        here.api.delete(letter)
        return "deleted"

    each(here, named, "deleted", deleted, hint=_HINT, none=_NONE)


def _named(here: Session, letters: list[str] | None, *, everything: bool) -> list[str]:
    if bool(letters) == everything:
        raise typer.BadParameter("Name dead letters by their ids, or --all of them; one or the other.", param_hint="ID... or --all")
    # All of them before the first is done: what dies again meanwhile would else come round again.
    return list(dict.fromkeys(letters or [_text(letter, "id") for letter in here.api.dead_letters()]))


def _unknown(letter: str, refused: Refused) -> str:
    return f"{letter}: {refused} {_HINT}"


def _when(letter: Json) -> str:
    return _text(letter, "died_at")[:19].replace("T", " ")


def _text(letter: Json, name: str) -> str:
    value = letter.get(name)
    return "" if value is None else str(value)
