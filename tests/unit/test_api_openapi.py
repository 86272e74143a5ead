"""The OpenAPI document says what the application does."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, cast

import msgspec
import pytest

from services.api import openapi
from services.api.app import routes
from services.api.dead_letters import DeadLetterPage, DeadLetterResource
from services.api.deliveries import DeliveryPage, DeliveryResource
from services.api.parts import Parts
from services.api.requeue import Requeued
from services.api.resources import ImagePage, ImageResource
from shared.settings import Settings

PAGES = {"/", "/docs", "/openapi.json", "/problems/{name}"}


def test_it_has_every_route_and_no_other() -> None:
    nothing = cast("Any", None)
    settings = Settings()
    app = routes(Parts(**{field.name: nothing for field in dataclasses.fields(Parts)} | {"settings": settings}))
    served = {
        (re.sub(r":\w+}", "}", route.path), method.lower()) for route in app.routes for method in getattr(route, "methods", ()) if method != "OPTIONS"
    }
    served = {(path, method) for path, method in served if path not in PAGES}
    described = {(path, method) for path, operations in openapi.document()["paths"].items() for method in operations}
    # HEAD goes without saying wherever there is GET.
    described |= {(path, "head") for path, method in described if method == "get"}
    assert described == served


def test_every_reference_resolves() -> None:
    document = openapi.document()
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place: Any = document
        for part in reference.split("/"):
            place = place[part]


@pytest.mark.parametrize(
    ("path", "method", "status", "kind"),
    [
        ("/images", "post", "202", ImageResource),
        ("/images", "get", "200", ImagePage),
        ("/images/{image}", "get", "200", ImageResource),
        ("/dead-letters", "get", "200", DeadLetterPage),
        ("/dead-letters/{letter}", "get", "200", DeadLetterResource),
        ("/images/{image}/deliveries", "get", "200", DeliveryPage),
        ("/batches/{batch}/deliveries", "get", "200", DeliveryPage),
        ("/deliveries/{delivery}", "get", "200", DeliveryResource),
        ("/deliveries/{delivery}/replay", "post", "202", DeliveryResource),
        ("/requeue", "post", "202", Requeued),
    ],
)
def test_the_examples_are_what_the_schemas_say(path: str, method: str, status: str, kind: type[msgspec.Struct]) -> None:
    example = openapi.document()["paths"][path][method]["responses"][status]["content"]["application/json"]["example"]
    assert msgspec.to_builtins(msgspec.convert(example, kind)).keys() == example.keys()


def test_every_operation_says_how_it_can_fail() -> None:
    for operations in openapi.document()["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                if int(status) >= 400 and status != "503":
                    assert "application/problem+json" in response["content"]
