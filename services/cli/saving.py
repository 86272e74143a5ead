"""Bytes of images on their way to disk: checked as they come, and under their name only when they are whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from services.cli.client import IMAGE_ID
from services.cli.errors import Damaged, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.cli.client import Api
    from services.cli.link import Json

_FORMAT = re.compile(r"[a-z0-9]{1,8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Takes all of them."""


class Copy(NamedTuple):
    """What was saved."""

    size: int
    sha256: str


def name_of(image: Json) -> str:
    """The name of an image's file: of its id and format, so that it is harmless whatever the api says."""
    name, form = str(image.get("id")), str(image.get("format"))
    if not IMAGE_ID.fullmatch(name):
        raise Failure(f"The api lists an image whose id is {name!r}, which is none.")
    return f"{name}.{form if _FORMAT.fullmatch(form) else 'bin'}"


def download(api: Api, image: str, sink: Sink) -> Copy:
    """Writes the bytes of an image. Raises Damaged when they aren't those that the api says it has; Refused when it has none."""
    digest, size = hashlib.sha256(), 0
    with api.content(image) as (headers, chunks):
        etag = headers.get("etag", "").removeprefix("W/").strip('"')
        if not _SHA256.fullmatch(etag):
            raise Damaged(f"{image}: the answer has no ETag with the SHA-256 of the bytes, so that they can't be checked. Is a proxy in between?")
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            sink.write(chunk)
    if digest.hexdigest() != etag:
        raise Damaged(f"{image}: the {size:,} bytes that came aren't those that the api has (their SHA-256 differs). Try again.")
    return Copy(size, etag)


def is_there(path: Path, size: object, sha256: object) -> bool:
    """Whether a file has these bytes: its size is looked at first, since that costs nothing."""
    with contextlib.suppress(OSError):
        if path.is_file() and path.stat().st_size == size:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    return False


@contextmanager
def named(path: Path) -> Iterator[IO[bytes]]:
    """What a person named as the output. A file is replaced, as below; into a device or a pipe it is written, since it must stay what it is."""
    path = path.resolve()  # what a link leads to, not the link
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    with replacing(path) as file:
        yield file


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when the block ends well; else what was written is gone, and what was there before is still there.

    Raises Failure when what has the name is no file: for whoever may do anything, a rename would put a file in the place of a device.
    """
    if path.exists() and not path.is_file():
        raise Failure(f"{path} is there already, and isn't a file.")
    new = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with open_new(new) as file:
            yield file
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def open_new(path: Path) -> IO[bytes]:
    """A file that wasn't there, with the permissions that the person's new files have."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")


@contextmanager
def writing(path: object) -> Iterator[None]:
    """A disk that is full, or may not be written, is a Failure that says so."""
    try:
        yield
    except OSError as error:
        raise Failure(f"{path} can't be written: {error.strerror or error}.") from None
