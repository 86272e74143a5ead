"""shared/settings.py: what is wrong is named, all of it, and secrets aren't."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from shared import settings
from shared.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings.load({f"BOWERBIRD_{name}": value for name, value in environ.items()})
    return caught.value.problems


def test_without_an_environment_everything_has_its_default() -> None:
    assert settings.load({"PATH": "/bin"}) == settings.Settings()


def test_an_empty_value_counts_as_unset() -> None:
    assert settings.load({"BOWERBIRD_PORT": ""}).port == 8000


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "0", 0),
        ("FETCH_TIMEOUT", "1.5m", 90.0),
        ("RETRY_DELAYS", "250ms,5s,1h", (0.25, 5.0, 3600.0)),
        ("RETRY_DELAYS", "5s", (5.0,)),
        ("MAX_IMAGE_BYTES", "2MiB", 2 * 1024 * 1024),
        ("FETCH_ALLOW", "127.77.0.0/16, fd12::/48", (ip_network("127.77.0.0/16"), ip_network("fd12::/48"))),
        ("ALLOW_ANONYMOUS", "True", True),
        ("API_KEYS", f"{'a' * 16}, {'b' * 16}:read", ("a" * 16, "b" * 16 + ":read")),
        ("API_KEYS", "a" * 16 + "\n" + "b" * 16 + ":write\n", ("a" * 16, "b" * 16 + ":write")),
        ("RATE_LIMIT", "0", 0),
        ("TRUSTED_PROXIES", "10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    ],
)
def test_values_are_read(name: str, text: str, value: object) -> None:
    assert getattr(settings.load({f"BOWERBIRD_{name}": text}), name.lower()) == value


def test_ports_are_ranges() -> None:
    ports = settings.load({"BOWERBIRD_FETCH_PORTS": "80, 8000-8002"}).fetch_ports
    assert [port for port in range(65536) if ports.__contains__(port)] == [80, 8000, 8001, 8002]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "65536"), ("PORT", "-1"), ("PORT", "٣"), ("PORT", "1e3"), ("FETCH_TIMEOUT", "60"), ("FETCH_TIMEOUT", "soon"),
        ("RETRY_DELAYS", "30s,5s"), ("RETRY_DELAYS", "5s,5s"), ("RETRY_DELAYS", "0s"), ("MAX_IMAGE_BYTES", "0"), ("MAX_IMAGE_BYTES", "1MB"),
        ("FETCH_ALLOW", "10.0.0.1/8"), ("FETCH_ALLOW", "localhost"), ("FETCH_PORTS", "90-80"), ("FETCH_PORTS", "0"), ("FETCH_PORTS", "http"),
        ("ALLOW_ANONYMOUS", "yes"), ("AMQP_URL", "localhost"), ("MONGO_URL", "http://x"), ("LOG_LEVEL", "loud"), ("APIS", "0"),
        ("API_KEYS", "a" * 15), ("API_KEYS", "a" * 16 + ":raed"), ("API_KEYS", "a" * 16 + ":"), ("API_KEYS", "a" * 16 + "," + "a" * 16 + ":read"),
        ("API_KEYS", "a b" * 8), ("API_KEYS", "\u00e9" * 16), ("RATE_LIMIT", "-1"), ("RATE_BURST", "0"), ("TRUSTED_PROXIES", "proxy"),
        ("KEEP_UNREFERENCED", "59s"), ("KEEP_UNREFERENCED", "3651d"), ("KEEP_UNREFERENCED", "long"),
    ],
)  # fmt: skip
def test_a_wrong_value_stops_the_start_with_its_name_and_what_it_should_be(name: str, text: str) -> None:
    [problem] = problems(**{name: text})
    assert problem.startswith(f"BOWERBIRD_{name} is ")
    assert "should be" in problem


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert len(problems(PORT="x", APIS="x", HOTS="::1")) == 3


def test_a_misspelt_name_is_an_error_that_knows_better() -> None:
    assert problems(AMPQ_URL="amqp://x") == ["BOWERBIRD_AMPQ_URL is not a setting; did you mean BOWERBIRD_AMQP_URL?"]


def test_secrets_are_neither_in_errors_nor_in_the_repr() -> None:
    assert "hunter2" not in problems(AMQP_URL="hunter2")[0]
    assert "hunter2" not in repr(settings.load({"BOWERBIRD_AMQP_URL": "amqp://u:hunter2@h/", "BOWERBIRD_API_KEYS": "hunter2hunter2hunter2"}))
    assert "hunter2" not in problems(API_KEYS="hunter2")[0]


def test_a_secret_can_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("a" * 16 + "\n" + "b" * 16 + ":read\n")
    environ = {"BOWERBIRD_API_KEYS_FILE": str(file)}
    assert settings.load(environ).api_keys == ("a" * 16, "b" * 16 + ":read")
    assert settings.load({**environ, "BOWERBIRD_API_KEYS": "c" * 16}).api_keys == ("c" * 16,)
    file.write_text("hunter2")
    [problem] = problems(API_KEYS_FILE=str(file))
    assert problem.startswith("BOWERBIRD_API_KEYS is a value")
    [problem] = problems(MONGO_URL_FILE=str(tmp_path / "none"))
    assert problem.startswith("BOWERBIRD_MONGO_URL_FILE is ")
    [problem] = problems(HOST_FILE=str(file))
    assert "is not a setting" in problem


def test_a_service_without_what_it_needs_says_so() -> None:
    with pytest.raises(SettingsError, match="BOWERBIRD_AMQP_URL isn't set"):
        settings.Settings().require("amqp_url")
