"""How many files and connections this process may have open."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("bowerbird.fetcher")


def raise_limit(needed: int) -> None:
    """Lets the process have so many open at once, or as many as its hard limit allows, which is then logged."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < needed:
        log.warning("fewer open files than BOWERBIRD_FETCH_CONCURRENCY may need", extra={"limit": possible, "needed": needed})
