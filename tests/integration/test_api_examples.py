"""The API's reference: every command line in it is run against a real api, and what comes is compared with the example beside it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import aio_pika
import jsonschema_rs
import pytest

from services.api.health import READ_BY_OTHERS
from services.api.reference import openapi
from services.api.reference.curl import BASE
from shared.dead_letters import read
from shared.deliveries import Delivery, Kind, delivery_id
from shared.events import CallbackAttempted, Envelope
from shared.status import now
from tests.api import running_api
from tests.origin import image
from tests.polling import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.api import Api

pytestmark = pytest.mark.anyio

DOCUMENT = openapi.document()
MAPS = {"failures", "headers"}
"""Fields of an answer whose own fields are whatever there happens to be."""
FORMER = b"test"


class Sample(NamedTuple):
    """A command line of the reference, and where it stands."""

    path: str
    method: str
    label: str
    source: str

    @property
    def operation(self) -> dict[str, Any]:
        found: dict[str, Any] = DOCUMENT["paths"][self.path][self.method]
        return found


SAMPLES = [
    Sample(path, method, sample["label"], sample["source"])
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    for sample in operation["x-codeSamples"]
]


def test_every_operation_and_every_body_has_a_command_line_with_all_it_needs() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            sources = [sample.source for sample in SAMPLES if (sample.path, sample.method) == (path, method)]
            assert len(sources) == len(operation.get("requestBody", {}).get("content", {"none": None}))
            assert not any("{" in source.rpartition(BASE)[2] for source in sources)
            for content in [
                operation.get("requestBody", {}).get("content", {}),
                *(answer.get("content", {}) for answer in _good(operation).values()),
            ]:
                for media_type, body in content.items():
                    assert {"example", "examples"} & body.keys() or media_type.startswith("image/")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.method} {sample.path} {sample.label}")
async def test_a_command_line_of_the_reference_gives_what_the_reference_says(mongo_url: str, amqp_url: str, tmp_path: Path, sample: Sample) -> None:
    async with running_api(mongo_url, amqp_url) as api, await aio_pika.connect(amqp_url) as broker:
        await api.parts.publisher.wait()
        known = {} if "submit" in sample.operation["operationId"] else await _fill(api)
        if sample.path == "/health/ready":
            await _stand_in(api, broker)
        status, headers, body = await _run(_with(sample, known).replace(BASE, str(api.client.base_url).rstrip("/")), tmp_path)
    documented = _good(sample.operation)
    assert status == next(iter(documented)), body
    answer = documented[status]
    assert {name.lower() for name in answer.get("headers", {})} - {"content-location", "link"} <= headers.keys()
    if sample.method != "head" and (content := answer.get("content")):
        media_type = headers["content-type"].partition(";")[0]
        described = content.get(media_type) or content["image/*"]
        if media_type == "application/json":
            _compare(json.loads(body), described)
        elif media_type == "text/event-stream":
            assert body.startswith("retry: 2000\nid: ")
        elif media_type == "text/plain":
            assert (tmp_path / "copy").read_bytes().startswith(b"# HELP bowerbird_")
        else:
            assert (tmp_path / "copy").read_bytes().startswith((b"\xff\xd8", b"RIFF", FORMER))
    else:
        assert not body or sample.method == "head"


def _good(operation: dict[str, Any]) -> dict[str, Any]:
    """The answers that are no failures; the first is what the command line gives."""
    return {status: answer for status, answer in operation["responses"].items() if status < "300"}


def _with(sample: Sample, known: dict[str, str]) -> str:
    """The command line with ids that there are here."""
    source = sample.source
    for parameter in sample.operation.get("parameters", ()):
        if "example" in parameter and parameter["name"] in known:
            source = source.replace(str(parameter["example"]), known[parameter["name"]])
    return source


async def _run(source: str, folder: Path) -> tuple[str, dict[str, str], str]:
    """Status, headers and output of a curl that is told by its own settings' file to keep the first two apart."""
    (folder / ".curlrc").write_text("silent\nshow-error\nmax-time = 20\ndump-header = head\n", "ascii")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", source, cwd=folder, env={**os.environ, "CURL_HOME": str(folder), "no_proxy": "*"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    first, *lines = (folder / "head").read_text("latin-1").splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return first.split(" ")[1], headers, output.decode()


def _compare(body: Any, described: dict[str, Any]) -> None:
    """The body is of the schema, and has the fields that an example has."""
    schema = {**described["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(body)
    examples = [described["example"]] if "example" in described else [example["value"] for example in described["examples"].values()]
    assert _fields(body) in [_fields(example) for example in examples]


def _fields(value: Any, name: str = "") -> Any:
    """The names of fields, and of those within, of what isn't null; of a list those of its first element."""
    if isinstance(value, dict) and name not in MAPS:
        return {key: _fields(each, key) for key, each in value.items()}
    return _fields(value[0]) if isinstance(value, list) and value else None


async def _fill(api: Api) -> dict[str, str]:
    """Has everything that the examples speak of; the ids, by the parameters' names."""
    own = await api.store("https://example.org/cat.jpg", FORMER)
    await api.client.put("/images", json={"url": "https://example.org/cat.jpg"})
    await api.fetched(own.rpartition("/")[2], image("JPEG"))
    await api.expand("https://example.org/", ["https://example.org/cat.jpg"])
    batch = (await api.client.post("/batches", json={"urls": ["https://example.org/cat.jpg"]})).json()["id"]
    died = Envelope(None, {"x-death": [{"queue": "fetcher.download-requested", "reason": "rejected"}]}, b"hello", None, None, None)
    await api.parts.dead_letters.keep(read(died))
    [letter] = (await api.client.get("/dead-letters")).json()["items"]
    sent = [
        Delivery(
            id=delivery_id(subject, 1, kind), subject=subject, revision=1, kind=kind, url="https://example.com/told", payload="{}", created_at=now()
        )
        for subject, kind in ((own.rpartition("/")[2], Kind.IMAGE_STORED), (batch, Kind.BATCH_COMPLETED))
    ]
    await api.parts.deliveries.record(sent)
    for one in sent:
        event = CallbackAttempted(image=one.subject, revision=1, delivery=one.id, attempted_at=now(), took_ms=90, http_status=204)
        await api.parts.deliveries.attempted(event)
    api.parts.live.close()  # a stream ends after its first frame
    return {
        "image": own.rpartition("/")[2], "sha256": hashlib.sha256(FORMER).hexdigest(), "batch": batch, "letter": letter["id"], "delivery": sent[0].id,
    }  # fmt: skip


async def _stand_in(api: Api, broker: aio_pika.abc.AbstractConnection) -> None:
    """Consumers where a fetcher and a storer would be, so that the api is ready."""
    channel = await broker.channel()

    async def take(_: object) -> None: ...

    for queue in READ_BY_OTHERS:
        await (await channel.get_queue(queue.name)).consume(take, no_ack=True)

    async def ready() -> bool:
        return (await api.client.get("/health/ready")).status_code == 200

    await until(ready)
