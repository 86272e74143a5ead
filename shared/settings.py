"""Settings: environment variables `BOWERBIRD_*`, read once into a frozen object.

Each is a field below with its default, its parser and its meaning. `load` reports everything that is wrong at once,
each with the variable's name and what it should be; an unknown BOWERBIRD_ name is wrong too, since it is
most often a misspelt one.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "BOWERBIRD_"
MAX_PORT = 65535
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _text(value: str) -> str:
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def _yes_or_no(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return value.lower() == "true"


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))
        return value

    return parse


def _scheme(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not value.startswith(tuple(f"{s}://" for s in schemes)):
            raise ValueError("a URL that begins with " + " or ".join(f"{s}://" for s in schemes))
        return value.rstrip("/") if schemes[0] == "http" else value

    return parse


def duration(value: str) -> float:
    """Seconds from "250ms", "5s", "2m", "1h" or "1d". Raises ValueError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", value.strip())
    if not found:
        raise ValueError("a duration such as 500ms, 5s, 2m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def _duration_from(least: str, most: str) -> Callable[[str], float]:
    def parse(value: str) -> float:
        if not duration(least) <= (seconds := duration(value)) <= duration(most):
            raise ValueError(f"a duration from {least} to {most}")
        return seconds

    return parse


def _durations(value: str) -> tuple[float, ...]:
    delays = tuple(duration(part) for part in value.split(",")) if value else ()
    if any(d <= 0 for d in delays) or list(delays) != sorted(set(delays)):
        raise ValueError("durations that rise, separated by commas, such as 5s,30s,2m")
    return delays


def _size(value: str) -> int:
    found = re.fullmatch(r"(\d{1,12}) ?(KiB|MiB|GiB)?", value)
    if not found or int(found[1]) == 0:
        raise ValueError("a number of bytes, or of KiB, MiB or GiB, such as 64MiB")
    return int(found[1]) * _SIZES[found[2] or ""]


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError:
        raise ValueError("networks in CIDR notation, separated by commas, such as 10.1.0.0/16,fd12::/48") from None


class Ports(tuple[range, ...]):
    """Ranges of ports; `port in ports` asks whether one of them has it."""

    __slots__ = ()

    def __contains__(self, port: object) -> bool:
        for ports in self:  # noqa: SIM110  (any() takes twice as long, which is felt with 20,000 URLs a second)
            if port in ports:
                return True
        return False


def _ports(value: str) -> Ports:
    ranges = []
    for part in value.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,5})(?:-([0-9]{1,5}))?\s*", part)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 1 <= low <= high <= MAX_PORT:
            raise ValueError("ports or ranges of ports, separated by commas, such as 80,443,8000-8999")
        ranges.append(range(low, high + 1))
    return Ports(ranges)


_KEY = re.compile(r"([!-+\--9;-~]{16,})(?::(?:read|write))?")  # visible ASCII without the comma and the colon


def _keys(value: str) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in re.split(r"[,\n]", value) if part.strip())
    found = [_KEY.fullmatch(key) for key in keys]
    if not all(found) or len({key[1] for key in found if key}) < len(keys):
        raise ValueError(
            "keys of 16 or more visible ASCII characters but commas and colons, separated by commas, each of them once and followed by "
            ":read or :write if it is to be good for no more"
        )
    return keys


_WEBHOOK_SECRET = re.compile(r"whsec_([A-Za-z0-9+/]{32,86}={0,2})")


def _webhook_secrets(value: str) -> tuple[bytes, ...]:
    """The keys themselves, decoded; their length is as the Standard Webhooks specification has it."""
    found = [_WEBHOOK_SECRET.fullmatch(part.strip()) for part in re.split(r"[,\n]", value) if part.strip()]
    try:
        # Some tools leave out the padding; more than is needed does no harm.
        keys = tuple(base64.b64decode(match[1].rstrip("=") + "==") for match in found if match)
    except ValueError:
        keys = ()
    if not keys or len(keys) < len(found) or not all(24 <= len(key) <= 64 for key in keys):  # noqa: PLR2004
        raise ValueError("one or more secrets of the form whsec_<24 to 64 random bytes in base64>, separated by commas")
    return keys


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _setting(parse: Callable[[str], Any], default: object, meaning: str, *, secret: bool = False) -> Any:  # noqa: ANN401
    return dataclasses.field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret}, repr=not secret)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that can be set. Times are in seconds, sizes in bytes."""

    amqp_url: str | None = _setting(_scheme("amqp", "amqps"), None, "RabbitMQ; `bowerbird up` starts a private one if unset", secret=True)
    mongo_url: str | None = _setting(
        _scheme("mongodb", "mongodb+srv"),
        None,
        "MongoDB, with the database's name as its path; `bowerbird up` starts a private one if unset",
        secret=True,
    )
    host: str = _setting(_text, "127.0.0.1", "address on which the api listens")
    port: int = _setting(_whole(0, MAX_PORT), 8000, "port on which the api listens; 0 takes any free one")
    public_url: str | None = _setting(_scheme("http", "https"), None, "how clients reach the api, when that isn't how it listens (a proxy)")
    data: Path = _setting(Path, Path(".bowerbird"), "folder of the servers that `bowerbird up` starts")
    apis: int = _setting(_whole(1, 64), 1, "api processes that `bowerbird up` starts")
    fetchers: int = _setting(_whole(1, 64), max(1, _cores() // 2), "fetcher processes that `bowerbird up` starts")
    storers: int = _setting(_whole(1, 64), 1, "storer processes that `bowerbird up` starts")
    fetch_allow: tuple[Network, ...] = _setting(_networks, (), "networks that may be asked although they are private, in CIDR notation")
    fetch_deny: tuple[Network, ...] = _setting(_networks, (), "networks that are never asked, whatever else allows them, in CIDR notation")
    fetch_ports: Ports = _setting(_ports, _ports("80,443,8000-8999"), "ports that may be asked")
    fetch_concurrency: int = _setting(_whole(1, 1000), 100, "downloads under way at once in one fetcher")
    fetch_downgrade: bool = _setting(_yes_or_no, default=False, meaning="follow redirects from https to http")
    fetch_disk: int = _setting(
        _size, 1024**3, "temporary files of images beyond 1 MiB, in sum, in one fetcher (in the system's folder for such, or `TMPDIR`)"
    )
    fetch_timeout: float = _setting(duration, 60.0, "the whole of one download, redirects included")
    retry_delays: tuple[float, ...] = _setting(
        _durations, (5.0, 30.0, 120.0, 600.0, 3600.0), "pauses before each further attempt at a download that may yet succeed"
    )
    host_concurrency: int = _setting(_whole(1, 1000), 16, "downloads under way at once from one host, in one fetcher")
    max_image_bytes: int = _setting(_size, 64 * 1024**2, "largest image")
    max_pixels: int = _setting(_whole(1, 10**10), 100_000_000, "most pixels (width times height, all frames' canvas)")
    max_page_bytes: int = _setting(_size, 8 * 1024**2, "largest page that is scanned for images")
    page_images: int = _setting(_whole(1, 3000), 1000, "most images of one page")
    # Three minutes of animation at 25 frames a second, or a book of many volumes in one TIFF: far beyond what is usual, and no burden to count.
    max_frames: int = _setting(_whole(1, 10**6), 5_000, "most frames of an animation, or pages of a TIFF")
    allow_anonymous: bool = _setting(_yes_or_no, default=False, meaning="listen beyond loopback although anybody may then use the api")
    api_keys: tuple[str, ...] = _setting(
        _keys, (), "keys of the api, separated by commas, at least 16 characters each; `key:read` can only read, `key:write` only write", secret=True
    )
    rate_limit: int | None = _setting(
        _whole(0, 10**6),
        None,
        "requests a second that a key, or without one an address, may send to one api process; 0 for no limit; if unset, 100 beyond loopback",
    )
    rate_burst: int | None = _setting(_whole(1, 10**6), None, "requests that it may send at once; if unset, ten seconds' worth")
    compat: bool = _setting(
        _yes_or_no, default=False, meaning="answer the clients of the two older downloaders too, under /api/images and /compat/images"
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        _networks, (), "networks, in CIDR notation, of the proxies whose X-Forwarded-For says who a client is"
    )
    webhook_secret: tuple[bytes, ...] = _setting(
        _webhook_secrets,
        (),
        "secrets with which callbacks are signed, whsec_… each, separated by commas: two while one replaces the other; "
        "`bowerbird up` makes one if unset, else callbacks are off",
        secret=True,
    )
    keep_unreferenced: float = _setting(
        _duration_from("1m", "3650d"), 3600.0, "how long bytes that nothing refers to any more are kept, `1m` or more"
    )
    management_ui: str | None = _setting(
        _scheme("http", "https"), None, "RabbitMQ's management UI, for the gallery to link to; `bowerbird up` names its own if unset"
    )
    grafana_url: str | None = _setting(_scheme("http", "https"), None, "Grafana, for the gallery to link to")
    metrics_host: str = _setting(_text, "127.0.0.1", "address on which a process shows its metrics; whoever reaches it can read them, without a key")
    metrics_port: int | None = _setting(
        _whole(1, MAX_PORT),
        None,
        "port on which a process shows its metrics to Prometheus, at `/metrics`; off if unset; `bowerbird up` gives each process one, from this on upwards",
    )
    grace: float = _setting(duration, 20.0, "how long a service that is stopped finishes what it has begun")
    log_level: str = _setting(
        _one_of("debug", "info", "warning", "error"), "info", "what is logged: debug, info, warning or error, and what is graver"
    )
    log_format: str = _setting(_one_of("auto", "json", "text"), "auto", "lines of the log as json or text; auto: text at a terminal, else json")

    def require(self, name: str) -> str:
        """The value of a setting without which a service can't run. Raises SettingsError when it isn't set."""
        value = getattr(self, name)
        if value is None:
            raise SettingsError([f"{PREFIX}{name.upper()} isn't set; `bowerbird up` starts private servers and sets it."])
        return str(value)


FIELDS = {PREFIX + field.name.upper(): field for field in dataclasses.fields(Settings)}

OTHERS = frozenset({f"{PREFIX}URL", f"{PREFIX}KEY", f"{PREFIX}MANAGEMENT_URL"})
"""What isn't the services' but the command line's (where the api is, and its key) and the tests' (RabbitMQ's management API)."""


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment; an empty value counts as unset. Raises SettingsError."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, text in sorted(_with_secrets(environ, problems).items()):
        if not name.startswith(PREFIX) or name in OTHERS:
            continue
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1)
            problems.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "."))
        elif text:
            field = FIELDS[name]
            try:
                values[field.name] = field.metadata["parse"](text)
            except ValueError as error:
                shown = "a value" if field.metadata["secret"] else repr(text)
                problems.append(f"{name} is {shown}, but should be {error}.")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def _with_secrets(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """With the contents of the files that BOWERBIRD_…_FILE names for secrets. The variable itself goes first."""
    merged = dict(environ)
    for name in (name for name, field in FIELDS.items() if field.metadata["secret"]):
        path = merged.pop(f"{name}_FILE", None)
        if path and not merged.get(name):
            try:
                merged[name] = Path(path).read_text("utf-8").strip()
            except (OSError, ValueError):
                problems.append(f"{name}_FILE is {path!r}, but should be a text file that can be read.")
    return merged
