"""`bowerbird stats`: how many images there are, and how full the queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # noqa: TC002  (Typer resolves annotations at run time)

from services.cli.errors import Failure, Unknown
from services.cli.session import current

if TYPE_CHECKING:
    from services.cli.link import Json


def stats(context: typer.Context) -> None:
    """Show how many images there are by status, how full the queues are, and what else the api counts."""
    here = current(context)
    try:
        found = here.api.stats()
    except Unknown:
        raise Failure(
            f"The api at {here.api.shown} has no statistics: it is older than this client. `bowerbird ls` and `dead ls` still work."
        ) from None
    if here.output.as_json:
        here.output.json(found)
        return
    here.output.facts(row for name, value in found.items() if name != "queues" for row in _flat(name, value))
    queues = found.get("queues")
    if isinstance(queues, list):
        rows = [queue for queue in queues if isinstance(queue, dict)]
        columns = list(dict.fromkeys(["name", "messages", "consumers", *(key for row in rows for key in row)]))
        here.output.table(["queue", *columns[1:]], [[_shown(row.get(column)) for column in columns] for row in rows], whole=("queue",))


def _flat(name: str, value: object) -> list[tuple[str, str]]:
    """Names and values, with those within as "images stored", so that whatever the api has is shown."""
    if isinstance(value, dict):
        inner: Json = value
        return [row for key, below in inner.items() for row in _flat(f"{name} {key}", below)]
    return [(name, _shown(value))]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
