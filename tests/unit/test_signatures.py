"""How callbacks are signed, by the specification's own example and by what docs/webhooks.md tells receivers to do."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher import signatures
from shared.settings import Settings, load
from tests.documents import Command, Shell, follow, read

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = Path(__file__).parents[2] / "docs" / "webhooks.md"
DOCUMENT = PATH.read_text("utf-8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
DELIVERY = "msg_" + "a" * 26


def keys(*secrets: str) -> tuple[bytes, ...]:
    return load({"BOWERBIRD_WEBHOOK_SECRET": ",".join(secrets)}).webhook_secret


def documented() -> Callable[[str, dict[str, str], bytes], None]:
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    verify: Callable[[str, dict[str, str], bytes], None] = names["verify"]
    return verify


def test_the_example_of_the_specifications_libraries() -> None:
    body = b'{"test": 2432232314}'
    headers = signatures.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, keys(SECRET))
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.anyio
async def test_the_documented_command_makes_a_secret(tmp_path: Path) -> None:
    async with Shell(tmp_path) as shell:
        assert await follow(PATH, shell, instead={}) == 1
        [command] = [step.text for step in read(DOCUMENT) if isinstance(step, Command)]
        assert len(keys((await shell.run(command)).strip())[0]) == 32


@given(st.binary(max_size=200))
def test_the_documented_verification_takes_what_is_sent_with_either_secret(body: bytes) -> None:
    headers = signatures.headers(DELIVERY, int(time.time()), body, keys(SECRET, OTHER))
    for secret in (SECRET, OTHER):
        documented()(secret, headers, body)


@pytest.mark.parametrize(
    ("secret", "changed", "body"),
    [
        (OTHER, {}, b"{}"),
        (SECRET, {}, b"{ }"),
        (SECRET, {"webhook-id": "msg_" + "b" * 26}, b"{}"),
        (SECRET, {"webhook-timestamp": "ten seconds before"}, b"{}"),
        (SECRET, {"webhook-signature": "v1,"}, b"{}"),
        (SECRET, {"webhook-signature": "v1,é"}, b"{}"),
    ],
)
def test_the_documented_verification_refuses_anything_else(secret: str, changed: dict[str, str], body: bytes) -> None:
    now = int(time.time())
    headers = signatures.headers(DELIVERY, now, b"{}", keys(SECRET))
    if "webhook-timestamp" in changed:  # of now, and not of when the tests were collected
        changed = {"webhook-timestamp": str(now - 10)}
    with pytest.raises(ValueError, match="signed with another"):
        documented()(secret, headers | changed, body)


@pytest.mark.parametrize("seconds", [-400, 400])
def test_the_documented_verification_refuses_what_is_old_or_of_the_future(seconds: int) -> None:
    headers = signatures.headers(DELIVERY, int(time.time()) + seconds, b"{}", keys(SECRET))
    with pytest.raises(ValueError, match="too long ago"):
        documented()(SECRET, headers, b"{}")


@pytest.mark.parametrize("length", [24, 32, 33, 64])
def test_a_secret_is_read_with_or_without_its_padding(length: int) -> None:
    key = bytes(range(length))
    text = "whsec_" + base64.b64encode(key).decode()
    assert keys(text) == keys(text.rstrip("=")) == (key,)
    assert keys(text, SECRET)[0] == key


@pytest.mark.parametrize(
    "text", ["hunter2", "whsec_", "whsec_" + "A" * 31, "whsec_" + "A" * 87, "whsec_" + "A" * 33, f"{SECRET},x", ",", "whsec_" + "é" * 32]
)
def test_what_is_no_secret_stops_the_start_without_being_shown(text: str) -> None:
    with pytest.raises(Exception, match="BOWERBIRD_WEBHOOK_SECRET is a value, but should be one or more secrets") as raised:
        keys(text)
    assert len(text) < len("hunter2") or text not in str(raised.value)


def test_several_can_stand_in_a_file_on_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{SECRET}\n{OTHER}\n")
    found = load({"BOWERBIRD_WEBHOOK_SECRET_FILE": str(file)})
    assert found.webhook_secret == keys(SECRET, OTHER)
    assert "webhook_secret" not in repr(found)


def test_the_schedule_in_the_document_is_the_default() -> None:
    rows = re.findall(r"^\| (\d) \| (?:(\d+) ([smh]))? ?\| (.*?) ?\|$", DOCUMENT, re.MULTILINE)
    units = {"s": 1, "m": 60, "h": 3600}
    assert tuple(float(number) * units[unit] for _, number, unit, _ in rows[1:]) == Settings().retry_delays
    totals = [sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+) ([smh])", total)) for *_, total in rows[1:]]
    assert totals == [sum(Settings().retry_delays[: count + 1]) for count in range(len(totals))]
