"""On which edit each edit of a page stands, and what of that need not be walked again. Pure, derived.

A walk back along a line passes every edit that waits, so on a page with many of them each walk would be long. What was
found out for whoever comes to an edit, whichever way, is therefore kept, lane by lane: that nothing from there on bars
anybody, or that nothing does before a certain one. It holds until something changes about an edit at or before it, as
an edit's line has none that came after it; the second also until an edit goes out, for that ends the line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from schemas.page import Edit, Page
from schemas.reasons import SignalKind

REVERTS = frozenset({SignalKind.IDENTITY_REVERT, SignalKind.DECLARED_REVERT})
# Later than everything.
NEVER = 1 << 62


class Lines:
    """place: of an edit in `Page.edits`. under: by place, the place of the edit that it stands on, -1 = none there.

    again: some revision is there more than once, or came after one that restores it, so that a line is not told by
    this; epochs: by each of these, its edits. undid: by the revision that undid others, the first place of these.
    """

    __slots__ = (
        "_bars", "_clean", "_ends", "_missing", "_newest", "_roots", "again", "epochs", "place", "under", "undid",
    )  # fmt: skip

    def __init__(self) -> None:
        self.place: dict[Edit, int] = {}
        self.under: list[int] = []
        self.again = False
        self.epochs: dict[int, list[Edit]] = {}
        self.undid: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._missing: set[int] = set()
        self._bars = _Changes()
        self._ends: dict[int, _Changes] = {}
        # By lane and place, with the versions as of which that holds: from when on all is clean; where the root is.
        self._clean: dict[tuple[int, int], tuple[int, int]] = {}
        self._roots: dict[tuple[int, int], tuple[int, int, int, int]] = {}

    def follow(self, edits: Sequence[Edit]) -> None:
        """Take in the edits that were added to the page."""
        for at in range(len(self.under), len(edits)):
            edit = edits[at]
            self.again = self.again or edit.rev_id in self._newest or edit.rev_id in self._missing
            if edit.rev_id in self._newest:
                first = edits[self._newest[edit.rev_id]]
                self.epochs.setdefault(edit.rev_id, [first]).append(edit)
            self.under.append(self._newest.get(edit.restores, -1) if edit.restores else at - 1)
            if edit.restores and self.under[at] < 0:
                self._missing.add(edit.restores)
            self.place[edit] = at
            self._newest[edit.rev_id] = at
            self._note_who_undid(edit, at)

    def _note_who_undid(self, edit: Edit, at: int) -> None:
        for signal in edit.signals:
            if signal.kind in REVERTS and signal.by_rev_id is not None:
                self.undid[signal.by_rev_id] = min(at, self.undid.get(signal.by_rev_id, at))

    def changed(self, edit: Edit) -> None:
        """What is kept of this edit and those behind it holds no more."""
        at = self.place.get(edit)
        if at is not None:  # else nobody has walked there
            self._bars.note(at)
            self._note_who_undid(edit, at)

    def ended(self, edit: Edit, lane: int) -> None:
        """Who comes to this edit under a lane goes no further: no root lies behind it."""
        at, ends = self.place.get(edit), self._ends.get(lane)
        if at is not None and ends is not None and at > ends.lowest:
            ends.note(at)

    def keep_clean(self, lane: int, edit: Edit, after_ms: int) -> None:
        """From this edit on nothing bars those who wait longer than until `after_ms`."""
        self._clean[lane, self.place[edit]] = (after_ms, self._bars.version)

    def clean_after(self, lane: int, at: int) -> int:
        """As it was kept for a place; `NEVER` if nothing is."""
        kept = self._clean.get((lane, at))
        return kept[0] if kept is not None and self._bars.holds(kept[1], at) else NEVER

    def keep_root(self, lane: int, edit: Edit, root: Edit, after_ms: int) -> None:
        """From this edit on, before `root`, nothing bars those who wait longer than until `after_ms`, nor ends their
        line, nor undoes what barred that.
        """
        at, ends = self.place[root], self._ends.setdefault(lane, _Changes())
        ends.lowest = min(ends.lowest, at)
        self._roots[lane, self.place[edit]] = (at, after_ms, self._bars.version, ends.version)

    def root_under(self, lane: int, at: int) -> tuple[int, int]:
        """As it was kept for a place: that of the root, and for whom; -1 and `NEVER` if nothing is."""
        kept = self._roots.get((lane, at))
        if kept is None or not (self._bars.holds(kept[2], at) and self._ends[lane].holds(kept[3], at)):
            return -1, NEVER
        return kept[:2]


class _Changes:
    """Which place was changed when. lowest: of the places that anything is kept of."""

    __slots__ = ("_changes", "lowest", "version")

    def __init__(self) -> None:
        self.version = 0
        self.lowest = NEVER
        # (version, first place that it concerns), both rising: one that concerns more takes the place of those before.
        self._changes: list[tuple[int, int]] = []

    def note(self, at: int) -> None:
        while self._changes and self._changes[-1][1] >= at:
            self._changes.pop()
        self.version += 1
        self._changes.append((self.version, at))

    def holds(self, since: int, at: int) -> bool:
        """Whether nothing at or before a place was changed since a version."""
        if since == self.version:
            return True
        later = bisect_right(self._changes, since, key=_version)
        return later == len(self._changes) or self._changes[later][1] > at


def _version(change: tuple[int, int]) -> int:
    return change[0]


def lines_of(page: Page) -> Lines:
    """Up to the page's newest edit."""
    lines: Lines | None = page.lines
    if lines is None:
        page.lines = lines = Lines()
    lines.follow(page.edits)
    return lines


def changed(page: Page, edit: Edit) -> None:
    """Something was heard about an edit, or it is kept back from now on."""
    if page.lines is not None:
        page.lines.changed(edit)
