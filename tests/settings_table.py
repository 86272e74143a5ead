"""The table of settings in docs/operations.md, made of the settings themselves: `python -m tests.settings_table` prints it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.settings import FIELDS, Ports

if TYPE_CHECKING:
    import dataclasses

ROOT = Path(__file__).parents[1]
HEAD = ("| variable | default | what it is | read by | meaning |", "|---|---|---|---|---|")
WORDS = {"BOWERBIRD_FETCHERS": "half the cores", "BOWERBIRD_RATE_LIMIT": "100 beyond loopback", "BOWERBIRD_RATE_BURST": "ten seconds' worth"}
UNITS = {
    "duration": "time", "_duration_from": "time", "_durations": "times", "_size": "bytes", "_whole": "number", "_yes_or_no": "true or false",
    "_one_of": "word", "_scheme": "URL", "_networks": "networks", "_ports": "ports", "_keys": "secrets", "_webhook_secrets": "secrets",
    "_text": "text", "Path": "folder",
}  # fmt: skip
READERS = ("api", "fetcher", "storer")
EVERY_SERVICE = ("shared/process.py", "shared/exposition.py")


def rows() -> list[str]:
    """A row for each setting, in the order of shared/settings.py."""
    return [*HEAD, *(_row(name, field) for name, field in FIELDS.items())]


def _row(name: str, field: dataclasses.Field[Any]) -> str:
    unit = UNITS[field.metadata["parse"].__qualname__.partition(".")[0]]
    secret = unit in {"URL", "text"} and field.metadata["secret"]
    default = WORDS.get(name) or _shown(field.default, unit)
    shown = default if name in WORDS or not default else f"`{default}`"
    return f"| `{name}` | {shown} | {unit}{', secret' if secret else ''} | {_read_by(field.name)} | {field.metadata['meaning']} |"


def _shown(value: object, unit: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Ports):
        return ",".join(f"{ports.start}-{ports[-1]}" if len(ports) > 1 else str(ports.start) for ports in value)
    if isinstance(value, tuple):
        return ",".join(_time(part) for part in value)
    if unit == "time":
        return _time(float(str(value)))
    if unit == "bytes":
        size = int(str(value))
        return f"{size // 1024**3}GiB" if size % 1024**3 == 0 else f"{size // 1024**2}MiB"
    return "" if value is None else str(value)


def _time(seconds: float) -> str:
    # 60s and 2m, as people write them.
    unit, length = next(
        (unit, length) for unit, length, least in (("h", 3600, 3600), ("m", 60, 120), ("s", 1, 1)) if seconds % length == 0 and seconds >= least
    )
    return f"{seconds / length:g}{unit}"


def _read_by(field: str) -> str:
    reading = re.compile(rf"(?:settings|given)\.{field}\b|require\(\"{field}\"\)")

    def reads(*patterns: str) -> bool:
        return any(reading.search(path.read_text("utf-8")) for pattern in patterns for path in ROOT.glob(pattern))

    if reads(*EVERY_SERVICE):
        return "all"
    services = [service for service in READERS if reads(f"services/{service}/**/*.py")]
    return ", ".join(services or ["up"])


if __name__ == "__main__":
    print(*rows(), sep="\n")  # noqa: T201  (its purpose)
