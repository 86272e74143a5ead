"""Makes MongoDB's replica set and its users, once; safe to repeat. Run beside the first mongod, in its network namespace, before the services start.

    python -m deploy.mongo.initiate mongo:27017
    python -m deploy.mongo.initiate mongo:27017 mongo-2:27017 mongo-3:27017

With a key file mongod lets nobody in, but as long as it has no user, who comes over loopback may set up the replica set and the first of
them (the localhost exception of MongoDB's manual). After that this logs in with the administrator's password. The set begins with its first
member alone and takes in the others one by one: so a set that has been alone for years grows in the same way.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.database import Database

SET = "rs0"
DATABASE = "bowerbird"
WITHIN = 120.0
"""Seconds; a mongod that recovers from a crash may take a while."""

ALREADY_INITIALIZED = 23
USER_ALREADY_EXISTS = 51003
# Nobody is logged in, although there are users by now.
UNAUTHORIZED = 13

Client = MongoClient[dict[str, Any]]


def initiate(uri: str, members: Sequence[str], administrator: str, password: str) -> None:
    """A set of these members, which clients know by these names, and the two users. `uri` is the first one's, over loopback. Raises PyMongoError, TimeoutError."""
    with Client(uri, directConnection=True, serverSelectionTimeoutMS=2000) as client:
        _tolerating(ALREADY_INITIALIZED, client.admin, {"replSetInitiate": {"_id": SET, "members": [{"_id": 0, "host": members[0]}]}})
        # Where another member is primary, all this has been done.
        if _primary(client)["isWritablePrimary"]:
            _tolerating(USER_ALREADY_EXISTS, client.admin, {"createUser": "administrator", "pwd": administrator, "roles": ["root"]})
    whole: dict[str, Any] = {"replicaSet": SET, "username": "administrator", "password": administrator, "serverSelectionTimeoutMS": 2000}
    with Client([*members], **whole) as client:
        # The second time its password is set: it may have been renewed.
        # It may look at the server too: that is what the storers' metrics of MongoDB are made of.
        own, user = client[DATABASE], {"pwd": password, "roles": ["readWrite", {"role": "clusterMonitor", "db": "admin"}]}
        if not _tolerating(USER_ALREADY_EXISTS, own, {"createUser": DATABASE, **user}):
            own.command({"updateUser": DATABASE, **user})
        _grow(client, members)


def _grow(client: Client, members: Sequence[str]) -> None:
    """Takes in the members that the set doesn't have yet: one at a time, as MongoDB wants it. It refuses until it is done with the last."""
    while True:
        config = client.admin.command("replSetGetConfig")["config"]
        missing = [name for name in members if name not in {member["host"] for member in config["members"]}]
        if not missing:
            return
        config["members"].append({"_id": max(member["_id"] for member in config["members"]) + 1, "host": missing[0]})
        client.admin.command("replSetReconfig", {**config, "version": config["version"] + 1})


def _tolerating(code: int, database: Database[dict[str, Any]], command: dict[str, Any]) -> bool:
    """Whether it was done now; False if it had been before."""
    try:
        database.command(command)
    except OperationFailure as error:
        if error.code not in {code, UNAUTHORIZED}:
            raise
        return False
    return True


def _primary(client: Client) -> dict[str, Any]:
    """What this member says of itself, once it knows a primary."""
    until = time.monotonic() + WITHIN
    while "primary" not in (hello := client.admin.command("hello")):
        if time.monotonic() > until:
            raise TimeoutError(f"MongoDB has no primary after {WITHIN:g} s")
        time.sleep(0.1)
    return hello


def main(members: Sequence[str], folder: Path) -> int:
    """Tries until mongod is there; the exit code."""
    until = time.monotonic() + WITHIN
    administrator, password = ((folder / name).read_text("ascii") for name in ("administrator", "bowerbird"))
    while True:
        try:
            initiate("mongodb://127.0.0.1:27017", members, administrator, password)
        except PyMongoError as error:
            if time.monotonic() > until:
                print(f"MongoDB can't be set up: {error}", file=sys.stderr)
                return 1
            time.sleep(0.5)
        else:
            print(f"The replica set {SET} is there, and so are its users.")
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path("/run/bowerbird")))
