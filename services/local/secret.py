"""The secret with which callbacks are signed, for who hasn't set one: made once, and kept, so that receivers can rely on it."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING

from services.local.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

BYTES = 32


def made_once(file: Path) -> str:
    """The secret in a file, which nobody but its owner may read; made if there is none. Raises StartError."""
    try:
        if file.exists():
            return file.read_text("ascii").strip()
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(BYTES)).decode()}"
        # Whole or not at all: a start that is broken off in between must not leave half a secret.
        unfinished = file.with_name(file.name + ".new")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as opened:
            opened.write(secret + "\n")
        unfinished.replace(file)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"The secret for callbacks can't be kept in {file}: {error}. BOWERBIRD_WEBHOOK_SECRET sets one.") from error
    return secret
