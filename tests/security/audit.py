"""Known vulnerabilities of what is pinned: `python -m tests.security.audit requirements.lock`, a part of `make check`.

It asks the package index, by way of pip-audit. Where none can be reached, or one that knows nothing of vulnerabilities, it says so in one line and
lets the rest go on: a check must work offline too.
"""

from __future__ import annotations

import subprocess
import sys

import msgspec

IGNORED: dict[str, str] = {}
"""Vulnerabilities that no upgrade removes, by their id, each with the reason for which it does no harm here."""

SECONDS = 300
_UNREACHABLE = ("ConnectionError", "ProxyError", "Timeout", "SSLError", "ServiceError")


class _Vulnerability(msgspec.Struct):
    id: str
    aliases: list[str] = []
    fix_versions: list[str] = []


class _Dependency(msgspec.Struct):
    name: str
    version: str = ""
    vulns: list[_Vulnerability] = []
    skip_reason: str | None = None


class _Report(msgspec.Struct):
    dependencies: list[_Dependency]


def main(arguments: list[str]) -> int:
    """Audits lock files, each of which has a hash for everything. Returns the exit code: 1 for a vulnerability, or a failure that isn't the network's."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        *(f"--ignore-vuln={name}" for name in IGNORED),
    ]
    for argument in arguments:
        command += [argument] if argument.startswith("-") else ["--requirement", argument]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        line, code = _skipped("the package index did not answer in time"), 0
    else:
        line, code = judge(done.stdout, done.stderr)
    print(line)  # noqa: T201  (a command)
    return code


def judge(report: str, errors: str) -> tuple[str, int]:
    """What pip-audit's report, in JSON, and its errors come to: what to say, and the exit code."""
    try:
        dependencies = msgspec.json.decode(report, type=_Report).dependencies
    except msgspec.DecodeError:
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        if any(kind in errors for kind in _UNREACHABLE):
            return _skipped("no package index can be reached"), 0
        return f"pip-audit failed: {last}", 1
    found = [f"{dependency.name} {dependency.version}: {_describe(each)}" for dependency in dependencies for each in dependency.vulns]
    if found:
        return "\n".join(["Known vulnerabilities:", *found]), 1
    unknown = [dependency.name for dependency in dependencies if dependency.skip_reason]
    if len(unknown) == len(dependencies):
        return _skipped("the package index that can be reached knows none of the packages"), 0
    rest = f" (not known to the index: {', '.join(unknown)})" if unknown else ""
    return f"No known vulnerability in {len(dependencies) - len(unknown)} packages{rest}.", 0


def _describe(vulnerability: _Vulnerability) -> str:
    names = ", ".join([vulnerability.id, *vulnerability.aliases])
    return f"{names}; fixed in {', '.join(vulnerability.fix_versions) or 'no version'}"


def _skipped(why: str) -> str:
    return f"Vulnerabilities of the dependencies: not checked, since {why}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
