"""services/api/callbacks.py: which callback_url is taken."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from services.api.callbacks import check_callback
from services.api.http.problems import Problem
from shared.errors import UrlRefused
from shared.settings import Settings

ON = Settings(webhook_secret=(b"x" * 32,))


def test_its_canonical_form_is_given() -> None:
    assert check_callback("HTTPS://Example.COM:443/told?token=%7e#part", ON) == "https://example.com/told?token=%7e"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("told", "url-syntax"), ("ftp://example.com/", "url-scheme"), ("http://user:password@example.com/", "url-credentials"),
        ("http://example.com:22/", "url-port"), ("http://127.0.0.1/", "url-address"), ("http://0x7f.1/", "url-address"),
        ("http://localhost/", "url-address"), ("http://169.254.169.254/", "url-address"), ("http://[::1]/", "url-address"),
    ],
)  # fmt: skip
def test_one_that_may_not_be_asked_is_refused_by_the_same_rules_as_an_image(text: str, rule: str) -> None:
    with pytest.raises(UrlRefused, match=r"^callback_url: ") as refused:
        check_callback(text, ON)
    assert refused.value.rule == rule


def test_an_allowed_network_is_allowed_for_callbacks_too() -> None:
    settings = Settings(webhook_secret=(b"x" * 32,), fetch_allow=(ip_network("10.0.0.0/8"),))
    assert check_callback("http://10.0.0.1/told", settings) == "http://10.0.0.1/told"


def test_without_a_secret_none_is_taken() -> None:
    with pytest.raises(Problem) as refused:
        check_callback("https://example.com/", Settings())
    assert (refused.value.kind.name, refused.value.kind.status) == ("callbacks-off", 422)
