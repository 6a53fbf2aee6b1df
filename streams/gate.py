"""The gate step: carries each partition's shard through the exactly-once loop and decides nothing itself.

Reads `source`; writes `decisions` and `gate-state` and the offsets in one transaction. A partition's state is rebuilt
from the compacted `gate-state` topic when the partition is taken over, after the former owner was fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from processors.shard import Group, Shard, Unreadable, rebuilt
from processors.store import PageKey, Row
from schemas.deadletter import DeadLetter
from schemas.decision import encode_decisions
from schemas.page import page_key
from schemas.reasons import Step
from streams import metrics
from streams.exactly_once import ExactlyOnce
from streams.kafka import Out, header, letter_out, origin, read_partition
from streams.settings import Settings
from streams.topics import Topics, limits


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

    async def own(self, partition: int) -> None:
        """Rebuild the partition's shard from what was last committed."""
        last: dict[bytes, bytes | None] = {}
        for record in await read_partition(self._settings, self._topics.gate_state, partition):
            last[record.key] = record.value
        kept = [(key, value) for key, value in last.items() if value is not None]
        self._shards[partition] = rebuilt(kept)

    def lost(self, partition: int) -> None:
        self._shards.pop(partition, None)

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        """Decisions, dead letters and the states that changed, in this order. A page's state is written once."""
        shard = self._shards[partition]
        outs: list[Out] = []
        made = self._made[partition] = []
        for record in records:
            try:
                groups = shard.apply(header(record, "kind"), record.value or b"")
            except Unreadable as exc:
                outs.append(self._letter(record, exc))
                continue
            made += groups
            outs += [self._decisions(partition, record, group) for group in groups]
        rows = self._rows[partition] = shard.changed()
        outs += [self._out(partition, page_key(*key), None if row is None else row.value) for key, row in rows.items()]
        outs += [self._out(partition, key, value) for key, value in sorted(shard.beside.items())]
        return outs

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        """Move what was committed to the store, and count it."""
        shard = self._shards[partition]
        shard.flush(self._rows.pop(partition))
        metrics.RECORDS.labels(Step.GATE, "in").inc(len(records))
        metrics.RECORDS.labels(Step.GATE, "out").inc(len(self._made[partition]))
        for group in self._made[partition]:
            for decision in group.decisions:
                metrics.DECISIONS.labels(decision.state, decision.reason or "").inc()
        for out in outs:
            if out.topic == self._topics.deadletter:
                metrics.DEAD_LETTERS.labels(Step.GATE, dict(out.headers)["reason"].decode()).inc()
        if shard.heard >= 0:
            metrics.LAST_EVENT.labels(Step.GATE).set(shard.heard / 1000)
        metrics.PAGES.set(sum(each.count for each in self._shards.values()))
        metrics.PENDING.set(sum(each.pending for each in self._shards.values()))

    def _decisions(self, partition: int, record: Any, group: Group) -> Out:
        return Out(
            topic=self._topics.decisions,
            key=group.key,
            value=encode_decisions(group.decisions),
            partition=partition,
            headers=[("offset", str(record.offset).encode())],
        )

    def _out(self, partition: int, key: bytes, value: bytes | None) -> Out:
        return Out(topic=self._topics.gate_state, key=key, value=value, partition=partition)

    def _letter(self, record: Any, why: Unreadable) -> Out:
        letter = DeadLetter(
            step=Step.GATE,
            reason=why.reason,
            detail=why.detail,
            origin=origin(record),
            payload=record.value or b"",
        )
        return letter_out(self._topics.deadletter, letter)
