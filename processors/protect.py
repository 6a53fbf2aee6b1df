"""Protection on demand: the hold that keeps a wanted share of bad edits away, learned from what is undone. Pure.

Communities change, so a curve that was fitted once misses soon; a rolling window follows them: the last 300 undone
edits, and the last 30 days at least, since of a busy minute only what was undone at once is known. Times are estimated
by Kaplan and Meier, over all edits of the window: one that still stands counts as watched for as long as it has stood,
less the 48 hours in which what undid it may be undone. Bad edits are those that the curve reaches in the end; the hold
is its quantile among them.

A quantile that few cases lie beyond moves with each of them, and a hold that moves costs delay without protecting more.
Such a one is read off a line through the slowest cases, of the logarithm of time against the normal distribution's
quantiles: times to a revert are mixtures of lognormals, whose tail is that of the slowest one.

A narrow stratum has few cases and those are old, which costs both protection and delay. So the wiki's own curve is
used, and a narrower one only where its cases show, beyond chance, that the wider hold misses the target.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp, log, sqrt
from statistics import NormalDist

from processors.cohorts import DAY_MS, Curve, Window
from schemas.learned import HIGHEST_TARGET, UNKNOWN_SECONDS, Choice, Learned, Stratum
from schemas.lessons import Cohort, Lesson

# A stratum with fewer cases has no curve of its own.
LEAST = 100
# Standard errors between the target and what the wider hold gives: by chance once in a thousand.
SURE = 3.29
# With fewer cases beyond a quantile it is read off the tail: so many times as many cases, and no fewer than FEW.
FEW, TAIL = 10, 5
# How often a table is made, in event time. Holds are hours or days long, and so are the changes of how soon
# communities undo.
EVERY_MS = 3_600_000
# The hold while nothing is known.
UNKNOWN_MS = round(UNKNOWN_SECONDS * 1000)
# A hold of 0 would be none at all.
_SHORTEST_MS = 1000
_NORMAL = NormalDist()


class Learner:
    """What was undone, and when. The same calls in the same order give the same choices."""

    def __init__(self, windows: Iterable[tuple[Stratum, Mapping[int, Cohort]]] = ()) -> None:
        self._windows = {stratum: Window(cohorts) for stratum, cohorts in windows}
        self._curves: dict[Stratum, _Holds] = {}
        self._changed: dict[Stratum, None] = {}

    def hear(self, lesson: Lesson) -> None:
        """Take in what the gate saw."""
        if lesson.after_ms is None:
            self.began(lesson.stratum, lesson.at_ms)
        else:
            self.undone(lesson.stratum, lesson.at_ms, lesson.after_ms, -1 if lesson.stands else 1)

    def began(self, stratum: Stratum, at_ms: int) -> None:
        """An edit was made."""
        for each in stratum.wider():
            self._windows.setdefault(each, Window()).began(at_ms)
            self._changed[each] = None

    def undone(self, stratum: Stratum, at_ms: int, after_ms: int, times: int = 1) -> None:
        """The edit made at `at_ms` was bad, and stood for `after_ms`. times: -1 = it was not after all."""
        for each in stratum.wider():
            self._windows.setdefault(each, Window()).undone(at_ms, after_ms, times)
            self._changed[each] = None
            self._curves.pop(each, None)

    def choose(self, stratum: Stratum, target: float, now_ms: int) -> Choice:
        """The hold for an edit of this stratum. target: the share of bad edits to keep away, up to HIGHEST_TARGET.

        A curve is drawn anew when something of it was undone, and once a day.
        """
        if not 0 < target <= HIGHEST_TARGET:
            raise ValueError(f"protection: more than 0, at most {HIGHEST_TARGET}, not {target}")
        chosen = Choice(UNKNOWN_MS, None, 0)
        for each in stratum.wider():
            curve = self._curve(each, now_ms)
            if curve is None:
                continue
            # Wikis differ more than chance could hide: one's own curve always goes first.
            whole = not each.editor_class and not each.activity
            if whole or curve.is_missed(chosen.hold_ms, target):
                chosen = Choice(curve.hold_ms(target), each, curve.cases)
        return chosen

    def table(self, targets: Sequence[float], now_ms: int) -> Learned:
        """The holds of all strata now: a row for each wiki that has a curve, and where a narrower one is better."""
        rows = {}
        for stratum in sorted(self._windows):
            if stratum.activity and not stratum.editor_class:
                continue  # no edit is without a class
            for target in targets:
                choice = self.choose(stratum, target, now_ms)
                found_without = {None, Stratum(), Stratum(stratum.wiki)} - {stratum}
                if choice.stratum not in found_without:
                    rows[stratum, target] = choice
        return Learned(at_ms=now_ms, rows=rows)

    @property
    def windows(self) -> Iterator[tuple[Stratum, Mapping[int, Cohort]]]:
        """All that was counted."""
        return ((stratum, window.cohorts) for stratum, window in self._windows.items())

    def take_changed(self) -> Iterator[tuple[Stratum, Mapping[int, Cohort]]]:
        """What was counted anew since the last call."""
        changed, self._changed = self._changed, {}
        return ((stratum, self._windows[stratum].cohorts) for stratum in changed)

    def _curve(self, stratum: Stratum, now_ms: int) -> _Holds | None:
        found = self._curves.get(stratum)
        if found is None or not found.known or now_ms - found.drawn_ms >= DAY_MS:
            window = self._windows.get(stratum)
            if window is None or window.cases < LEAST:
                return None
            found = self._curves[stratum] = _Holds(window.curve(now_ms), now_ms)
        return found if found.known else None


class _Holds:
    """What follows from a curve. known: it rests on enough cases, and on edits that were watched for long enough."""

    def __init__(self, curve: Curve, drawn_ms: int) -> None:
        self.drawn_ms = drawn_ms
        self.cases, self._times, self._shares = curve.cases, curve.times, curve.shares
        # Of edits that were watched for an hour all that is known was undone within an hour.
        self.known = curve.cases >= LEAST and curve.watched_ms >= UNKNOWN_MS
        self._holds_ms: dict[float, int] = {}

    def hold_ms(self, target: float) -> int:
        """The target's quantile of the time to the undoing."""
        known = self._holds_ms.get(target)
        if known is None:
            few = round(self.cases * (1 - target), 6) < FEW
            known = max(_SHORTEST_MS, self._of_the_tail(target) if few else self._as_counted(target))
            self._holds_ms[target] = known
        return known

    def _as_counted(self, target: float) -> int:
        # The next edit is one more draw: of n known ones, the k-th lies above k of n + 1.
        wanted = target * self._shares[-1] * (self.cases + 1) / self.cases
        reached = bisect_left(self._shares, wanted - 1e-12)
        return self._times[min(reached, len(self._times) - 1)]

    def _of_the_tail(self, target: float) -> int:
        share = max(TAIL * (1 - target), FEW / self.cases)
        points: list[tuple[float, float, float]] = []  # (weight, normal quantile, logarithm of time)
        before = 0.0
        for time, reached in zip(self._times, self._shares, strict=True):
            by_then = reached / self._shares[-1]
            middle = (before + by_then) / 2
            if middle > 1 - share:
                points.append((by_then - before, _NORMAL.inv_cdf(middle), log(time)))
            before = by_then
        if len(points) < 2:
            return self._as_counted(target)
        weight = sum(w for w, _, _ in points)
        x_mean, y_mean = sum(w * x for w, x, _ in points) / weight, sum(w * y for w, _, y in points) / weight
        slope = sum(w * (x - x_mean) * (y - y_mean) for w, x, y in points) / sum(
            w * (x - x_mean) ** 2 for w, x, _ in points
        )
        wanted = min(target * (self.cases + 1) / self.cases, 1 - 1 / (2 * self.cases))
        return round(exp(y_mean + slope * (_NORMAL.inv_cdf(wanted) - x_mean)))

    def is_missed(self, hold_ms: int, target: float) -> bool:
        """Whether this hold would give these edits less protection than the target, or more, beyond chance."""
        chance = SURE * sqrt(target * (1 - target) / self.cases)
        before = self._share(bisect_left(self._times, hold_ms))
        by_then = self._share(bisect_right(self._times, hold_ms))
        return by_then < target - chance or before > target + chance

    def _share(self, reached: int) -> float:
        return self._shares[reached - 1] / self._shares[-1] if reached else 0.0
