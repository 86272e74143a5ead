"""The images that compose.yaml and the Dockerfile are made of, by what they are.

python -m tests.compose.images    prints python=python:… rabbitmq=rabbitmq:… and so on, but not what has no part in the tests
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_TESTED = "grafana"


def images() -> dict[str, str]:
    """Their names, by the last part of the name without its tag."""
    [python] = re.findall(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    named = re.findall(r"^ +image: (\S+)$", (ROOT / "compose.yaml").read_text("utf-8"), re.MULTILINE)
    others = {name.rpartition("/")[2].partition(":")[0]: name for name in named if not name.startswith("bowerbird:")}
    return {"python": python, **others}


if __name__ == "__main__":
    print(*(f"{short}={name}" for short, name in images().items() if short != NOT_TESTED))  # noqa: T201
