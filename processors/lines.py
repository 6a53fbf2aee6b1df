"""On which edit each edit of a page stands, and what of that need not be walked again. Pure, derived.

A walk back along a line passes every edit that waits, so on a page with many of them each walk would be long. Where
nothing is that could be its end is therefore kept, lane by lane, until something changes about an edit at or before it:
an edit's line has none that came after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from schemas.page import RELEASED, Edit, Page


class Lines:
    """place: of an edit in `Page.edits`. under: by place, the place of the edit that it stands on, -1 = none there.

    again: some revision is there more than once, so that a line is not told by this.
    """

    __slots__ = ("_changes", "_newest", "_next", "_out", "_version", "again", "place", "under")

    def __init__(self) -> None:
        self.place: dict[Edit, int] = {}
        self.under: list[int] = []
        self.again = False
        self._newest: dict[int, int] = {}
        # By lane: the last place that is out. A line ends there, whatever lies under it.
        self._out: dict[int, int] = {}
        # By lane and place: the place at which to go on, and the version as of which that holds.
        self._next: dict[tuple[int, int], tuple[int, int]] = {}
        self._version = 0
        # (version, first place that it concerns), both rising: one that concerns more takes the place of those before.
        self._changes: list[tuple[int, int]] = []

    def follow(self, edits: Sequence[Edit]) -> None:
        """Take in the edits that were added to the page."""
        for at in range(len(self.under), len(edits)):
            edit = edits[at]
            self.again = self.again or edit.rev_id in self._newest
            self.under.append(self._newest.get(edit.restores, -1) if edit.restores else at - 1)
            self.place[edit] = at
            self._newest[edit.rev_id] = at
            for lane, state in enumerate(edit.states):
                if state == RELEASED:
                    self._out[lane] = at

    def released(self, edit: Edit, lane: int) -> None:
        """An edit has gone out."""
        self._out[lane] = max(self._out.get(lane, -1), self.place.get(edit, -1))

    def changed(self, edit: Edit) -> None:
        """What is kept of this edit and those behind it holds no more."""
        at = self.place.get(edit)
        if at is None:
            return  # nobody has walked there
        while self._changes and self._changes[-1][1] >= at:
            self._changes.pop()
        self._version += 1
        self._changes.append((self._version, at))

    def keep(self, lane: int, edits: Sequence[Edit], at: int) -> None:
        """Who comes to one of these may go on at once at place `at`; -1: no further, all is clean."""
        for edit in edits:
            self._next[lane, self.place[edit]] = (at, self._version)

    def skip(self, lane: int, at: int) -> int:
        """Where to go on from a place: there, or further down the line where nothing lies between."""
        kept = self._next.get((lane, at))
        if kept is None:
            return at
        onwards, since = kept
        if since != self._version:
            later = bisect_right(self._changes, since, key=_version)
            if later < len(self._changes) and self._changes[later][1] <= at:
                return at
        return at if 0 <= onwards < self._out.get(lane, -1) else onwards


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
    """Something was heard about an edit, or it was withheld, that its line did not tell."""
    if page.lines is not None:
        page.lines.changed(edit)
