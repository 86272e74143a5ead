"""compose.yaml as it is written: what it publishes, who meets whom, and that no setting is forgotten. tests/compose runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from shared.process import HARD_STOP_SECONDS
from shared.settings import FIELDS, OTHERS, duration
from tests.compose.images import images

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("api", "fetcher", "storer")

NOT_FOR_COMPOSE = {
    # Of servers that `bowerbird up` starts, and of the processes that it makes.
    "BOWERBIRD_DATA", "BOWERBIRD_APIS", "BOWERBIRD_FETCHERS", "BOWERBIRD_STORERS",
    # In files, which `prepare` writes.
    "BOWERBIRD_AMQP_URL", "BOWERBIRD_MONGO_URL",
}  # fmt: skip
COMPOSE_S_OWN = {"BOWERBIRD_PUBLISH", "BOWERBIRD_CONSOLES", "BOWERBIRD_SUBNETS"}


def networks(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", ()))


def test_only_nginx_is_published_and_on_loopback() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"nginx"}
    assert all(re.fullmatch(r"\$\{BOWERBIRD_[A-Z]+:-127\.0\.0\.1:\d+\}:\d+", port) for port in SERVICES["nginx"]["ports"])


def test_networks_that_only_services_meet_on_have_no_way_out() -> None:
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {"edge", "egress"}
    assert [name for name in SERVICES if "egress" in networks(name)] == ["fetcher"]
    assert [name for name in SERVICES if "edge" in networks(name)] == ["nginx"]


@pytest.mark.parametrize("other", ["mongo", "nginx"])
def test_the_fetchers_meet_neither_the_database_nor_the_nginx_in_front(other: str) -> None:
    assert not networks("fetcher") & networks(other)


def test_the_database_is_met_by_those_who_need_it() -> None:
    assert {name for name in SERVICES if "database" in networks(name)} == {"mongo", "api", "storer"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_limits_and_no_privilege_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_a_root_that_cannot_be_written_and_the_time_that_they_need_to_stop(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["init"]
    assert "user" not in service  # the Dockerfile's
    assert service["healthcheck"]["test"][0] == "CMD"
    assert duration(service["stop_grace_period"]) > duration(service["environment"]["BOWERBIRD_GRACE"]) + HARD_STOP_SECONDS


def test_every_service_has_its_own_secrets_and_prepare_alone_has_all() -> None:
    having = {
        name: {volume.partition(":")[0] for volume in service.get("volumes", ()) if volume.startswith("secrets")}
        for name, service in SERVICES.items()
    }
    assert having.pop("prepare") == {volume for volume in COMPOSE["volumes"] if volume.startswith("secrets")}
    assert having.pop("initiate") == having["mongo"]
    assert all(volumes <= {f"secrets-{name}"} for name, volumes in having.items())


def test_versions_are_pinned() -> None:
    assert all(re.search(r":v?\d+\.\d+", name) for name in images().values())


def test_every_setting_can_be_set_and_none_is_made_up() -> None:
    given = {name for service in OURS for name in SERVICES[service]["environment"] if name.startswith("BOWERBIRD_")}
    files = {name for name in given if name.endswith("_FILE")}
    assert given - files == set(FIELDS) - NOT_FOR_COMPOSE
    assert {name.removesuffix("_FILE") for name in files} <= set(FIELDS)
    assert set(re.findall(r"\$\{(BOWERBIRD_\w+)", TEXT)) <= set(FIELDS) | files | COMPOSE_S_OWN
    assert not COMPOSE_S_OWN & (set(FIELDS) | OTHERS)


def test_no_password_is_written_down() -> None:
    values = [
        str(value)
        for service in SERVICES.values()
        for name, value in (service.get("environment") or {}).items()
        if "PASS" in name or "SECRET" in name
    ]
    assert values
    assert all(value == "None" or value.startswith("/run/bowerbird/") for value in values)
