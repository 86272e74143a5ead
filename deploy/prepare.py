"""What the stack of compose.yaml needs before anything starts: secrets, made once, and the demo page. Run as root in a container of its own.

    python -m deploy.prepare              makes what is missing, and gives each service its own
    python -m deploy.prepare cluster      the same for compose.cluster.yaml, which has three of each server
    python -m deploy.prepare show NAME    prints a secret: api-key, webhook-secret, management, grafana
    python -m deploy.prepare renew NAME   makes a new one; the services take it when they are started again

Each service has a volume with the secrets that it uses and no others, readable by nobody else. None has a default: whoever finds
the stack on a network knows none of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from deploy.demo import make

KEPT = "secrets"
"""The volume from which all others are made."""

ROOT = 0
SERVICES = 10001
"""The user of our own image (Dockerfile); the others are those of the official images."""
MONGO = 999
NGINX = 101
GRAFANA = 472

RENEWABLE = ("api-key", "webhook-secret", "broker", "database", "management")
"""Not the key file, the cookie and the administrator, by which servers know each other and keep their users, and not what Grafana remembers from its first start."""

COOKIE = ".erlang.cookie"
"""Where Erlang looks for it: in the home of RabbitMQ's user, which is the folder of its data."""

NAMES = (*RENEWABLE, "administrator", "grafana", "key-file", "cookie")

Secrets = dict[str, str]
Write = Callable[[Path, str, int, int], None]
"""To a file, some text, for one user, with a mode."""


class Servers(NamedTuple):
    """Where the services find RabbitMQ and MongoDB, and the volumes of those RabbitMQ nodes that must know each other."""

    amqp: str
    mongo: str
    brokers: tuple[str, ...]


ALONE = Servers("brokers:5672/", "mongo:27017", ())

# `brokers` has as many addresses as nodes run, which are tried one after the other (not at once: uvloop has no happy_eyeballs_delay). A node that
# falls silent is given up after some 30 s, instead of three minutes.
CLUSTER = Servers("brokers:5672/?heartbeat=10", "mongo:27017,mongo-2:27017,mongo-3:27017", ("broker", "broker-2", "broker-3"))


class Delivery(NamedTuple):
    """A file in the volume of a service, for one user alone."""

    volume: str
    name: str
    content: str
    owner: int
    mode: int = 0o400


def kept(folder: Path, write: Write) -> Secrets:
    """All secrets; those that aren't there yet are made."""
    for name in NAMES:
        if not (folder / name).exists():
            renew(folder, name, write)
    return {name: (folder / name).read_text("ascii") for name in NAMES}


def renew(folder: Path, name: str, write: Write) -> None:
    """A new secret."""
    write(folder / name, _new(name), ROOT, 0o400)


def _new(name: str) -> str:
    if name == "webhook-secret":
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    if name == "key-file":  # 6 to 1024 characters of base64, says MongoDB
        return base64.b64encode(secrets.token_bytes(96)).decode()
    return secrets.token_urlsafe(24)


def deliveries(own: Secrets, servers: Servers = ALONE) -> list[Delivery]:
    """What goes where."""
    amqp = f"amqp://bowerbird:{own['broker']}@{servers.amqp}"
    mongo = f"mongodb://bowerbird:{own['database']}@{servers.mongo}/bowerbird?replicaSet=rs0&authSource=bowerbird"
    return [
        *(Delivery(f"secrets-{service}", "amqp-url", amqp, SERVICES) for service in ("api", "fetcher", "storer")),
        *(Delivery(f"secrets-{service}", "mongo-url", mongo, SERVICES) for service in ("api", "storer")),
        *(Delivery(f"secrets-{service}", "webhook-secret", own["webhook-secret"], SERVICES) for service in ("api", "fetcher")),
        Delivery("secrets-api", "api-keys", own["api-key"], SERVICES),
        Delivery("secrets-mongo", "key-file", own["key-file"], MONGO),
        Delivery("secrets-mongo", "administrator", own["administrator"], SERVICES),
        Delivery("secrets-mongo", "bowerbird", own["database"], SERVICES),
        # Hashes only; the user's number isn't the same in every image of RabbitMQ, and nobody else has this volume.
        Delivery("secrets-rabbitmq", "definitions.json", definitions(own), ROOT, 0o444),
        # The image's entry point makes it its user's, with all else that it finds there.
        *(Delivery(volume, COOKIE, own["cookie"], ROOT) for volume in servers.brokers),
        Delivery("secrets-grafana", "password", own["grafana"], GRAFANA),
    ]


def deliver(delivery: Delivery, file: Path, write: Write) -> None:
    """Writes it. Not a cookie that is there: it belongs to RabbitMQ's user by now, and its node may be running."""
    if delivery.name != COOKIE or not file.exists() or file.read_text("ascii") != delivery.content:
        write(file, delivery.content, delivery.owner, delivery.mode)


def definitions(own: Secrets) -> str:
    """RabbitMQ's users, read at each of its starts. With them it makes no `guest`."""
    users = [("bowerbird", own["broker"], ""), ("management", own["management"], "administrator")]
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps({
        "users": [
            {"name": name, "password_hash": hashed(password), "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": tags}
            for name, password, tags in users
        ],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": name, "vhost": "/", **everything} for name, _, _ in users],
    })  # fmt: skip


def hashed(password: str) -> str:
    """As RabbitMQ keeps passwords: a salt of four bytes, then the SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def writing(give: Callable[[Path, int, int], None]) -> Write:
    """Writes files whole or not at all: a start that is broken off must not leave half a secret. `give` is os.chown."""

    def write(file: Path, content: str, owner: int, mode: int) -> None:
        unfinished = file.with_name(file.name + ".new")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as opened:
            opened.write(content)
        give(unfinished, owner, owner)
        unfinished.chmod(mode)
        unfinished.replace(file)

    return write


def main(arguments: list[str], volumes: Path, *, give: Callable[[Path, int, int], None] = os.chown, site: Callable[[Path], int] = make.make) -> int:
    """See the module; the exit code. `give` makes somebody a file's owner, `site` writes the demo page into a folder."""
    write = writing(give)
    match arguments:
        case [] | ["cluster"]:
            for delivery in deliveries(kept(volumes / KEPT, write), CLUSTER if arguments else ALONE):
                deliver(delivery, volumes / delivery.volume / delivery.name, write)
            site(volumes / "demo")
            give(volumes / "cache", NGINX, NGINX)
            print("Prepared. The api's key: docker compose run --rm prepare show api-key")
        case ["show", name] if name in NAMES and (volumes / KEPT / name).exists():
            print((volumes / KEPT / name).read_text("ascii"))
        case ["renew", name] if name in RENEWABLE:
            renew(volumes / KEPT, name, write)
            print("Made. Now: docker compose up --detach --force-recreate")
        case _:
            print(
                f"Usage: prepare [cluster | show NAME | renew NAME], where NAME is one of {', '.join(RENEWABLE)}; show knows grafana too.",
                file=sys.stderr,
            )
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path("/volumes")))
