"""The inside of a sandbox (sandbox.py): what its programs have in common. They run as `python -m MODULE …`."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = 1024**3
"""Bytes of address space: the largest body, the picture that it decodes to at four bytes a pixel, Python, and room."""

LENGTH = 8
"""Bytes that say how long what follows is."""


def confine(memory: int = MEMORY) -> None:
    """Takes from this process, for good, what it has no use for: memory, files that it could write, core dumps."""
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def serve(source: BinaryIO, sink: BinaryIO, answer: Callable[[bytes, bytes], bytes]) -> None:
    """Reads jobs, each with a body, and writes answers, all of them after their lengths, until `source` ends.

    An empty job is a question whether there is anybody, and answered with nothing.
    """
    while head := source.read(LENGTH):
        job = source.read(int.from_bytes(head, "big"))
        body = source.read(int.from_bytes(source.read(LENGTH), "big"))
        found = answer(job, body) if job else b""
        sink.write(len(found).to_bytes(LENGTH, "big") + found)
        sink.flush()
