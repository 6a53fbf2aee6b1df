"""A page as the log tells of it: its edits in each of their epochs, and what was said of them; found by id and time."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from processors.oracle_facts import PageKey
from processors.oracle_log import Partition
from processors.oracle_rules import editor_class
from schemas.decision import Signal
from schemas.event import PageChange, VisibilityChange
from schemas.reasons import EditorClass

SKEW_MS = 600_000
FOREVER_MS = 1 << 62


@dataclass(slots=True)
class Said:
    """A signal, and the place of the log from which it works: where it was read, or its edit if that came later."""

    place: int
    signal: Signal


@dataclass(slots=True, eq=False)
class Edit:
    """One revision in one epoch. place: of the event that announced it, or of that which showed it again (`shown`).

    doc: the event as JSON. partial: its parent was never seen. restores: the latest earlier revision with the same
    text, 0 = none. number: its place among the page's edits.
    """

    place: int
    event: PageChange
    epoch: int
    said: list[Said] = field(default_factory=list)
    doc: Mapping[str, Any] = field(default_factory=dict)
    shown: VisibilityChange | None = None
    partial: bool = False
    restores: int = 0
    number: int = 0

    @property
    def event_id(self) -> str:
        return (self.shown or self.event).meta.event_id

    @property
    def kinds(self) -> frozenset[str]:
        """A redirect is one more kind; a page that comes into the articles is created there."""
        event, before = self.event, ((self.doc.get("prior_state") or {}).get("page") or {}).get("namespace_id", 0)
        drafted = event.kind == "move" and event.namespace == 0 and before != 0
        also = {"redirect" if event.is_redirect else "", "create" if drafted else ""}
        return frozenset({event.kind, *also} - {""})

    @property
    def editor(self) -> EditorClass:
        event = self.event
        late = event.kind == "undelete" or abs(event.meta.at_ms - event.rev_ms) > SKEW_MS
        return editor_class(self.doc["revision"].get("editor"), event.meta.at_ms if late else event.rev_ms)

    @property
    def start_ms(self) -> int:
        """When the public could see it first: its own time, unless it came much later (an import, a wrong clock)."""
        event = self.event
        if self.shown is not None:
            return self.shown.meta.at_ms
        if event.kind == "undelete" or abs(event.meta.at_ms - event.rev_ms) > SKEW_MS:
            return event.meta.at_ms
        return event.rev_ms

    @property
    def user(self) -> str | None:
        return None if self.event.editor is None else self.event.editor.user_text


@dataclass(slots=True)
class Page:
    """texts: the last sixteen (revision, SHA-1) in the order announced, before each what its event says stood there.

    topics, protected: what it has from a place of the log on; a protection also says from when. reverts: (place, when,
    by whom) an edit undid another's. early_until_ms: until when that waits which came before any edit.
    """

    key: PageKey
    partition: Partition
    edits: list[Edit] = field(default_factory=list)
    texts: list[tuple[int, str | None]] = field(default_factory=list)
    topics: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    protected: list[tuple[int, int, bool]] = field(default_factory=list)
    reverts: list[tuple[int, int, str]] = field(default_factory=list)
    early_until_ms: int = 0
    _epochs: dict[int, list[Edit]] = field(default_factory=dict)
    # Each edit by when its hold begins, and its number.
    _begun: list[tuple[int, int]] = field(default_factory=list)

    def add(self, edit: Edit) -> None:
        """Take in an edit behind all others."""
        edit.number = len(self.edits)
        self.edits.append(edit)
        self._epochs.setdefault(edit.event.rev_id, []).append(edit)
        insort(self._begun, (edit.start_ms, edit.number))

    def epochs(self, rev_id: int) -> Sequence[Edit]:
        """Of one revision, in their order."""
        return self._epochs.get(rev_id, ())

    def begun(self, after_ms: int, until_ms: int = FOREVER_MS) -> Iterator[Edit]:
        """The edits whose hold begins after one moment and not after another, in that order."""
        first = bisect_right(self._begun, (after_ms, FOREVER_MS))
        for at in range(first, bisect_right(self._begun, (until_ms, FOREVER_MS))):
            yield self.edits[self._begun[at][1]]

    def is_known(self, place: int) -> bool:
        """Whether an edit is known still."""
        return any(e.place < place for e in self.begun(self.partition.forgotten_before(place)))

    def known(self, place: int) -> list[Edit]:
        """Its edits that were announced before a place of the log, and are not forgotten there."""
        begun = self.begun(self.partition.forgotten_before(place))
        return sorted((e for e in begun if e.place < place), key=lambda e: e.number)

    def newest(self, rev_id: int, before: int) -> Edit | None:
        """The newest epoch of a revision that was announced before a place of the log, and is known there still."""
        gone_ms = self.partition.forgotten_before(before)
        edits = (e for e in reversed(self.epochs(rev_id)) if e.place < before)
        return next((e for e in edits if e.start_ms > gone_ms), None)
