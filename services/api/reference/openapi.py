"""The OpenAPI document: what /openapi.json serves and /docs shows. Schemas come from the Structs, problems from their table."""

from __future__ import annotations

import functools
from importlib import metadata

import msgspec

from services.api.access.keys import READ, READS, WRITE
from services.api.batches import BatchResource
from services.api.dead_letters import DeadLetterPage, DeadLetterResource
from services.api.deliveries import DeliveryPage, DeliveryResource
from services.api.health import READ_BY_OTHERS
from services.api.http import problems
from services.api.lines import Submissions
from services.api.reference import batches, deliveries, images, letters, live
from services.api.reference.curl import samples
from services.api.reference.operations import Json, anything, failures, json, operation, response, together
from services.api.requeue import Requeued, RequeueRequest
from services.api.resources import ImagePage, ImageResource
from services.api.stats import StatsResource
from services.api.submit import Submission
from services.api.versions import VersionList
from shared.status import Status

TITLE = "Bowerbird"
DESCRIPTION = (
    "Give it the URL of an image, or of a page of images. It answers at once with the address of a resource to watch, downloads in the background, "
    "checks that what came is an image, keeps the original bytes once, and serves and lists the copies. Every error is a problem+json (RFC 9457)."
)
_STRUCTS = (
    Submission, ImageResource, ImagePage, VersionList, Submissions, BatchResource, RequeueRequest, Requeued, DeadLetterResource, DeadLetterPage,
    DeliveryResource, DeliveryPage, StatsResource,
)  # fmt: skip
_CHECKS = {"mongodb": "ok", "rabbitmq": "ok", **{queue.name: "ok" for queue in READ_BY_OTHERS}}


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("bowerbird")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0"


@functools.cache
def document() -> Json:
    """The document, as JSON values."""
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version(), "description": DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": {path: {method: _everywhere(method, path, of) for method, of in methods.items()} for path, methods in _paths().items()},
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Only where the server was given keys (BOWERBIRD_API_KEYS). GET and HEAD need one with the scope `read`, the rest `write`.",
                }
            },
        },
    }


_PROBLEM: Json = {
    "title": "Problem",
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The kind of problem; also where a page explains it.",
                 "enum": [kind.type for kind in problems.KINDS.values()]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong this time, for people."},
        "instance": {"type": "string", "format": "uri-reference"},
        "image": {"type": "string", "format": "uri-reference", "description": "known-image: the address of the image."},
        "rule": {"type": "string", "description": "refused-url: the rule that the URL breaks."},
        "status_of_image": {"type": "string", "enum": list(Status), "description": "not-stored: where the image is on its way."},
        "error": {"description": "not-stored: why there is no image, if it failed."},
        "errors": {"type": "array", "description": "bad-body, bad-parameter: what is wrong where.", "items": {"type": "object"}},
    },
}  # fmt: skip


def _paths() -> Json:
    return {
        **images.paths(),
        **batches.paths(),
        **letters.paths(),
        **deliveries.paths(),
        **live.paths(),
        "/requeue": {
            "post": operation(
                "requeue", "Download afresh what has a status",
                "Up to 10,000 images in one call, newest first: repeat it while `more` is true. For what a wiped broker lost (`queued`), or all that failed.",
                {
                    "202": response("Accepted.", json("Requeued", {"requeued": 12, "more": False, "before": "2026-01-31T12:00:00.120000Z"})),
                    **failures(problems.BAD_BODY, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.UNAVAILABLE),
                },
                body=json("RequeueRequest", {"status": "failed"}),
            ),
        },
        "/health/live": {"get": operation("live", "Whether this process answers", "", {"200": response("It does.", anything({"status": "live"}))})},
        "/health/ready": {
            "get": operation(
                "ready", "Whether what is submitted now gets stored", "MongoDB, RabbitMQ, a fetcher and a storer are there. Kept for a second.",
                {
                    "200": response("They are.", anything({"status": "ready", "checks": _CHECKS})),
                    "503": response("One isn't: `checks` says which.", anything({"status": "not ready", "checks": {**_CHECKS, "storer.image-fetched": "nobody reads this queue"}})),
                },
            )
        },
    }  # fmt: skip


def _everywhere(method: str, path: str, of: Json) -> Json:
    """With a command line, and what holds of every operation but the probes: keys, their scopes, and the gate (services/api/access/gate.py)."""
    of = {**of, "x-codeSamples": samples(path, method, of)}
    if path.startswith("/health/"):
        return {**of, "security": [], "responses": together(of["responses"], failures(problems.WRONG_HOST))}
    refusals = failures(problems.BAD_REQUEST, problems.UNAUTHORIZED, problems.FORBIDDEN, problems.WRONG_HOST, problems.TOO_MANY_REQUESTS)
    scope = READ if method.upper() in READS else WRITE
    return {**of, "security": [{}, {"key": [scope]}], "responses": together(refusals, of["responses"])}
