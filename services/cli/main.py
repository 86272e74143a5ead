"""The client's command line: its global options, its commands, and its exit codes: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import dead, session
from services.cli.add import add
from services.cli.client import Api
from services.cli.errors import Failure
from services.cli.export import export
from services.cli.gallery import open_gallery
from services.cli.get import get
from services.cli.link import Link
from services.cli.listing import list_images
from services.cli.output import Output, nowhere_to_write, tolerate_narrow_encodings, visible
from services.cli.remove import remove
from services.cli.requeue import requeue
from services.cli.show import show
from services.cli.stats import stats
from services.cli.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CLIENT = "Client of the HTTP API"
_COMMANDS: dict[str, Callable[..., None]] = {
    "add": add, "watch": watch, "ls": list_images, "show": show, "get": get, "export": export, "rm": remove, "stats": stats, "open": open_gallery,
    "requeue": requeue,
}  # fmt: skip
_FLAGS, _VALUED = ("--json",), ("--url", "--key")


def main(arguments: Sequence[str], *, services: Mapping[str, tuple[str, Callable[[], int]]], seams: session.Seams | None = None) -> int:
    """Run a command; the exit code. `services` are commands from elsewhere, with what each is, so that one --help shows all."""
    tolerate_narrow_encodings()
    try:
        code = _run(arguments, services, seams or session.Seams())
        sys.stdout.flush()
    except OSError as error:
        nowhere_to_write()
        if not isinstance(error, BrokenPipeError):  # whoever read has read enough
            sys.stderr.write(f"The output can't be written: {error.strerror}.\n")
        return 1
    return code


def _run(arguments: Sequence[str], services: Mapping[str, tuple[str, Callable[[], int]]], seams: session.Seams) -> int:
    try:
        _app(services)(hoisted(arguments), prog_name="bowerbird", obj=seams)
    except Failure as failure:
        sys.stderr.write(visible(str(failure)) + "\n")
        return 1
    except SystemExit as ended:  # Typer's way to say that it has dealt with everything
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with the global options first, where Typer expects them, so that they may stand anywhere."""
    first: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return [*first, *rest, word, *waiting]
        if word in _FLAGS or word.startswith(tuple(f"{name}=" for name in _VALUED)):
            first.append(word)
        elif word in _VALUED and waiting:
            first += [word, waiting.pop(0)]
        else:
            rest.append(word)
    return [*first, *rest]


def _app(services: Mapping[str, tuple[str, Callable[[], int]]]) -> typer.Typer:
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.callback()(_global_options)
    for name, command in _COMMANDS.items():
        app.command(name, rich_help_panel=_CLIENT)(command)
    app.add_typer(dead.app, rich_help_panel=_CLIENT)
    for name, (meaning, run) in services.items():
        app.command(name, help=meaning, rich_help_panel="Services")(_as_command(run))
    return app


def _global_options(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Option("--url", envvar="BOWERBIRD_URL", help="Where the api is.")] = session.DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="BOWERBIRD_KEY", show_default=False, help="A key of the api; the variable keeps it out of the process list."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Give it the URL of an image; it downloads in the background, keeps the original bytes once, and serves and lists the copies.

    `--url`, `--key` and `--json` may stand before or after the command. Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    seams: session.Seams = context.obj
    api = Api(Link(session.address(url), session.key(key), transport=seams.transport))
    context.call_on_close(api.close)
    context.obj = session.session(api, Output(as_json=as_json), seams)


def _as_command(run: Callable[[], int]) -> Callable[[], None]:
    def command() -> None:
        raise typer.Exit(run())

    return command
