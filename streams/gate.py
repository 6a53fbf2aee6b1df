"""The gate step: carries each partition's shard through the exactly-once loop and decides nothing itself.

Reads `source`; writes `decisions` and `gate-state` and the offsets in one transaction. A partition's state is rebuilt
from the compacted `gate-state` topic when the partition is taken over, after the former owner was fenced.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processors.group import Group
from processors.shard import Shard, Unreadable, rebuilt
from processors.store import PageKey, Row
from schemas.deadletter import DeadLetter
from schemas.lessons import encode_lessons
from schemas.page import MARK_KEY, WHEN_HEADER, decode_when, encode_when, page_key, read_key
from schemas.reasons import Step
from streams import metrics
from streams.disk import Disk
from streams.exactly_once import ExactlyOnce
from streams.kafka import Out, end_offset, header, letter_out, origin, read_batches, read_partition
from streams.settings import Settings
from streams.topics import KEEP_MS, Topics, limits

# Pages in use, of all partitions of a worker together; all others are on disk only. At 20 edits a second so many are
# edited within the hour after which most of what waits fires.
HOT_PAGES = 60_000
# In one transaction, which a backlog fills: its pages are then written less often, and it costs less by the record.
MOST_RECORDS = 2_000
# How often a store on disk learns how far it is: after a crash it reads so much again.
LOOK_SECONDS = 30.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Decide until `stop` is set. Raises what `ExactlyOnce.run` raises."""
    topics = Topics(settings)
    loop = ExactlyOnce(
        settings,
        app=topics.group(Step.GATE),
        step=Step.GATE,
        inputs=[topics.source],
        limits=limits(topics.table()),
        handler=Gate(settings),
        dead_letters=topics.deadletter,
        partitions=range(settings.partitions) if settings.assign == "all" else None,
        max_records=MOST_RECORDS,
    )
    await loop.run(stop)


class Gate:
    """The handler that `ExactlyOnce` calls: one shard per partition that this worker owns."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self._shards: dict[int, Shard] = {}
        self._made: dict[int, list[Group]] = {}
        self._rows: dict[int, Mapping[PageKey, Row | None]] = {}
        self._disks: dict[int, Disk] = {}
        self._ends: dict[int, int] = {}
        self._looked: dict[int, float] = {}

    async def own(self, partition: int) -> None:
        """Take up what was last committed: the store on disk and what the topic has beyond it, or all of the topic."""
        topic = self._topics.gate_state
        if not self._settings.state:
            last = {r.key: r for r in await read_partition(self._settings, topic, partition)}
            kept = [record for record in last.values() if record.value is not None]
            whens = {record.key: decode_when(header(record, WHEN_HEADER)) for record in kept}
            self._shards[partition] = rebuilt(((r.key, r.value) for r in kept), whens=whens, teaches=True)
            return
        path = Path(self._settings.state) / "gate" / f"{topic}-{partition}.db"
        name = f"{self._settings.kafka}/{topic}/{partition}"
        disk = Disk(path, topic=name, now_s=time.time(), stale_s=KEEP_MS / 1000 / 2)
        try:
            if disk.next_offset > await end_offset(self._settings, topic, partition):
                disk.make_anew()  # the topic is another one under the same name
            shard = Shard(store=disk, teaches=True)
            await self._catch_up(disk, partition)
            beside = dict(disk.beside())
            changed = int(beside.get(MARK_KEY, b"0")) != disk.mark
            shard.restore(beside.items(), None if changed else disk.unknown())
            disk.commit({}, {}, disk.next_offset, time.time(), _mark(shard))
        except BaseException:
            disk.close()
            raise
        self._disks[partition], self._shards[partition] = disk, shard

    async def _catch_up(self, disk: Disk, partition: int) -> None:
        """Read into the store what the topic has beyond it, with what its records say under the policies in force."""
        mark = disk.mark
        async for records in read_batches(self._settings, self._topics.gate_state, partition, disk.next_offset):
            rows: dict[PageKey, Row | None] = {}
            beside: dict[bytes, bytes | None] = {}
            for record in records:
                if record.key.startswith(b"~"):
                    beside[record.key] = record.value
                    if record.key == MARK_KEY and not mark:
                        mark = int(record.value or b"0")
                    continue
                row = None if record.value is None else Row(record.value, decode_when(header(record, WHEN_HEADER)))
                rows[read_key(record.key)] = row if row is None or row.when.mark == mark else Row(row.value)
            disk.commit(rows, beside, records[-1].offset + 1, time.time(), mark)

    def lost(self, partition: int) -> None:
        self._shards.pop(partition, None)
        self._rows.pop(partition, None)
        if partition in self._disks:
            self._disks.pop(partition).close()

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        """Decisions, dead letters and the states that changed, in this order. A page's state is written once."""
        shard = self._shards[partition]
        await self._note_end(partition)
        outs: list[Out] = []
        made = self._made[partition] = []
        for record in records:
            try:
                groups = shard.apply(header(record, "kind"), record.value or b"")
            except Unreadable as exc:
                outs.append(self._letter(record, exc))
                continue
            if groups:
                made += groups
                outs += self._decisions(partition, record, groups)
        rows = self._rows[partition] = shard.changed()
        # Policies go before pages, which say what follows under them.
        outs += [Out(self._topics.gate_state, key, value, partition) for key, value in sorted(shard.beside.items())]
        outs += [self._state(partition, key, row) for key, row in rows.items()]
        if shard.lessons:
            lessons = encode_lessons(shard.lessons)
            outs.append(Out(topic=self._topics.lessons, key=b"", value=lessons, partition=partition))
        return outs

    async def _note_end(self, partition: int) -> None:
        """Now and then look where the topic ends. Nobody else writes this partition of it, so all that is ours."""
        if partition in self._disks and time.monotonic() - self._looked.get(partition, 0.0) > LOOK_SECONDS:
            self._looked[partition] = time.monotonic()
            self._ends[partition] = await end_offset(self._settings, self._topics.gate_state, partition)

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        """Move what was committed to the store, and count it."""
        shard = self._shards[partition]
        rows = self._rows.pop(partition)
        if partition in self._disks:
            shard.hot_pages = HOT_PAGES // len(self._shards)
            disk = self._disks[partition]
            end = self._ends.pop(partition, disk.next_offset)
            disk.commit(rows, shard.beside, end, time.time(), _mark(shard))
            shard.flush({})
        else:
            shard.flush(rows)
        metrics.RECORDS.labels(Step.GATE, "in").inc(len(records))
        metrics.RECORDS.labels(Step.GATE, "out").inc(len(self._made[partition]))
        self._count(self._made[partition])
        for out in outs:
            if out.topic == self._topics.deadletter:
                metrics.DEAD_LETTERS.labels(Step.GATE, dict(out.headers)["reason"].decode()).inc()
        if shard.heard >= 0:
            metrics.LAST_EVENT.labels(Step.GATE).set(shard.heard / 1000)
        metrics.PAGES.set(sum(each.count for each in self._shards.values()))
        metrics.PENDING.set(sum(each.pending for each in self._shards.values()))

    def _count(self, groups: Sequence[Group]) -> None:
        states: Counter[tuple[str, str]] = Counter()
        for group in groups:
            for decision, count in group.counts():
                states[decision.state, decision.reason or ""] += count
                if decision.protect is not None:
                    metrics.PROTECT_CHOICES.labels(decision.protect.whose).inc(count)
        for state, count in states.items():
            metrics.DECISIONS.labels(*state).inc(count)

    def _decisions(self, partition: int, record: Any, groups: Sequence[Group]) -> list[Out]:
        headers = [("offset", b"%d" % record.offset), ("heard_ms", b"%d" % self._shards[partition].heard)]
        topic = self._topics.decisions
        return [Out(topic, group.key, group.value, partition, headers) for group in groups]

    def _state(self, partition: int, key: PageKey, row: Row | None) -> Out:
        if row is None:
            return Out(self._topics.gate_state, page_key(*key), None, partition)
        headers = [(WHEN_HEADER, encode_when(row.when))]
        return Out(self._topics.gate_state, page_key(*key), row.value, partition, headers)

    def _letter(self, record: Any, why: Unreadable) -> Out:
        letter = DeadLetter(
            step=Step.GATE,
            reason=why.reason,
            detail=why.detail,
            origin=origin(record),
            payload=record.value or b"",
        )
        return letter_out(self._topics.deadletter, letter)


def _mark(shard: Shard) -> int:
    return 0 if shard.rules is None else shard.rules.mark
