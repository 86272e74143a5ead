"""Logs: one line per event of consequence, as JSON, or readable where a person watches (standard error is a terminal).

The message of a line never varies, so that it can be searched for and counted; what varies is in its fields. docs/operations.md lists both.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared import urls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.events import Event

OURS = "bowerbird"
"""The logger above all of ours."""
LEVELS = ("debug", "info", "warning", "error")
NOISY = ("aio_pika", "aiormq")
FORMATS = ("auto", "json", "text")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED = _STANDARD | {"at", "level", "from", "event", "traceback"}


class Json(logging.Formatter):
    """An object a line, in ASCII: whatever a stranger's text holds, it stays in its line, and no terminal obeys it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fixed = {"at": _time(datetime.fromtimestamp(record.created, UTC)), "level": record.levelname.lower(), "from": record.name}
        line = {**fixed, "event": record.getMessage(), **_extras(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_plain)


class Text(logging.Formatter):
    """For people: the time of day in UTC, the level, who, what, and the facts as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback below it if there is one."""
        at = datetime.fromtimestamp(record.created, UTC)
        facts = shown(_extras(record))
        line = f"{at:%H:%M:%S} {record.levelname.lower():7} {record.name.removeprefix(f'{OURS}.')}: {_visible(record.getMessage())}  {facts}".rstrip()
        return line + ("\n" + "\n".join(map(_visible, self.formatException(record.exc_info).splitlines())) if record.exc_info else "")


def log_to_stderr(level: str, form: str = "auto") -> None:
    """Sets up the process's logging. `level` is one of LEVELS, for our own lines; `form` one of FORMATS.

    Of libraries only errors are shown, in the same form: their warnings say again, connection by connection, what ours say once, and their
    details may quote a URL whose query is a secret. Of RabbitMQ's clients not even those, except with `debug`: each attempt to connect is an error
    to them, and so is each channel of a connection that was lost.
    """
    handler = logging.StreamHandler(sys.stderr)
    readable = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(Text() if readable else Json())
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger(OURS).setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR if level == "debug" else logging.CRITICAL)


def about(event: Event) -> dict[str, str]:
    """The fields of every line that is about an image: its id, and what all that one submission causes has in common.

    A callback may be about a batch, whose id then stands in the image's place.
    """
    return {"image" if urls.IMAGE_ID.fullmatch(event.image) else "batch": event.image, "correlation": event.correlation_id}


def shown(facts: Mapping[str, object]) -> str:
    """Fields as name=value, with quotation marks where a value would run into the next."""
    return " ".join(f"{name}={_value(value)}" for name, value in facts.items() if value is not None)


def _value(value: object) -> str:
    text = _plain(value) if isinstance(value, datetime) else str(value)
    return text if text.isprintable() and not set(' "=') & set(text) and text else json.dumps(text, ensure_ascii=not text.isprintable())


def _visible(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _plain(value: object) -> str:
    return _time(value) if isinstance(value, datetime) else str(value)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _RESERVED}
