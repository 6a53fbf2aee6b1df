"""The gate step: carries each partition's shard through the exactly-once loop and decides nothing itself.

Reads `source`; writes `decisions` and `gate-state` and the offsets in one transaction. A partition's state is rebuilt
from the compacted `gate-state` topic when the partition is taken over, after the former owner was fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from processors.shard import Group, PageKey, Shard, Unreadable
from schemas.deadletter import DeadLetter
from schemas.decision import encode_decisions
from schemas.log import Policies, decode_policies, encode_policies
from schemas.page import POLICIES_KEY, Page, decode_page, encode_page, page_key
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

    async def own(self, partition: int) -> None:
        """Rebuild the partition's shard from what was last committed."""
        pages: dict[bytes, bytes | None] = {}
        for record in await read_partition(self._settings, self._topics.gate_state, partition):
            pages[record.key] = record.value
        rules = pages.pop(POLICIES_KEY, None)
        policies: Policies | None = None if rules is None else decode_policies(rules)
        self._shards[partition] = Shard([decode_page(value) for value in pages.values() if value is not None], policies)

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
        outs += [self._state(partition, shard, key) for key in sorted(shard.touched)]
        shard.touched.clear()
        if shard.policies_changed and shard.policies is not None:
            outs.append(self._out(partition, POLICIES_KEY, encode_policies(shard.policies)))
            shard.policies_changed = False
        return outs

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        """Count what was committed."""
        shard = self._shards[partition]
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
        metrics.PAGES.set(sum(len(each.pages) for each in self._shards.values()))
        metrics.PENDING.set(sum(each.pending for each in self._shards.values()))

    def _decisions(self, partition: int, record: Any, group: Group) -> Out:
        return Out(
            topic=self._topics.decisions,
            key=group.key,
            value=encode_decisions(group.decisions),
            partition=partition,
            headers=[("offset", str(record.offset).encode())],
        )

    def _state(self, partition: int, shard: Shard, key: PageKey) -> Out:
        page: Page | None = shard.pages.get(key)
        return self._out(partition, page_key(*key), None if page is None else encode_page(page))

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
