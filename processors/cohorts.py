"""How many of the edits of the last time are undone within how long, where most were only watched for a while. Pure.

Edits are counted by the day on which they were made and by how long they stood, in steps of 2 %: what a window knows
does not grow with the number of edits.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Mapping
from math import floor, log
from types import MappingProxyType
from typing import NamedTuple

from schemas.lessons import Cohort

DAY_MS = 86_400_000
# The last so many undone edits are a window, and the last so many days.
WINDOW = 300
SPAN_DAYS = 30
# Whatever stands on a day so long ago was watched as long as that month: one count serves it.
FOLD_DAYS, MONTH_DAYS = 60, 30
MATURE_DAYS = 9
STANDS_MS = 48 * 3_600_000
_STEP = log(1.02)


def step_of(after_ms: int) -> int:
    """The step within which a time lies."""
    return 0 if after_ms < 1000 else 1 + floor(log(after_ms / 1000) / _STEP)


def end_of(step: int) -> int:
    """Where a step ends, in ms."""
    return round(1000 * 1.02**step)


class Window:
    """The edits since the oldest of the last WINDOW bad ones, or of the last SPAN_DAYS: how many, and which undone.

    What is younger than MATURE_DAYS does not push anything out: most of what becomes of it is not known yet.
    """

    __slots__ = ("_days", "cases", "cohorts")

    def __init__(self, cohorts: Mapping[int, Cohort] = MappingProxyType({})) -> None:
        self.cohorts = dict(cohorts)  # by their first day since 1970
        self._days = sorted(self.cohorts)
        self.cases = sum(cohort.cases for cohort in self.cohorts.values())

    def began(self, at_ms: int) -> None:
        """An edit was made; one that is older than a window that is full is not taken in."""
        first = self._first(at_ms // DAY_MS)
        if first not in self.cohorts:
            if self._days and first < self._days[0] and self._pushes_out(first):
                return
            self._add(first, Cohort())
            self._fold()
        self.cohorts[self._first(at_ms // DAY_MS)].edits += 1

    def undone(self, at_ms: int, after_ms: int, times: int = 1) -> None:
        """The edit made at `at_ms` stood for `after_ms`. times: -1 takes back that it was."""
        cohort, step = self.cohorts.get(self._first(at_ms // DAY_MS)), step_of(after_ms)
        if cohort is not None and cohort.undone[step] + times >= 0:
            cohort.undone[step] += times
            cohort.cases += times
            self.cases += times

    def _add(self, first: int, cohort: Cohort) -> None:
        self.cohorts[first] = cohort
        insort(self._days, first)

    def _first(self, day: int) -> int:
        return day - day % MONTH_DAYS if self._days and day < self._days[-1] - FOLD_DAYS else day

    def _fold(self) -> None:
        """Another day has begun: make months of old ones, and forget what is not needed any more."""
        for day in [day for day in self._days if self.cohorts[day].days == 1 and day < self._days[-1] - FOLD_DAYS]:
            old = self.cohorts.pop(day)
            self._days.remove(day)
            first = day - day % MONTH_DAYS
            if first not in self.cohorts:
                self._add(first, Cohort())
            month = self.cohorts[first]
            month.days = MONTH_DAYS
            month.edits += old.edits
            month.cases += old.cases
            month.undone.update(old.undone)
        while len(self._days) > 1 and self._pushes_out(self._days[0], self.cohorts[self._days[0]]):
            self.cases -= self.cohorts.pop(self._days.pop(0)).cases

    def _pushes_out(self, day: int, cohort: Cohort | None = None) -> bool:
        """Whether there is enough without what was made on these days."""
        newest = self._days[-1]
        if day + (cohort.days if cohort else 1) > newest - SPAN_DAYS:
            return False
        young = sum(each.cases for first, each in self.cohorts.items() if first > newest - MATURE_DAYS)
        return self.cases - young - (cohort.cases if cohort else 0) >= WINDOW

    def curve(self, now_ms: int) -> Curve:
        """What is known at a time."""
        # What happened in the last 48 hours may be undone itself.
        watched = sorted((now_ms - (day + c.days) * DAY_MS - STANDS_MS, day) for day, c in self.cohorts.items())
        at_risk = sum(cohort.edits for cohort in self.cohorts.values())
        undone: Counter[int] = Counter()
        for cohort in self.cohorts.values():
            undone.update(cohort.undone)
        times: list[int] = []
        shares: list[float] = []
        left, gone, cases = 1.0, 0, 0
        for step in sorted(undone):
            while gone < len(watched) and watched[gone][0] < end_of(step):
                cohort = self.cohorts[watched[gone][1]]
                at_risk -= cohort.edits - sum(n for earlier, n in cohort.undone.items() if earlier < step)
                undone.subtract(cohort.undone)
                gone += 1
            if undone[step] > 0 and at_risk > 0:
                left *= 1 - min(1.0, undone[step] / at_risk)
                at_risk -= undone[step]
                cases += undone[step]
                times.append(end_of(step))
                shares.append(1 - left)
        return Curve(cases, watched[-1][0] if watched else 0, times, shares)


class Curve(NamedTuple):
    """The share that is undone within each time, by Kaplan and Meier's estimate.

    cases: how many undone edits it rests on. watched_ms: for how long any edit was watched. times: in ms, in order;
    shares: at each, 0 to 1.
    """

    cases: int
    watched_ms: int
    times: list[int]
    shares: list[float]
