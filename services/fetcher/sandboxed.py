"""What runs inside a process of sandbox.py: `python -m services.fetcher.sandboxed MAX_PIXELS MAX_FRAMES`, jobs and bodies in, verdicts out."""

from __future__ import annotations

import resource
import sys
from typing import BinaryIO

import msgspec

from services.fetcher.formats import sniff
from services.fetcher.frames import Most
from services.fetcher.html.pages import scan
from services.fetcher.opening import open_with_pillow
from services.fetcher.sandbox import Page, Verdict
from shared.errors import PermanentError, Reason

MEMORY = 1024**3
"""Bytes of address space: the largest body, DECODED_PIXELS at four bytes each, Python, and room."""

_LENGTH = 8


def main() -> None:
    """Answers until its input ends."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    serve(sys.stdin.buffer, sys.stdout.buffer, Most(*map(int, sys.argv[1:])))


def serve(source: BinaryIO, sink: BinaryIO, most: Most) -> None:
    """Reads jobs, each with a body, and writes verdicts, all of them after their lengths in eight bytes, until `source` ends."""
    while head := source.read(_LENGTH):
        job = source.read(int.from_bytes(head, "big"))
        body = source.read(int.from_bytes(source.read(_LENGTH), "big"))
        page = msgspec.msgpack.decode(job, type=Page | None)
        answer = msgspec.msgpack.encode(scanned(body, page) if page else verdict(body, most))
        sink.write(len(answer).to_bytes(_LENGTH, "big") + answer)
        sink.flush()


def scanned(body: bytes, page: Page) -> Verdict:
    """What is on a page, as a message."""
    try:
        return Verdict(page=scan(body, url=page.url, content_type=page.content_type, limit=page.limit))
    except MemoryError:
        return Verdict(reason=Reason.NOT_AN_IMAGE, detail="The page can't be scanned for images within the limits of memory.")


def verdict(body: bytes, most: Most) -> Verdict:
    """Pillow's word on a body, as a message."""
    try:
        width, height = open_with_pillow(sniff(body), body, most)
    except PermanentError as error:
        return Verdict(reason=error.reason, detail=error.detail)
    except MemoryError:
        return Verdict(reason=Reason.NOT_AN_IMAGE, detail="The image can't be opened within the limits of memory.")
    return Verdict(width, height)


if __name__ == "__main__":
    main()
