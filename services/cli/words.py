"""What the api says of images, in words for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.cli.tally import lasting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.link import Json

_REASONS = {
    "blocked": "that address may not be asked",
    "dns": "the host's name could not be found",
    "connect": "the host could not be reached",
    "tls": "no secure connection came about",
    "timeout": "the host did not answer in time",
    "http_status": "the host refused",
    "too_large": "the image is too large",
    "truncated": "the image was cut short",
    "not_an_image": "what came is no image",
    "unsupported_format": "what came is an image of a kind that is not kept",
    "too_many_pixels": "the image has too many pixels",
    "redirect": "the host led on to nowhere",
    "encoding": "what came is encoded in a way that was not asked for",
}


def size(count: object) -> str:
    """A number of bytes: 812 B, 79.9 KB, 1.2 MB."""
    if not isinstance(count, int):
        return ""
    if count < 1000:  # noqa: PLR2004  (SI)
        return f"{count} B"
    value, unit = count / 1000, "KB"
    for unit in ("KB", "MB", "GB", "TB"):
        if value < 999.95 or unit == "TB":  # noqa: PLR2004  (what would be shown as 1000.0)
            break
        value /= 1000
    return f"{value:.1f} {unit}"


def pixels(image: Json) -> str:
    """Width and height."""
    return f"{image['width']}x{image['height']}" if image.get("width") and image.get("height") else ""


def when(time: object) -> str:
    """A time of the api's, in UTC and whole seconds: 2026-01-31 12:00:00."""
    return str(time)[:19].replace("T", " ") if time else ""


def moment(time: object) -> datetime | None:
    """A time of the api's."""
    try:
        found = datetime.fromisoformat(str(time))
    except ValueError:
        return None
    return found if found.tzinfo else None


def text(found: Json, name: str) -> str:
    """A member as text, empty if it isn't there."""
    value = found.get(name)
    return "" if value is None else str(value)


def reason(error: object) -> str:
    """Why there is no image, from `error` or an attempt: the api's own sentence, or what its reason means."""
    if not isinstance(error, dict):
        return ""
    return text(error, "detail") or _REASONS.get(text(error, "reason"), text(error, "reason"))


def history(image: Json, *, now: datetime) -> Iterator[str]:
    """Each attempt as a sentence: "2nd attempt, 14:02:11: the host did not answer in 10 s; next in 30 s"."""
    given = image.get("attempts")
    attempts = [attempt for attempt in given if isinstance(attempt, dict)] if isinstance(given, list) else []
    for at, attempt in enumerate(attempts):
        following = attempts[at + 1] if at + 1 < len(attempts) else None
        yield f"{_ordinal(attempt.get('number'))} attempt, {_at(attempt, now)}: {_came(image, attempt)}{_then(image, attempt, following, now)}"
    if image.get("status") == "queued":
        yield f"{_ordinal(len(attempts) + 1)} attempt: waiting for its turn"


def _ordinal(number: object) -> str:
    if not isinstance(number, int):
        return "An"
    suffix = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{suffix}"


def _at(attempt: Json, now: datetime) -> str:
    time = moment(attempt.get("at"))
    if time is None:
        return text(attempt, "at")
    time = time.astimezone(UTC)
    return f"{time:%H:%M:%S}" if time.date() == now.astimezone(UTC).date() else f"{time:%Y-%m-%d %H:%M:%S}"


def _came(image: Json, attempt: Json) -> str:
    took = attempt.get("took_ms")
    within = f" in {lasting(took / 1000)}" if isinstance(took, int) and took else ""
    if attempt.get("reason") is None:
        return f"the {'page' if image.get('page') else 'image'} came{within}"
    sentence = reason(attempt).rstrip(".")
    return f"{sentence[:1].lower()}{sentence[1:]}, after{within.removeprefix(' in')}" if within else f"{sentence[:1].lower()}{sentence[1:]}"


def _then(image: Json, attempt: Json, following: Json | None, now: datetime) -> str:
    """What came of it: when the next attempt was, or will be."""
    at = moment(attempt.get("at"))
    if attempt.get("reason") is None:
        return ""
    if following is not None:
        later = moment(following.get("at"))
        return f"; next after {lasting(max(0.0, (later - at).total_seconds()))}" if at and later else ""
    if image.get("status") == "failed":
        return "; given up"
    due = moment(image.get("next_attempt_at"))
    if due is None:
        return ""
    seconds = (due - now).total_seconds()
    return f"; next in {lasting(seconds)}" if seconds > 0 else "; next any moment"
