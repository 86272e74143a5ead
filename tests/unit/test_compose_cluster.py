"""compose.cluster.yaml as it is written: that it fits compose.yaml, and that all who name the three servers name the same. tests/compose runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from deploy import prepare
from shared.settings import load

ROOT = Path(__file__).parents[2]
ALONE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "compose.cluster.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = CLUSTER["services"]
CONF = (ROOT / "deploy" / "rabbitmq" / "cluster.conf").read_text("utf-8")
BROKERS = ("rabbitmq", "rabbitmq-2", "rabbitmq-3")
MEMBERS = ("mongo", "mongo-2", "mongo-3")
ADDED = (*BROKERS[1:], *MEMBERS[1:])


def volumes(service: dict[str, Any], *, of: str) -> dict[str, str]:
    """What is mounted where; a server's own data under the name that its first one has."""
    mounts = (volume.removesuffix(":ro").rsplit(":", 1) for volume in service["volumes"])
    return {inside: re.sub(rf"^({of})-\d$", r"\1", outside) for outside, inside in mounts}


@pytest.mark.parametrize("name", ADDED)
def test_the_second_and_third_are_as_the_first(name: str) -> None:
    first, added = ALONE["services"][name[:-2]], SERVICES[name]
    # RabbitMQ's nodes are called by their hosts.
    for key in first.keys() - {"hostname", "volumes"}:
        ours, theirs = dict(added)[key], first[key]
        if key == "healthcheck":
            ours, theirs = ours["test"], theirs["test"]
        assert ours == theirs, key
    more = {inside for inside in volumes(added, of="broker|database") if inside.endswith("cluster.conf")}
    assert {inside: outside for inside, outside in volumes(added, of="broker|database").items() if inside not in more} == volumes(
        first, of="broker|database"
    )


def test_every_server_has_data_of_its_own() -> None:
    data = [volume for name in ADDED for volume in SERVICES[name]["volumes"] if re.match(r"(broker|database)", volume)]
    assert {volume.partition(":")[0] for volume in data} == set(CLUSTER["volumes"])
    assert not set(CLUSTER["volumes"]) & set(ALONE["volumes"])


def test_nothing_more_is_published() -> None:
    assert not [name for name, service in SERVICES.items() if "ports" in service]
    assert not CLUSTER.get("networks")


def test_the_nodes_know_each_other_by_their_hosts_and_clients_know_them_by_one_name() -> None:
    assert re.findall(r"nodes\.\d = rabbit@(\S+)", CONF) == [*BROKERS]
    assert [SERVICES[name]["hostname"] for name in BROKERS[1:]] == [*BROKERS[1:]]
    assert {network["aliases"][0] for network in ALONE["services"]["rabbitmq"]["networks"].values()} == {"brokers"}
    for name in BROKERS:
        assert any(volume.startswith("./deploy/rabbitmq/cluster.conf:") for volume in SERVICES[name]["volumes"])


def test_the_services_are_given_what_there_is() -> None:
    hosts = [f"{name}:27017" for name in MEMBERS]
    assert SERVICES["initiate"]["command"] == hosts
    assert SERVICES["prepare"]["command"] == ["cluster"]
    assert ",".join(hosts) == prepare.CLUSTER.mongo
    assert [volume.rpartition("/")[2] for volume in SERVICES["prepare"]["volumes"]] == [*prepare.CLUSTER.brokers]
    own = dict.fromkeys(prepare.NAMES, "a-secret")
    urls = {delivery.name: delivery.content for delivery in prepare.deliveries(own, prepare.CLUSTER) if delivery.volume == "secrets-storer"}
    settings = load({"BOWERBIRD_AMQP_URL": urls["amqp-url"], "BOWERBIRD_MONGO_URL": urls["mongo-url"]})
    assert settings.amqp_url is not None
    assert "@brokers:5672/" in settings.amqp_url


@pytest.mark.parametrize("name", ["api", "fetcher", "storer"])
def test_nobody_begins_before_all_nodes_are_there(name: str) -> None:
    # Or queues would be declared on fewer.
    assert SERVICES[name]["depends_on"] == {broker: {"condition": "service_healthy"} for broker in BROKERS}
