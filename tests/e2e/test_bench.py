"""The quick form of `make bench`: every figure is obtained. How large they are means nothing on a machine that does other things too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.__main__ import SECTIONS, bench
from bench.report import text
from services.local.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

FIGURES = {
    "latency": {"POST to stored, median"},
    "end-to-end": {"80 KB: bowerbird", "80 KB: the machine's own limit", "80 KB: bowerbird / the machine's own limit"},
    "accept": {"single POSTs", "p99 at 1,000/s", "peak memory of the api"},
    "browse": {"GET /images/{id}, one api process", "slowest page / fastest page, of any kind and size", "worst p99 of any page"},
    "serve": {"content of 80 KB", "304", "chunks read for 1,000 bytes of 60 MiB"},
    "memory": {"peak memory of a api", "peak memory of a fetcher", "peak memory of a storer", "2 fetchers / 2 times one"},
}


@pytest.mark.usefixtures("running_servers")  # where there are none, none can be had for the bench either
async def test_every_figure_is_obtained(tmp_path: Path) -> None:
    try:
        results, complete = await bench(list(SECTIONS), tmp_path, tmp_path, quick=True)
    except StartError as error:
        pytest.skip(f"the bench has servers of its own, and they can't be had here: {error}")
    shown = text(results)
    assert complete, shown
    for name, figures in FIGURES.items():
        section = results.sections[name]
        assert figures <= {figure.name for figure in section.figures}, shown
        assert all(run > 0 for figure in section.figures for run in figure.runs), shown
    assert set(results.sections) == set(FIGURES)
