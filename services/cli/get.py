"""`bowerbird get`: the bytes of one image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli.errors import Failure, Refused
from services.cli.saving import Copy, download, name_of, named, writing
from services.cli.session import Session, current


def get(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID|URL", show_default=False, help="An image's id, or its URL.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default=False, help="The file, or a folder; - for standard output. Without it: ID.FORMAT, here."),
    ] = None,
) -> None:
    """Save the original bytes of an image.

    They are checked against their SHA-256, and the file is there whole or not at all.
    """
    here = current(context)
    try:
        image = here.api.find(name)
        if output and str(output) == "-":
            _to_standard_output(here, str(image.get("id")))
            return
        path = output or Path()
        path = path / name_of(image) if path.is_dir() else path
        with writing(path), named(path) as file:
            copy = download(here.api, str(image.get("id")), file)
    except Refused as refused:
        raise Failure(f"{name}: {refused}") from None
    _tell(here, image.get("id"), path, copy)


def _to_standard_output(here: Session, image: str) -> None:
    if sys.stdout.isatty():
        raise typer.BadParameter("Bytes would garble this terminal: name a file, or lead them on with > or |.", param_hint="--output")
    if here.output.as_json:
        raise typer.BadParameter("Standard output can't have both the bytes and --json: name a file.", param_hint="--output")
    download(here.api, image, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _tell(here: Session, image: object, path: Path, copy: Copy) -> None:
    if here.output.as_json:
        here.output.json({"id": image, "file": str(path), "size": copy.size, "sha256": copy.sha256})
    here.output.say(f"{path}  {copy.size:,} bytes")
