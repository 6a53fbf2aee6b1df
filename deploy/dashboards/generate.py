"""The dashboard of sluice, written by code: `python -m deploy.generate` writes it to `sluice.json` beside this file.

Plain dictionaries and no builder library: the dashboard is a dozen panels of two kinds, a library would be one more
pinned dependency that follows Grafana's releases, and the JSON model written here (schema version 39) is read by
Grafana 10 and later. Panel ids are fixed by hand, because alerts link to them. Descriptions begin with the metric's
own help text, so that they cannot drift from the code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streams.metrics import REGISTRY

UID = "sluice"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
JOB = 'job="$job"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression and how its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. `number` is its id for good; `worry` draws a line where the alert on it begins."""

    number: int
    title: str
    unit: str
    queries: Sequence[Query]
    metric: str = ""
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    worry: float | None = None

    @property
    def description(self) -> str:
        return " ".join(part for part in (help_text(self.metric) if self.metric else "", self.about) if part)


def help_text(metric: str) -> str:
    """The help text of a metric, by its full name."""
    for family in REGISTRY.collect():
        if metric in {family.name, f"{family.name}_total"}:
            return family.documentation
    raise KeyError(metric)


def rate(metric: str, by: str, matchers: str = "", per: str = "") -> str:
    """Sum over processes of a counter's rate, per second unless `per` multiplies it."""
    inner = f"{JOB}, {matchers}" if matchers else JOB
    return f"sum by ({by}) (rate({metric}{{{inner}}}[$__rate_interval])){per}"


def day_ratio(what: str, one: str, other: str) -> str:
    """Per policy, how many of `other` were `one` in the last day."""
    parts = (f"sum by (policy) (increase(sluice_quality_{what}_total{{{JOB}, {each}}}[1d]))" for each in (one, other))
    return " / ".join(parts)


ROWS: Sequence[tuple[int, str, Sequence[Panel]]] = (
    (
        1,
        "Is it alive?",
        (
            Panel(
                number=10,
                title="Age of heard-until per stream",
                unit="s",
                width=12,
                worry=300,
                metric="sluice_heard_until_timestamp_seconds",
                about="Shown as age: about 30 s when all is well. A stream that was never heard is left out.",
                queries=[
                    Query(
                        expr=f"time() - (max by (stream) (sluice_heard_until_timestamp_seconds{{{JOB}}}) > 0)",
                        legend="{{stream}}",
                    )
                ],
            ),
            Panel(
                number=11,
                title="Messages from the source",
                unit="cps",
                metric="sluice_records_total",
                about="Only what the source took in: about 20 a second for all wikis. A flat zero is a silent source.",
                queries=[
                    Query(
                        expr=rate("sluice_records_total", "outcome", 'step="source", outcome!="out"'),
                        legend="{{outcome}}",
                    )
                ],
            ),
            Panel(
                number=12,
                title="Processes that answer",
                unit="none",
                width=2,
                kind="stat",
                about="Targets of this job that Prometheus could scrape.",
                queries=[Query(expr=f"sum(up{{{JOB}}})", legend="up")],
            ),
            Panel(
                number=13,
                title="Alerts",
                unit="none",
                width=2,
                kind="stat",
                about="Alerts of sluice that fire now. The watchdog always does and is not counted.",
                queries=[
                    Query(
                        expr=(
                            'count(ALERTS{alertname=~"Sluice.+", alertname!="SluiceWatchdog", alertstate="firing"})'
                            " or vector(0)"
                        ),
                        legend="firing",
                    )
                ],
            ),
        ),
    ),
    (
        2,
        "Does it keep up?",
        (
            Panel(
                number=20,
                title="Records per step",
                unit="cps",
                width=12,
                metric="sluice_records_total",
                queries=[
                    Query(
                        expr=rate("sluice_records_total", "step, outcome", 'outcome=~"in|out|repeat"'),
                        legend="{{step}} {{outcome}}",
                    )
                ],
            ),
            Panel(
                number=21,
                title="Lag per step",
                unit="s",
                width=12,
                worry=60,
                metric="sluice_consumer_lag_seconds",
                queries=[
                    Query(expr=f"max by (step) (sluice_consumer_lag_seconds{{{JOB}}})", legend="{{step}}"),
                ],
            ),
            Panel(
                number=22,
                title="Age of the newest finished record",
                unit="s",
                width=12,
                metric="sluice_last_event_timestamp_seconds",
                about="Shown as age. A line that climbs by a second a second is a step that stands still.",
                queries=[
                    Query(
                        expr=f"time() - (max by (step) (sluice_last_event_timestamp_seconds{{{JOB}}}) > 0)",
                        legend="{{step}}",
                    )
                ],
            ),
            Panel(
                number=23,
                title="Time for one batch",
                unit="s",
                width=12,
                worry=1,
                metric="sluice_step_duration_seconds",
                queries=[
                    Query(
                        expr=f"histogram_quantile({q}, {rate('sluice_step_duration_seconds_bucket', 'step, le')})",
                        legend="{{step}} " + name,
                    )
                    for q, name in ((0.5, "middle"), (0.95, "95 %"))
                ],
            ),
        ),
    ),
    (
        3,
        "What is decided?",
        (
            Panel(
                number=30,
                title="Decisions by state and reason",
                unit="cps",
                width=12,
                metric="sluice_decisions_total",
                queries=[
                    Query(expr=rate("sluice_decisions_total", "state, reason"), legend="{{state}} {{reason}}"),
                ],
            ),
            Panel(
                number=31,
                title="Edits that wait",
                unit="short",
                width=12,
                metric="sluice_gate_pending_edits",
                about="The rate of edits times the longest hold, when all is well; a staircase up is a stopped clock.",
                queries=[
                    Query(expr=f"sum(sluice_gate_pending_edits{{{JOB}}})", legend="pending edits"),
                    Query(expr=f"sum(sluice_gate_pages{{{JOB}}})", legend="pages held"),
                ],
            ),
            Panel(
                number=32,
                title="Content API requests",
                unit="reqps",
                width=12,
                metric="sluice_content_requests_total",
                queries=[Query(expr=rate("sluice_content_requests_total", "outcome"), legend="{{outcome}}")],
            ),
            Panel(
                number=33,
                title="Content API answers",
                unit="cps",
                width=12,
                metric="sluice_content_answers_total",
                queries=[Query(expr=rate("sluice_content_answers_total", "answer"), legend="{{answer}}")],
            ),
        ),
    ),
    (
        5,
        "How good is it?",
        (
            Panel(
                number=50,
                title="Protection per policy, over a day",
                unit="percentunit",
                metric="sluice_quality_edits_total",
                about="Beside it what the policy promises.",
                queries=[
                    Query(
                        expr=day_ratio("edits", 'outcome="kept_away"', 'outcome=~"kept_away|retracted"'),
                        legend="{{policy}}",
                    ),
                    Query(
                        expr=f"max by (policy) (sluice_quality_promised_protection_ratio{{{JOB}}})",
                        legend="{{policy}} promises",
                    ),
                ],
            ),
            Panel(
                number=51,
                title="Leak and exposure per policy, over a day",
                unit="percentunit",
                metric="sluice_quality_seconds_total",
                about="Leak: of what went out, what was bad. Young edits may still turn out bad.",
                queries=[
                    Query(
                        expr=day_ratio("edits", 'outcome="retracted"', 'outcome="released"'),
                        legend="{{policy}} leak",
                    ),
                    Query(
                        expr=day_ratio("seconds", 'what="exposed"', 'what="stood"'),
                        legend="{{policy}} exposure",
                    ),
                ],
            ),
            Panel(
                number=52,
                title="How long the retracted had been out",
                unit="s",
                metric="sluice_quality_retraction_lag_seconds",
                about="Over a day.",
                queries=[
                    Query(
                        expr=(
                            f"histogram_quantile({q}, sum by (policy, le) "
                            f"(increase(sluice_quality_retraction_lag_seconds_bucket{{{JOB}}}[1d])))"
                        ),
                        legend="{{policy}} " + name,
                    )
                    for q, name in ((0.5, "middle"), (0.99, "99 %"))
                ],
            ),
        ),
    ),
    (
        4,
        "What goes wrong?",
        (
            Panel(
                number=40,
                title="Dead letters per minute",
                unit="short",
                metric="sluice_dead_letters_total",
                queries=[
                    Query(
                        expr=rate("sluice_dead_letters_total", "step, reason", per=" * 60 > 0 or vector(0)"),
                        legend="{{step}} {{reason}}",
                    )
                ],
            ),
            Panel(
                number=41,
                title="Ended connections per minute",
                unit="short",
                worry=1,
                metric="sluice_source_reconnects_total",
                queries=[
                    Query(expr=rate("sluice_source_reconnects_total", "reason", per=" * 60"), legend="{{reason}}"),
                ],
            ),
            Panel(
                number=42,
                title="Producers made anew per minute",
                unit="short",
                worry=1,
                metric="sluice_producer_rebuilds_total",
                queries=[
                    Query(expr=rate("sluice_producer_rebuilds_total", "step", per=" * 60"), legend="{{step}}"),
                ],
            ),
            Panel(
                number=44,
                title="Parsing processes lost per hour",
                unit="short",
                width=12,
                worry=1.5,
                metric="sluice_parsers_lost_total",
                queries=[
                    Query(expr=rate("sluice_parsers_lost_total", "reason", per=" * 3600"), legend="{{reason}}"),
                ],
            ),
            Panel(
                number=45,
                title="Circuit breaker of the content sources",
                unit="percentunit",
                width=12,
                metric="sluice_content_breaker_state",
                about="Shown: the share of fetching processes in each state other than closed.",
                queries=[
                    Query(
                        expr=(
                            f'avg by (source, state) (sluice_content_breaker_state{{{JOB}, state=~"open|half_open"}})'
                        ),
                        legend="{{source}} {{state}}",
                    ),
                ],
            ),
            Panel(
                number=46,
                title="Spans that the source lost, over a day",
                unit="short",
                width=12,
                metric="sluice_source_gaps_total",
                queries=[
                    Query(
                        expr=f"sum by (stream) (increase(sluice_source_gaps_total{{{JOB}}}[1d]))", legend="{{stream}}"
                    ),
                ],
            ),
            Panel(
                number=43,
                title="Versions",
                unit="none",
                width=24,
                kind="stat",
                metric="sluice_build_info",
                about="Shown: how many processes run each. More than one version is a rollout under way.",
                queries=[
                    Query(
                        expr=f"count by (version, python) (sluice_build_info{{{JOB}}})",
                        legend="sluice {{version}}, Python {{python}}",
                    )
                ],
            ),
        ),
    ),
)


def render() -> str:
    """The dashboard as JSON text: the same bytes for the same code."""
    panels: list[dict[str, Any]] = []
    top = 0
    for number, title, row in ROWS:
        panels.append(
            {"collapsed": False, "gridPos": _place(0, top, WIDTH, 1), "id": number, "panels": [], "title": title}
            | {"type": "row"}
        )
        top += 1
        left = 0
        for panel in row:
            if left + panel.width > WIDTH:
                left, top = 0, top + 8
            panels.append(_panel(panel, _place(left, top, panel.width, 8)))
            left += panel.width
        top += 8
    dashboard = {
        "annotations": {"list": [_alert_marks()]},
        "description": "One line from the source to the partner: alive, keeping up, deciding, going wrong.",
        "editable": True,
        "graphTooltip": 1,
        "id": None,
        "links": [],
        "panels": panels,
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["sluice"],
        "templating": {"list": [_datasource_choice(), _job_choice()]},
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "title": "sluice",
        "uid": UID,
        "version": 1,
    }
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"h": height, "w": width, "x": left, "y": top}


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.worry is not None:
        steps.append({"color": "red", "value": panel.worry})
    defaults: dict[str, Any] = {"min": 0, "thresholds": {"mode": "absolute", "steps": steps}, "unit": panel.unit}
    if panel.kind == "timeseries":
        line = "line" if panel.worry is not None else "off"
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "thresholdsStyle": {"mode": line}}
        options: dict[str, Any] = {
            "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"colorMode": "value", "reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    return {
        "datasource": DATASOURCE,
        "description": panel.description,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": place,
        "id": panel.number,
        "options": options,
        "targets": [
            {
                "datasource": DATASOURCE,
                "expr": query.expr,
                "instant": panel.kind == "stat",
                "legendFormat": query.legend,
                "range": panel.kind != "stat",
                "refId": chr(ord("A") + place_in_panel),
            }
            for place_in_panel, query in enumerate(panel.queries)
        ],
        "title": panel.title,
        "type": panel.kind,
    }


def _alert_marks() -> dict[str, Any]:
    return {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": 'ALERTS{alertname=~"Sluice.+", alertname!="SluiceWatchdog", alertstate="firing"}',
        "iconColor": "red",
        "name": "alerts",
        "titleFormat": "{{alertname}}",
    }


def _datasource_choice() -> dict[str, Any]:
    return {"label": "Prometheus", "name": "datasource", "query": "prometheus", "type": "datasource"}


def _job_choice() -> dict[str, Any]:
    return {
        "current": {"text": "sluice", "value": "sluice"},
        "datasource": DATASOURCE,
        "definition": "label_values(sluice_build_info, job)",
        "label": "Job",
        "name": "job",
        "query": {"query": "label_values(sluice_build_info, job)", "refId": "jobs"},
        "refresh": 2,
        "type": "query",
    }
