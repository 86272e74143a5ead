"""The part of the OpenAPI document that is about images: submitting, finding, reading and deleting them, and their former copies."""

from __future__ import annotations

from services.api.http import problems
from services.api.reference.operations import (
    BATCH_SCHEMA,
    ID_SCHEMA,
    IMAGE_ID,
    PAGE_ID,
    PAGE_URL,
    URL,
    Json,
    failures,
    header,
    json,
    operation,
    paging,
    parameter,
    response,
)
from services.api.thumbnails import HEIGHTS, WIDTH, WIDTHS
from shared.listing import FORMATS
from shared.status import Status
from shared.thumbnails import CONTENT_TYPE

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_OWN = f"/images/{IMAGE_ID}"
_IN_LISTS: Json = {
    "id": IMAGE_ID, "status": "stored", "source_url": URL, "stored_url": f"{_OWN}/content",
    "added_at": "2026-01-31T12:00:00.120000Z", "completed_at": "2026-01-31T12:00:00.480000Z", "format": "jpeg", "content_type": "image/jpeg",
    "width": 1280, "height": 853, "size": 81920, "sha256": _SHA256,
    "attempts": [{"number": 1, "at": "2026-01-31T12:00:00.400000Z", "took_ms": 210, "reason": None, "detail": None}],
    "next_attempt_at": None, "error": None, "checked_at": "2026-01-31T12:00:00.400000Z", "callback_url": None, "alternatives": [], "page": None,
    "links": {"self": _OWN, "content": f"{_OWN}/content", "versions": f"{_OWN}/versions", "images": None},
}  # fmt: skip
_IMAGE: Json = {**_IN_LISTS, "pages": [f"/images/{PAGE_ID}"], "same_bytes": []}
_QUEUED: Json = {
    **dict.fromkeys(_IMAGE), "id": IMAGE_ID, "status": "queued", "source_url": URL, "added_at": _IMAGE["added_at"], "attempts": [],
    "alternatives": [], "pages": [], "same_bytes": [], "links": {"self": _OWN, "content": None, "versions": None, "images": None},
}  # fmt: skip
_PAGE: Json = {
    **_QUEUED, "id": PAGE_ID, "status": "expanded", "source_url": PAGE_URL, "completed_at": "2026-01-31T12:00:00.480000Z",
    "attempts": _IMAGE["attempts"], "checked_at": _IMAGE["checked_at"],
    "page": {
        "scanned_at": "2026-01-31T12:00:00.400000Z", "found": 12, "skipped": 3, "refused": 0, "beyond": 0,
        "images": {"queued": 4, "delayed": 0, "stored": 7, "failed": 1, "expanded": 0},
    },
    "links": {"self": f"/images/{PAGE_ID}", "content": None, "versions": None, "images": f"/images?page={PAGE_ID}"},
}  # fmt: skip
_VERSION: Json = {
    "sha256": _SHA256, "size": 81920, "format": "jpeg", "content_type": "image/jpeg", "width": 1280, "height": 853,
    "fetched_at": "2026-01-31T12:00:00.400000Z", "replaced_at": "2026-02-14T08:30:00.250000Z", "content": f"{_OWN}/versions/{_SHA256}/content",
}  # fmt: skip

_ID = parameter("image", "path", "An image's or page's id.", ID_SCHEMA, required=True, example=IMAGE_ID)
_HASH = parameter(
    "sha256", "path", "The SHA-256 of the copy's bytes.", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, required=True, example=_SHA256
)
_CONTENT_HEADERS = {name: {"schema": {"type": "string"}} for name in ("ETag", "Last-Modified", "Accept-Ranges", "Content-Disposition")}
_BYTES = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
_PRECONDITIONS = [
    parameter(name, "header", meaning, {"type": "string"})
    for name, meaning in (
        ("If-None-Match", "ETags of copies that the client has: 304 if one of them is current."),
        ("If-Modified-Since", "As If-None-Match, by time."),
        ("Range", "A single range of bytes, such as bytes=0-1023. Several are answered with the whole."),
        ("If-Range", "An ETag or Last-Modified: Range applies only if it is current."),
    )
]


def paths() -> Json:
    """The paths."""
    return {
        "/images": {"post": _submit(), "put": _refresh(), "get": _list()},
        "/images/{image}": {"get": _get(), "delete": _delete()},
        "/images/{image}/content": _content("content", "the original bytes of an image", problems.UNKNOWN_IMAGE, problems.NOT_STORED, within=[_ID]),
        "/images/{image}/thumbnail": _thumbnail(),
        "/images/{image}/versions": {"get": _versions()},
        "/images/{image}/versions/{sha256}": {"delete": _delete_version()},
        "/images/{image}/versions/{sha256}/content": _content(
            "version", "the bytes of a former copy, or of the present one", problems.UNKNOWN_IMAGE, problems.UNKNOWN_VERSION, within=[_ID, _HASH]
        ),
    }


def _submit() -> Json:
    return operation(
        "submit", "Submit the URL of an image or of a page",
        "Answers at once; the download goes on in the background. Follow Location until `status` is `stored`, `failed` or, for a page, `expanded`.",
        {
            "202": response("Accepted.", json("ImageResource", _QUEUED), header("Location", "The image's address.")),
            **failures(
                problems.BAD_BODY, problems.KNOWN_IMAGE, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.REFUSED_URL, problems.CALLBACKS_OFF,
                problems.UNAVAILABLE,
            ),
        },
        body=json("Submission", {"url": URL}),
    )  # fmt: skip


def _refresh() -> Json:
    return operation(
        "refresh", "Download a URL again",
        "The origin is asked for something newer than the copy that is held, which stays readable meanwhile, and for good if the download fails. "
        "Changed bytes replace it, and it becomes a version; unchanged ones are noted in `checked_at`. A page is scanned again. "
        "While a download is under way, no other begins. An unknown URL is submitted.",
        {
            "202": response(
                "It is under way.", json("ImageResource", {**_IMAGE, "status": "queued", "completed_at": None}),
                header("Location", "The image's address."),
            ),
            **failures(problems.BAD_BODY, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.REFUSED_URL, problems.CALLBACKS_OFF, problems.UNAVAILABLE),
        },
        body=json("Submission", {"url": URL}),
    )  # fmt: skip


def _list() -> Json:
    time = {"type": "string", "format": "date-time"}
    either = {"oneOf": [{"$ref": "#/components/schemas/ImagePage"}, {"$ref": "#/components/schemas/ImageResource"}]}
    example = {"items": [_IN_LISTS], "next": "/images?status=stored&cursor=AQAAAZwUJ5b4bWZyZ2d6ZGZtenR3cTJsa25ud2cyM3Rwb2I"}
    return operation(
        "list_images", "List images, newest first",
        "In pages: follow `next` (or the header Link) until it is null. Filters can be combined. With `url`, the image of that URL instead of a list "
        "or, if it is a page's, the list of the page's images.",
        {
            "200": response(
                "A page of the list; with `url`, maybe one image.", {"application/json": {"schema": either, "example": example}},
                header("Link", 'The next page, as rel="next".') | header("Content-Location", "With `url`, the address of the image that has it."),
            ),
            **failures(problems.BAD_PARAMETER, problems.UNKNOWN_IMAGE, problems.REFUSED_URL, problems.UNAVAILABLE),
        },
        parameters=[
            *paging("images"),
            parameter("status", "query", "Only images with this status.", {"type": "string", "enum": list(Status)}, example="stored"),
            parameter("host", "query", "Only images from this host: a name or an address, without a port.", {"type": "string"}, example="example.org"),
            parameter("format", "query", "Only images that hold a copy in this format.", {"type": "string", "enum": list(FORMATS)}),
            parameter("page", "query", "Only images of the page with this id.", ID_SCHEMA),
            parameter("batch", "query", "Only images of the batch with this id.", BATCH_SCHEMA),
            parameter("added_after", "query", "Only images added after this time, as in RFC 3339 (a + is written %2B).", time),
            parameter("added_before", "query", "Only images added before this time.", time),
            parameter("url", "query", "The image of this URL (percent-encoded), or the images of this page; the other parameters only for a page.", {"type": "string"}),
        ],
    )  # fmt: skip


def _get() -> Json:
    found = json("ImageResource", _IMAGE)
    del found["application/json"]["example"]
    found["application/json"]["examples"] = {"image": {"value": _IMAGE}, "page": {"value": _PAGE}}
    return operation(
        "get_image", "An image or a page, and how far it has come",
        "Status: `queued`, then `stored`, `failed` or, for a page, `expanded`, with `delayed` between attempts. A page counts its images by status.",
        {"200": response("The image.", found), **failures(problems.UNKNOWN_IMAGE, problems.UNAVAILABLE)},
        parameters=[_ID],
    )  # fmt: skip


def _delete() -> Json:
    take = parameter(
        "images", "query", "Of a page: take its images along, except those that were submitted, or belong to another page or batch.",
        {"type": "string", "enum": ["true", "false"], "default": "false"},
    )  # fmt: skip
    return operation(
        "delete_image", "Delete an image or a page",
        "With its former copies; a download under way for it ends as nothing. Bytes go when no image refers to them any more. The images of a page stay, "
        "unless `images` says otherwise.",
        {"204": response("Deleted."), **failures(problems.BAD_PARAMETER, problems.UNKNOWN_IMAGE, problems.UNAVAILABLE)},
        parameters=[_ID, take],
    )  # fmt: skip


def _versions() -> Json:
    return operation(
        "list_versions", "The former copies of an image, the latest first", "Those that a refresh replaced; an image keeps 1,000 at most.",
        {"200": response("The versions.", json("VersionList", {"items": [_VERSION]})), **failures(problems.UNKNOWN_IMAGE, problems.UNAVAILABLE)},
        parameters=[_ID],
    )  # fmt: skip


def _delete_version() -> Json:
    return operation(
        "delete_version", "Delete a former copy", "If the image had the same bytes more than once, each of them; never the present copy.",
        {"204": response("Deleted."), **failures(problems.UNKNOWN_IMAGE, problems.UNKNOWN_VERSION, problems.UNAVAILABLE)},
        parameters=[_ID, _HASH],
    )  # fmt: skip


def _thumbnail() -> Json:
    headers = {name: {"schema": {"type": "string"}} for name in ("ETag", "Last-Modified")}
    picture = {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "get": operation(
            "get_thumbnail", "A small copy of an image",
            f"WebP, upright, without metadata, with its transparency; of an animation the first frame. No wider than `w` and no higher than {HEIGHTS} times "
            "that, and no larger than the image. Made when it is first asked for.",
            {
                "200": response("The thumbnail.", picture, headers), "304": response("The client's copy is current."),
                **failures(problems.BAD_PARAMETER, problems.UNKNOWN_IMAGE, problems.NOT_STORED, problems.NO_THUMBNAIL, problems.UNAVAILABLE),
            },
            parameters=[
                _ID, parameter("w", "query", "The width in pixels.", {"type": "string", "enum": [str(width) for width in WIDTHS], "default": str(WIDTH)}, example=str(WIDTH)),
                *_PRECONDITIONS[:2],
            ],
        ),
    }  # fmt: skip


def _content(name: str, what: str, *kinds: problems.Kind, within: list[Json]) -> Json:
    """GET and HEAD of bytes."""
    unmodified, without = response("The client's copy is current."), failures(*kinds, problems.UNAVAILABLE)
    ranged = _CONTENT_HEADERS | header("Content-Range", "Which bytes of how many.")
    responses = {
        "200": response("The bytes.", _BYTES, _CONTENT_HEADERS),
        "206": response("The range asked for.", _BYTES, ranged),
        "304": unmodified,
        **failures(*kinds, problems.RANGE_NOT_SATISFIABLE, problems.UNAVAILABLE),
    }
    return {
        "get": operation(
            f"get_{name}", what[0].upper() + what[1:], "With conditional requests and single ranges (RFC 9110, sections 13 and 14).",
            responses, parameters=[*within, *_PRECONDITIONS],
        ),
        "head": operation(
            f"head_{name}", f"The headers of {what}", "As GET, without the body.",
            {"200": responses["200"], "304": unmodified, **without}, parameters=[*within, *_PRECONDITIONS[:2]],
        ),
    }  # fmt: skip
