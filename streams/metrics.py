"""Every metric of sluice. The help text says when to worry; labels are closed sets."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from processors.pace import BreakerState
from schemas.enriched import ContentAbsent
from schemas.event import READABLE
from schemas.reasons import Answer, Bar, SetAside, State, Step

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


def initialise() -> None:
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
    for what in ERASED_BY:
        ERASED.labels(what)
    for endpoint in ENDPOINTS:
        SOURCE_ENDPOINT.labels(endpoint)
        for circuit in CIRCUIT_STATES:
            SOURCE_CIRCUIT.labels(endpoint, circuit)


def serve(host: str, port: int) -> None:
    """Serve /metrics from a thread, so that a blocked event loop still answers. Port 0 serves nothing."""
    initialise()
    if port:
        start_http_server(port, addr=host, registry=REGISTRY)
