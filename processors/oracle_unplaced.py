"""What is said without naming a page: log actions name a title, a block names a user.

Such a signal concerns the page that has this title when it is read. If none has, it waits for one, as one that comes
before its revision does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from processors.oracle_ledger import Offered
from processors.oracle_log import Partition
from processors.oracle_rules import Limits
from schemas.decision import Signal
from schemas.event import EDIT_KINDS, PageChange, RecentChange
from schemas.reasons import SignalKind

LOOKS = {
    ("patrol", "patrol"): SignalKind.PATROL,
    ("review", "approve"): SignalKind.APPROVE,
    ("review", "approve-i"): SignalKind.APPROVE,
    ("review", "unapprove"): SignalKind.UNAPPROVE,
    ("block", "block"): SignalKind.BLOCK,
    ("block", "reblock"): SignalKind.BLOCK,
}
PROTECTS = {"protect": True, "modify": True, "unprotect": False}


@dataclass(frozen=True, slots=True)
class Unplaced:
    """One log action that can change a decision. name: a title in underscores, or whom it blocks. rev_id: 0 = none."""

    place: int
    at_ms: int
    wiki: str
    name: str
    offered: Offered
    signal: Signal | None
    rev_id: int

    @property
    def blocked(self) -> bool:
        return self.signal is not None and self.signal.kind is SignalKind.BLOCK

    @classmethod
    def of(cls, place: int, offered: Offered) -> Self | None:
        event = offered.event
        if not isinstance(event, RecentChange) or not event.is_log:
            return None
        kind = LOOKS.get((event.log_type or "", event.log_action or ""))
        if kind is None and protects(offered) is None:
            return None
        at_ms, signal, rev_id, name = event.meta.at_ms, None, 0, event.title.replace(" ", "_")
        if kind is not None:
            signal = Signal(kind=kind, event_id=event.meta.event_id, at_ms=at_ms)
        if kind is SignalKind.BLOCK:
            name = event.title.partition(":")[2] or event.title
        elif kind is not None:
            rev_id = _revision((offered.doc or {}).get("log_params"))
            if not rev_id:
                return None
        return cls(place, at_ms, event.wiki, name, offered, signal, rev_id)


def protects(offered: Offered) -> bool | None:
    """Whether a page is protected from now on; None if this says nothing of it."""
    event = offered.event
    if not isinstance(event, RecentChange) or event.log_type != "protect":
        return None
    return PROTECTS.get(event.log_action or "")


def _revision(params: Any) -> int:
    """A review's first parameter, a patrol's `curid`: numbers, or strings once."""
    named = params.get("curid") if isinstance(params, dict) else params[0] if isinstance(params, list) and params else 0
    return int(str(named)) if str(named).isdecimal() else 0


def unplaced_of(partition: Partition) -> list[Unplaced]:
    """Those that some rule listened to when they came."""
    found = (Unplaced.of(place, offered) for place, offered in partition.events)
    return [each for each in found if each is not None and _is_heard(each, partition.limits(each.place))]


def _is_heard(each: Unplaced, limits: Limits) -> bool:
    return limits.blocks if each.blocked else limits.titles


def looked_at(
    events: Sequence[tuple[int, Offered]], unplaced: Sequence[Unplaced], partition: Partition, wait_ms: int
) -> Iterator[tuple[int, Unplaced]]:
    """(place from which it works, log action) of those that concern a page by its title."""
    titles = [
        (place, e.wiki, e.title) for place, offered in events
        if isinstance(e := offered.event, PageChange) and e.kind in EDIT_KINDS
    ]  # fmt: skip
    for each in unplaced:
        if each.blocked:
            continue
        had = [title for place, wiki, title in titles if place < each.place and wiki == each.wiki]
        if had and had[-1] == each.name:
            yield each.place, each
            continue
        later = [
            place for place, wiki, title in titles if place > each.place and (wiki, title) == (each.wiki, each.name)
        ]
        if later and partition.time_before(later[0]) < each.at_ms + wait_ms:
            yield later[0], each
