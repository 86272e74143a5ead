"""The OpenAPI document says what the application does."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from services.api.app import routes
from services.api.parts import Parts
from services.api.reference import docs, html, openapi
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = {"/", "/static/{name}", "/gallery.json", "/docs", "/docs/events", "/docs/asyncapi.json", "/openapi.json", "/problems/{name}"}


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


STRUCTS = {struct.__name__: struct for struct in openapi._STRUCTS}


def examples() -> Iterator[tuple[str, str, Any]]:
    """Where each example in the document is, the name of its schema, and the example."""
    for path, operations in openapi.document()["paths"].items():
        for method, operation in operations.items():
            contents = {"request": operation.get("requestBody", {}).get("content", {})}
            contents |= {status: response.get("content", {}) for status, response in operation["responses"].items()}
            for which, content in contents.items():
                for body in content.values():
                    refs = [body["schema"], *body["schema"].get("oneOf", ())]
                    name = next((schema["$ref"].rpartition("/")[2] for schema in refs if "$ref" in schema), "")
                    given = [body["example"]] if "example" in body else [named["value"] for named in body.get("examples", {}).values()]
                    yield from ((f"{method} {path} {which}", name, example) for example in given)


EXAMPLES = list(examples())


@pytest.mark.parametrize(
    ("name", "example"), [example[1:] for example in EXAMPLES if example[1] in STRUCTS], ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_examples_are_what_the_schemas_say(name: str, example: Any) -> None:
    assert strip(msgspec.to_builtins(msgspec.convert(example, STRUCTS[name]))) == strip(example)


def strip(value: Any) -> Any:
    """Without nulls, and times as the wire has them: a struct may leave out what is null, and writes no fraction that is zero."""
    if isinstance(value, dict):
        return {key: strip(each) for key, each in value.items() if each is not None}
    return [strip(each) for each in value] if isinstance(value, list) else value


def test_every_struct_and_every_operation_with_json_has_an_example() -> None:
    # ImageResource, say, is in the answers of many operations, LineResource within another: those named are all.
    assert {name for _, name, _ in EXAMPLES} - {""} == {*STRUCTS, "Problem"}


@pytest.mark.parametrize(("where", "example"), [(where, example) for where, name, example in EXAMPLES if name == "Problem"])
def test_the_examples_of_problems_are_problems_with_that_status(where: str, example: dict[str, Any]) -> None:
    schema = openapi.document()["components"]["schemas"]["Problem"]
    assert where.endswith(f" {example['status']}")
    assert set(schema["required"]) <= example.keys() <= set(schema["properties"])
    assert example["type"] in schema["properties"]["type"]["enum"]


def test_an_answer_with_several_meanings_has_an_example_of_each() -> None:
    unprocessable = openapi.document()["paths"]["/batches"]["post"]["responses"]["422"]
    assert list(unprocessable["content"]["application/problem+json"]["examples"]) == ["reused-key", "refused-url", "callbacks-off"]
    bad = openapi.document()["paths"]["/images"]["get"]["responses"]["400"]
    assert list(bad["content"]["application/problem+json"]["examples"]) == ["bad-request", "bad-parameter"]
    assert bad["description"].count(" Or: ") == 1


def test_the_reference_shows_every_operation_and_every_example() -> None:
    page = docs._reference()
    for operations in openapi.document()["paths"].values():
        for operation in operations.values():
            assert f"<h2 id={operation['operationId']}>" in page
    for _, _, example in EXAMPLES:
        assert html.code(example) in page


def test_the_api_s_page_names_every_path_and_every_filter() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    table = text[: text.index("With `BOWERBIRD_API_KEYS`")]
    for path, operations in openapi.document()["paths"].items():
        assert re.sub(r"{(?!sha256)[a-z]+}", "{id}", path) in table
        for parameter in operations.get("get", {}).get("parameters", ()) if path == "/images" else ():
            assert f"{parameter['name']}=" in table


def test_the_api_s_page_names_no_call_that_is_not_there() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    described = {
        (method.upper(), re.sub(r"{(?!sha256)[a-z]+}", "{id}", path)) for path, methods in openapi.document()["paths"].items() for method in methods
    }
    named = set(calls(text[: text.index("With `BOWERBIRD_API_KEYS`")]))
    assert len(named) > 25
    assert {(method, path) for method, path in named if path not in PAGES} == described


def calls(table: str) -> Iterator[tuple[str, str]]:
    """Methods and paths in the first column: "`GET`, `HEAD /images/{id}`, `?images=true`" are two."""
    for row in (line for line in table.splitlines() if line.startswith("| `")):
        methods: list[str] = []
        complete = False
        for span in re.findall(r"`([^`]+)`", row.split("|")[1]):
            words = re.findall(r"^[A-Z]+|/[^ ?]*", span)
            if words and words[0].isupper():
                methods = [words[0]] if complete else [*methods, words[0]]
                complete = False
            for path in (word for word in words if word.startswith("/")):
                complete = True
                yield from ((method, path) for method in methods)


def test_every_operation_says_how_it_can_fail() -> None:
    for operations in openapi.document()["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                if int(status) >= 400 and status != "503":
                    assert "application/problem+json" in response["content"]
