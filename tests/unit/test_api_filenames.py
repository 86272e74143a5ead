"""Names for saved copies (RFC 6266, RFC 8187)."""

from __future__ import annotations

import email.message
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.http.filenames import content_disposition, filename


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/photo.jpg", "photo.png"),
        ("https://host/a/b/photo.JPEG?x=1", "photo.png"),
        ("https://host/photo", "photo.png"),
        ("https://host/image.php", "image.png"),
        ("https://host/", "ID.png"),
        ("https://host", "ID.png"),
        ("https://host/.png", "ID.png"),
        ("https://host/..%2f..%2fetc%2fpasswd", "etcpasswd.png"),
        ("https://host/..", "ID.png"),
        ("https://host/v1.2.3-final", "v1.2.3-final.png"),
        ("https://host/%22;x=%22.jpg", ";x=.png"),
        ("https://host/a%0d%0ab.jpg", "ab.png"),
        ("https://host/%e2%80%aegpj.exe", "gpj.png"),
        ("https://host/%ff%fe.jpg", "ID.png"),
        ("https://host/K%C3%A4se.jpg", "Käse.png"),
        ("https://host/" + "x" * 500 + ".jpg", "x" * 100 + ".png"),
    ],
)
def test_a_name_comes_from_the_url_and_its_extension_from_the_format(url: str, name: str) -> None:
    assert filename(url, "ID", "PNG") == name


@pytest.mark.parametrize(("image_format", "extension"), [("jpeg", "jpg"), ("JPEG", "jpg"), ("tiff", "tif"), ("webp", "webp")])
def test_extensions_are_the_usual_ones(image_format: str, extension: str) -> None:
    assert filename("https://host/x", "ID", image_format) == f"x.{extension}"


def test_a_name_beyond_ascii_is_given_twice() -> None:
    assert content_disposition("https://host/K%C3%A4se.jpg", "ID", "jpeg") == "inline; filename=\"K_se.jpg\"; filename*=UTF-8''K%C3%A4se.jpg"


@given(st.text())
def test_any_url_gives_a_header_that_carries_a_harmless_name(segment: str) -> None:
    url = "https://host/" + segment
    name = filename(url, "ID", "jpeg")
    assert name.endswith(".jpg")
    assert not name.startswith(".")
    assert not set(name) & set('/\\"\r\n')
    assert not any(unicodedata.category(character).startswith("C") for character in name)
    header = content_disposition(url, "ID", "jpeg")
    assert header.isascii()
    message = email.message.Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "inline"
