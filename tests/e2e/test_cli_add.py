"""`bowerbird add` over the whole pipeline: as a program, and in terminals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.cli import ROOT, bowerbird, terminal
from tests.origin import body, held, image, sequence, status
from tests.polling import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Pipeline
    from tests.origin import Origin

pytestmark = pytest.mark.anyio

URLS = 500


def five_hundred(origin: Origin) -> list[str]:
    """URLs, some of them bad: 460 images, of which 5 come at the second attempt, 20 missing, 10 broken, 6 no URLs, 4 repeated."""
    urls = []
    for number in range(460):
        arrives = body(image("PNG", (32, 32), seed=number), "image/png")
        urls.append(origin.on(f"/{number}.png", sequence(status(503), arrives) if number % 100 == 50 else arrives))
    urls += [origin.url(f"/missing/{number}.jpg") for number in range(20)]
    urls += [origin.on(f"/broken/{number}.jpg", body(b"\x89PNG\r\n\x1a\n broken", "image/png")) for number in range(10)]
    urls += [
        "ftp://example.org/cat.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "cat.jpg",
        "http://127.0.0.1/",
        "https://",
        "javascript:alert(1)",
    ]
    urls += urls[:4]
    assert len(urls) == URLS
    return urls


async def test_five_hundred_urls_of_which_some_are_bad(pipeline: Pipeline, origin: Origin, tmp_path: Path) -> None:
    given = tmp_path / "urls.csv"
    given.write_text("name,address\n" + "".join(f"a cat,{url}\n" for url in five_hundred(origin)))
    base = pipeline.client.base_url
    done = await bowerbird(base, "add", "--file", str(given), "--column", "address", "--wait", "--json")
    assert done.code == 1, done.err
    result = json.loads(done.out)
    assert (result["lines"], result["accepted"], result["repeated"], result["refused"]) == (URLS, 490, 4, 6)
    assert (result["images"]["stored"], result["images"]["failed"]) == (460, 30)
    assert sum(result["reasons"].values()) == 30
    assert result["reasons"]["http_status"] == 20
    [batch] = result["batches"]
    assert len((await bowerbird(base, "ls", "--batch", batch, "--status", "failed", "--all", "--json")).out.splitlines()) == 30
    exported = await bowerbird(base, "export", str(tmp_path / "out"), "--batch", batch, "--json")
    assert json.loads(exported.out)["saved"] == 460
    assert {path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == {image("PNG", (32, 32), seed=number) for number in range(460)}
    again = await bowerbird(base, "add", "-", "--wait", "--json", given="\n".join(five_hundred(origin)[:460]).encode())
    assert (again.code, json.loads(again.out)["known"]) == (0, 460)


async def test_a_refresh_downloads_again(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.on("/a.png", sequence(body(image("PNG", seed=1), "image/png"), body(image("PNG", seed=2), "image/png")))
    base = pipeline.client.base_url
    for arguments in ((), ("--refresh",)):
        done = await bowerbird(base, "add", url, "--wait", *arguments)
        assert done.code == 0, done.err
    assert origin.hits["/a.png"] == 2
    assert await pipeline.content(f"/images/{json.loads((await bowerbird(base, 'show', url, '--json')).out)['id']}") == image("PNG", seed=2)


async def test_a_page_is_watched_until_its_images_are_there(pipeline: Pipeline, origin: Origin) -> None:
    gate = asyncio.Event()
    markup = ""
    for number in range(3):
        markup += f'<img src="{origin.on(f"/{number}.png", held(gate, body(image("PNG", seed=number), "image/png")))}">'
    page = origin.on("/page", body(f"<!doctype html><html><body>{markup}</body></html>".encode(), "text/html"))
    async with terminal(pipeline.client.base_url, "add", page) as screen:
        await screen.shows("1 of 4")
        gate.set()
        done = await screen.ends()
    assert done.code == 0
    assert "3 stored, 1 page." in done.out


async def test_in_a_terminal_there_is_a_bar_and_then_a_summary(pipeline: Pipeline, origin: Origin) -> None:
    gate = asyncio.Event()
    urls = [origin.on(f"/{number}.png", held(gate, body(image("PNG", seed=number), "image/png"))) for number in range(3)]
    async with terminal(pipeline.client.base_url, "add", *urls, origin.url("/missing"), "ftp://x/\x1b]0;owned\x07") as screen:
        await screen.shows("1 of 4")
        await screen.shows("1 failed (1 http_status)")
        assert "━" in screen.shown
        gate.set()
        done = await screen.ends()
    assert done.code == 1
    assert re.search(r"5 URLs in [\w. ]+: 3 stored, 1 failed \(1 http_status\), 1 refused\.", done.out)
    assert "bowerbird ls --status failed --batch " in done.out
    assert "Refused: ftp://x/\\x1b]0;owned\\x07" in done.out
    assert "\x07" not in done.out


async def test_ctrl_c_leaves_the_work_running_and_says_how_to_watch_it(pipeline: Pipeline, origin: Origin, tmp_path: Path) -> None:
    gate = asyncio.Event()
    url = origin.on("/a.png", held(gate, body(image("PNG"), "image/png")))
    base = pipeline.client.base_url
    async with terminal(base, "add", url, XDG_STATE_HOME=str(tmp_path)) as screen:
        await screen.shows("0 of 1")
        screen.types("\x03")
        done = await screen.ends()
    assert done.code == 130
    assert "goes on in the background" in done.out
    assert "Traceback" not in done.out
    hint = re.search(r"bowerbird watch ([0-9a-f]{32})", done.out)
    assert hint
    async with terminal(base, "watch", XDG_STATE_HOME=str(tmp_path)) as screen:
        await screen.shows("0 of 1")
        gate.set()
        again = await screen.ends()
    assert again.code == 0
    assert (await bowerbird(base, "watch", hint[1])).out.endswith(": 1 stored.\n")


async def test_what_is_pasted_goes_on_its_way_before_the_end_of_the_input(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.on("/a.png", body(image("PNG"), "image/png"))
    async with terminal(pipeline.client.base_url, "add", "-") as screen:
        await screen.shows("Ctrl-D")
        screen.types(f"{url}\n")
        await screen.shows("1 stored")
        screen.types("\x04")
        done = await screen.ends()
    assert done.code == 0


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here")
async def test_in_tmux_nothing_is_left_of_the_bar(pipeline: Pipeline, origin: Origin, tmp_path: Path) -> None:
    gate = asyncio.Event()
    urls = [origin.on(f"/{number}.png", held(gate, body(image("PNG", seed=number), "image/png"))) for number in range(3)]
    (tmp_path / "urls.txt").write_text("\n".join([*urls, origin.url("/missing")]))
    words = ["env", f"BOWERBIRD_URL={pipeline.client.base_url}", f"XDG_STATE_HOME={tmp_path}", sys.executable, "-m", "services", "add", "--file"]
    typed = f"cd {shlex.quote(str(ROOT))}; {shlex.join([*words, str(tmp_path / 'urls.txt')])}; echo ended with $?; sleep 100"
    name = f"bowerbird-{uuid.uuid4().hex[:12]}"

    async def tmux(*arguments: str) -> str:
        environ = {key: value for key, value in os.environ.items() if key != "TMUX"}
        # Not through the event loop: uvloop's children inherit its pipes, and tmux's server would keep them open.
        command = ["tmux", "-L", name, "-f", "/dev/null", *arguments]
        done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    async def shows(text: str) -> None:
        async def there() -> bool:
            return text in await tmux("capture-pane", "-p")

        await until(there)

    await tmux("new-session", "-d", "-x", "100", "-y", "30", "sh", "-c", typed)
    try:
        await shows("1 of 4")
        await shows("1 failed (1 http_status)")
        gate.set()
        await shows("ended with")
        lines = [line for line in (await tmux("capture-pane", "-p")).splitlines() if line]
    finally:
        gate.set()
        await tmux("kill-server")
    assert re.fullmatch(r"4 URLs in [\w. ]+: 3 stored, 1 failed \(1 http_status\)\.", lines[0])
    assert lines[1].startswith("What failed, and why: bowerbird ls --status failed --batch ")
    assert lines[2:] == ["ended with 1"]
