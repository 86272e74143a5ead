"""Fixtures on MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.blobs import Blobs
from shared.catalog import Catalog
from shared.mongo import Mongo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def mongo(mongo_url: str) -> AsyncIterator[Mongo]:
    mongo = Mongo(mongo_url, timeout=10)
    yield mongo
    mongo.close()


@pytest.fixture
async def blobs(mongo: Mongo) -> Blobs:
    blobs = Blobs(mongo)
    await blobs.create_indexes()
    return blobs


@pytest.fixture
async def catalog(mongo: Mongo) -> Catalog:
    catalog = Catalog(mongo)
    await catalog.create_indexes()
    return catalog
