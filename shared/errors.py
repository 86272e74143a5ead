"""The errors of Bowerbird, and the closed list of reasons for which a download fails.

BowerbirdError
├── SettingsError            a setting is wrong; the process doesn't start
├── UrlRefused               a URL that will never be asked for: says which rule
├── DownloadError            an attempt to get an image didn't give one: says which Reason
│   ├── TransientError       may pass: tried again later (`retry_after` when the origin named a time)
│   └── PermanentError       won't pass: the image ends as failed
├── Undecodable              a message that is no event of ours: goes to the dead letters
├── Unusable                 an event that nothing can be done with, now or later: goes to the dead letters
├── BrokerUnavailable        RabbitMQ can't be reached, or refused
├── Unpublishable            a message that RabbitMQ will never take
├── Overtaxed                something of a stranger's that a sandbox can't deal with in time or memory
├── NoSandbox                no process of a sandbox can be started, or takes anything
└── StoreUnavailable         MongoDB can't be reached, or didn't confirm in time

None of them knows an HTTP status: services/api/http/problems.py holds that table.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a download failed. Closed: clients and dashboards switch on it."""

    BLOCKED = "blocked"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    HTTP_STATUS = "http_status"
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    REDIRECT = "redirect"
    ENCODING = "encoding"


class BowerbirdError(Exception):
    """Whatever this project raises on purpose."""


class SettingsError(BowerbirdError):
    """One or more settings are wrong. `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UrlRefused(BowerbirdError):
    """A URL outside the rules. `rule` is stable (see shared/urls.py), `detail` is for people."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


class DownloadError(BowerbirdError):
    """An attempt that gave no image. `detail` is shown to users: no secrets, no addresses from inside."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TransientError(DownloadError):
    """May pass. `retry_after` is in seconds, if the origin asked for a pause (RFC 9110, section 10.2.3)."""

    def __init__(self, reason: Reason, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class PermanentError(DownloadError):
    """Won't pass: the same request would give the same answer."""


class Undecodable(BowerbirdError):
    """A message of an unknown kind or version, or whose fields don't fit."""


class Unusable(BowerbirdError):
    """An event that contradicts itself or what is stored, or whose other half never came: handled again, it would come to the same."""


class BrokerUnavailable(BowerbirdError):
    """RabbitMQ can't be reached, went away, or refused the message (a full queue)."""


class Unpublishable(BowerbirdError):
    """A message that RabbitMQ will never take: it is too large."""


class Overtaxed(BowerbirdError):
    """Something of a stranger's that a sandbox can't deal with in time or memory: again, it would take as long."""


class NoSandbox(BowerbirdError):
    """This machine is short of something, so that no process of a sandbox can be started."""


class StoreUnavailable(BowerbirdError):
    """MongoDB can't be reached, or didn't confirm in time."""
