"""The statistics of `sluice.quality.v1`: publish folds them in, `sluice quality` adds them up or folds them anew.

Data flow: gate → `decisions` → publish, which folds each record that it reads into rows (`processors.quality`) and
writes those that changed in the transaction that also commits how far it has read. Owner: whoever owns the partition.

    what dies, and when              what is there afterwards
    before the transaction           nothing of it; the decisions are read again
    within it                        the cluster aborts it: rows, offsets and what partners get, or none of them
    after it                         the rows; whoever owns the partition next reads them back and goes on
    the topic is new, or was lost    the owner folds `decisions` anew, up to where publish has read
    decisions beyond their retention they stay counted in the rows, and are not compared

A row's header `next_offset` says up to which decision it goes. Rows are written in one transaction, so that the largest
of a partition holds for all of them; up to there, decisions folded anew must give the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import TopicPartition

from processors.quality import BAD, Book, RowKey, differences, document, summed
from schemas.decision import Decision, decode_decisions
from schemas.event import rfc3339
from schemas.log import InvalidRecord
from schemas.quality import Quality, decode_quality, encode_quality, quality_key
from schemas.reasons import State, Step
from streams import metrics
from streams.kafka import Out, header, read_batches, read_partition, reading
from streams.settings import Settings
from streams.topics import DAY_MS, Topics


class Ledger:
    """The books of the partitions that this worker owns. Calls come as those of `exactly_once.Handler` do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self._books: dict[int, Book] = {}
        self._changed: dict[int, set[RowKey]] = {}
        self._heard: dict[int, list[Decision]] = {}
        self._next: dict[int, int] = {}

    async def own(self, partition: int) -> None:
        """Read the rows back, or fold them anew where there are none."""
        self.lost(partition)
        rows, _ = await stored(self._settings, partition)
        if not rows:
            end = await _committed(self._settings, partition)
            book, _ = await folded(self._settings, partition, end)
            self._changed[partition] = set(book.rows)
            self._books[partition], self._next[partition] = book, end
        else:
            self._books[partition] = Book(rows)

    def lost(self, partition: int) -> None:
        for each in (self._books, self._changed, self._heard, self._next):
            each.pop(partition, None)

    def hear(self, partition: int, decisions: Sequence[Decision], offset: int) -> None:
        """Fold in the decisions of the record at `offset`."""
        changed = self._books.setdefault(partition, Book()).hear(decisions)
        self._changed.setdefault(partition, set()).update(changed)
        self._heard.setdefault(partition, []).extend(decisions)
        self._next[partition] = offset + 1

    def outs(self, partition: int) -> list[Out]:
        """The rows that changed since the last call, and tombstones of those that were dropped for their age."""
        changed = sorted(self._changed.pop(partition, ()))
        if not changed:
            return []
        rows, headers = self._books[partition].rows, [("next_offset", b"%d" % self._next[partition])]
        found = [(key, rows.get(key)) for key in changed]
        return [
            Out(
                topic=self._topics.quality,
                key=quality_key(*key),
                value=None if row is None else encode_quality(row),
                partition=partition,
                headers=headers,
            )
            for key, row in found
        ]

    def committed(self, partition: int) -> None:
        """What was heard stands: count it."""
        for decision in self._heard.pop(partition, ()):
            if decision.epoch == 0 and decision.policy in self._topics.policies:
                _count(decision)


def _count(d: Decision) -> None:
    bad = d.reason in BAD
    outcome = "kept_away" if d.state is State.WITHHELD and bad else str(d.state)
    metrics.QUALITY_EDITS.labels(d.policy, outcome).inc()
    if d.state is State.RELEASED:
        metrics.QUALITY_SECONDS.labels(d.policy, "waited").inc(max(0, d.decided_for_ms - d.start_ms) / 1000)
    elif bad:
        metrics.QUALITY_SECONDS.labels(d.policy, "stood").inc(max(0, d.decided_for_ms - d.start_ms) / 1000)
    if d.state is State.RETRACTED:
        lag_s = max(0, d.decided_for_ms - d.fire_ms) / 1000
        metrics.QUALITY_SECONDS.labels(d.policy, "exposed").inc(lag_s)
        metrics.QUALITY_LAG.labels(d.policy).observe(lag_s)


async def stored(settings: Settings, partition: int) -> tuple[list[Quality], int]:
    """The rows of a partition, and the first decision that is in none of them. Raises `InvalidRecord`."""
    values: dict[bytes, bytes | None] = {}
    end = 0
    for record in await read_partition(settings, Topics(settings).quality, partition):
        values[record.key] = record.value
        end = max(end, int(header(record, "next_offset") or 0))
    return [decode_quality(value) for value in values.values() if value is not None], end


async def folded(settings: Settings, partition: int, end: int) -> tuple[Book, str]:
    """The rows of a partition from its decisions before offset `end`.

    Also the first day that nothing is missing of: "" where the log still has its first record.
    """
    book, complete_from = Book(), None
    async for records in read_batches(settings, Topics(settings).decisions, partition, 0):
        if complete_from is None:
            complete_from = rfc3339(records[0].timestamp + DAY_MS)[:10] if records[0].offset else ""
        for record in records:
            if record.offset < end and record.value is not None:
                book.hear(_decisions(record))
    return book, complete_from or ""


def _decisions(record: Any) -> list[Decision]:
    """[] where nobody can read them; publish sets such a record aside."""
    try:
        return decode_decisions(record.value)
    except InvalidRecord:
        return []


async def _committed(settings: Settings, partition: int) -> int:
    topics = Topics(settings)
    async with reading(settings, group=topics.group(Step.PUBLISH)) as reader:
        return await reader.committed(TopicPartition(topics.decisions, partition)) or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """rows: all there are. different: what a fold anew disagrees with. passed_over: rows too old to be folded anew."""

    rows: Sequence[Quality]
    different: Sequence[str] = ()
    passed_over: int = 0


async def read_rows(settings: Settings, *, since: str = "", check: bool = False) -> Checked:
    """since: the first day to look at, as 2026-11-22. check: also fold the decisions anew. Raises `InvalidRecord`."""
    rows: list[Quality] = []
    different: list[str] = []
    passed_over = 0
    for partition in range(settings.partitions):
        found, end = await stored(settings, partition)
        found = [row for row in found if row.day >= since]
        rows += found
        if check:
            book, first = await folded(settings, partition, end)
            first = max(first, since)
            ours, anew = (
                {(row.policy, row.day): row for row in each if row.day >= first} for each in (found, book.rows.values())
            )
            passed_over += len(found) - len(ours)
            different += [f"partition {partition}: {each}" for each in differences(ours, anew)]
    return Checked(rows=rows, different=different, passed_over=passed_over)


def in_json(found: Checked) -> str:
    """Policy by policy."""
    totals = [document(row) for _, row in sorted(summed(found.rows).items())]
    return orjson.dumps({"policies": totals, "different": found.different}, option=orjson.OPT_INDENT_2).decode()
