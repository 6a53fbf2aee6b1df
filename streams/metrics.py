"""Every metric of sluice. The help text says when to worry; labels are closed sets."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from processors.pace import BreakerState
from processors.quality import promised
from schemas.enriched import ContentAbsent
from schemas.event import READABLE
from schemas.policy import Policy
from schemas.reasons import Answer, Bar, SetAside, State, Step
from streams.settings import Settings

# A second series for each counter, which says when it was made: nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's
REGISTRY = CollectorRegistry(auto_describe=True)
STREAMS = tuple(READABLE)

RECORDS = Counter(
    "sluice_records_total",
    "Records a step took in (in), wrote (out), knew already (repeat), dropped as canary, as outside SLUICE_WIKIS or as "
    "a recent change that nothing needs; of what it wrote, what the source never sent (reconciled). "
    "Worry when `in` stands still while the source is not silent.",
    labelnames=("step", "outcome"),
    registry=REGISTRY,
)
OUTCOMES = ("in", "out", "repeat", "canary", "other_wiki", "not_needed", "reconciled")

DEAD_LETTERS = Counter(
    "sluice_dead_letters_total",
    "Messages sent to the dead-letter topic. Alert on any sustained rate.",
    labelnames=("step", "reason"),
    registry=REGISTRY,
)
DECISIONS = Counter(
    "sluice_decisions_total",
    "Decisions of the gate by state and reason (empty for releases). Worry when releases stop while records come in.",
    labelnames=("state", "reason"),
    registry=REGISTRY,
)
PROTECT_CHOICES = Counter(
    "sluice_protect_decisions_total",
    "Decisions whose hold was learned, by whose cases: the edit's own stratum (own), or as that has too few, of its "
    "class of editors, of pages as active, of its wiki, of all wikis, of nobody yet (none). Worry when `none` stays.",
    labelnames=("curve",),
    registry=REGISTRY,
)
CURVES = ("own", "editor_class", "activity", "wiki", "all", "none")
LEARNED_HOLD = Gauge(
    "sluice_learned_hold_seconds",
    "The hold that was learned for a policy and stratum, before the bounds of its rule; of the fifty strata with the "
    "most cases. Worry when it doubles within a day: bad edits are undone later, or a way of undoing is not heard.",
    labelnames=("policy", "stratum"),
    registry=REGISTRY,
)
LEARNED_CASES = Gauge(
    "sluice_learned_cases",
    "From how many undone edits that hold was learned.",
    labelnames=("policy", "stratum"),
    registry=REGISTRY,
)
CONTENT_ANSWERS = Counter(
    "sluice_content_answers_total",
    "What the content API said about revisions. Worry about any sha1_mismatch and a rising share of unavailable.",
    labelnames=("answer",),
    registry=REGISTRY,
)
CONTENT_REQUESTS = Counter(
    "sluice_content_requests_total",
    "Requests to the content API by outcome. Worry when throttled or failed is more than a tenth of all.",
    labelnames=("outcome",),
    registry=REGISTRY,
)
REQUEST_OUTCOMES = ("ok", "throttled", "failed", "not_json")

BREAKER = Gauge(
    "sluice_content_breaker_state",
    "1 for the state of a content source's circuit breaker: closed, open, half_open. Worry if it is open for minutes.",
    labelnames=("source", "state"),
    registry=REGISTRY,
)
CONTENT_SOURCES = ("content", "fallback")

RECONNECTS = Counter(
    "sluice_source_reconnects_total",
    "Connections to the source that ended, by reason. A few an hour are normal; worry above one a minute.",
    labelnames=("reason",),
    registry=REGISTRY,
)
RECONNECT_REASONS = (
    "end", "cut", "idle", "refused", "garbage", "error_event", "age", "rewind", "switch", "not_offered",
)  # fmt: skip
GAPS = Counter(
    "sluice_source_gaps_total",
    "Spans that the source no longer had when we wanted to read on, per stream. Alert on any: what waits and needs the "
    "stream is withheld.",
    labelnames=("stream",),
    registry=REGISTRY,
)
SOURCE_CIRCUIT = Gauge(
    "sluice_source_circuit",
    "State of the circuit to each endpoint of the source: 1 for the state it is in. Worry when the one that is asked "
    "is open: nothing comes.",
    labelnames=("endpoint", "state"),
    registry=REGISTRY,
)
CIRCUIT_STATES = ("closed", "half_open", "open")
SOURCE_ENDPOINT = Gauge(
    "sluice_source_endpoint",
    "The endpoint of the source that is asked: 1. Worry when it is the fallback for more than an hour.",
    labelnames=("endpoint",),
    registry=REGISTRY,
)
ENDPOINTS = ("primary", "fallback")
ERASED = Counter(
    "sluice_erased_total",
    "What was written to erase what was hidden: skeletons in the log, tombstones on content and on releases, dead "
    "letters without their bytes, proofs. A proof for each hiding; worry when hidings come and proofs do not.",
    labelnames=("what",),
    registry=REGISTRY,
)
ERASED_BY = ("skeleton", "tombstone", "release", "letter", "proof")
SCHEMA_DRIFT = Counter(
    "sluice_schema_drift_total",
    "Events with a newer minor version of their schema than we know; they are read all the same. Look at what is new.",
    labelnames=("stream",),
    registry=REGISTRY,
)

PARSERS_LOST = Counter(
    "sluice_parsers_lost_total",
    "Parsing processes lost with a page: at the deadline, out of memory, or crashed. A page of which two were "
    "lost has no content. Worry above one an hour.",
    labelnames=("reason",),
    registry=REGISTRY,
)
LOST_REASONS = (ContentAbsent.DEADLINE, ContentAbsent.MEMORY, ContentAbsent.CRASH)

REBUILDS = Counter(
    "sluice_producer_rebuilds_total",
    "Kafka producers that stuck or were fenced and were made anew. Worry above one a minute: two owners, or no broker.",
    labelnames=("step",),
    registry=REGISTRY,
)
HEARD_UNTIL = Gauge(
    "sluice_heard_until_timestamp_seconds",
    "Per stream, the event time up to which everything is believed heard. Worry when it falls behind: nothing that "
    "needs the stream is released meanwhile.",
    labelnames=("stream",),
    registry=REGISTRY,
)
LAST_EVENT = Gauge(
    "sluice_last_event_timestamp_seconds",
    "Event time of the newest record a step has finished; time() minus it is the step's age.",
    labelnames=("step",),
    registry=REGISTRY,
)
LAG_SECONDS = Gauge(
    "sluice_consumer_lag_seconds",
    "Age of the oldest record a step has not finished, by broker time; 0 when it has caught up. Worry above 60.",
    labelnames=("step",),
    registry=REGISTRY,
)
QUALITY_EDITS = Counter(
    "sluice_quality_edits_total",
    "Edits per policy: released, superseded, kept_away (withheld because another undid, deleted or hid it), withheld "
    "(for another reason), retracted. Protection is kept_away / (kept_away + retracted), leak is retracted / released.",
    labelnames=("policy", "outcome"),
    registry=REGISTRY,
)
QUALITY_OUTCOMES = ("released", "superseded", "kept_away", "withheld", "retracted")
QUALITY_SECONDS = Counter(
    "sluice_quality_seconds_total",
    "Event time per policy: stood (bad text until it was undone), exposed (of that, while it was out here), waited "
    "(what was released, until then). Time-weighted exposure is exposed / stood.",
    labelnames=("policy", "what"),
    registry=REGISTRY,
)
QUALITY_TIMES = ("stood", "exposed", "waited")
QUALITY_LAG = Histogram(
    "sluice_quality_retraction_lag_seconds",
    "How long what was retracted had been out, in event time.",
    labelnames=("policy",),
    buckets=(60, 3600, 21_600, 86_400, 604_800),
    registry=REGISTRY,
)
QUALITY_PROMISED = Gauge(
    "sluice_quality_promised_protection_ratio",
    "The protection that a fixed window as long as the policy's last rule gave on busy enwiki pages, 0 to 1. Worry "
    "when the real one stays far below.",
    labelnames=("policy",),
    registry=REGISTRY,
)
PENDING = Gauge(
    "sluice_gate_pending_edits",
    "Edits that wait for their deadline in this process, over all policies.",
    registry=REGISTRY,
)
PAGES = Gauge(
    "sluice_gate_pages",
    "Pages whose state this process holds.",
    registry=REGISTRY,
)
STEP_SECONDS = Histogram(
    "sluice_step_duration_seconds",
    "Time a step took for one batch, commit included. Worry when the middle passes a second.",
    labelnames=("step",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
BUILD = Gauge(
    "sluice_build_info",
    "Version of sluice and of Python; always 1.",
    labelnames=("version", "python"),
    registry=REGISTRY,
)


def own_version() -> str:
    """The installed version; `0+source` when run from a folder that was not installed."""
    try:
        return version("wikimedia-sluice")
    except PackageNotFoundError:
        return "0+source"


def initialise(policies: Sequence[Policy] = Settings().policies) -> None:
    """Make every combination of labels exist, so that a rate is 0 and not missing before the first event."""
    BUILD.labels(own_version(), platform.python_version()).set(1)
    for step in Step:
        for outcome in OUTCOMES:
            RECORDS.labels(step, outcome)
        for reason in SetAside:
            DEAD_LETTERS.labels(step, reason)
        LAST_EVENT.labels(step)
        LAG_SECONDS.labels(step)
        STEP_SECONDS.labels(step)
        REBUILDS.labels(step)
    for state in (State.RELEASED, State.SUPERSEDED):
        DECISIONS.labels(state, "")
    for state in (State.WITHHELD, State.RETRACTED):
        for bar in Bar:
            DECISIONS.labels(state, bar)
    for curve in CURVES:
        PROTECT_CHOICES.labels(curve)
    for answer in Answer:
        CONTENT_ANSWERS.labels(answer)
    for result in REQUEST_OUTCOMES:
        CONTENT_REQUESTS.labels(result)
    for source in CONTENT_SOURCES:
        for breaker in BreakerState:
            BREAKER.labels(source, breaker).set(breaker is BreakerState.CLOSED)
    for lost in LOST_REASONS:
        PARSERS_LOST.labels(lost)
    for ending in RECONNECT_REASONS:
        RECONNECTS.labels(ending)
    for stream in STREAMS:
        HEARD_UNTIL.labels(stream)
        SCHEMA_DRIFT.labels(stream)
        GAPS.labels(stream)
    for policy in policies:
        QUALITY_PROMISED.labels(policy.name).set(promised(policy.usual_hold_seconds))
        QUALITY_LAG.labels(policy.name)
        for outcome in QUALITY_OUTCOMES:
            QUALITY_EDITS.labels(policy.name, outcome)
        for time in QUALITY_TIMES:
            QUALITY_SECONDS.labels(policy.name, time)
    for what in ERASED_BY:
        ERASED.labels(what)
    for endpoint in ENDPOINTS:
        SOURCE_ENDPOINT.labels(endpoint)
        for circuit in CIRCUIT_STATES:
            SOURCE_CIRCUIT.labels(endpoint, circuit)


def serve(settings: Settings) -> None:
    """Serve /metrics from a thread, so that a blocked event loop still answers. Port 0 serves nothing."""
    initialise(settings.policies)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.metrics_host, registry=REGISTRY)
