"""`sluice.quality.v1`: what became of the edits of one day under one policy. Key `policy:day`; rows add up.

A row has the edits whose hold began on that day (UTC, event time), of the pages of one partition: what a day comes to
is the sum over the partitions. A row of yesterday changes while its edits are followed: a retraction of today counts
where its edit does. Bodies hold event-time facts only; up to which decision a row goes is its header `next_offset`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.log import InvalidRecord

SCHEMA = "/sluice/quality/1.0.0"

# Milliseconds, rounded down to five significant bits → how many. Less than a sixteenth off, and they add up.
Spread = dict[int, int]


@dataclass(slots=True, kw_only=True)
class Quality:
    """One row; whoever folds it changes it. All times are sums of milliseconds of event time.

    released, superseded, self_reverted: edits. withheld, retracted: edits by reason. waited_ms, waits: from the hold's
    start to the release, of what was released; taken_waited_ms, taken_waits: the same of what was retracted since.
    stood_ms: from a bad edit to its undoing. exposed_ms, lags: of what was retracted, how long it had been out.
    """

    policy: str
    day: str
    released: int = 0
    superseded: int = 0
    self_reverted: int = 0
    withheld: dict[str, int] = field(default_factory=dict)
    retracted: dict[str, int] = field(default_factory=dict)
    waited_ms: int = 0
    taken_waited_ms: int = 0
    stood_ms: int = 0
    exposed_ms: int = 0
    waits: Spread = field(default_factory=dict)
    taken_waits: Spread = field(default_factory=dict)
    lags: Spread = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        return quality_key(self.policy, self.day)


NUMBERS = ("released", "superseded", "self_reverted", "waited_ms", "taken_waited_ms", "stood_ms", "exposed_ms")
BY_REASON = ("withheld", "retracted")
SPREADS = ("waits", "taken_waits", "lags")


def quality_key(policy: str, day: str) -> bytes:
    """day: as `2026-11-22`.

    >>> quality_key("fast", "2026-11-22")
    b'fast:2026-11-22'
    """
    return f"{policy}:{day}".encode()


def encode_quality(row: Quality) -> bytes:
    """A JSON object with sorted keys."""
    doc: dict[str, Any] = {"$schema": SCHEMA, "policy": row.policy, "day": row.day}
    doc |= {name: getattr(row, name) for name in (*NUMBERS, *BY_REASON)}
    doc |= {name: {str(low): count for low, count in getattr(row, name).items()} for name in SPREADS}
    return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)


def decode_quality(payload: bytes) -> Quality:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        row = Quality(policy=str(doc["policy"]), day=str(doc["day"]))
        for name in NUMBERS:
            setattr(row, name, int(doc[name]))
        for name in BY_REASON:
            setattr(row, name, {reason: int(count) for reason, count in doc[name].items()})
        for name in SPREADS:
            setattr(row, name, {int(low): int(count) for low, count in doc[name].items()})
        return row
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no quality: {exc!r}") from exc
