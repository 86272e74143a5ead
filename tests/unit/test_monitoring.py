"""deploy/prometheus and deploy/grafana hold together, and every alert has its page in docs/operations.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest

from tests import monitoring
from tests.monitoring import Sample, Selector, grouped, selectors, unanswered

OPERATIONS = (monitoring.ROOT / "docs" / "operations.md").read_text("utf-8")
RULES = {rule["alert"]: rule for rule in monitoring.rules()}
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of Debian's package prometheus, isn't there")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("max(a_b) > 600", [("a_b", ())]),
        ("sum by (x, le) (rate(a[5m])) / on () b offset 5m", [("a", ()), ("b", ())]),
        ('a{x="1",y!~"b.+[.]in-.+|{z}"} unless on () (count(c) > 0)', [("a", (("x", "=", "1"), ("y", "!~", "b.+[.]in-.+|{z}"))), ("c", ())]),
        ('histogram_quantile(0.99, sum by (le) (rate(a_bucket{p=~"\\"}"}[$__rate_interval]))) or vector(0)', [("a_bucket", (("p", "=~", '\\"}'),))]),
    ],
)
def test_the_metrics_of_an_expression_are_found(expression: str, expected: list[tuple[str, tuple[tuple[str, str, str], ...]]]) -> None:
    assert selectors(expression) == [Selector(*one) for one in expected]


def test_the_labels_by_which_an_expression_groups_are_found() -> None:
    assert grouped("sum by (le, queue) (rate(a[5m])) / on (job) b") == {"le", "queue", "job"}


@pytest.mark.parametrize(("operator", "value"), [("=", "b"), ("!=", "a"), ("=~", "a|b"), ("!~", "a.*")])
def test_a_selector_selects_what_has_its_labels(operator: str, value: str) -> None:
    assert Selector("m", (("x", operator, value),)).selects(Sample("m", {"x": "b"}))
    assert not Selector("m", (("x", operator, value),)).selects(Sample("n", {"x": "b"}))
    assert not Selector("m", (("x", operator, value),)).selects(
        Sample("m", {"x": "aa"} if operator == "!~" else {"x": "a" if operator == "!=" else "c"})
    )


def test_what_nothing_answers_is_said() -> None:
    assert any("bowerbird_dead_letters" in missing for missing in unanswered([]))


def test_every_alert_has_a_name_of_its_own_a_severity_a_summary_and_its_page() -> None:
    assert max(Counter(rule["alert"] for rule in monitoring.rules()).values()) == 1
    headings = re.findall(r"^### (\w+)$", OPERATIONS.partition("\n## Alerts\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert headings == list(RULES)
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule["for"]


@pytest.mark.parametrize("name", RULES)
def test_the_page_of_an_alert_says_what_it_means_how_to_see_why_and_what_to_do(name: str) -> None:
    page = OPERATIONS.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    for heading in ("**It means**", "**See why**", "**Do**"):
        assert heading in page


def test_the_pages_name_only_metrics_that_some_expression_or_the_code_has() -> None:
    known = (monitoring.ROOT / "shared" / "metrics.py").read_text("utf-8") + (
        monitoring.ROOT / "services" / "api" / "monitoring" / "figures.py"
    ).read_text("utf-8")
    for metric in re.findall(r"`bowerbird_(\w+?)`", OPERATIONS):
        assert re.search(rf'"(bowerbird_)?{metric.removesuffix("_total")}(_total)?"', known), metric


def test_panels_have_titles_explanations_and_a_place_of_their_own() -> None:
    places: dict[str, set[tuple[int, int]]] = {}
    for dashboard, panel in monitoring.panels():
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith(".")
        place = panel["gridPos"]
        taken = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & places.setdefault(dashboard, set()), panel["title"]
        assert max(x for x, _ in taken) < 24
        places[dashboard] |= taken
    assert set(places) == {"overview", "broker", "database"}


@PROMTOOL
@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")], ids=" ".join
)
def test_prometheus_takes_it(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=monitoring.PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@PROMTOOL
def test_prometheus_can_read_every_query() -> None:
    expressions = [query.expression.replace("$__rate_interval", "5m") for query in monitoring.queries()]
    rules = "".join(f"  - record: a\n    expr: |-\n      {expression}\n    labels: {{number: '{i}'}}\n" for i, expression in enumerate(expressions))
    done = subprocess.run(
        ["promtool", "check", "rules", "/dev/stdin"], input=f"groups:\n- name: all\n  rules:\n{rules}", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
