"""Batches out of what comes in at whatever pace: a full one at once, a part of one when nothing more comes for a while."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")

PAUSE = 0.5
"""Seconds without anything new after which what there is goes on its way."""


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def gathered(items: Iterable[Item], size: int, *, pause: float = PAUSE) -> Iterator[list[Item]]:
    """Lists of up to `size`; an empty one whenever nothing has come for `pause` seconds, so that the caller can see to other things."""
    # So few, since a pipe that is ahead of the api is to wait, not to fill the memory.
    waiting: queue.Queue[Item | _End] = queue.Queue(maxsize=2 * size)
    threading.Thread(target=_feed, args=(items, waiting), name="reading", daemon=True).start()
    batch: list[Item] = []
    while True:
        try:
            item = waiting.get(timeout=pause)
        except queue.Empty:
            yield batch
            batch = []
            continue
        if isinstance(item, _End):
            if batch:
                yield batch
            if item.error:
                raise item.error
            return
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []


def _feed(items: Iterable[Item], waiting: queue.Queue[Item | _End]) -> None:
    error = None
    try:
        for item in items:
            waiting.put(item)
    except Exception as caught:  # noqa: BLE001  (it is raised where the batches are taken)
        error = caught
    waiting.put(_End(error))
