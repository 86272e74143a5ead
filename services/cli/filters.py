"""What images can be narrowed to: the options that `ls` and `export` share, as parameters of the api."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from services.cli.client import IMAGE_ID
from services.cli.client import Status as AnyStatus

Status = Annotated[AnyStatus | None, typer.Option("--status", show_default=False, help="Only those with this status.")]
Host = Annotated[str | None, typer.Option("--host", show_default=False, help="Only those from this host.")]
Format = Annotated[
    str | None, typer.Option("--format", show_default=False, help="Only those in this format: jpeg, png, gif, webp, avif, tiff, bmp, ico.")
]
Page = Annotated[str | None, typer.Option("--page", show_default=False, help="Only those on this page: its id or URL.")]
Batch = Annotated[str | None, typer.Option("--batch", show_default=False, help="Only those of this batch.")]
After = Annotated[
    str | None,
    typer.Option("--after", show_default=False, help="Only those added after this time: 2026-01-31, 2026-01-31T12:00Z, or 2h for two hours ago."),
]
Before = Annotated[str | None, typer.Option("--before", show_default=False, help="Only those added before this time.")]

_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def query(
    *, status: str | None, host: str | None, form: str | None, page: str | None, batch: str | None, after: str | None, before: str | None
) -> dict[str, str]:
    """The parameters of GET /images for these options."""
    given = {
        "status": status, "host": host, "format": form, "batch": batch.rpartition("/")[2] if batch else None,
        # By its URL, the api finds the page itself.
        "page" if page is None or IMAGE_ID.fullmatch(page) else "url": page,
        "added_after": _time(after, "--after"), "added_before": _time(before, "--before"),
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def _time(text: str | None, option: str) -> str | None:
    """As RFC 3339 has it; without an offset, in UTC, as times are shown. Raises BadParameter."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return _written(datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: it should be like 2026-01-31, 2026-01-31T12:00:00Z or 2h.", param_hint=option) from None
    return _written(time if time.tzinfo else time.replace(tzinfo=UTC))


def _written(time: datetime) -> str:
    return time.isoformat()
