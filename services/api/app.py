"""The application: every route, what they share, and what happens to errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.datastructures import State

from services.api import (
    batches,
    browse,
    compat,
    content,
    dead_letters,
    deliveries,
    gallery,
    health,
    remove,
    requeue,
    stats,
    submit,
    thumbnails,
    versions,
)
from services.api.access.gate import Gate
from services.api.access.keys import require_key
from services.api.http import problems
from services.api.live import events
from services.api.monitoring import scrape
from services.api.monitoring.traced import traced
from services.api.reference import docs

if TYPE_CHECKING:
    from services.api.parts import Parts


def build_app(parts: Parts) -> Gate:
    """The ASGI application that serves the api from its parts."""
    return Gate(traced(routes(parts), parts.settings), parts.settings)


def routes(parts: Parts) -> Litestar:
    """What is behind the gate."""
    return Litestar(
        route_handlers=[
            submit.submit, submit.refresh, browse.list_images, browse.get_image, remove.remove, content.get_content, thumbnails.get_thumbnail,
            versions.list_versions, versions.get_version, versions.delete_version,
            batches.submit_batch, batches.get_batch, requeue.requeue,
            dead_letters.list_dead_letters, dead_letters.get_dead_letter, dead_letters.replay, dead_letters.delete,
            deliveries.of_image, deliveries.of_batch, deliveries.get_delivery, deliveries.replay,
            events.events, stats.stats, scrape.metrics,
            health.live, health.ready, docs.reference, docs.openapi_json, docs.events_reference, docs.asyncapi_json, docs.problem,
            gallery.page, gallery.static, gallery.settings,
            *(compat.ROUTES if parts.settings.compat else ()),
        ],
        guards=[require_key] if parts.settings.api_keys else None,
        exception_handlers={Exception: problems.answer},
        state=State({"parts": parts}),
        # Written by hand in reference/: Litestar's would know neither the problems nor what the handlers read themselves.
        openapi_config=None,
        logging_config=None,
        request_max_body_size=submit.MAX_BODY_BYTES,
    )  # fmt: skip
