"""Protection on demand: the hold that keeps a wanted share of bad edits away, learned from what is undone. Pure.

Communities change, so a curve that was fitted once misses soon; a rolling window of the last 300 undone edits follows
them. Times are estimated by Kaplan and Meier, over all edits of the window: one that still stands counts as watched
for as long as it has stood. Bad edits are those that the curve reaches in the end; the hold is its quantile among them.

A narrow stratum has few cases and those are old, which costs both protection and delay. So the wiki's own curve is
used, and a narrower one only where its cases show, beyond chance, that the wider hold misses the target.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import sqrt
from typing import NamedTuple

from processors.survival import share_within

# The last so many undone edits are a stratum's curve, and with fewer than LEAST it has none.
WINDOW = 300
LEAST = 100
# Standard errors between the target and what the wider hold gives: by chance once in a thousand.
SURE = 3.29
# With 300 cases a quantile beyond this would rest on the longest two alone.
HIGHEST_TARGET = 0.99
# The hold while nothing is known: 7 days, which kept 99.2 to 99.9 % away on the measured wikis.
UNKNOWN_MS = 7 * 86_400_000


class Stratum(NamedTuple):
    """Edits that are undone alike; "" = all."""

    wiki: str = ""
    editor_class: str = ""
    activity: str = ""

    def wider(self) -> tuple[Stratum, ...]:
        """All edits, the wiki's, each of its halves, and itself: the widest first, each once."""
        wiki = self.wiki
        found = (
            Stratum(), Stratum(wiki), Stratum(wiki, activity=self.activity), Stratum(wiki, self.editor_class), self,
        )  # fmt: skip
        return tuple(dict.fromkeys(found))

    def __str__(self) -> str:
        return " × ".join(part for part in self if part) or "all wikis"


class Choice(NamedTuple):
    """stratum: whose curve gave the hold, None while nothing is known. cases: how many undone edits it rests on."""

    hold_ms: int
    stratum: Stratum | None
    cases: int


class Learner:
    """What was undone, and when. The same calls in the same order give the same choices."""

    def __init__(self) -> None:
        self._windows: dict[Stratum, _Window] = {}

    def began(self, stratum: Stratum, at_ms: int) -> None:
        """An edit was made."""
        for each in stratum.wider():
            self._windows.setdefault(each, _Window()).began(at_ms)

    def undone(self, stratum: Stratum, at_ms: int, after_ms: int) -> None:
        """It is now known that the edit made at `at_ms` was bad, and stood for `after_ms`."""
        for each in stratum.wider():
            self._windows.setdefault(each, _Window()).undone(at_ms, after_ms)

    def choose(self, stratum: Stratum, target: float, now_ms: int) -> Choice:
        """The hold for an edit of this stratum. target: the share of bad edits to keep away, up to HIGHEST_TARGET."""
        if not 0 < target <= HIGHEST_TARGET:
            raise ValueError(f"protection: more than 0, at most {HIGHEST_TARGET}, not {target}")
        chosen = Choice(UNKNOWN_MS, None, 0)
        for each in stratum.wider():
            window = self._windows.get(each)
            if window is None or window.cases < LEAST:
                continue
            # Wikis differ more than chance could hide: one's own curve always goes first.
            whole = not each.editor_class and not each.activity
            if whole or window.is_missed(chosen.hold_ms, target):
                chosen = Choice(window.hold_ms(target, now_ms), each, window.cases)
        return chosen


class _Window:
    """All edits since the oldest of the last WINDOW bad ones: those that were undone, and those that stand."""

    __slots__ = ("_holds_ms", "_standing", "_undone")

    def __init__(self) -> None:
        self._standing: list[int] = []  # when they were made, in order
        self._undone: list[tuple[int, int]] = []  # (when it was made, how long it stood), in order
        self._holds_ms: dict[float, int] = {}

    @property
    def cases(self) -> int:
        return len(self._undone)

    def began(self, at_ms: int) -> None:
        insort(self._standing, at_ms)

    def undone(self, at_ms: int, after_ms: int) -> None:
        at = bisect_left(self._standing, at_ms)
        if at < len(self._standing) and self._standing[at] == at_ms:
            del self._standing[at]
        insort(self._undone, (at_ms, after_ms))
        self._holds_ms.clear()
        if len(self._undone) > WINDOW:
            del self._undone[0]
            del self._standing[: bisect_left(self._standing, self._undone[0][0])]

    def hold_ms(self, target: float, now_ms: int) -> int:
        """The target's quantile of the time to the undoing. It changes when an edit is undone, not by time alone."""
        known = self._holds_ms.get(target)
        if known is None:
            after_ms = [after for _, after in self._undone]
            times, shares = share_within(after_ms, [now_ms - at for at in reversed(self._standing)])
            # The next edit is one more draw: of n known ones, the k-th lies above k of n + 1.
            wanted = target * shares[-1] * (len(after_ms) + 1) / len(after_ms)
            reached = bisect_left(shares, wanted - 1e-12)
            known = self._holds_ms[target] = round(times[min(reached, len(times) - 1)])
        return known

    def is_missed(self, hold_ms: int, target: float) -> bool:
        """Whether this hold would give these edits less protection than the target, or more, beyond chance."""
        chance = SURE * sqrt(target * (1 - target) / self.cases)
        before = sum(after < hold_ms for _, after in self._undone) / self.cases
        by_then = sum(after <= hold_ms for _, after in self._undone) / self.cases
        return by_then < target - chance or before > target + chance
