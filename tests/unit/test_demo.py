"""deploy/demo: the site that the guide is tried on has what its pages refer to, and the receiver believes what is signed and nothing else."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from deploy.demo import make, receiver
from services.fetcher import signatures
from services.fetcher.html.pages import Scan, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE = "http://demo.example/"
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert make.make(folder) < 2_000_000
    return folder


def scanned(site: Path, name: str) -> Scan:
    return scan((site / name).read_bytes(), url=f"{BASE}{name}", content_type="text/html", limit=1000)


def files_of(page: Scan) -> Iterator[str]:
    for href in (*page.images, *(other for others in page.alternatives.values() for other in others)):
        yield href.removeprefix(BASE)


def test_every_image_of_its_pages_is_there_but_the_one_that_is_gone(site: Path) -> None:
    pages = [scanned(site, name) for name in ("index.html", "gallery.html")]
    missing = {name for page in pages for name in files_of(page) if not (site / name).exists()}
    assert missing == {"images/gone.jpg"}
    assert [(len(page.images), page.skipped, page.refused, page.beyond) for page in pages] == [(29, 1, 0, 0), (50, 0, 0, 0)]


def test_no_image_is_there_that_no_page_has(site: Path) -> None:
    named = {name for page in ("index.html", "gallery.html") for name in files_of(scanned(site, page))}
    there = {str(file.relative_to(site)) for file in site.glob("*/*")}
    assert there - named == {"images/blank.gif"}, "a placeholder, which nobody wants to keep"


def test_every_file_is_an_image_of_the_format_that_its_name_says(site: Path) -> None:
    for file in site.glob("*/*"):
        with Image.open(file) as image:
            image.load()
            assert image.format == make.FORMATS[file.suffix[1:]]


def test_it_is_the_same_each_time(site: Path, tmp_path: Path) -> None:
    make.make(tmp_path)
    assert digests(tmp_path) == digests(site)


def digests(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("keys", "age", "body", "believed"),
    [
        ([KEY], 0, b"{}", True),
        ([OTHER_KEY, KEY], 0, b"{}", True),
        ([KEY], 299, b"{}", True),
        ([OTHER_KEY], 0, b"{}", False),
        ([KEY], 0, b"[]", False),
        ([KEY], 301, b"{}", False),
        ([KEY], -301, b"{}", False),
    ],
)
def test_the_receiver_believes_what_was_signed_lately(keys: list[bytes], age: int, body: bytes, believed: bool) -> None:  # noqa: FBT001
    headers = signatures.headers("msg_a", int(time.time()) - age, b"{}", keys)
    assert receiver.verify(SECRET, headers, body) == believed


def test_the_receiver_believes_nothing_unsigned() -> None:
    headers = signatures.headers("msg_a", int(time.time()), b"{}", [KEY])
    for name in headers:
        assert not receiver.verify(SECRET, {other: value for other, value in headers.items() if other != name}, b"{}")
