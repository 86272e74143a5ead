"""A known vulnerability fails the check; a machine without the internet doesn't."""

from __future__ import annotations

import json

import pytest

from tests.security.audit import judge

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": ["CVE-1"], "description": "x"}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def report(*dependencies: dict[str, object]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("dependencies", "said", "code"),
    [
        ([GOOD, GOOD], "No known vulnerability in 2 packages.", 0),
        ([GOOD, UNKNOWN], "No known vulnerability in 1 packages (not known to the index: c).", 0),
        ([UNKNOWN], "Vulnerabilities of the dependencies: not checked, since the package index that can be reached knows none of the packages.", 0),
        ([GOOD, BAD, UNKNOWN], "Known vulnerabilities:\nb 2: PYSEC-1, CVE-1; fixed in 3", 1),
    ],
)
def test_a_report_is_judged(dependencies: list[dict[str, object]], said: str, code: int) -> None:
    assert judge(report(*dependencies), "") == (said, code)


def test_without_a_network_it_is_skipped_in_one_line() -> None:
    said, code = judge("", "Traceback …\nrequests.exceptions.ConnectionError: Failed to resolve 'index.example'\n")
    assert (said, code) == ("Vulnerabilities of the dependencies: not checked, since no package index can be reached.", 0)


@pytest.mark.parametrize("errors", ["ERROR: no such file: requirements.lock\n", ""])
def test_another_failure_is_none_of_the_networks(errors: str) -> None:
    assert judge("", errors)[1] == 1
