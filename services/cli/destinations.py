"""Where an export goes: a folder, or a tar archive."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from services.cli.index import NAMES, Index
from services.cli.saving import Copy, download, is_there, name_of, replacing, writing
from services.cli.words import moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.cli.client import Api
    from services.cli.link import Json

_ROOT = "bowerbird"
"""The folder within an archive, so that unpacking one fills no other folder."""
_IN_MEMORY = 1024 * 1024


class Fetched(NamedTuple):
    """An image that was fetched, or was `there` already; its bytes, if they have still to be put where they belong."""

    file: str
    copy: Copy
    there: bool = False
    body: IO[bytes] | None = None


class Destination(Protocol):
    """`fetch` is called by many threads, `put` by one, in the order of the list."""

    index: Index

    def fetch(self, api: Api, image: Json) -> Fetched:
        """Gets the bytes. Raises Damaged, Refused, Unavailable."""

    def put(self, image: Json, fetched: Fetched) -> None:
        """Has them in their place."""


class Folder:
    """Files in a folder. Those that are there with the right bytes stay."""

    def __init__(self, path: Path, index: Index) -> None:
        self._path = path
        self.index = index

    def fetch(self, api: Api, image: Json) -> Fetched:
        """Saves an image, unless it is there."""
        name = name_of(image)
        path = self._path / name
        size, sha256 = image.get("size"), image.get("sha256")
        if isinstance(size, int) and isinstance(sha256, str) and is_there(path, size, sha256):
            return Fetched(name, Copy(size, sha256), there=True)
        with writing(path), replacing(path) as file:
            copy = download(api, str(image.get("id")), file)
        return Fetched(name, copy)

    def put(self, image: Json, fetched: Fetched) -> None:
        """It is in its place already."""


class Archive:
    """An archive, written from its beginning to its end, so that it can go into a pipe."""

    def __init__(self, archive: tarfile.TarFile, index: Index) -> None:
        self._archive = archive
        self.index = index

    def fetch(self, api: Api, image: Json) -> Fetched:
        """Has the bytes at hand: in memory if they are few."""
        name = name_of(image)
        body = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (closed by put)
        try:
            copy = download(api, str(image.get("id")), body)
        except BaseException:
            body.close()
            raise
        body.seek(0)
        return Fetched(name, copy, body=body)

    def put(self, image: Json, fetched: Fetched) -> None:
        """Writes an image, with the time when it was stored."""
        if fetched.body:
            stored = moment(image.get("completed_at")) or moment(image.get("added_at"))
            with fetched.body as body:
                append(self._archive, fetched.file, body, fetched.copy.size, int(stored.timestamp()) if stored else 0)


@contextmanager
def folder(path: Path) -> Iterator[Folder]:
    """A folder, made if it isn't there; its index is replaced when the block ends well."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        with replacing(path / NAMES[0]) as table, replacing(path / NAMES[1]) as lines:
            texts = [io.TextIOWrapper(file, "utf-8", newline="") for file in (table, lines)]
            yield Folder(path, Index(*texts))
            for text in texts:
                text.flush()
                text.detach()


@contextmanager
def archive(file: IO[bytes]) -> Iterator[Archive]:
    """An archive into a file or pipe; the index is its end."""
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        spools = [tempfile.TemporaryFile() for _ in NAMES]  # noqa: SIM115  (closed below, or with the process)
        texts = [io.TextIOWrapper(spool, "utf-8", newline="") for spool in spools]
        found = Archive(tar, Index(*texts))
        yield found
        for name, text in zip(NAMES, texts, strict=True):
            text.flush()
            body = text.detach()
            size = body.seek(0, io.SEEK_END)
            body.seek(0)
            with body:
                append(tar, name, body, size, int(time.time()))


def append(tar: tarfile.TarFile, name: str, body: IO[bytes], size: int, at: int) -> None:
    """A member of an archive; `at` is its time, in seconds since 1970."""
    member = tarfile.TarInfo(f"{_ROOT}/{name}")
    member.size, member.mtime, member.mode = size, at, 0o644
    tar.addfile(member, body)
