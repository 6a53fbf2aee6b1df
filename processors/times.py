"""When the edits of a page follow each other without a pause, so that no quiet clock counts them one by one. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from schemas.page import Edit, Page


class Times:
    """The moments at which edits of a page began, in order; late: those that came when a later one was known."""

    __slots__ = ("_count", "_edits", "_pauses", "_starts", "late")

    def __init__(self) -> None:
        self.late: set[Edit] = set()
        self._count = 0
        self._starts: list[int] = []
        # The first and the last that came of those that began at a moment.
        self._edits: dict[int, tuple[Edit, Edit]] = {}
        # By how long it takes to be one: the moments after which there is a pause.
        self._pauses: dict[int, list[int]] = {}

    def follow(self, edits: Sequence[Edit]) -> None:
        """Take in the edits that were added to the page."""
        for edit in edits[self._count :]:
            start_ms = edit.start_ms
            if self._starts and start_ms < self._starts[-1]:
                self.late.add(edit)
            if start_ms in self._edits:
                self._edits[start_ms] = (self._edits[start_ms][0], edit)
                continue
            self._edits[start_ms] = (edit, edit)
            insort(self._starts, start_ms)
            for least_ms, pauses in self._pauses.items():
                self._put(start_ms, least_ms, pauses)
        self._count = len(edits)

    def last_before_pause(self, edit: Edit, hold_ms: int, grace_ms: int, last_ms: int) -> Edit | None:
        """The last of those after `edit` that each began before the hold and the grace of the one before were over.

        None if there is none. last_ms: behind the first of them whose hold lasts so long nobody looks. edit: not late.
        """
        starts, least_ms = self._starts, hold_ms + grace_ms
        pauses = self._pauses_of(least_ms)
        # A pause is behind the last one in any case.
        at = bisect_left(pauses, edit.start_ms)
        end_ms = pauses[at] if at < len(pauses) else starts[-1]
        if end_ms == edit.start_ms or edit.start_ms + hold_ms >= last_ms:
            return None
        long = bisect_left(starts, max(last_ms - hold_ms, edit.start_ms + 1))
        if long < len(starts) and starts[long] <= end_ms:
            return self._edits[starts[long]][0]
        return self._edits[end_ms][1]

    def _pauses_of(self, least_ms: int) -> list[int]:
        if least_ms not in self._pauses:
            pairs = zip(self._starts, self._starts[1:], strict=False)
            self._pauses[least_ms] = [one for one, next_ms in pairs if next_ms - one >= least_ms]
        return self._pauses[least_ms]

    def _put(self, start_ms: int, least_ms: int, pauses: list[int]) -> None:
        at = bisect_left(self._starts, start_ms)
        if at:
            before = self._starts[at - 1]
            found = bisect_left(pauses, before)
            was = found < len(pauses) and pauses[found] == before
            if was and start_ms - before < least_ms:
                del pauses[found]
            elif not was and start_ms - before >= least_ms:
                pauses.insert(found, before)
        if at + 1 < len(self._starts) and self._starts[at + 1] - start_ms >= least_ms:
            pauses.insert(bisect_right(pauses, start_ms), start_ms)


def times_of(page: Page) -> Times:
    """Up to the page's newest edit."""
    times: Times | None = page.times
    if times is None:
        page.times = times = Times()
    times.follow(page.edits)
    return times
