"""deploy/prepare.py: secrets are made once, each service gets its own, and RabbitMQ and MongoDB would take them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from deploy import prepare
from shared.settings import load

if TYPE_CHECKING:
    from pathlib import Path

VOLUMES = ("secrets", *(f"secrets-{name}" for name in ("api", "fetcher", "storer", "rabbitmq", "mongo", "grafana")), "cache", "demo")


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    for name in VOLUMES:
        (tmp_path / name).mkdir()
    return tmp_path


def run(volumes: Path, *arguments: str) -> int:
    # Only root may give files away; and the pictures take their time.
    return prepare.main([*arguments], volumes, give=lambda *_: None, site=lambda folder: (folder / "index.html").write_text("pictures"))


@pytest.fixture
def three(volumes: Path) -> list[Path]:
    """The volumes of three nodes of RabbitMQ."""
    folders = [volumes / name for name in prepare.CLUSTER.brokers]
    for folder in folders:
        folder.mkdir()
    return folders


def contents(volumes: Path) -> dict[str, str]:
    return {f"{file.parent.name}/{file.name}": file.read_text() for file in volumes.glob("secrets*/*")}


def test_what_is_made_once_stays(volumes: Path) -> None:
    assert run(volumes) == 0
    before = contents(volumes)
    assert run(volumes) == 0
    hashed = "secrets-rabbitmq/definitions.json"
    assert {**contents(volumes), hashed: ""} == {**before, hashed: ""}
    assert (volumes / "demo" / "index.html").exists()


def test_each_service_has_what_it_uses_and_no_more(volumes: Path) -> None:
    run(volumes)
    assert {name for name in contents(volumes) if not name.startswith("secrets/")} == {
        "secrets-api/amqp-url", "secrets-api/mongo-url", "secrets-api/webhook-secret", "secrets-api/api-keys",
        "secrets-fetcher/amqp-url", "secrets-fetcher/webhook-secret", "secrets-storer/amqp-url", "secrets-storer/mongo-url",
        "secrets-mongo/key-file", "secrets-mongo/administrator", "secrets-mongo/bowerbird",
        "secrets-rabbitmq/definitions.json", "secrets-grafana/password",
    }  # fmt: skip
    readable = {file.name for file in volumes.glob("secrets*/*") if file.stat().st_mode & 0o077}
    assert readable == {"definitions.json"}


def test_the_services_take_their_settings(volumes: Path) -> None:
    run(volumes)
    names = {"AMQP_URL": "amqp-url", "MONGO_URL": "mongo-url", "WEBHOOK_SECRET": "webhook-secret", "API_KEYS": "api-keys"}
    settings = load({f"BOWERBIRD_{name}_FILE": str(volumes / "secrets-api" / file) for name, file in names.items()})
    assert settings.api_keys
    assert settings.webhook_secret


def test_rabbitmq_knows_the_password_that_the_services_have(volumes: Path) -> None:
    run(volumes)
    own = contents(volumes)
    [user, management] = json.loads(own["secrets-rabbitmq/definitions.json"])["users"]
    assert f"{user['name']}:{own['secrets/broker']}@" in own["secrets-fetcher/amqp-url"]
    for found, name in ((user, "broker"), (management, "management")):
        kept = base64.b64decode(found["password_hash"])
        assert kept[4:] == hashlib.sha256(kept[:4] + own[f"secrets/{name}"].encode()).digest()
    assert (user["tags"], management["tags"]) == ("", "administrator")


def test_the_key_file_is_one_that_mongodb_takes(volumes: Path) -> None:
    run(volumes)
    key = contents(volumes)["secrets-mongo/key-file"]
    assert 6 <= len(key) <= 1024
    base64.b64decode(key, validate=True)


def test_the_nodes_of_a_cluster_know_each_other_and_nobody_else_does(volumes: Path, three: list[Path]) -> None:
    run(volumes, "cluster")
    [cookie] = {(folder / ".erlang.cookie").read_text() for folder in three}
    assert len(cookie) >= 32
    assert all((folder / ".erlang.cookie").stat().st_mode & 0o777 == 0o400 for folder in three)
    assert [name for name, content in contents(volumes).items() if cookie in content] == ["secrets/cookie"]


def test_a_cookie_that_a_node_has_made_its_own_is_left_to_it_but_not_another(volumes: Path, three: list[Path]) -> None:
    run(volumes, "cluster")
    kept, other, _ = [folder / ".erlang.cookie" for folder in three]
    before = kept.stat().st_ino
    # What a node that was alone before had made itself.
    other.chmod(0o600)
    other.write_text("ABCDEFGHIJKLMNOPQRST")
    run(volumes, "cluster")
    assert kept.stat().st_ino == before
    assert other.read_text() == kept.read_text()


def test_alone_there_is_no_cookie(volumes: Path, three: list[Path]) -> None:
    run(volumes)
    assert not [file for folder in three for file in folder.iterdir()]


def test_a_secret_is_shown_and_renewed(volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(volumes)
    before = contents(volumes)
    assert run(volumes, "renew", "api-key") == 0
    run(volumes)
    capsys.readouterr()
    assert run(volumes, "show", "api-key") == 0
    shown = capsys.readouterr().out.strip()
    after = contents(volumes)
    assert shown == after["secrets-api/api-keys"] != before["secrets-api/api-keys"]
    assert after["secrets/broker"] == before["secrets/broker"]


@pytest.mark.parametrize(
    "arguments",
    [["renew", "key-file"], ["renew", "administrator"], ["renew", "cookie"], ["show", "../secrets"], ["show", "nothing"], ["show"], ["x"]],
)
def test_what_cannot_be_done_is_refused(volumes: Path, arguments: list[str]) -> None:
    run(volumes)
    before = contents(volumes)
    assert run(volumes, *arguments) == 2
    assert contents(volumes) == before
