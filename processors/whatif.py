"""What policies would have done: the core over a log under other policies, and what came of it. Pure.

A log of the source has its own ticks and policies; the latter are left out and `policies` put in their place, and what
was learned is learned anew. A history has neither: it is heard without delay, a tick before every edit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median

from processors.curve import Edit, Revision, event
from processors.hear import RISK_STREAMS
from processors.plans import ACTIVITY_MS, Rules
from processors.protect import EVERY_MS, Learner
from processors.shard import Shard, Unreadable
from schemas.decision import Decision
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE
from schemas.learned import NOTHING_LEARNED
from schemas.lessons import Lesson, Seed
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Gap,
    InvalidRecord,
    Policies,
    Tick,
    decode_control,
    encode_learned,
    encode_policies,
    encode_tick,
)
from schemas.reasons import Bar, State

STREAMS = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE, *RISK_STREAMS)

# Pages in use per partition; all others are bytes.
HOT_PAGES = 100_000

EditKey = tuple[str, int, int, int]
# (partition, kind, value) of `sluice.source.v1`
Record = tuple[int, bytes, bytes]


@dataclass(slots=True)
class Outcome:
    """What one policy did. ends: the last state per edit; delays_s: from the hold's start to the release.

    lags_s: how long what was retracted had been out. bad: of the edits known to be bad, the number that was out at
    some time; known_bad: how many there are, 0 where nobody knows.
    """

    policy: str
    ends: dict[EditKey, Decision] = field(default_factory=dict)
    delays_s: dict[EditKey, float] = field(default_factory=dict)
    lags_s: list[float] = field(default_factory=list)
    out: dict[EditKey, int] = field(default_factory=dict)
    known_bad: int = 0
    bad_out: int = 0

    def hear(self, decision: Decision) -> None:
        """Take in one decision."""
        key = (decision.wiki, decision.page_id, decision.rev_id, decision.epoch)
        self.ends[key] = decision
        if decision.state is State.RELEASED:
            self.out[key] = decision.decided_for_ms
            self.delays_s[key] = (decision.decided_for_ms - decision.start_ms) / 1000
        elif decision.state is State.RETRACTED and key in self.out:
            self.lags_s.append((decision.decided_for_ms - self.out[key]) / 1000)

    def count(self, state: State) -> int:
        """How many edits stand there."""
        return sum(decision.state is state for decision in self.ends.values())

    @property
    def barred(self) -> int:
        """Edits that turned out bad by the gate's own signals, withheld or taken back."""
        return sum(d.reason in {Bar.REVERTED, Bar.PAGE_DELETED, Bar.SUPPRESSED} for d in self.ends.values())

    @property
    def protection(self) -> float | None:
        """Of the bad edits, the share that never was out; None if there are none."""
        if self.known_bad:
            return 1 - self.bad_out / self.known_bad
        kept = sum(d.state is State.WITHHELD for d in self.ends.values() if d.reason is not None)
        return kept / self.barred if self.barred else None

    @property
    def leak(self) -> float | None:
        """Of what was released, the share that had to be taken back (or was bad)."""
        bad = self.bad_out if self.known_bad else self.count(State.RETRACTED)
        return bad / len(self.out) if self.out else None

    @property
    def mean_delay_s(self) -> float | None:
        return mean(self.delays_s.values()) if self.delays_s else None

    @property
    def median_delay_s(self) -> float | None:
        return median(self.delays_s.values()) if self.delays_s else None


def over_log(records: Iterable[Record], policies: Policies, seed: Seed | None = None) -> Iterator[Decision]:
    """What the policies would have decided. The end of the log is not the end of time.

    Where they ask for protection, their holds are learned from the log as it goes, and from `seed` before: the log is
    then walked twice, so that the order of its partitions does not matter.
    """
    targets = Rules(policies).targets
    if targets:
        records = list(records)
    tables = list(_tables(records, policies, targets, seed)) if targets else []
    applied: Counter[int] = Counter()
    for partition, shard, decisions in _walk(records, policies):
        yield from decisions
        while applied[partition] < len(tables) and tables[applied[partition]][0] <= shard.heard:
            shard.apply(KIND_CONTROL, tables[applied[partition]][1])
            applied[partition] += 1


def _walk(
    records: Iterable[Record], policies: Policies, *, teaches: bool = False
) -> Iterator[tuple[int, Shard, list[Decision]]]:
    """Per record its partition, the shard that has walked over it, and what that decided. Control records are none."""
    shards: dict[int, Shard] = {}
    for partition, kind, value in records:
        shard = shards.get(partition)
        if shard is None:
            shard = shards[partition] = Shard(teaches=teaches)
            shard.apply(KIND_CONTROL, encode_policies(policies))
            yield partition, shard, []
        if kind == KIND_CONTROL and not _is_gap(value):
            continue
        try:
            groups = shard.apply(kind, value)
        except Unreadable:
            continue  # the gate sets it aside
        yield partition, shard, [d for group in groups for d in group.decisions]
        if len(shard.hot) > HOT_PAGES:
            shard.flush(shard.changed())


def _is_gap(value: bytes) -> bool:
    try:
        return isinstance(decode_control(value), Gap)
    except InvalidRecord:
        return True  # the gate sets it aside


def _tables(
    records: Iterable[Record], policies: Policies, targets: Sequence[float], seed: Seed | None
) -> Iterator[tuple[int, bytes]]:
    """(watermark from which it is in force, table): as the source would have written them, once an hour."""
    lessons: list[tuple[int, Lesson]] = []
    for _, shard, _ in _walk(records, policies, teaches=True):
        lessons += [(shard.heard, lesson) for lesson in shard.lessons]
        shard.lessons.clear()
    learner, last, due_ms = Learner(seed.windows if seed else ()), NOTHING_LEARNED, -1
    for heard_ms, lesson in sorted(lessons, key=lambda each: each[0]):
        if heard_ms >= due_ms:
            table = learner.table(targets, max(heard_ms, seed.until_ms if seed else -1))
            if table.rows != last.rows:
                # What is known before the first edit is in force from the start.
                yield heard_ms if due_ms >= 0 else -1, encode_learned(table)
                last = table
            due_ms = max(0, heard_ms + EVERY_MS)
        learner.hear(lesson)


def over_history(history: Sequence[Revision], page_id: int, policies: Policies) -> Iterator[Decision]:
    """What the policies would have decided over one page's history."""
    return over_log(history_log(history, page_id, policies), policies)


def history_log(history: Sequence[Revision], page_id: int, policies: Policies) -> Iterator[Record]:
    """One page's history as a log of its own, heard without delay: before it a month in which nothing happened, after
    it as much time as any hold may take.
    """
    ends_ms = Rules(policies).longest_ms
    for number, (before, revision) in enumerate(pairwise((None, *history)), start=1):
        if revision is not None:
            if before is None:
                yield _tick(page_id, 0, revision.at_ms - ACTIVITY_MS - 1)
            yield _tick(page_id, number, revision.at_ms - 1)
            yield page_id, KIND_EVENT, event(revision, page_id, before)
    if history:
        yield _tick(page_id, len(history) + 1, history[-1].at_ms + ends_ms)


def _tick(partition: int, number: int, at_ms: int) -> Record:
    return partition, KIND_TICK, encode_tick(Tick(number=number, heard_ms=dict.fromkeys(STREAMS, at_ms), cursor=()))


def outcomes(
    decisions: Iterable[Decision], policies: Policies, truth: Mapping[EditKey, Edit] | None = None
) -> list[Outcome]:
    """Per policy what came of its decisions. truth: which edits were bad, where the whole history is known."""
    made = {policy.name: Outcome(policy.name) for policy in policies.policies}
    for decision in decisions:
        made[decision.policy].hear(decision)
    for outcome in made.values() if truth else ():
        bad = {key for key, edit in (truth or {}).items() if edit.bad}
        outcome.known_bad = len(bad)
        outcome.bad_out = len(bad & set(outcome.out))
    return list(made.values())


def table(found: Sequence[Outcome]) -> str:
    """Side by side."""
    head = (f"{'policy':<12}{'released':>9}{'withheld':>9}{'supersed.':>10}{'retracted':>10}{'protection':>11}"
            f"{'leak':>8}{'retr./1000':>11}{'delay median':>13}{'mean':>9}")  # fmt: skip
    return "\n".join([head, *(_row(outcome) for outcome in found)])


def _row(o: Outcome) -> str:
    retracted = o.count(State.RETRACTED)
    per_1000 = f"{1000 * len(o.lags_s) / len(o.out):.3g}" if o.out else "-"
    return (
        f"{o.policy:<12}{len(o.out):>9,}{o.count(State.WITHHELD):>9,}{o.count(State.SUPERSEDED):>10,}{retracted:>10,}"
        f"{share(o.protection):>11}{share(o.leak):>8}{per_1000:>11}{span(o.median_delay_s):>13}{span(o.mean_delay_s):>9}"
    )


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def span(seconds: float | None) -> str:
    """A duration in a unit that suits it."""
    if seconds is None:
        return "-"
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"
