"""`sluice.publish-state.v1`: what waits to be published of one page. Key `wiki:page`.

Content is never stored here, only its offset in `sluice.enriched.v1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from schemas.decision import Decision, decode_decisions, encode_decision
from schemas.log import InvalidRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Parsed content that waits for verdicts, or verdicts that wait for content (offset is None).

    event_id: the event that announced the edit: an undeleted revision has another than its first edit had.
    offset: in the page's partition of `enriched`. at_ms: broker time of that record, or the edit's own time.
    settled: the policies that have decided. rev_id: the revision, by which its content is erased; 0 where a state from
    before there was this does not say.
    """

    event_id: str
    offset: int | None
    at_ms: int
    settled: frozenset[str] = frozenset()
    rev_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A release that waits for its content. decided_at_ms: broker time of the decision's record."""

    decision: Decision
    decided_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest edit of a page that a policy let out, retracted since or not."""

    rev_id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """queue: releases in the order they were decided. heads: per policy."""

    wiki: str
    page_id: int
    held: tuple[Held, ...] = ()
    queue: tuple[Queued, ...] = ()
    heads: Mapping[str, Head] = field(default_factory=dict)


def encode_delivery(delivery: Delivery) -> bytes:
    return orjson.dumps(
        {
            "heads": {policy: [head.rev_id, head.epoch] for policy, head in delivery.heads.items()},
            "held": [[h.event_id, h.offset, h.at_ms, sorted(h.settled), h.rev_id] for h in delivery.held],
            "page_id": delivery.page_id,
            "queue": [[orjson.Fragment(encode_decision(q.decision)), q.decided_at_ms] for q in delivery.queue],
            "wiki": delivery.wiki,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def decode_delivery(payload: bytes) -> Delivery:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        decisions = decode_decisions(orjson.dumps({"decisions": [decision for decision, _ in doc["queue"]]}))
        return Delivery(
            wiki=str(doc["wiki"]),
            page_id=int(doc["page_id"]),
            held=tuple(
                Held(
                    event_id=str(event_id),
                    offset=offset,
                    at_ms=int(at_ms),
                    settled=frozenset(settled),
                    rev_id=int(rev_id[0]) if rev_id else 0,
                )
                for event_id, offset, at_ms, settled, *rev_id in doc["held"]
            ),
            queue=tuple(
                Queued(decision=decision, decided_at_ms=int(at_ms))
                for decision, (_, at_ms) in zip(decisions, doc["queue"], strict=True)
            ),
            heads={
                str(policy): Head(rev_id=int(rev_id), epoch=int(epoch))
                for policy, (rev_id, epoch) in doc["heads"].items()
            },
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no delivery state: {exc!r}") from exc
