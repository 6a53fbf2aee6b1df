"""How good each policy was, folded from its decisions alone: protection, leak, exposure, retraction lag, delay. Pure.

*Bad* is what the gate learned to be bad: another editor undid it, its page was deleted or a part of it hidden, while it
waited (*kept away*) or within the horizon after its release (*retracted*). Bad text that nobody undoes, or that a newer
release took the place of first, is not seen; who knows better has `processors.oracle_quality`.

Every number of a row is a sum over decisions, each of which says all that it adds. So the rows need no memory of edits,
add up over partitions and days, and are the same however often they are folded anew from `sluice.decisions.v1`.
Every release is followed for its policy's horizon: the gate decides within it, and the retraction names the start of
the hold, by which it finds the row of its release.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from processors.whatif import share, span
from schemas.decision import Decision
from schemas.event import rfc3339
from schemas.quality import BY_REASON, NUMBERS, SPREADS, Quality, Spread
from schemas.reasons import Bar, State

BAD = frozenset({Bar.REVERTED, Bar.PAGE_DELETED, Bar.SUPPRESSED})
# Days per policy and partition that are kept; the oldest goes. A day from a clock that is years off costs one of them.
MOST_DAYS = 400
# Of bad edits, the share that was undone within so many seconds: 20,156 of them on 25 contentious enwiki pages.
MEASURED = (
    (60, 0.25), (300, 0.49), (900, 0.64), (3600, 0.79), (21_600, 0.93), (86_400, 0.985), (172_800, 0.993),
    (604_800, 0.999),
)  # fmt: skip

RowKey = tuple[str, str]  # policy, day


def row_key(decision: Decision) -> RowKey | None:
    """Where a decision counts; None = nowhere: of a revision its first epoch counts."""
    return None if decision.epoch else (decision.policy, rfc3339(decision.start_ms)[:10])


def fold(row: Quality, d: Decision) -> None:
    """Add one decision to its row."""
    if d.state is State.RELEASED:
        row.released += 1
        row.waited_ms += d.decided_for_ms - d.start_ms
        _count(row.waits, d.decided_for_ms - d.start_ms)
    elif d.state is State.SUPERSEDED:
        by_self = any(signal.by_self for signal in d.signals)
        row.self_reverted += by_self
        row.superseded += not by_self
    elif d.state is State.WITHHELD:
        row.withheld[str(d.reason)] = row.withheld.get(str(d.reason), 0) + 1
        row.stood_ms += max(0, d.decided_for_ms - d.start_ms) if d.reason in BAD else 0
    elif d.state is State.RETRACTED:
        lag_ms = max(0, d.decided_for_ms - d.fire_ms)
        row.retracted[str(d.reason)] = row.retracted.get(str(d.reason), 0) + 1
        row.stood_ms += max(0, d.decided_for_ms - d.start_ms)
        row.exposed_ms += lag_ms
        row.taken_waited_ms += d.fire_ms - d.start_ms
        _count(row.taken_waits, d.fire_ms - d.start_ms)
        _count(row.lags, lag_ms)


def _count(spread: Spread, ms: int) -> None:
    low = rounded(ms)
    spread[low] = spread.get(low, 0) + 1


def rounded(ms: int) -> int:
    """Down to five significant bits; exact below 32.

    >>> rounded(31), rounded(1000), rounded(360_000)
    (31, 992, 344064)
    """
    spare = max(0, ms.bit_length() - 5)
    return max(0, ms) >> spare << spare


class Book:
    """The rows of one partition."""

    def __init__(self, rows: Iterable[Quality] = ()) -> None:
        self.rows: dict[RowKey, Quality] = {(row.policy, row.day): row for row in rows}

    def hear(self, decisions: Iterable[Decision]) -> set[RowKey]:
        """Fold decisions; returns the keys of what changed. One that has no row any more was dropped for its age."""
        changed: set[RowKey] = set()
        for decision in decisions:
            key = row_key(decision)
            if key is None:
                continue
            row = self.rows.get(key)
            if row is None:
                row = self.rows[key] = Quality(policy=key[0], day=key[1])
                changed |= self._drop_oldest(key[0])
            fold(row, decision)
            changed.add(key)
        return changed

    def _drop_oldest(self, policy: str) -> set[RowKey]:
        if len(self.rows) <= MOST_DAYS:
            return set()  # of all policies together: nothing to look for
        days = sorted(day for name, day in self.rows if name == policy)
        dropped = {(policy, day) for day in days[: max(0, len(days) - MOST_DAYS)]}
        for key in dropped:
            del self.rows[key]
        return dropped


@dataclass(frozen=True, slots=True)
class Measures:
    """What a sum of rows says. Shares are from 0 to 1, None where there is nothing to divide by."""

    row: Quality

    @property
    def edits(self) -> int:
        row = self.row
        return row.released + row.superseded + row.self_reverted + sum(row.withheld.values())

    @property
    def retractions(self) -> int:
        return sum(self.row.retracted.values())

    @property
    def kept_away(self) -> int:
        return sum(self.row.withheld.get(str(bar), 0) for bar in BAD)

    @property
    def bad(self) -> int:
        return self.kept_away + self.retractions

    @property
    def protection(self) -> float | None:
        """Of the bad edits, the share that never went out."""
        return self.kept_away / self.bad if self.bad else None

    @property
    def leak(self) -> float | None:
        """Of what went out, the share that was bad."""
        return self.retractions / self.row.released if self.row.released else None

    @property
    def exposure(self) -> float | None:
        """Of the time that bad text stood, the share for which it was out here."""
        return self.row.exposed_ms / self.row.stood_ms if self.row.stood_ms else None

    @property
    def good_lost(self) -> int:
        """Edits that nobody undid and that never went out: withheld for another reason, or superseded."""
        return self.edits - self.bad - (self.row.released - self.retractions)

    @property
    def good_delay_ms(self) -> float | None:
        """Mean, of what was released and is not retracted."""
        good = self.row.released - self.retractions
        return (self.row.waited_ms - self.row.taken_waited_ms) / good if good else None

    def good_delay_quantile_ms(self, part: float) -> float | None:
        taken = self.row.taken_waits
        return quantile({low: count - taken.get(low, 0) for low, count in self.row.waits.items()}, part)

    def lag_quantile_ms(self, part: float) -> float | None:
        """How long what was retracted had been out."""
        return quantile(self.row.lags, part)


def quantile(spread: Mapping[int, int], part: float) -> float | None:
    """The value that `part` of the cases reach at most, within a thirtieth; None of no cases."""
    left = part * sum(max(0, count) for count in spread.values())
    for low in sorted(spread):
        left -= max(0, spread[low])
        if left <= 0 < spread[low]:
            return low + (1 << max(0, low.bit_length() - 5)) // 2
    return None


def summed(rows: Iterable[Quality]) -> dict[str, Quality]:
    """Policy → all its rows in one, whose day is the latest."""
    totals: dict[str, Quality] = {}
    for row in rows:
        total = totals.setdefault(row.policy, Quality(policy=row.policy, day=row.day))
        total.day = max(total.day, row.day)
        for name in NUMBERS:
            setattr(total, name, getattr(total, name) + getattr(row, name))
        for name in (*BY_REASON, *SPREADS):
            counts = getattr(total, name)
            for each, count in getattr(row, name).items():
                counts[each] = counts.get(each, 0) + count
    return totals


def differences(stored: Mapping[RowKey, Quality], folded: Mapping[RowKey, Quality]) -> list[str]:
    """Each number in which two books differ, in words."""
    found = []
    for key in sorted(stored.keys() | folded.keys()):
        ours, anew = stored.get(key), folded.get(key)
        if ours is None or anew is None:
            found.append(f"{key[0]} {key[1]}: {'no row, but decisions' if ours is None else 'a row, but no decisions'}")
            continue
        for name in (*NUMBERS, *BY_REASON, *SPREADS):
            one, other = getattr(ours, name), getattr(anew, name)
            found += [] if one == other else [f"{key[0]} {key[1]}: {name} is {one}, folded anew {other}"]
    return found


def promised(hold_seconds: float) -> float:
    """The protection that a fixed window of this length gave where it was measured, 0 to 1.

    Between the figures by the logarithm of time.

    >>> promised(0), promised(3600), round(promised(1800), 3)
    (0.0, 0.79, 0.715)
    """
    before_s, before = 1.0, 0.0
    for seconds, measured in MEASURED:
        if hold_seconds < seconds:
            way = math.log(max(hold_seconds, before_s) / before_s) / math.log(seconds / before_s)
            return before + way * (measured - before)
        before_s, before = seconds, measured
    return before


def table(rows: Iterable[Quality]) -> str:
    """One line per policy, in the order of their names."""
    head = (f"{'policy':<12}{'edits':>10}{'bad':>8}{'protection':>11}{'leak':>8}{'exposure':>9}{'retracted':>10}"
            f"{'out: median':>12}{'p99':>9}{'delay median':>13}{'mean':>9}{'good lost':>10}")  # fmt: skip
    return "\n".join([head, *(_line(Measures(row)) for _, row in sorted(summed(rows).items()))])


def _line(m: Measures) -> str:
    lags = [m.lag_quantile_ms(part) for part in (0.5, 0.99)]
    delays = [m.good_delay_quantile_ms(0.5), m.good_delay_ms]
    return (
        f"{m.row.policy:<12}{m.edits:>10,}{m.bad:>8,}{share(m.protection):>11}{share(m.leak):>8}{share(m.exposure):>9}"
        f"{m.retractions:>10,}{_time(lags[0]):>12}{_time(lags[1]):>9}{_time(delays[0]):>13}{_time(delays[1]):>9}"
        f"{m.good_lost:>10,}"
    )


def _time(ms: float | None) -> str:
    return span(None if ms is None else ms / 1000)


def document(row: Quality) -> dict[str, object]:
    """A sum of rows and what it says, for machines."""
    m = Measures(row)
    return {
        "policy": row.policy,
        "edits": m.edits,
        "bad": m.bad,
        "released": row.released,
        "retracted": dict(sorted(row.retracted.items())),
        "withheld": dict(sorted(row.withheld.items())),
        "superseded": row.superseded,
        "self_reverted": row.self_reverted,
        "good_lost": m.good_lost,
        "protection": m.protection,
        "leak": m.leak,
        "exposure": m.exposure,
        "good_delay_ms": m.good_delay_ms,
        "good_delay_median_ms": m.good_delay_quantile_ms(0.5),
        "lag_median_ms": m.lag_quantile_ms(0.5),
        "lag_p99_ms": m.lag_quantile_ms(0.99),
    }
