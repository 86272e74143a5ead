"""shared/mongo.py: what MongoDB says, told apart: its own state passes, a bad write doesn't."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from shared.errors import SettingsError, StoreUnavailable
from shared.mongo import Mongo, unavailable


def bulk(*codes: int, concern: bool = False) -> BulkWriteError:
    errors = [{"index": index, "code": code} for index, code in enumerate(codes)]
    return BulkWriteError({"writeErrors": errors, "writeConcernErrors": [{"code": 64}] if concern else []})


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"), NetworkTimeout("slow"), ServerSelectionTimeoutError("none"), NotPrimaryError("stepped down"),
        ExecutionTimeout("slow", 50), WriteConcernError("no majority", 64), OperationFailure("quota", 8000), OperationFailure("not authorized", 13),
        OperationFailure("out of disk space", 14031), OperationFailure("writes are blocked", 371), bulk(11000, concern=True), bulk(11000, 14031), bulk(371),
    ],
    ids=repr,
)  # fmt: skip
def test_what_passes_or_is_mended_is_unavailable(error: PyMongoError) -> None:
    with pytest.raises(StoreUnavailable), unavailable():
        raise error


@pytest.mark.parametrize(
    "error",
    [DuplicateKeyError("twice", 11000), OperationFailure("bad value", 2), DocumentTooLarge("large"), bulk(11000), bulk(11000, 10334)],
    ids=repr,
)
def test_what_is_wrong_with_the_write_itself_is_told_as_it_is(error: PyMongoError) -> None:
    with pytest.raises(type(error)), unavailable():
        raise error


@pytest.mark.parametrize("url", ["mongodb://", "mongodb://host:port/", "mongodb://u:p@:@/"])
def test_a_url_that_cannot_be_used_is_a_wrong_setting_and_keeps_its_secret(url: str) -> None:
    with pytest.raises(SettingsError, match="BOWERBIRD_MONGO_URL"):
        Mongo(url, timeout=1)
