"""What a chaos run saw, and how it is shown."""

from __future__ import annotations

from collections import Counter

import msgspec


class Report(msgspec.Struct, kw_only=True):
    """What happened. Times are in seconds.

    `found` are images that only pages have; `lost` counts what was accepted and isn't as it should be, each with a violation that says how.
    """

    seed: int
    submitted: int
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    repeated_messages: int = 0
    requests: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    accepted: int = 0
    found: int = 0
    large: int = 0
    pages: int = 0
    batches: int = 0
    refreshes: int = 0
    not_modified: int = 0
    deleted: int = 0
    submitted_again: int = 0
    reads: int = 0
    reads_refused: Counter[str] = msgspec.field(default_factory=Counter)
    calls: int = 0
    calls_repeated: int = 0
    calls_turned_away: int = 0
    awaited_calls: int = 0
    stored: int = 0
    failed: int = 0
    expanded: int = 0
    lost: int = 0
    duplicated: int = 0
    unreadable: int = 0
    untold: int = 0
    longest_recovery: float = 0.0
    longest_recovery_after: str = ""
    settled_after_last_fault: float = 0.0
    duration: float = 0.0
    violations: list[str] = []

    @property
    def clean(self) -> bool:
        """Whether everything that was accepted ended as it should have, and nothing is left over."""
        ended = self.stored + self.failed + self.expanded + self.deleted - self.submitted_again
        whole = self.accepted == self.submitted and ended == self.accepted + self.found
        return whole and not (self.violations or self.lost or self.duplicated or self.unreadable or self.untold)


def shown(report: Report) -> str:
    """The report as text."""
    faults = "\n".join(f"  {count:>4}  {name}" for name, count in sorted(report.faults.items()))
    violations = "\n".join(f"  {violation}" for violation in report.violations[:50]) or "  none"
    return f"""\
chaos, seed {report.seed}, {report.duration:g} s
faults injected
{faults}
  {report.repeated_messages:>4}  message published twice
accepted          {report.accepted:>6}   of {report.submitted} URLs ({report.requests} requests; refused or broken, and sent again: {_counts(report.refused)})
  large           {report.large:>6}   1.5 to 5 MiB each
  pages           {report.pages:>6}   with {report.found} images that nobody else submitted
  in batches      {report.batches:>6}   batches with an Idempotency-Key
  refreshed       {report.refreshes:>6}   times, {report.not_modified} x 304
  deleted         {report.deleted:>6}   of which {report.submitted_again} were submitted again
read meanwhile    {report.reads:>6}   times what was being refreshed; broken or refused: {_counts(report.reads_refused)}
called back       {report.calls:>6}   times, {report.calls_repeated} of them again, {report.calls_turned_away} turned away with a 503; {report.awaited_calls} outcomes were to be told
stored            {report.stored:>6}
failed            {report.failed:>6}
expanded          {report.expanded:>6}
lost              {report.lost:>6}
duplicated        {report.duplicated:>6}
unreadable        {report.unreadable:>6}
untold            {report.untold:>6}
longest recovery  {report.longest_recovery:>6.1f} s, after {report.longest_recovery_after}
all settled       {report.settled_after_last_fault:>6.1f} s after the last fault
violations
{violations}
"""


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counter.items())) or "none"
