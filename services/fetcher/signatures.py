"""How a callback is signed: the Standard Webhooks specification, "Signature scheme" and "Webhook headers"."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def headers(delivery: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """The three headers of an attempt at a delivery, `timestamp` in seconds since 1970.

    There is a signature for each key, so that receivers can change from one secret to the next without missing anything.
    """
    signed = f"{delivery}.{timestamp}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    signatures = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return {"webhook-id": delivery, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}
