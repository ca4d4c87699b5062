"""The dashboard and the alerts ask for what is emitted: each metric and each label, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from strongroom.integrations.opentelemetry_catalogue import METRICS
from tests.pages import ROOT
from tests.unit.telemetry_support import labels, seen
from tests.unit.test_cardinality import _run

GRAFANA = ROOT / "docs" / "grafana"
FROM_SCRAPING = {"job", "instance"}
"""Labels that Prometheus itself adds."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run of everything emits, as it is scraped from the SDK and from our own programs."""
    with seen(secret_names=["app/victim"]) as sdk:
        return _run(sdk, tmp_path_factory.mktemp("emitted"))


@pytest.fixture(scope="module")
def emitted(texts: dict[str, str]) -> dict[str, set[str]]:
    """The labels of each sample, by its name."""
    return labels(texts["sdk"])


def _dashboard() -> Any:
    return json.loads((GRAFANA / "strongroom.json").read_text())


def _queries() -> Iterator[tuple[str, str]]:
    """Where each query stands, and the query."""
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']!r}", target["expr"]
    for group in yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


QUERIES = dict.fromkeys(_queries())


def _walked(node: Any) -> Iterator[Any]:
    """An expression and all that it is made of."""
    yield node
    for inner in ("expr", "lhs", "rhs", "vector_selector"):
        below = getattr(node, inner, None)
        if below is not None and not isinstance(below, str):
            yield from _walked(below)
    for argument in getattr(node, "args", None) or ():
        yield from _walked(argument)


def _parsed(query: str) -> Any:
    return promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$job", ".*"))


def _selectors(query: str) -> list[Any]:
    return [node for node in _walked(_parsed(query)) if isinstance(node, promql_parser.VectorSelector)]


@pytest.mark.parametrize(("where", "query"), QUERIES)
def test_every_query_asks_for_what_is_emitted(where: str, query: str, emitted: dict[str, set[str]]) -> None:
    """Metrics, labels that are matched, and labels that are grouped by."""
    selectors = _selectors(query)
    assert selectors, where
    known: set[str] = set(FROM_SCRAPING)
    for selector in selectors:
        assert selector.name in emitted, f"{where} asks for {selector.name}"
        known |= emitted[selector.name]
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= emitted[selector.name] | FROM_SCRAPING, where
    grouped = {
        label
        for node in _walked(_parsed(query))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier
        for label in node.modifier.labels
    }
    assert grouped <= known, where


def test_what_is_matched_by_a_word_is_a_word_that_is_emitted(texts: dict[str, str]) -> None:
    """An outcome that was renamed would leave a panel empty, and nobody would know."""
    found: dict[tuple[str, str], set[str]] = {}
    for where in ("sdk", "worker"):
        for family in text_string_to_metric_families(texts[where]):
            for sample in family.samples:
                for label, text in sample.labels.items():
                    found.setdefault((sample.name, label), set()).add(text)
    for where, query in QUERIES:
        for selector in _selectors(query):
            for matcher in selector.matchers.matchers:
                if matcher.op == promql_parser.MatchOp.Equal:
                    assert matcher.value in found[selector.name, matcher.name], where


def test_legends_and_summaries_name_labels_that_survive_the_query() -> None:
    """`{{store}}` of a sum by another label is an empty word."""
    rules = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]
    texts = [(rule["annotations"]["summary"], rule["expr"]) for rule in rules]
    for panel in _dashboard()["panels"]:
        texts += [(target["legendFormat"], target["expr"]) for target in panel.get("targets", ())]
    for text, query in texts:
        named = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) - {"value"}
        kept = {label for listed in re.findall(r"by \(([^)]*)\)", query) for label in listed.split(", ")}
        assert named <= kept, query


def test_every_metric_has_a_panel() -> None:
    """Whoever adds one says what to see of it."""
    shown = " ".join(query for where, query in QUERIES if where.startswith("panel"))
    for metric in METRICS:
        name = metric.name + ("_bucket" if metric.kind == "histogram" else "")
        assert re.search(rf"\b{name}\b", shown), name


def test_the_catalogue_is_what_is_emitted(texts: dict[str, str]) -> None:
    """Names, kinds, labels and meanings: of the SDK, and of the text that workers and followers serve."""
    for where in ("sdk", "worker", "follower"):
        families = {one.name: one for one in text_string_to_metric_families(texts[where]) if one.samples}
        for metric in METRICS:
            family = families.pop(metric.name.removesuffix("_total"), None)
            if family is None and where != "sdk":
                continue  # of a store, or of a duty
            assert family, metric.name
            assert (family.type, family.documentation) == (metric.kind, metric.meaning)
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(metric.labels)
        assert not families


def test_what_the_code_yields_stands_in_the_catalogue() -> None:
    """A metric that is not there is never asked for."""
    places = [*(ROOT / "src").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    yielded = {
        name for place in places for name in re.findall(r'yield \(?\s*"(strongroom_\w+)"', place.read_text())
    }
    assert len(yielded) > 15
    assert yielded <= {metric.name for metric in METRICS}


def test_the_dashboard_is_well_formed() -> None:
    """Ids are its own, panels do not lie on each other, all take the data source that the user chooses."""
    board = _dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for first, second in combinations([panel["gridPos"] for panel in panels], 2):
        beside = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
        below = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
        assert beside or below
    graphs = [panel for panel in panels if panel["type"] != "row"]
    assert all(panel["title"] and panel["description"] for panel in graphs)
    assert {target["datasource"]["uid"] for panel in graphs for target in panel["targets"]} == {
        "${datasource}"
    }
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = {word for _, query in QUERIES for word in re.findall(r"\$(\w+)", query)}
    assert used <= {*variables, "__rate_interval"}


def test_alerts_tell_whom_and_what() -> None:
    """Each has a severity and a summary, and a name of its own."""
    rules = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert isinstance(_parsed(rule["expr"]), promql_parser.BinaryExpr)


def test_a_query_that_is_wrong_would_be_found(emitted: dict[str, set[str]]) -> None:
    """The checks above bite."""
    with pytest.raises(AssertionError):
        test_every_query_asks_for_what_is_emitted("x", "rate(strongroom_cache_read_total[5m])", emitted)
    with pytest.raises(AssertionError):
        test_every_query_asks_for_what_is_emitted(
            "x", 'sum by (backend) (strongroom_cache_entries{state="stale"})', emitted
        )
    with pytest.raises(ValueError, match="unclosed"):
        _parsed("sum by (strongroom_cache_entries")
