"""Dashboards and alert rules as they are deployed: what they ask Prometheus for, and whether a scrape has it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"

_TOKEN = re.compile(
    r"""(?P<labels>\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\})|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\((?P<by>[^)]*)\)|(?<![\w.])(?P<name>[a-zA-Z_:][\w:]*)(?P<call>\s*\()?"""
)
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "sum", "min", "max", "avg", "count"})
OF_PROMETHEUS = frozenset({"up", "ALERTS"})
"""What it makes itself."""


class Selector(NamedTuple):
    """A metric and what its labels must be: (label, operator, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, sample: Sample) -> bool:
        """Whether a sample is among what it asks for."""
        return sample.name == self.metric and all(_matches(sample.labels.get(label, ""), operator, value) for label, operator, value in self.matchers)


class Sample(NamedTuple):
    """A sample of a scrape, with the label that Prometheus adds for the job."""

    name: str
    labels: dict[str, str]
    value: float = 0.0


class Query(NamedTuple):
    """An expression, and where it stands."""

    where: str
    expression: str


def _matches(value: str, operator: str, wanted: str) -> bool:
    found = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
    return found != operator.startswith("!")


def selectors(expression: str) -> list[Selector]:
    """The metrics that an expression names."""
    found: list[Selector] = []
    for token in _TOKEN.finditer(expression):
        if token["name"] and not token["call"] and token["name"] not in _WORDS:
            found.append(Selector(token["name"], ()))
        elif token["labels"]:
            found[-1] = Selector(found[-1].metric, tuple((label, operator, value) for label, operator, value in _MATCHER.findall(token["labels"])))
    return found


def grouped(expression: str) -> set[str]:
    """The labels by which an expression groups."""
    return {label.strip() for token in _TOKEN.finditer(expression) if token["by"] for label in token["by"].split(",")}


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def jobs() -> list[str]:
    """The names of what is scraped."""
    return [job["job_name"] for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))["scrape_configs"]]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel of every dashboard, with the dashboard's name."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            yield path.stem, panel


def queries() -> list[Query]:
    """Every expression of the dashboards and the rules."""
    drawn = [Query(f"{name}: {panel['title']}", target["expr"]) for name, panel in panels() for target in panel.get("targets", ())]
    return drawn + [Query(f"alert: {rule['alert']}", rule["expr"]) for rule in rules()]


def samples(text: str, job: str) -> list[Sample]:
    """What a scrape says. Raises ValueError when it isn't Prometheus' text format."""
    return [
        Sample(sample.name, {**sample.labels, "job": job}, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def unanswered(scraped: list[Sample]) -> list[str]:
    """The expressions for which there is nothing in a scrape, and what it is that they miss."""
    by_name: dict[str, list[Sample]] = {}
    for sample in scraped:
        by_name.setdefault(sample.name, []).append(sample)
    missing = []
    for query in queries():
        asked = [selector for selector in selectors(query.expression) if selector.metric not in OF_PROMETHEUS]
        missing += [
            f"{query.where}: {selector}" for selector in asked if not any(selector.selects(sample) for sample in by_name.get(selector.metric, ()))
        ]
        labels = {label for selector in asked for sample in by_name.get(selector.metric, ()) for label in sample.labels}
        missing += [f"{query.where}: the label {label}" for label in grouped(query.expression) - labels - {"job", "instance"}]
    return missing
