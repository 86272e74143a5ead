"""What the routes work with: opened once by services/api/main.py, found on the application's state."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bson import ObjectId
    from litestar import Request

    from services.api.health import Readiness
    from services.api.live.events import Seats
    from services.api.live.feed import Live
    from services.api.stats import Stats
    from services.api.thumbnails import Maker
    from shared.batches import Batches
    from shared.batching import Batcher
    from shared.blobs import Blobs
    from shared.broker import Publisher
    from shared.catalog import Catalog
    from shared.dead_letters import DeadLetters
    from shared.deliveries import Deliveries
    from shared.dispatch import Dispatcher
    from shared.image import Addition, Image
    from shared.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Everything that a request may need."""

    settings: Settings
    catalog: Catalog
    batches: Batches
    blobs: Blobs
    dead_letters: DeadLetters
    deliveries: Deliveries
    publisher: Publisher
    dispatcher: Dispatcher
    readiness: Readiness
    live: Live
    seats: Seats
    stats: Stats
    maker: Maker
    additions: Batcher[Addition, Image | None]
    """Inserts; None for an image that is known already."""
    lookups: Batcher[str, Image | None]
    """Reads by id; None for an unknown one."""
    small_files: Batcher[tuple[ObjectId, int], bytes | None]
    """Reads of files of one chunk, by their id and size in bytes."""


def parts(request: Request[Any, Any, Any]) -> Parts:
    """The parts of the application that a request came to."""
    found: Parts = request.app.state.parts
    return found
