"""`bowerbird asyncapi`: what the document says of the events is what is on the wire, in the golden messages and in the services' code."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from services.api.reference import asyncapi
from services.api.reference.events import events_page
from services.api.reference.html import HEADERS
from services.api.reference.samples import SAMPLES
from shared import events, topology
from shared.settings import Settings
from tests import npm

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((Path(__file__).parent / "golden").iterdir())
SPECS = "@asyncapi/specs@6.11.1"
DOCUMENT = asyncapi.document(Settings().retry_delays)
MESSAGES = DOCUMENT["components"]["messages"]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """AsyncAPI's own JSON schema of such documents; from npm, for the length of the run."""
    schema = npm.file_of(SPECS, "schemas/3.0.0-without-$id.json", tmp_path_factory.mktemp("asyncapi"))
    return jsonschema_rs.validator_for(json.loads(schema))


def test_the_document_is_an_asyncapi_document(official: Any) -> None:
    assert [str(error)[:300] for error in official.iter_errors(DOCUMENT)] == []
    assert not official.is_valid({**DOCUMENT, "operations": {"x": {"action": "shout", "channel": {"$ref": "#/channels/image-stored"}}}})


def test_every_reference_in_it_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_the_command_prints_it() -> None:
    done = subprocess.run([sys.executable, "-m", "services", "asyncapi"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(DOCUMENT))


@pytest.mark.parametrize("name", MESSAGES)
def test_the_examples_are_events_and_as_their_schemas_say(name: str) -> None:
    assert MESSAGES[name]["examples"]
    for example in MESSAGES[name]["examples"]:
        body = example["payload"].encode("latin-1") if isinstance(example["payload"], str) else json.dumps(example["payload"]).encode()
        event = events.decode(events.Envelope(name, example["headers"], body, None, None, None))
        assert event in [sample for _, sample in SAMPLES]
        assert events.encode(event).headers == example["headers"]
        _validate(MESSAGES[name], example["headers"], example["payload"])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_message_is_as_the_document_says(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    message = MESSAGES[golden["type"]]
    raw = message["payload"].get("format") == "binary"
    payload = golden["body"] if raw else json.loads(golden["body"])
    _validate(message, golden["headers"], payload)
    # Every field on the wire is in the document, too.
    [fields] = [reference for reference in _references(message) if "/schemas/" in reference]
    described = DOCUMENT["components"]["schemas"][fields.rpartition("/")[2]]["properties"]
    assert (golden["headers"] if raw else payload).keys() - {"v"} <= described.keys()
    assert set(message["x-amqp-properties"]) - {"delivery_mode"} == golden.keys() - {"headers", "body"}
    assert golden["content_type"] == message["contentType"] or (message["contentType"] == "image/*" and golden["content_type"].startswith("image/"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_message_that_lacks_a_field_or_has_another_version_is_not_as_the_document_says(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    message = MESSAGES[golden["type"]]
    with pytest.raises(jsonschema_rs.ValidationError):
        _validate(message, {**golden["headers"], "v": 2}, "" if message["payload"].get("format") else json.loads(golden["body"]))
    with pytest.raises(jsonschema_rs.ValidationError):
        _validate(message, {"v": 1}, {})


def test_every_queue_of_the_topology_is_a_channel_with_its_arguments() -> None:
    described = {
        name: channel["bindings"]["amqp"]["x-arguments"]
        for name, channel in DOCUMENT["channels"].items()
        if channel["bindings"]["amqp"]["is"] == "queue"
    }
    assert described == {queue.name: queue.arguments for queue in topology.queues(Settings().retry_delays)}
    assert set(DOCUMENT["channels"]) - set(described) == {kind.NAME for kind in events.KINDS}


def test_what_the_queues_promise_is_what_their_arguments_mean() -> None:
    promises = {name: channel["description"] for name, channel in DOCUMENT["channels"].items()}
    assert "30 s" in promises["fetcher.download-requested.in-30s"]
    assert "`fetcher.download-requested`" in promises["fetcher.download-requested.in-30s"]
    assert "200,000 messages or 1,024 MiB" in promises["fetcher.download-requested"]
    assert "50 times without an ack, goes to `dead-letters`" in promises["fetcher.download-requested"]
    assert "nothing is dropped" in promises["dead-letters"]


def test_the_services_send_and_receive_what_their_code_does() -> None:
    for service in ("api", "fetcher", "storer"):
        sent = {kind.NAME for kind in asyncapi.SENT[service]}
        # download-requested and callback-requested are made in shared/, and what the storer calls download-failed goes no further.
        made = _made(service) - {"download-failed"} if service == "storer" else _made(service)
        assert sent - {"download-requested", "callback-requested"} == made
    received = {operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values() if operation["action"] == "receive"}
    assert received == {queue.name for queue in (*topology.WORK, topology.DEAD)} | {kind.NAME for kind in topology.ANNOUNCEMENTS}


def test_the_page_has_every_event_example_and_queue_and_nothing_that_its_policy_forbids() -> None:
    page = events_page(Settings().retry_delays)
    assert all(f"<h2 id={name}>" in page for name in MESSAGES)
    assert all(f"<code>{queue.name}</code>" in page for queue in topology.queues(Settings().retry_delays))
    assert page.count("headers, and body") == len(SAMPLES)
    assert not any(forbidden in page for forbidden in ("<script", "style=", "src=", "http-equiv"))
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


def _validate(message: dict[str, Any], headers: Any, payload: Any) -> None:
    for schema, instance in ((message["headers"], headers), (message["payload"], payload)):
        jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]}, validate_formats=True).validate(instance)


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [reference for each in value for reference in _references(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return own + [reference for each in value.values() for reference in _references(each)]


def _made(service: str) -> set[str]:
    """The events that a service's modules make, by the calls of their classes."""
    names = {kind.__name__: kind.NAME for kind in events.KINDS}
    modules = [path for path in (ROOT / "services" / service).rglob("*.py") if "reference" not in path.parts]
    calls = [node.func for path in modules for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    # `case ImageStored():` is a pattern, not a call.
    return {names[name] for call in calls if (name := getattr(call, "id", getattr(call, "attr", ""))) in names}
