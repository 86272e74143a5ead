"""Somebody who asked to be told: prints each callback that comes, and whether it was signed with the secret in a file.

    .venv/bin/python deploy/demo/receiver.py 8081 .bowerbird/webhook-secret

It needs nothing but Python. docs/webhooks.md says what comes, and what a receiver should see to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE_SECONDS = 300
MOST_BYTES = 1_000_000


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body was signed with a secret (whsec_…) in the last five minutes, as Standard Webhooks has it; `headers` by names in lower case."""
    message, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (sent.isascii() and sent.isdecimal()) or abs(time.time() - int(sent)) > TOLERANCE_SECONDS:
        return False
    digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), f"{message}.{sent}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    return any(hmac.compare_digest(expected, given.encode()) for given in headers.get("webhook-signature", "").split(" "))


class Receiver(BaseHTTPRequestHandler):
    """Answers each POST at once, whether it is believed or not."""

    secret = ""

    def do_POST(self) -> None:
        """Prints what came, in a line."""
        length = self.headers.get("content-length", "")
        body = self.rfile.read(min(int(length), MOST_BYTES) if length.isdecimal() else 0)
        signed = verify(self.secret, {name.lower(): value for name, value in self.headers.items()}, body)
        self.send_response(204 if signed else 403)
        self.end_headers()
        if signed:
            message = json.loads(body)
            print(message["type"], message["data"]["links"]["self"], "signed", flush=True)
        else:
            print("something that isn't signed", flush=True)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401  (as it is declared)
        """Nothing more is said."""


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004
        sys.exit("Usage: receiver.py PORT SECRET_FILE")
    Receiver.secret = Path(sys.argv[2]).read_text("ascii").strip()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
