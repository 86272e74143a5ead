"""Cursors: a position in the list as text. Opaque to clients, and read strictly: only what `encode` wrote is one."""

from __future__ import annotations

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta

from services.api.http import parameters
from shared.listing import Position
from shared.urls import IMAGE_ID

_VERSION = 1
_LAYOUT = struct.Struct(">BQ26s")  # version, milliseconds since 1970, the image's id
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


def encode(position: Position) -> str:
    """A position as a cursor."""
    milliseconds = (position.added_at - _EPOCH) // timedelta(milliseconds=1)
    return base64.urlsafe_b64encode(_LAYOUT.pack(_VERSION, milliseconds, position.id.encode())).rstrip(b"=").decode()


def decode(cursor: str) -> Position:
    """The position that a cursor stands for. Raises ValueError."""
    try:
        packed = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, milliseconds, image = _LAYOUT.unpack(packed)
        position = Position(_EPOCH + timedelta(milliseconds=milliseconds), image.decode("ascii"))
    except (ValueError, OverflowError, binascii.Error, struct.error):
        raise ValueError("not a cursor") from None
    # Base64 has several spellings of the same bytes; only one of them is ours.
    if version != _VERSION or position.added_at > _LAST or not IMAGE_ID.fullmatch(position.id) or encode(position) != cursor:
        raise ValueError("not a cursor")
    return position


def of(given: dict[str, str]) -> Position | None:
    """The position that the query parameter `cursor` stands for, if it is given. Raises Problem."""
    if "cursor" not in given:
        return None
    try:
        return decode(given["cursor"])
    except ValueError:
        parameters.refuse("cursor", "cursor must be one that `next` of an earlier page had, unchanged.")
