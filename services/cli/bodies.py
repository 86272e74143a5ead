"""The body of a message, for people: JSON is laid out, other text stays as it is, the rest is shown in hexadecimal."""

from __future__ import annotations

import base64
import codecs
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.cli.link import Json

HEX_BYTES = 512
_ROW = 16


def readable(letter: Json) -> tuple[str, str]:
    """What the body of a dead letter is, and its beginning."""
    body, size = letter.get("body"), letter.get("size")
    if not isinstance(body, str) or not body:
        return "empty", ""
    cut = bool(letter.get("body_truncated"))
    raw = _decoded(body) if letter.get("body_encoding") == "base64" else body.encode("utf-8", "replace")
    whole = f"its first {len(raw):,} of {size:,} bytes" if cut and isinstance(size, int) else f"{len(raw):,} bytes"
    try:
        # The cut may have been within a character, which doesn't make it less of a text.
        text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=not cut)
    except UnicodeDecodeError:
        whole += f", of which {HEX_BYTES} are shown" if len(raw) > HEX_BYTES else ""
        return f"binary, {whole}", _hexadecimal(raw[:HEX_BYTES])
    try:
        return f"JSON, {whole}", json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return f"text, {whole}", text


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return body.encode("utf-8", "replace")


def _hexadecimal(raw: bytes) -> str:
    lines = []
    for start in range(0, len(raw), _ROW):
        row = raw[start : start + _ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)  # noqa: PLR2004  (ASCII that shows)
        lines.append(f"{start:06x}  {row.hex(' '):<{_ROW * 3 - 1}}  {text}")
    return "\n".join(lines)
