"""The bench itself: that it counts what it says it counts."""

from __future__ import annotations

import asyncio
import io
import math
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from bench import crew, report
from bench.load import Part, load, request
from bench.measure import BenchError, Figure, Section, Table, percentile, ratios
from bench.origin import own_origin
from bench.photos import BYTES, LARGE, numbered
from bench.report import BEGIN, END, Results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


def figure(*runs: float, at_least: float | None = None, at_most: float | None = None) -> Figure:
    return Figure(name="f", unit="/s", runs=list(runs), how="", at_least=at_least, at_most=at_most)


def get(number: int) -> bytes:
    return request("GET", f"/{number}")


async def serve(answer: Callable[[int, asyncio.StreamWriter], Awaitable[None]]) -> asyncio.Server:
    served = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                served += 1
                await answer(served, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def go() -> None:
    """At once: the process that measures is this one."""


def test_the_median_and_the_goal_are_of_the_middle_run() -> None:
    assert figure(1, 100, 10).median == 10
    assert figure(8, 10, 12).spread == pytest.approx(0.4)
    assert [figure(9, at_least=10).met, figure(10, at_least=10).met, figure(11, at_most=10).met, figure(1).met] == [False, True, False, None]


def test_ratios_are_made_run_by_run() -> None:
    assert ratios([10, 30], [5, 10]) == [2, 3]
    with pytest.raises(ValueError, match="shorter"):
        ratios([10, 30], [5])


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(part: float, expected: float) -> None:
    assert percentile(range(100, 0, -1), part) == expected


@pytest.mark.parametrize("runs", [[], [math.nan], [math.inf]])
def test_what_was_not_measured_is_no_figure(runs: list[float]) -> None:
    with pytest.raises(BenchError, match="rate was not measured"):
        Section(name="s", title="S").add("rate", "/s", runs, how="")


@pytest.mark.parametrize("size", [size for size in BYTES if size != LARGE])
def test_photos_have_their_size_and_no_two_have_the_same_bytes(size: str) -> None:
    assert len(numbered(size, 7)) == BYTES[size]
    assert numbered(size, 7) != numbered(size, 8)
    with Image.open(io.BytesIO(numbered(size, 7))) as picture:
        picture.load()
        assert picture.format == "JPEG"


async def test_a_closed_loop_sends_each_request_once() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER[:20])  # an answer may come in pieces
        await asyncio.sleep(0)
        writer.write(ANSWER[20:])

    async with await serve(answer) as server:
        found = await load(port_of(server), get, range(100), expect=200, processes=2, connections=4)
        assert found.statuses == {200: 100}
        assert len(found.latencies) == 100


async def test_another_answer_than_the_expected_one_is_no_figure() -> None:
    async def answer(served: int, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER if served != 5 else ANSWER.replace(b"200", b"503"))

    async with await serve(answer) as server:
        with pytest.raises(BenchError, match="503: 1"):
            await load(port_of(server), get, range(10), expect=200, processes=1, connections=1)


async def test_an_open_loop_charges_a_stall_to_everybody_who_would_have_waited() -> None:
    async def answer(served: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5 if served == 1 else 0)
        writer.write(ANSWER)

    async with await serve(answer) as server:
        part = Part(port=port_of(server), request=get, numbers=range(50), connections=1, rate=100.0, seconds=20)
        latencies, statuses, _ = await part(go)
    assert statuses == {200: 50}
    # All 50 fell due within the half second in which the first was answered; a closed loop would have seen one slow answer.
    assert percentile(latencies, 0.5) > 0.2


async def test_an_open_loop_that_is_not_answered_in_time_is_no_figure() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(ANSWER)

    async with await serve(answer) as server:
        with pytest.raises(BenchError, match="of 100 requests that fell due"):
            await load(port_of(server), get, range(100), expect=200, processes=1, connections=1, rate=1000.0, seconds=0.5)


async def fails(_: crew.Go) -> int:
    raise ValueError("on purpose")


async def never_ends(go: crew.Go) -> int:
    await go()
    await asyncio.Event().wait()
    return 0


async def test_a_task_that_fails_or_never_ends_is_an_error() -> None:
    with pytest.raises(BenchError, match="failed"):
        await crew.together([fails], seconds=30)
    with pytest.raises(BenchError, match="not done within 2 s"):
        await crew.together([never_ends], seconds=2)


async def test_the_origin_of_our_own_serves_any_number(tmp_path: Path) -> None:
    async with own_origin(tmp_path, delay=0.05) as origin, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(origin.url("6 KB", 12))
        assert answer.content == numbered("6 KB", 12)
        assert answer.elapsed.total_seconds() >= 0.05
        assert (await client.get(origin.url("7 KB", 1))).status_code == 404


def test_what_people_wrote_in_the_document_stays(tmp_path: Path) -> None:
    document, path = tmp_path / "performance.md", tmp_path / "results.json"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    section = Section(name="browse", title="Browse", tables=[Table(title="t", header=["a"], rows=[["x | y"]])])
    section.add("10 documents, slowest kind of page, median", "ms", [1, 2, 3], how="h", at_most=1.5)
    section.skipped["host"] = "why not"
    report.write(Results(machine={"processor": "p"}, versions={}, sections={"browse": section}), path, document)
    written = document.read_text("utf-8")
    assert written.startswith(f"before\n{BEGIN}\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "old" not in written
    assert "| Browse | 10 documents, slowest kind of page, median | 2 ms | 100 % | at most 1.5 | **no** |" in written
    assert "why not" in written
    assert r"x \| y" in written
    assert "2.0 ms" in (tmp_path / "performance" / "browse.svg").read_text("utf-8")
    read = report.read(path)
    assert read
    assert read.sections["browse"]["10 documents, slowest kind of page, median"].runs == [1, 2, 3]
