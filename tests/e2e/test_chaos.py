"""A short chaos run (`make chaos` is the long one): every kind of fault at least once, and nothing lost, doubled or left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.local.errors import StartError
from tests.chaos.__main__ import chaos
from tests.chaos.report import shown

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

SEED = 20261121
KINDS_OF_FAULTS = 6
"""Of thirteen; on a slow machine each takes longer, and the time is up sooner."""


@pytest.mark.usefixtures("running_servers")  # where there are none, there are none to break either
async def test_a_short_chaos_run_loses_nothing(tmp_path: Path) -> None:
    try:
        report = await chaos(seed=SEED, images=200, seconds=25, folder=tmp_path)
    except StartError as error:
        pytest.skip(f"the run breaks servers of its own, and they can't be had here: {error}")
    text = shown(report)
    assert report.clean, text
    tried = (report.pages, report.batches, report.refreshes, report.not_modified, report.submitted_again, report.reads, report.calls)
    assert all(tried), text
    assert len(report.faults) >= KINDS_OF_FAULTS, text
