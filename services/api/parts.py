"""What the routes work with: opened once by services/api/main.py, found on the application's state."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bson import ObjectId
    from litestar import Request

    from services.api.dispatch import Dispatcher
    from services.api.health import Readiness
    from shared.batching import Batcher
    from shared.blobs import Blobs
    from shared.broker import Publisher
    from shared.catalog import Catalog, Image
    from shared.dead_letters import DeadLetters
    from shared.deliveries import Deliveries
    from shared.settings import Settings
    from shared.urls import Url


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Everything that a request may need."""

    settings: Settings
    catalog: Catalog
    blobs: Blobs
    dead_letters: DeadLetters
    deliveries: Deliveries
    publisher: Publisher
    dispatcher: Dispatcher
    readiness: Readiness
    additions: Batcher[tuple[str, Url], Image | None]
    """Inserts; None for an image that is known already."""
    lookups: Batcher[str, Image | None]
    """Reads by id; None for an unknown one."""
    small_files: Batcher[tuple[ObjectId, int], bytes | None]
    """Reads of files of one chunk, by their id and size in bytes."""


def parts(request: Request[Any, Any, Any]) -> Parts:
    """The parts of the application that a request came to."""
    found: Parts = request.app.state.parts
    return found
