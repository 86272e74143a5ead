"""Makes MongoDB's replica set and its users, once; safe to repeat. Run beside mongod, in its network namespace, before the services start.

    python -m deploy.mongo.initiate mongo:27017

With a key file mongod lets nobody in, but as long as it has no user, who comes over loopback may set up the replica set and the first of
them (the localhost exception of MongoDB's manual). After that this logs in with the administrator's password.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

if TYPE_CHECKING:
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


def initiate(uri: str, member: str, administrator: str, password: str) -> None:
    """A set of the one member, which is known to clients by the name `member`, and the two users. Raises PyMongoError, TimeoutError."""
    with Client(uri, directConnection=True, serverSelectionTimeoutMS=2000) as client:
        _tolerating(ALREADY_INITIALIZED, client.admin, {"replSetInitiate": {"_id": SET, "members": [{"_id": 0, "host": member}]}})
        _until_primary(client)
        _tolerating(USER_ALREADY_EXISTS, client.admin, {"createUser": "administrator", "pwd": administrator, "roles": ["root"]})
    with Client(uri, directConnection=True, username="administrator", password=administrator, serverSelectionTimeoutMS=2000) as client:
        # The second time its password is set: it may have been renewed.
        # It may look at the server too: that is what the storers' metrics of MongoDB are made of.
        own, user = client[DATABASE], {"pwd": password, "roles": ["readWrite", {"role": "clusterMonitor", "db": "admin"}]}
        if not _tolerating(USER_ALREADY_EXISTS, own, {"createUser": DATABASE, **user}):
            own.command({"updateUser": DATABASE, **user})


def _tolerating(code: int, database: Database[dict[str, Any]], command: dict[str, Any]) -> bool:
    """Whether it was done now; False if it had been before."""
    try:
        database.command(command)
    except OperationFailure as error:
        if error.code not in {code, UNAUTHORIZED}:
            raise
        return False
    return True


def _until_primary(client: Client) -> None:
    until = time.monotonic() + WITHIN
    while not client.admin.command("hello")["isWritablePrimary"]:
        if time.monotonic() > until:
            raise TimeoutError(f"MongoDB has no primary after {WITHIN:g} s")
        time.sleep(0.1)


def main(member: str, folder: Path) -> int:
    """Tries until mongod is there; the exit code."""
    until = time.monotonic() + WITHIN
    administrator, password = ((folder / name).read_text("ascii") for name in ("administrator", "bowerbird"))
    while True:
        try:
            initiate("mongodb://127.0.0.1:27017", member, administrator, password)
        except PyMongoError as error:
            if time.monotonic() > until:
                print(f"MongoDB can't be set up: {error}", file=sys.stderr)
                return 1
            time.sleep(0.5)
        else:
            print(f"The replica set {SET} is there, and so are its users.")
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path("/run/bowerbird")))
