"""The oracle: the whole line held against the ledger of the world that it was fed with. Pure, in batch, after the fact.

It decides everything again from the ledger's events by the rules as they are written, and never looks at how the line
came to its results; the log gives it only the order in which events and ticks were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from processors import oracle_inside as inside
from processors import oracle_published as published
from processors.oracle_decisions import Made, check_decisions, check_one_verdict, decisions_of
from processors.oracle_facts import Check, Disagreement, Finding, Line
from processors.oracle_history import pages_of
from processors.oracle_integrity import check_integrity
from processors.oracle_ledger import Ledger
from processors.oracle_log import (
    Partition,
    Partitioner,
    check_source_complete,
    check_source_once,
    check_source_order,
    partitions_of,
    read_up_to,
)
from processors.oracle_time import check_time
from processors.oracle_verdicts import Fate, fates
from schemas.event import rfc3339
from schemas.reasons import Step

# What a line that is still at work has not done yet cannot be held against it.
NEEDS_AN_END = frozenset({Check.COMPLETE, Check.DECISIONS, Check.VIEW, Check.RECOVERED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """findings: one per check. unfinished: why it is too early to tell; then what needs an end was not looked at.

    fates and decided: what had to become of every edit, and every decision there is.
    """

    findings: tuple[Finding, ...]
    unfinished: tuple[str, ...]
    fates: tuple[Fate, ...]
    decided: tuple[Made, ...]
    partitions: tuple[Partition, ...]

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        return tuple(d for finding in self.findings for d in finding.disagreements)

    @property
    def perfect(self) -> bool:
        return not self.unfinished and not self.disagreements


def score(
    ledger: Ledger,
    line: Line,
    *,
    murmur2: Partitioner,
    quiet_ms: int = 30_000,
    caught_up_ms: int = 60_000,
) -> Score:
    """Hold `line` against `ledger`. murmur2: Kafka's partitioner hash; times: the settings of these names."""
    parts = partitions_of(line, ledger)
    found = tuple(fate for part in parts for page in pages_of(part) for fate in fates(page))
    made = decisions_of(line)
    sent, unread = published.sent_of(line)
    pages = published.pages_of_topics(line)
    edits = list({fate.edit.event.meta.event_id: fate.edit.event for fate in found}.values())
    unfinished = (*_lagging(line, parts, found), *_world_goes_on(ledger, parts, found))
    findings = [
        check_source_complete(ledger, line, parts, murmur2),
        check_source_once(ledger, line),
        published.check_once(sent),
        inside.check_repeats(ledger, line),
        check_source_order(parts),
        published.check_order(sent, made),
        inside.check_homes(line, murmur2),
        check_integrity(ledger, made, sent, pages),
        inside.check_ghosts(ledger, line, sent),
        Finding(check=Check.GHOSTS, looked_at=0, disagreements=tuple(unread)),
        check_time(ledger, parts, quiet_ms=quiet_ms, caught_up_ms=caught_up_ms),
    ]
    if not unfinished:
        findings += [
            check_one_verdict(found, made),
            check_decisions(found, made),
            published.check_published(made, sent, line, tuple(line.edits)),
            published.check_pages(sent, pages),
            published.check_erased(sent, pages, line),
            inside.check_finished(line, edits),
        ]
    return Score(
        findings=tuple(_merged(findings)),
        unfinished=unfinished,
        fates=found,
        decided=tuple(each for one in made.values() for each in one),
        partitions=tuple(parts),
    )


def _merged(findings: Sequence[Finding]) -> Iterator[Finding]:
    """One finding per check, in the order of the checks."""
    for check in Check:
        same = [finding for finding in findings if finding.check is check]
        if same:
            yield Finding(
                check=check,
                looked_at=sum(finding.looked_at for finding in same),
                disagreements=tuple(d for finding in same for d in finding.disagreements),
            )


def _lagging(line: Line, parts: Sequence[Partition], found: Sequence[Fate]) -> Iterator[str]:
    """Ticks that change nothing may wait: they never end."""
    for lag in line.lags:
        if lag.records:
            yield f"{lag.step} has {lag.records} records of {lag.topic}/{lag.partition} still to do"
        elif lag.step == Step.GATE:
            mine = [fate for fate in found if fate.page.partition is parts[lag.partition]]
            if any(step.moment[0] >= lag.done for fate in mine for step in fate.steps):
                yield f"{lag.step} has ticks of {lag.topic}/{lag.partition} still to do, from {lag.done} on"


def _world_goes_on(ledger: Ledger, parts: Sequence[Partition], found: Sequence[Fate]) -> Iterator[str]:
    passed = read_up_to(parts)
    in_log = {offered.event_id for part in parts for _, offered in part.events}
    ahead = [e for e in ledger.kept if e.offset >= passed.get(e.topic, 0) and e.event_id not in in_log]
    if ahead:
        yield f"the source has not read {len(ahead)} events yet, the first is {ahead[0].topic} offset {ahead[0].offset}"
    end_ms, last_ms = ledger.world.get("end_ms", 0), ledger.offered[-1].at_ms if ledger.offered else 0
    if last_ms < end_ms:
        yield f"the world goes on until {rfc3339(end_ms)}; its ledger is at {rfc3339(last_ms)}"
    # What waits under a policy that is gone waits for its return, and is decided if that comes.
    waiting = [fate for fate in found if not fate.steps and fate.in_force]
    if waiting:
        last = max(fate.fire_ms for fate in waiting)
        heard = min((part.ticks[-1].heard_ms for part in parts if part.ticks), default=-1)
        said = rfc3339(heard) if heard >= 0 else "nowhere"
        yield f"{len(waiting)} verdicts are not due: time in the log is at {said}, the last one's is {rfc3339(last)}"
    if not found:
        yield "the log has no edit yet"
