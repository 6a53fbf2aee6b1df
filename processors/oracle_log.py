"""`sluice.source.v1` held against the ledger: what is in it, in which order, and what its ticks claim."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import orjson

from processors.oracle_facts import Check, Disagreement, Finding, Line, PageKey, Record
from processors.oracle_ledger import Ledger, Offered
from processors.oracle_rules import NEEDED, Limits, limits
from schemas.event import Canary, RecentChange
from schemas.learned import Learned
from schemas.log import (
    KIND_CONTROL,
    KIND_ERASURE,
    KIND_EVENT,
    KIND_TICK,
    Gap,
    InvalidRecord,
    Policies,
    Tick,
    decode_control,
    decode_tick,
)

Partitioner = Callable[[bytes], int]


@dataclass(frozen=True, slots=True)
class Placed:
    """A tick, and where it lies. heard_ms: the watermark it raises time to, -1 = none."""

    record: Record
    tick: Tick
    heard_ms: int


class Partition:
    """One partition of the log, indexed. Places are offsets.

    events: (place, event of the ledger), each id once. ticks: in order. rules: (place, policies in force from there).
    gaps: (place, span of event time that nobody heard), known from there on. learned: (place, table of holds).
    """

    def __init__(self, records: Sequence[Record], ledger: Ledger) -> None:
        self.records = records
        self.events: list[tuple[int, Offered]] = []
        self.ticks: list[Placed] = []
        self.rules: list[tuple[int, Policies]] = []
        self.gaps: list[tuple[int, Gap]] = []
        self.learned: list[tuple[int, Learned]] = []
        self.unread: list[Record] = []
        seen: set[str] = set()
        heard = -1
        for record in records:
            kind = record.headers.get("kind")
            try:
                if kind == KIND_TICK:
                    tick = decode_tick(record.value or b"")
                    heard = max(heard, min(tick.heard_ms.get(stream, -1) for stream in NEEDED))
                    self.ticks.append(Placed(record, tick, heard))
                elif kind == KIND_CONTROL:
                    self._control(record.offset, decode_control(record.value or b""))
            except InvalidRecord:
                self.unread.append(record)
            if kind == KIND_EVENT:
                event_id = id_in_key(record.key)
                known = ledger.by_id.get(event_id)
                if known is not None and event_id not in seen:
                    seen.add(event_id)
                    self.events.append((record.offset, known))
        self._tick_places = [placed.record.offset for placed in self.ticks]
        self._limits: dict[int, Limits] = {}
        self._heard = {NEEDED: [placed.heard_ms for placed in self.ticks]}

    def _control(self, place: int, control: object) -> None:
        if isinstance(control, Gap):
            self.gaps.append((place, control))
        elif isinstance(control, Learned):
            self.learned.append((place, control))
        elif isinstance(control, Policies):
            self.rules.append((place, control))

    def policies_at(self, place: int) -> Policies | None:
        """Those in force when the record at `place` is read."""
        before = [policies for at, policies in self.rules if at <= place]
        return before[-1] if before else None

    def learned_at(self, place: int) -> Learned | None:
        """The table of learned holds in force when the record at `place` is read."""
        return next((table for at, table in reversed(self.learned) if at <= place), None)

    def fires_at(self, place: int, fire_ms: int) -> int | None:
        """The place of the first tick after `place` that has heard everything up to `fire_ms`."""
        at = max(bisect_right(self._tick_places, place), bisect_left(self._heard[NEEDED], fire_ms))
        return self._tick_places[at] if at < len(self._tick_places) else None

    def heard(self, needed: frozenset[str]) -> Sequence[int]:
        """Per tick, until when all of these streams are heard; a tick that goes back takes nothing back.

        They are listened to while a rule may need them.
        """
        if needed not in self._heard:
            until = [
                min(placed.tick.heard_ms.get(stream, -1) for stream in needed)
                if needed in self.limits(placed.record.offset).followed
                else -1
                for placed in self.ticks
            ]
            self._heard[needed] = list(accumulate(until, max))
        return self._heard[needed]

    def time_before(self, place: int) -> int:
        """How far time is before `place` for the rule that is furthest; -1 before the first tick."""
        at = bisect_left(self._tick_places, place)
        return self._times[at - 1] if at else -1

    def forgotten_before(self, place: int) -> int:
        """Edits that began then or earlier are not known any more: a tick has let go of them."""
        at = bisect_left(self._tick_places, place)
        return self._gone[at - 1] if at else -1 - self.limits(place).kept_ms

    @cached_property
    def _times(self) -> Sequence[int]:
        sets = [self.limits(place).followed for place in self._tick_places]
        return list(accumulate((max(self.heard(each)[n] for each in followed) for n, followed in enumerate(sets)), max))

    @cached_property
    def _gone(self) -> Sequence[int]:
        kept = (self.limits(place).kept_ms for place in self._tick_places)
        return list(accumulate((at - each for at, each in zip(self._times, kept, strict=True)), max))

    def limits(self, place: int) -> Limits:
        """What the policies in force at a place listen to."""
        policies = self.policies_at(place)
        if id(policies) not in self._limits:
            self._limits[id(policies)] = limits(policies)
        return self._limits[id(policies)]


def id_in_key(key: bytes) -> str:
    """The event id in `wiki:page:rev:event id`."""
    parts = key.split(b":", 3)
    return parts[3].decode("utf-8", "replace") if len(parts) == 4 else ""


def partitions_of(line: Line, ledger: Ledger) -> list[Partition]:
    return [
        Partition([record for record in line.source if record.partition == number], ledger)
        for number in range(line.partitions)
    ]


def read_up_to(partitions: Sequence[Partition]) -> Mapping[str, int]:
    """Per upstream topic, the first offset that not every partition's ticks claim to be in the log."""
    claimed: list[dict[str, int]] = []
    for partition in partitions:
        ends: dict[str, int] = {}
        for placed in partition.ticks:
            for position in placed.tick.cursor:
                ends[position.topic] = max(ends.get(position.topic, 0), position.next_offset)
        claimed.append(ends)
    return {topic: min(ends.get(topic, 0) for ends in claimed) for topic in {t for ends in claimed for t in ends}}


def page_of(offered: Offered) -> PageKey | None:
    event = offered.event
    return None if event is None or isinstance(event, RecentChange | Canary) else (event.wiki, event.page_id)


def rev_of(offered: Offered) -> int | None:
    return None if offered.event is None or isinstance(offered.event, Canary) else offered.event.rev_id


def homes(offered: Offered, partitions: int, murmur2: Partitioner) -> tuple[int, ...] | None:
    """Where an event belongs: its page's partition, all for a log action; None: one, whichever."""
    event = offered.event
    page = page_of(offered)
    if page is not None:
        return ((murmur2(f"{page[0]}:{page[1]}".encode()) & 0x7FFFFFFF) % partitions,)
    return tuple(range(partitions)) if isinstance(event, RecentChange) and event.is_log else None


def check_source_complete(ledger: Ledger, line: Line, parts: Sequence[Partition], murmur2: Partitioner) -> Finding:
    """C1, first half: every event that the cursor has passed is in the log where it belongs, or a dead letter."""
    places: dict[str, list[int]] = {}
    for record in line.source:
        if record.headers.get("kind") == KIND_EVENT:
            places.setdefault(id_in_key(record.key), []).append(record.partition)
    passed = read_up_to(parts)
    wrong = []
    for offered in ledger.kept:
        there = sorted(set(places.get(offered.event_id, ())))
        home = homes(offered, line.partitions, murmur2)
        # One that was patrolled when it was made goes to its page, or to every partition where that is not known.
        wide = isinstance(offered.event, RecentChange) and bool(offered.event.patrolled)
        good = len(there) == 1 or (wide and len(there) == line.partitions) if home is None else there == list(home)
        astray = len(there) > 1 and not wide if home is None else not set(there) <= set(home)
        if not good and (astray or offered.offset < passed.get(offered.topic, 0)):
            wrong.append(_not_at_home(offered, there, home))
    letters = {record.value for record in line.deadletter}
    erased = {name for record in line.deadletter if "erased" in record.headers for name in _names(record)}
    for offered in ledger.unreadable:
        kept = offered.raw in letters if offered.raw is not None else _has_letter(letters, offered)
        kept = kept or not erased.isdisjoint(_names_of(offered))
        if not kept and offered.offset < passed.get(offered.topic, 0):
            wrong.append(
                Disagreement(
                    check=Check.COMPLETE,
                    what=f"a message that nobody can read is gone: {offered.topic} offset {offered.offset}",
                    expected="a dead letter with its bytes",
                    came="none",
                )
            )
    return Finding(
        check=Check.COMPLETE, looked_at=len(ledger.kept) + len(ledger.unreadable), disagreements=tuple(wrong)
    )


def _names(letter: Record) -> tuple[bytes, bytes]:
    """By what a dead letter is known whose bytes are erased: its event's id, and its place, which has their digest."""
    return letter.headers["erased"] or b"-", letter.headers.get("origin", b"-")


def _names_of(offered: Offered) -> set[bytes]:
    if offered.raw is not None:
        return {b"sse:" + hashlib.sha256(offered.raw).hexdigest().encode()}
    meta = (offered.doc or {}).get("meta")
    return {str(meta.get("id")).encode()} if isinstance(meta, dict) else set()


@dataclass(frozen=True, slots=True)
class Proved:
    """What the proofs of erasure name: (wiki, page, revision) → the broker's time of the proof.

    hidden: revisions that were hidden. unsaid: those after them, of which only what they say of the hidden one went.
    """

    hidden: Mapping[tuple[str, int, int], int]
    unsaid: Mapping[tuple[str, int, int], int]


def proved(line: Line) -> Proved:
    hidden: dict[tuple[str, int, int], int] = {}
    unsaid: dict[tuple[str, int, int], int] = {}
    for record in line.source:
        if record.headers.get("kind") != KIND_ERASURE:
            continue
        proof = orjson.loads(record.value or b"{}")
        page = proof["wiki"], proof["page_id"]
        keys = [each["key"].split(":", 3) for each in proof["records"]]
        revs = {int(rev) for wiki, page_id, rev, _ in keys if (wiki, page_id) == (page[0], str(page[1]))}
        gone = revs if proof["rev_id"] is None else {proof["rev_id"]}
        for rev_id in gone:
            hidden.setdefault((*page, rev_id), record.at_ms)
        for rev_id in revs - gone:
            unsaid.setdefault((*page, rev_id), record.at_ms)
    return Proved(hidden, unsaid)


def _has_letter(letters: set[bytes | None], offered: Offered) -> bool:
    def same(letter: bytes | None) -> bool:
        try:
            return bool(orjson.loads(letter or b"") == offered.doc)
        except orjson.JSONDecodeError:
            return False

    return any(same(letter) for letter in letters)


def _not_at_home(offered: Offered, there: list[int], home: tuple[int, ...] | None) -> Disagreement:
    lost = not there
    return Disagreement(
        check=Check.COMPLETE,
        what=f"event {offered.event_id} ({offered.topic} offset {offered.offset}) is "
        + ("lost: a tick's cursor has passed it" if lost else "not where it belongs"),
        expected=f"in the log on partition {'any one' if home is None else ', '.join(map(str, home))}",
        came="nowhere" if lost else f"on partition {', '.join(map(str, there))}",
        page=page_of(offered),
        rev_id=rev_of(offered),
    )


def check_source_once(ledger: Ledger, line: Line) -> Finding:
    """C2 on the log: an event id once per partition."""
    counts = Counter(
        (record.partition, id_in_key(record.key)) for record in line.source if record.headers.get("kind") == KIND_EVENT
    )
    wrong = []
    for (partition, event_id), times in counts.items():
        if times > 1:
            known = ledger.by_id.get(event_id)
            records = [r for r in line.source if r.partition == partition and id_in_key(r.key) == event_id]
            wrong.append(
                Disagreement(
                    check=Check.DUPLICATES,
                    what=f"event {event_id} is {times} times on partition {partition} of the log",
                    expected="once",
                    came=" and ".join(record.place for record in records[:3]),
                    place=records[1].place,
                    page=None if known is None else page_of(known),
                    rev_id=None if known is None else rev_of(known),
                )
            )
    return Finding(check=Check.DUPLICATES, looked_at=len(counts), disagreements=tuple(wrong))


def check_source_order(parts: Sequence[Partition]) -> Finding:
    """C3 on the log: per page and upstream topic in the order offered; ticks count up by one, alike everywhere."""
    wrong: list[Disagreement] = []
    looked_at = 0
    for partition in parts:
        last: dict[tuple[PageKey, str], tuple[int, Offered]] = {}
        for place, offered in partition.events:
            page = page_of(offered)
            if page is None:
                continue
            looked_at += 1
            before = last.get((page, offered.topic))
            if before is not None and before[1].number > offered.number:
                wrong.append(
                    Disagreement(
                        check=Check.ORDER,
                        what=f"two events of page {page[0]}:{page[1]} lie in the log in the wrong order",
                        expected=f"{offered.topic} offset {offered.offset} before offset {before[1].offset}",
                        came=f"at {place}, behind the other at {before[0]}",
                        place=place_of(partition, place),
                        page=page,
                        rev_id=rev_of(offered),
                    )
                )
            last[page, offered.topic] = (place, offered)
    return Finding(check=Check.ORDER, looked_at=looked_at, disagreements=tuple(wrong))


def place_of(partition: Partition, place: int) -> str:
    return next((record.place for record in partition.records if record.offset == place), str(place))
