"""shared/topology.py: names that operators, dashboards and other services rely on."""

from __future__ import annotations

import pytest

from shared import events, topology


def test_queues_are_named_for_who_reads_what() -> None:
    assert [queue.name for queue in topology.queues((0.25, 5.0, 120.0, 3600.0))] == [
        "dead-letters",
        "fetcher.download-requested",
        "storer.image-part",
        "storer.image-fetched",
        "storer.image-unchanged",
        "storer.page-scanned",
        "storer.download-delayed",
        "storer.download-failed",
        "fetcher.callback-requested",
        "storer.callback-attempted",
        "storer.image-fetched.in-5s",
        "fetcher.download-requested.in-250ms",
        "fetcher.callback-requested.in-250ms",
        "fetcher.download-requested.in-5s",
        "fetcher.callback-requested.in-5s",
        "fetcher.download-requested.in-2m",
        "fetcher.callback-requested.in-2m",
        "fetcher.download-requested.in-1h",
        "fetcher.callback-requested.in-1h",
    ]


@pytest.mark.parametrize("queue", topology.queues((5.0,)), ids=lambda queue: queue.name)
def test_no_queue_can_lose_what_it_has_taken(queue: topology.Queue) -> None:
    assert queue.arguments["x-queue-type"] == "quorum"
    assert queue.arguments["x-overflow"] == "reject-publish"
    if queue is not topology.DEAD:
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-dead-letter-exchange"] == ""
    if queue.routing_key:
        assert queue.arguments["x-dead-letter-routing-key"] == topology.DEAD_LETTERS
        assert queue.arguments["x-delivery-limit"] > 0


def test_every_event_but_those_for_whoever_listens_has_a_reader() -> None:
    assert {kind.NAME for kind in events.KINDS} - topology.READ == {"image-stored", "image-failed", "image-delayed", "page-expanded"}
