"""A fetcher may open what it needs, as far as the system lets it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("limits", "needed", "left", "warned"),
    [((64, 1000), 500, 500, False), ((64, 400), 500, 400, True), ((800, 1000), 500, 800, False)],
)
def test_the_limit_is_raised_to_what_is_needed(limits: tuple[int, int], needed: int, left: int, warned: bool) -> None:  # noqa: FBT001
    program = (
        "import logging, resource, sys; from services.fetcher.descriptors import raise_limit; logging.basicConfig(); "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, {limits}); raise_limit({needed}); print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(left), str(limits[1])]
    assert ("BOWERBIRD_FETCH_CONCURRENCY" in done.stderr) == warned
