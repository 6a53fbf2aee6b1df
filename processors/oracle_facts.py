"""What the oracle is given and what it says. Plain values: a record as read from a topic, a disagreement in words.

The oracle (`processors/oracle*.py`) judges the line from outside. It shares only the schemas with what it judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

PageKey = tuple[str, int]  # wiki, page id


class Check(StrEnum):
    """What is checked, as the summary names it."""

    COMPLETE = "C1 complete"
    DUPLICATES = "C2 duplicates"
    ORDER = "C3 order"
    INTEGRITY = "C4 integrity"
    GHOSTS = "C5 no ghosts"
    RECOVERED = "C8 recovered"
    TIME = "time"
    DECISIONS = "decisions"
    VIEW = "folded view"


# At most 51 characters each: the summary is 80 columns wide.
ABOUT = {
    Check.COMPLETE: "every event kept, every edit with one verdict",
    Check.DUPLICATES: "nothing twice for partners; inside, the same bytes",
    Check.ORDER: "per page, nothing goes back",
    Check.INTEGRITY: "texts as served, licence and attribution",
    Check.GHOSTS: "nothing that the world did not say",
    Check.RECOVERED: "every step finished what it was given",
    Check.TIME: "ticks claim what was heard, cursors what is there",
    Check.DECISIONS: "each as it follows from the ledger",
    Check.VIEW: "what stands on the topics is what was decided",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One committed record of a topic. at_ms: the broker's time."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    at_ms: int = 0

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """What a step has not finished of one partition: `records`, and ticks, from offset `done` on."""

    step: str
    topic: str
    partition: int
    records: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Every topic of the line, each partition in the order of its log. edits, pages: by policy."""

    partitions: int
    source: Sequence[Record]
    content: Sequence[Record]
    enriched: Sequence[Record]
    decisions: Sequence[Record]
    deadletter: Sequence[Record]
    edits: Mapping[str, Sequence[Record]]
    pages: Mapping[str, Sequence[Record]]
    lags: Sequence[Lag] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """expected and came: what follows from the ledger, and what is there. place: `topic/partition/offset`, or ""."""

    check: Check
    what: str
    expected: str
    came: str
    place: str = ""
    page: PageKey | None = None
    rev_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Of one check: how many things were looked at, and what disagreed."""

    check: Check
    looked_at: int
    disagreements: tuple[Disagreement, ...] = ()
