"""The records of `sluice.source.v1` that are not events: ticks carry time and cursor, control records carry policies,
gaps, and what was learned of how soon bad edits are undone.

Every record there has a header `kind` (`event`, `tick`, `control`, `skeleton` or `erasure`). The value of an event is
the message of the source, bytes unchanged, so that its header is the only place where we may add something.

A skeleton is what is left of an event that was erased, under the event's key; its header `place` says where the event
was (offset and broker time), and readers of the log pass over it: they met the event. An erasure is the proof of one.
A skeleton with a header `shown` is of a revision that is before readers again, by the event of that id: if its value
says so too, its text may be asked for under that id; else that event has it already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.learned import Learned, learned_document, read_learned
from schemas.policy import Policies, Policy, policy_document, read_policy

__all__ = ["Learned", "Policies", "Policy"]

KIND_EVENT = b"event"
KIND_TICK = b"tick"
KIND_CONTROL = b"control"
KIND_SKELETON = b"skeleton"
KIND_ERASURE = b"erasure"


class InvalidRecord(ValueError):
    """A record of one of our own topics that its codec cannot read; it belongs in the dead-letter topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far one upstream topic is in the log.

    `next_offset`: the first offset that is not in the log; -1 where no offset is known, then everything from `at_ms`
    on is to be read again. `at_ms`: event time of the last message that is in the log. `last_id`: the id of the event
    at `next_offset - 1`, by which the same offset of another cluster is told apart; "" where it is not known.
    """

    topic: str
    partition: int
    next_offset: int
    at_ms: int
    last_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time, as data. One is written to every partition about once a second, in the transaction of the events before it.

    number: counts up by one per transaction, from 1.
    heard_ms: per stream, the event time up to which we believe we have heard everything.
    cursor: per upstream topic, where to read on.
    control_offset: the first offset of `sluice.control.v1` that is not in the log.
    policies: digest of the policies in force, or "" before the first.
    """

    number: int
    heard_ms: Mapping[str, int]
    cursor: tuple[Position, ...]
    control_offset: int = 0
    policies: str = ""

    @property
    def key(self) -> bytes:
        return f"tick:{self.number}".encode()


def encode_tick(tick: Tick) -> bytes:
    return orjson.dumps(
        {
            "control_offset": tick.control_offset,
            "cursor": [
                {
                    "at_ms": p.at_ms,
                    "last_id": p.last_id,
                    "next_offset": p.next_offset,
                    "partition": p.partition,
                    "topic": p.topic,
                }
                for p in sorted(tick.cursor, key=lambda p: (p.topic, p.partition))
            ],
            "heard_ms": dict(tick.heard_ms),
            "number": tick.number,
            "policies": tick.policies,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def decode_tick(payload: bytes) -> Tick:
    """Raises `InvalidRecord`."""
    doc = _document(payload)
    try:
        return Tick(
            number=int(doc["number"]),
            heard_ms={str(stream): int(at) for stream, at in doc["heard_ms"].items()},
            cursor=tuple(
                Position(
                    topic=str(p["topic"]),
                    partition=int(p["partition"]),
                    next_offset=int(p["next_offset"]),
                    at_ms=int(p["at_ms"]),
                    last_id=str(p.get("last_id", "")),
                )
                for p in doc["cursor"]
            ),
            control_offset=int(doc["control_offset"]),
            policies=str(doc["policies"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no tick: {exc!r}") from exc


def encode_policies(policies: Policies) -> bytes:
    return orjson.dumps(
        {
            "grace_seconds": policies.grace_seconds,
            "horizon_seconds": policies.horizon_seconds,
            "kind": "policies",
            "policies": [policy_document(policy) for policy in policies.policies],
        },
        option=orjson.OPT_SORT_KEYS,
    )


def decode_policies(payload: bytes) -> Policies:
    """Raises `InvalidRecord`."""
    doc = _document(payload)
    try:
        if doc["kind"] != "policies":
            raise InvalidRecord(f"control record of kind {doc['kind']!r}; we know policies, gap and learned")
        return Policies(
            policies=tuple(read_policy(policy) for policy in doc["policies"]),
            grace_seconds=float(doc["grace_seconds"]),
            horizon_seconds=float(doc["horizon_seconds"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, InvalidRecord):
            raise
        raise InvalidRecord(f"no policies: {exc!r}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A span of event time that nobody heard: the source no longer had it when we wanted to read it.

    stream: what was lost; "" = every stream.
    """

    from_ms: int
    to_ms: int
    stream: str = ""


Control = Policies | Gap | Learned


def encode_gap(gap: Gap) -> bytes:
    doc = {"from_ms": gap.from_ms, "kind": "gap", "stream": gap.stream, "to_ms": gap.to_ms}
    return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)


def decode_control(payload: bytes) -> Control:
    """What a control record says. Raises `InvalidRecord`."""
    doc = _document(payload)
    kind = doc.get("kind")
    if kind not in {"gap", "learned"}:
        return decode_policies(payload)
    try:
        if kind == "learned":
            return read_learned(doc)
        return Gap(from_ms=int(doc["from_ms"]), to_ms=int(doc["to_ms"]), stream=str(doc.get("stream", "")))
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidRecord(f"no control record of kind {kind}: {exc!r}") from exc


def encode_learned(learned: Learned) -> bytes:
    return orjson.dumps(learned_document(learned))


def _document(payload: bytes) -> dict[str, Any]:
    try:
        doc = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise InvalidRecord(f"not JSON: {exc}") from exc
    if not isinstance(doc, dict):
        raise InvalidRecord("not a JSON object")
    return doc
