"""What a measurement is: a name, a unit, and a figure from each run; median and spread are made of those."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class BenchError(Exception):
    """A measurement that can't be had, or that would be wrong: the message says why."""


class Figure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A quantity, measured once a run. `how` says what was done; `at_least` and `at_most` are the goal for the median, if there is one."""

    name: str
    unit: str
    runs: list[float]
    how: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """The middle run."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> float:
        """From the least to the greatest run, as a part of the median."""
        return (max(self.runs) - min(self.runs)) / self.median if self.median else 0.0

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most


class Table(msgspec.Struct, kw_only=True):
    """Details too many to be figures of their own."""

    title: str
    header: list[str]
    rows: list[list[str]]


class Section(msgspec.Struct, kw_only=True):
    """Everything that one file of the bench has measured. `skipped` says by name what wasn't, and why."""

    name: str
    title: str
    command: str = ""
    measured_at: str = ""
    commit: str = ""
    load_before: float = 0.0
    seconds: float = 0.0
    figures: list[Figure] = msgspec.field(default_factory=list)
    tables: list[Table] = msgspec.field(default_factory=list)
    skipped: dict[str, str] = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)

    def add(self, name: str, unit: str, runs: Sequence[float], *, how: str, at_least: float | None = None, at_most: float | None = None) -> None:
        """Add a figure. Raises BenchError if it is none: no run, or a run that isn't a number."""
        if not runs or not all(math.isfinite(run) for run in runs):
            raise BenchError(f"{name} was not measured: {list(runs)}")
        self.figures.append(Figure(name=name, unit=unit, runs=list(runs), how=how, at_least=at_least, at_most=at_most))

    def __getitem__(self, name: str) -> Figure:
        """The figure of a name. Raises KeyError."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Run by run, since what disturbs a machine disturbs what is measured side by side."""
    return [this / that for this, that in zip(these, those, strict=True)]


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values are. Raises BenchError without any."""
    if not values:
        raise BenchError("nothing was answered")
    return sorted(values)[min(len(values) - 1, math.ceil(part * len(values)) - 1)]
