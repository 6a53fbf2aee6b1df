"""The five steps, run by tests: in this process or as processes that can be killed, and read out when all is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import TopicPartition
from conftest import all_readable

from schemas.decision import Decision, decode_decisions
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE
from schemas.log import Policy, decode_tick
from schemas.reasons import Step
from streams.kafka import consumer, header, read_partition
from streams.settings import Settings
from streams.topics import Topics

HOLDS = {"live": 0, "w10": 10, "w60": 60, "w300": 300}
# A recording played many times too fast: shorter ticks and lingers, no budget.
HASTE = {
    "policies": tuple(Policy(name=name, hold_seconds=hold) for name, hold in HOLDS.items()),
    "tick_seconds": 0.2,
    "linger_seconds": 0.3,
    "requests_per_minute": 6000.0,
    "replica_lag_seconds": 2.0,
    # What the recording has, all of it.
    "streams": (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE),
    "recentchange": "all",
    # Erasure has tests of its own; here the log is compared with what was served.
    "erase_seconds": 3600.0,
}
PATIENCE_SECONDS = 240.0


async def settled(settings: Settings, until_ms: int) -> None:
    """Return when time has reached `until_ms` in the log and every step is done with what came before that."""
    topics = Topics(settings)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (ends := await _reached(settings, until_ms)) is None:  # noqa: ASYNC110 - a topic has no event to wait for
            await asyncio.sleep(0.3)
        await _passed(settings, Step.GATE, topics.source, ends)
        await _passed(settings, Step.FETCH, topics.source, ends)
        await _passed(settings, Step.ENRICH, topics.content, await _last(settings, topics.content))
        await _passed(settings, Step.PUBLISH, topics.decisions, await _last(settings, topics.decisions))
        await _passed(settings, Step.PUBLISH, topics.enriched, await _last(settings, topics.enriched))


async def _reached(settings: Settings, until_ms: int) -> dict[int, int] | None:
    """Per partition the offset of the first tick at which every stream is heard until then; None if there is none."""
    ends = {}
    for partition in range(settings.partitions):
        for record in await read_partition(settings, Topics(settings).source, partition):
            heard = decode_tick(record.value).heard_ms if header(record, "kind") == b"tick" else {}
            if len(heard) == 4 and min(heard.values()) >= until_ms:
                ends[partition] = record.offset
                break
        else:
            return None
    return ends


async def _last(settings: Settings, topic: str) -> dict[int, int]:
    ends = {}
    for partition in range(settings.partitions):
        records = await read_partition(settings, topic, partition)
        if records:
            ends[partition] = records[-1].offset
    return ends


async def _passed(settings: Settings, step: Step, topic: str, ends: dict[int, int]) -> None:
    reader = consumer(settings, group=Topics(settings).group(step), group_instance_id=None)
    await reader.start()
    try:
        for partition, offset in ends.items():
            tp = TopicPartition(topic, partition)
            while (await reader.committed(tp) or 0) <= offset:  # noqa: ASYNC110 - nor has a group
                await asyncio.sleep(0.2)
    finally:
        await reader.stop()


@dataclass(frozen=True)
class Outcome:
    """Every committed record of every topic, by topic and partition, and the settings that made them."""

    settings: Settings
    records: dict[str, list[list[Any]]]

    @property
    def topics(self) -> Topics:
        return Topics(self.settings)

    def all(self, topic: str) -> list[Any]:
        return [record for partition in self.records[topic] for record in partition]

    def log(self, partition: int) -> list[tuple[bytes, bytes]]:
        """(kind, value) of the source's records."""
        return [(header(r, "kind") or b"", r.value) for r in self.records[self.topics.source][partition]]

    def events(self) -> list[bytes]:
        return [r.value for r in self.all(self.topics.source) if header(r, "kind") == b"event"]

    def decisions(self, partition: int) -> list[Decision]:
        return [d for r in self.records[self.topics.decisions][partition] for d in decode_decisions(r.value)]

    def ends(self) -> dict[tuple[str, str, int, int], str]:
        """(policy, wiki, revision, epoch) → the last state decided."""
        made = (d for p in range(self.settings.partitions) for d in self.decisions(p))
        return {(d.policy, d.wiki, d.rev_id, d.epoch): d.state.value for d in made}

    def view(self) -> dict[tuple[str, bytes], dict[str, Any]]:
        """(topic, key) → what stands for a reader who folded every partner topic; no broker times."""
        standing = {}
        for policy in self.topics.policies:
            edits = fold(self.all(self.topics.edits(policy)))
            gone = {key.removesuffix(b":retract") + b":release" for key in edits if key.endswith(b":retract")}
            kept = {key: doc for key, doc in edits.items() if key.endswith(b":release") and key not in gone}
            standing |= {(self.topics.edits(policy), key): doc for key, doc in kept.items()}
            pages = fold(self.all(self.topics.pages(policy)))
            standing |= {(self.topics.pages(policy), key): doc for key, doc in pages.items()}
        return standing


def fold(records: Iterable[Any]) -> dict[bytes, dict[str, Any]]:
    """Key → last value, without tombstones, broker times and topic names."""
    last = {record.key: record.value for record in records}
    docs = {key: orjson.loads(value) for key, value in last.items() if value is not None}
    for doc in docs.values():
        del doc["integrity"]["released_at"]
        del doc["meta"]["stream"]
    return docs


async def outcome(settings: Settings) -> Outcome:
    await all_readable(settings)
    records = {}
    for row in Topics(settings).table():
        partitions = range(row.partitions)
        records[row.name] = [await read_partition(settings, row.name, partition) for partition in partitions]
    return Outcome(settings, records)
