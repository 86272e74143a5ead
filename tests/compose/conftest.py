"""What every test of a stack begins with."""

from __future__ import annotations

import pytest

from tests.compose.stack import command
from tests.servers import docker_answers


@pytest.fixture
def compose() -> list[str]:
    """The command. Without an engine the test is skipped."""
    found = command()
    if found is None or not docker_answers():
        pytest.skip("needs a Docker engine that answers, and compose")
    return found
