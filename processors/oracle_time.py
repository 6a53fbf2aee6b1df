"""Ticks and cursors of `sluice.source.v1` held against the ledger: none claims more than was heard."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from processors.oracle_facts import Check, Disagreement, Finding
from processors.oracle_ledger import Ledger, Offered
from processors.oracle_log import Partition, Placed, page_of, place_of, rev_of
from schemas.event import rfc3339


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
                        place=place_of(partition, at),
                        page=page_of(each),
                        rev_id=rev_of(each),
                    )
            waiting.clear()
            placed = next(ticks, None)
        if offered is not None:
            waiting.append((place, offered))
