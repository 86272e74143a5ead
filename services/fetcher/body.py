"""The body of an answer: in memory while it is small, in a temporary file without a name beyond that.

What bounds what, in one fetcher:

- memory, by `fetch_concurrency` bodies of at most PART_BYTES each, what aiohttp holds unread for each (transport.py), and the
  parts on their way to RabbitMQ (parts.py). However large images are, and however many, they take no more.
- disk, by Disk (disk.py), from which a body must have room before it goes there.

Files are written and read in the event loop: a mebibyte takes one millisecond to write and a tenth of that to read, since it goes
to the system's cache. A thread for each would cost more than it saves.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Self, overload

from shared.errors import Reason, TransientError
from shared.events import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from services.fetcher.disk import Room

log = logging.getLogger("bowerbird.fetcher")

_WINDOW = 16 * 1024


def unnamed_file() -> IO[bytes]:
    """A file in the system's folder for temporary ones, or the one that TMPDIR names; gone when it is closed, however the process ends."""
    return tempfile.TemporaryFile(buffering=0, prefix="bowerbird-")


class Body:
    """Bytes as they come, counted and hashed. Must be closed: it is a context manager.

    What it does with its file raises TransientError (too_large): a full disk may have room again.
    """

    def __init__(self, *, make_file: Callable[[], IO[bytes]] = unnamed_file) -> None:
        self.size = 0
        self._make_file = make_file
        self._memory = io.BytesIO()  # unlike a list of chunks it takes no more for many small ones
        self._digest = hashlib.sha256()
        self._descriptor: int | None = None
        self._room: Room | None = None
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gives up the file and its room, if it has them. What `content` gave stays as it is."""
        self._descriptor = None
        self._held.close()

    @property
    def sha256(self) -> str:
        """Of all the bytes, in hex."""
        return self._digest.hexdigest()

    @property
    def content(self) -> bytes | None:
        """All the bytes, if they are few enough to be held in memory (PART_BYTES), else None."""
        return self._memory.getvalue() if self._room is None else None

    def needs_room_for(self, more: int) -> bool:
        """Whether so many further bytes can't be added before there is room on disk."""
        return self._room is None and self.size + more > PART_BYTES

    def move_to_disk(self, room: Room) -> None:
        """Goes on in a file. The room is given back when the body is closed, if not before."""
        self._room = room
        self._held.callback(room.give_back)
        with _disk_errors():
            self._descriptor = self._held.enter_context(self._make_file()).fileno()
            _write(self._descriptor, self._memory.getbuffer())
        self._memory = io.BytesIO()

    def add(self, chunk: bytes) -> None:
        """The next bytes. Raises TransientError (truncated) for more of them than there is room for: the declared length was a lie."""
        self.size += len(chunk)
        # As it comes: hashing a large body in one go would hold up the event loop.
        self._digest.update(chunk)
        if self._room is None:
            self._memory.write(chunk)
            return
        if self.size > self._room.size:
            raise TransientError(Reason.TRUNCATED, "The origin sent more than the length that it declared.")
        with _disk_errors():
            _write(self._open, memoryview(chunk))

    def first(self, length: int) -> bytes:
        """The first bytes, as many as there are."""
        return self._read(0, length)

    @property
    def parts(self) -> int:
        """How many pieces of PART_BYTES it has, the last of which may be shorter."""
        return -(-self.size // PART_BYTES)

    def part(self, number: int) -> bytes:
        """One of them, from 0."""
        return self._read(number * PART_BYTES, PART_BYTES)

    @property
    def view(self) -> bytes | View:
        """What can be looked at in places without being loaded."""
        content = self.content
        return View(self._read, self.size) if content is None else content

    def _read(self, at: int, length: int) -> bytes:
        if self._room is None:
            return self._memory.getvalue()[at : at + length]
        with _disk_errors():
            return os.pread(self._open, length, at)

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the body is closed")
        return self._descriptor


class View:
    """A file that is looked at as bytes are: by index, by slice and with rfind. It holds a small piece at a time.

    Not a memory map: every page that is touched would count as this process's memory, and a disk that fails would kill it.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._from = 0
        self._window = b""

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, slice):
            start, stop, step = key.indices(self._size)
            self._reach(start, stop)
            return self._window[start - self._from : max(stop - self._from, 0) : step]
        at = key + self._size if key < 0 else key
        if not 0 <= at < self._size:
            raise IndexError(key)
        self._reach(at, at + 1)
        return self._window[at - self._from]

    def rfind(self, wanted: bytes, start: int) -> int:
        """As bytes.rfind; loads all from `start` on."""
        found = self._read(start, self._size - start).rfind(wanted) if start <= self._size else -1
        return found if found < 0 else start + found

    def _reach(self, start: int, stop: int) -> None:
        if start < self._from or stop > self._from + len(self._window):
            self._from, self._window = start, self._read(start, max(stop - start, _WINDOW))


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("a large body can't be kept on disk", extra={"error": error.strerror or str(error)})  # noqa: TRY400  (where, everybody knows)
        # Not a time-out or the like, which would count against the host.
        raise TransientError(Reason.TOO_LARGE, "There is no disk space for large images just now.") from error
