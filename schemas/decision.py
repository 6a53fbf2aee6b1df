"""`sluice.decisions.v1`: every transition of an edit under a policy, with its proof.

One Kafka record holds all decisions that one input caused about one page. Bodies hold event-time facts only, so that
two runs over the same log can be compared byte for byte; tick, offset and worker are headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.learned import Protect, protect_document, read_protect
from schemas.log import InvalidRecord
from schemas.reasons import BASE_SIGNALS, Bar, SignalKind, State


class Signal(NamedTuple):
    """Something heard about an edit, and from which event.

    at_ms: event time: of a revert the reverting edit's `rev_dt`, else `meta.dt`.
    by_rev_id: the reverting revision, where the event names it. by_self: the editor undid their own edit.
    model, score: what said so and how sure, of a risk. The last two are written only where there is a model.
    """

    kind: SignalKind
    event_id: str
    at_ms: int
    by_rev_id: int | None = None
    by_self: bool = False
    model: str = ""
    score: float | None = None


class Decision(NamedTuple):
    """One transition. The proof: when the hold began, what it was, what was heard, for which moment it was decided.

    A tuple, because the gate makes millions of them.

    decided_for_ms: of a release its fire time (of hold 0 the hold's start), of a bar the event time of its signal.
    superseded_by: the revision that took this one's place. rule: which of the policy's rules decided, from 0.
    listened: the kinds of signal that the rule looks at. partial: the edit's parent was never seen, so that what it
    reverts and stands on is known in part only. protect: how the hold was chosen, None and not written if it is fixed.
    """

    policy: str
    wiki: str
    page_id: int
    rev_id: int
    epoch: int
    state: State
    reason: Bar | None
    event_id: str
    start_ms: int
    hold_ms: int
    fire_ms: int
    decided_for_ms: int
    signals: tuple[Signal, ...] = ()
    superseded_by: int | None = None
    rule: int = 0
    listened: tuple[SignalKind, ...] = BASE_SIGNALS
    partial: bool = False
    protect: Protect | None = None

    @property
    def absent(self) -> tuple[SignalKind, ...]:
        """The kinds of signal that were listened for and not heard."""
        heard = {signal.kind for signal in self.signals}
        return tuple(kind for kind in self.listened if kind not in heard)


# By the name of the first: (place, name) of each policy under which the same happens to an edit.
Shared = Mapping[str, Sequence[tuple[int, str]]]


def encode_decisions(decisions: Sequence[Decision], shared: Shared | None = None) -> bytes:
    """One record: a JSON object with sorted keys.

    shared: then each decision stands for all policies that share it, and the record has those of a policy together.
    """
    if shared is None:
        return orjson.dumps({"decisions": [_encode(d) for d in decisions]})
    bodies: list[tuple[int, int, bytes]] = []
    for number, decision in enumerate(decisions):
        quoted = _quoted(decision.policy)
        head, _, tail = encode_decision(decision).partition(quoted)
        bodies += [(place, number, head + _quoted(name) + tail) for place, name in shared[decision.policy]]
    bodies.sort()
    return b'{"decisions":[' + b",".join([body for _, _, body in bodies]) + b"]}"


@lru_cache(maxsize=10_000)
def _quoted(policy: str) -> bytes:
    """The name and its key, as in a body: nothing in a text looks like it, since there its quotes are escaped."""
    return b',"policy":' + orjson.dumps(policy)


def encode_decision(decision: Decision) -> bytes:
    """The body of one decision: what two runs are compared by."""
    return orjson.dumps(_encode(decision))


def decode_decisions(payload: bytes) -> list[Decision]:
    """Raises `InvalidRecord`."""
    try:
        return [_decode(doc) for doc in orjson.loads(payload)["decisions"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no decisions: {exc!r}") from exc


def encode_signal(signal: Signal) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "at_ms": signal.at_ms,
        "by_rev_id": signal.by_rev_id,
        "by_self": signal.by_self,
        "event_id": signal.event_id,
        "kind": signal.kind.value,
    }
    if signal.model:
        doc |= {"model": signal.model, "score": signal.score}
    return doc


def decode_signal(doc: dict[str, Any]) -> Signal:
    by_rev_id = doc["by_rev_id"]
    return Signal(
        kind=SignalKind(doc["kind"]),
        event_id=str(doc["event_id"]),
        at_ms=int(doc["at_ms"]),
        by_rev_id=None if by_rev_id is None else int(by_rev_id),
        by_self=bool(doc["by_self"]),
        model=str(doc.get("model", "")),
        score=doc.get("score"),
    )


@lru_cache(maxsize=1000)
def _names(kinds: tuple[SignalKind, ...]) -> orjson.Fragment:
    """A few dozen lists that a million decisions share."""
    return orjson.Fragment(orjson.dumps([kind.value for kind in kinds]))


def _encode(decision: Decision) -> dict[str, Any]:
    """Keys in their order: to have them sorted anew would cost half as much again."""
    (
        policy, wiki, page_id, rev_id, epoch, state, reason, event_id, start_ms, hold_ms, fire_ms, decided_for_ms,
        signals, superseded_by, rule, listened, partial, protect,
    ) = decision  # fmt: skip
    names = _names(listened)
    doc = {
        "absent": _names(decision.absent) if signals else names,
        "decided_for_ms": decided_for_ms,
        "epoch": epoch,
        "event_id": event_id,
        "fire_ms": fire_ms,
        "hold_ms": hold_ms,
        "listened": names,
        "page_id": page_id,
        "partial": partial,
        "policy": policy,
        "reason": None if reason is None else reason._value_,
        "rev_id": rev_id,
        "rule": rule,
        "signals": [encode_signal(signal) for signal in signals] if signals else [],
        "start_ms": start_ms,
        "state": state._value_,
        "superseded_by": superseded_by,
        "wiki": wiki,
    }
    if protect is not None:
        return dict(sorted((doc | {"protect": protect_document(protect)}).items()))
    return doc


def _decode(doc: dict[str, Any]) -> Decision:
    superseded_by = doc["superseded_by"]
    return Decision(
        policy=str(doc["policy"]),
        wiki=str(doc["wiki"]),
        page_id=int(doc["page_id"]),
        rev_id=int(doc["rev_id"]),
        epoch=int(doc["epoch"]),
        state=State(doc["state"]),
        reason=None if doc["reason"] is None else Bar(doc["reason"]),
        event_id=str(doc["event_id"]),
        start_ms=int(doc["start_ms"]),
        hold_ms=int(doc["hold_ms"]),
        fire_ms=int(doc["fire_ms"]),
        decided_for_ms=int(doc["decided_for_ms"]),
        signals=tuple(decode_signal(signal) for signal in doc["signals"]),
        superseded_by=None if superseded_by is None else int(superseded_by),
        rule=int(doc.get("rule", 0)),
        listened=tuple(SignalKind(kind) for kind in doc.get("listened", BASE_SIGNALS)),
        partial=bool(doc.get("partial", False)),
        protect=read_protect(doc["protect"]) if "protect" in doc else None,
    )
