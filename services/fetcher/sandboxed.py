"""What runs inside a process of sandbox.py: `python -m services.fetcher.sandboxed MAX_PIXELS MAX_FRAMES`, jobs and bodies in, verdicts out."""

from __future__ import annotations

import sys
from typing import BinaryIO

import msgspec

from services.fetcher.formats import sniff
from services.fetcher.frames import Most
from services.fetcher.html.pages import scan
from services.fetcher.opening import open_with_pillow
from services.fetcher.sandbox import Page, Verdict
from shared import sandboxed
from shared.errors import PermanentError, Reason


def main() -> None:
    """Answers until its input ends."""
    sandboxed.confine()
    serve(sys.stdin.buffer, sys.stdout.buffer, Most(*map(int, sys.argv[1:])))


def serve(source: BinaryIO, sink: BinaryIO, most: Most) -> None:
    """Reads jobs, each with a body, and writes verdicts, until `source` ends."""

    def answer(job: bytes, body: bytes) -> bytes:
        page = msgspec.msgpack.decode(job, type=Page | None)
        return msgspec.msgpack.encode(scanned(body, page) if page else verdict(body, most))

    sandboxed.serve(source, sink, answer)


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
