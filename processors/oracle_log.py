"""`sluice.source.v1` held against the ledger: what is in it, in which order, and what its ticks claim."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from processors.oracle_facts import Check, Disagreement, Finding, Line, PageKey, Record
from processors.oracle_ledger import Ledger, Offered
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, Canary, RecentChange, rfc3339
from schemas.log import KIND_CONTROL, KIND_EVENT, KIND_TICK, InvalidRecord, Policies, Tick, decode_policies, decode_tick

# What every hold > 0 must have heard before it lets an edit out.
NEEDED = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE)

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
    """

    def __init__(self, records: Sequence[Record], ledger: Ledger) -> None:
        self.records = records
        self.events: list[tuple[int, Offered]] = []
        self.ticks: list[Placed] = []
        self.rules: list[tuple[int, Policies]] = []
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
                    self.rules.append((record.offset, decode_policies(record.value or b"")))
            except InvalidRecord:
                self.unread.append(record)
            if kind == KIND_EVENT:
                event_id = id_in_key(record.key)
                known = ledger.by_id.get(event_id)
                if known is not None and event_id not in seen:
                    seen.add(event_id)
                    self.events.append((record.offset, known))
        self._tick_places = [placed.record.offset for placed in self.ticks]
        self._heard = [placed.heard_ms for placed in self.ticks]

    def policies_at(self, place: int) -> Policies | None:
        """Those in force when the record at `place` is read."""
        before = [policies for at, policies in self.rules if at <= place]
        return before[-1] if before else None

    def fires_at(self, place: int, fire_ms: int) -> int | None:
        """The place of the first tick after `place` that has heard everything up to `fire_ms`."""
        at = max(bisect_right(self._tick_places, place), bisect_left(self._heard, fire_ms))
        return self._tick_places[at] if at < len(self._tick_places) else None

    def heard_before(self, place: int) -> int:
        """The watermark that the last tick before `place` left."""
        at = bisect_left(self._tick_places, place)
        return self._heard[at - 1] if at else -1


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
        good = len(there) == 1 if home is None else there == list(home)
        astray = len(there) > 1 if home is None else not set(there) <= set(home)
        if not good and (astray or offered.offset < passed.get(offered.topic, 0)):
            wrong.append(_not_at_home(offered, there, home))
    letters = {record.value for record in line.deadletter}
    for offered in ledger.unreadable:
        kept = offered.raw in letters if offered.raw is not None else _has_letter(letters, offered)
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
                        place=_place(partition, place),
                        page=page,
                        rev_id=rev_of(offered),
                    )
                )
            last[page, offered.topic] = (place, offered)
    return Finding(check=Check.ORDER, looked_at=looked_at, disagreements=tuple(wrong))


def _place(partition: Partition, place: int) -> str:
    return next((record.place for record in partition.records if record.offset == place), str(place))


def check_time(
    ledger: Ledger, parts: Sequence[Partition], *, quiet_ms: int = 30_000, caught_up_ms: int = 60_000
) -> Finding:
    """Ticks: alike on every partition, none missing, none that claims more than was heard, cursors as the log is.

    quiet_ms, caught_up_ms: the settings of these names; a line that could be caught up may let silence move time.
    """
    wrong: list[Disagreement] = []
    for number, partition in enumerate(parts):
        wrong += _tick_numbers(number, partition, parts[0])
    if parts:
        wrong += _ahead(ledger, parts[0], quiet_ms, caught_up_ms)
        wrong += _beyond(ledger, parts[0])
        wrong += [problem for partition in parts for problem in _cursor(ledger, partition)]
    return Finding(check=Check.TIME, looked_at=sum(len(p.ticks) for p in parts), disagreements=tuple(wrong))


def _tick_numbers(number: int, partition: Partition, first: Partition) -> Iterator[Disagreement]:
    values = {placed.tick.number: placed.record.value for placed in first.ticks}
    expected = partition.ticks[0].tick.number if partition.ticks else 1
    for placed in partition.ticks:
        if placed.tick.number != expected:
            yield _tick_problem(placed, f"tick {expected} is missing or out of turn", str(expected))
        elif values.get(placed.tick.number, placed.record.value) != placed.record.value:
            yield _tick_problem(placed, f"tick {expected} on partition {number} is not that of partition 0", "alike")
        expected = placed.tick.number + 1


def _tick_problem(placed: Placed, what: str, expected: str) -> Disagreement:
    return Disagreement(
        check=Check.TIME, what=what, expected=expected, came=f"tick {placed.tick.number}", place=placed.record.place
    )


def _ahead(ledger: Ledger, partition: Partition, quiet_ms: int, caught_up_ms: int) -> Iterator[Disagreement]:
    """Heard-until per stream ≤ the minimum, over the stream's topics, of the newest message that the cursor passed."""
    newest = _Newest(ledger)
    bound: dict[str, int] = {}
    for placed in partition.ticks:
        by_stream: dict[str, list[int | None]] = {}
        for position in placed.tick.cursor:
            heard = newest.of(position.topic, position.next_offset)
            by_stream.setdefault(_stream(position.topic), []).append(heard)
        last = max((at for found in by_stream.values() for at in found if at is not None), default=-1)
        # Silence may move time only while messages are young; of a world in the past none ever is.
        silent = placed.record.at_ms - quiet_ms if placed.record.at_ms - last <= quiet_ms + caught_up_ms else -1
        for stream, found in by_stream.items():
            spoken = [at for at in found if at is not None]
            if spoken and len(spoken) == len(found):
                bound[stream] = max(bound.get(stream, -1), *[min(spoken)])
        for stream, heard_ms in placed.tick.heard_ms.items():
            limit = max(bound.get(stream, -1), silent)
            if heard_ms > limit:
                yield Disagreement(
                    check=Check.TIME,
                    what=f"tick {placed.tick.number} says {stream} is heard {heard_ms - limit} ms further than it was",
                    expected=f"at most {_time(limit)}, the newest that was offered and read",
                    came=_time(heard_ms),
                    place=placed.record.place,
                )
                return


def _time(at_ms: int) -> str:
    return rfc3339(at_ms) if at_ms >= 0 else "nothing"


class _Newest:
    """Per upstream topic, the newest event time among the messages before an offset."""

    def __init__(self, ledger: Ledger) -> None:
        self._offsets: dict[str, list[int]] = {}
        self._times: dict[str, list[int]] = {}
        for offered in sorted(ledger.offered, key=lambda each: (each.topic, each.offset)):
            if offered.event is None:
                continue
            times = self._times.setdefault(offered.topic, [])
            times.append(max(offered.event.meta.at_ms, times[-1] if times else -1))
            self._offsets.setdefault(offered.topic, []).append(offered.offset)

    def of(self, topic: str, next_offset: int) -> int | None:
        at = bisect_left(self._offsets.get(topic, []), next_offset)
        return self._times[topic][at - 1] if at else None


def _stream(topic: str) -> str:
    return topic.partition(".")[2]


def _beyond(ledger: Ledger, partition: Partition) -> Iterator[Disagreement]:
    """No cursor is behind the end of what was offered."""
    ends: dict[str, int] = {}
    for offered in ledger.offered:
        ends[offered.topic] = max(ends.get(offered.topic, 0), offered.offset + 1)
    for placed in partition.ticks:
        for position in placed.tick.cursor:
            if position.next_offset > ends.get(position.topic, 0):
                yield Disagreement(
                    check=Check.TIME,
                    what=f"the cursor of tick {placed.tick.number} is beyond what {position.topic} ever offered",
                    expected=f"at most {ends.get(position.topic, 0)}",
                    came=str(position.next_offset),
                    place=placed.record.place,
                )
                return


def _cursor(ledger: Ledger, partition: Partition) -> Iterator[Disagreement]:
    """Nothing lies before a tick that its cursor, or one before it, does not cover."""
    ticks = iter(partition.ticks)
    placed = next(ticks, None)
    waiting: list[tuple[int, Offered]] = []
    covered: dict[str, int] = {}
    for place, offered in [*partition.events, (1 << 62, None)]:
        while placed is not None and placed.record.offset < place:
            for position in placed.tick.cursor:
                covered[position.topic] = max(covered.get(position.topic, 0), position.next_offset)
            for at, each in waiting:
                if each.offset >= covered.get(each.topic, 0):
                    yield Disagreement(
                        check=Check.TIME,
                        what=f"the cursor of tick {placed.tick.number} does not cover what lies before it",
                        expected=f"{each.topic} up to more than {each.offset}",
                        came=str(covered.get(each.topic, "nothing")),
                        place=_place(partition, at),
                        page=page_of(each),
                        rev_id=rev_of(each),
                    )
            waiting.clear()
            placed = next(ticks, None)
        if offered is not None:
            waiting.append((place, offered))
