"""`sluice.publish-state.v1`: what waits to be published of one page, and what is out of it. Key `wiki:page`.

Content is never stored here, only its offset in `sluice.enriched.v1`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping
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
class Sent:
    """A release that went out, by which it can be erased. at_ms: by the broker's clock not before that, to the second.

    retracted: it was taken back since; its record is there all the same.
    """

    rev_id: int
    epoch: int
    at_ms: int
    retracted: bool = False


# Few bytes each: of every edit of the last weeks there is one per policy.
_SENT = struct.Struct(">QHI?")
SENT_BYTES = _SENT.size


def pack_sent(sent: Iterable[Sent]) -> bytes:
    return b"".join(_SENT.pack(each.rev_id, each.epoch, each.at_ms // 1000, each.retracted) for each in sent)


def unpack_sent(packed: bytes) -> Iterator[Sent]:
    for rev_id, epoch, at_seconds, retracted in _SENT.iter_unpack(packed):
        yield Sent(rev_id=rev_id, epoch=epoch, at_ms=1000 * at_seconds, retracted=retracted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """queue: releases in the order they were decided. heads: per policy. sent: per policy, packed, the oldest first."""

    wiki: str
    page_id: int
    held: tuple[Held, ...] = ()
    queue: tuple[Queued, ...] = ()
    heads: Mapping[str, Head] = field(default_factory=dict)
    sent: Mapping[str, bytes] = field(default_factory=dict)


def encode_delivery(delivery: Delivery) -> bytes:
    return orjson.dumps(
        {
            "heads": {policy: [head.rev_id, head.epoch] for policy, head in delivery.heads.items()},
            "held": [[h.event_id, h.offset, h.at_ms, sorted(h.settled), h.rev_id] for h in delivery.held],
            "page_id": delivery.page_id,
            "queue": [[orjson.Fragment(encode_decision(q.decision)), q.decided_at_ms] for q in delivery.queue],
            "sent": {policy: base64.b64encode(packed).decode() for policy, packed in delivery.sent.items()},
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
            # A state from before there was this has none.
            sent={str(policy): base64.b64decode(packed) for policy, packed in doc.get("sent", {}).items()},
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no delivery state: {exc!r}") from exc
