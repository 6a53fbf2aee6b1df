"""`sluice score`: reads a simulated wiki's ledger and every topic, and lets the oracle say whether they agree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.partitioner import murmur2

from processors.oracle import Score, score
from processors.oracle_facts import Lag, Line, Record
from processors.oracle_ledger import Ledger, read_ledger
from processors.oracle_story import as_document, tell, verdict
from schemas.log import KIND_TICK
from schemas.reasons import Step
from streams import cluster
from streams.kafka import read_partition, reading
from streams.settings import Settings
from streams.topics import Topics

LOOK_AGAIN_SECONDS = 0.5
HOLDS, DOES_NOT = 0, 1

Read = Mapping[str, Sequence[Record]]


async def run_score(settings: Settings, path: Path, *, wait_seconds: float, as_json: bool) -> tuple[int, str]:
    """Exit code and what to print. Looks again for `wait_seconds` as long as the line or its world are at work.

    Raises `OSError`, `InvalidLedger`, `LayoutDiffers` and a `KafkaError` where something cannot be read.
    """
    await cluster.require(settings)
    ledger, found = await judged(settings, path, wait_seconds=wait_seconds)
    if as_json:
        text = orjson.dumps(as_document(found), option=orjson.OPT_INDENT_2).decode()
    else:
        text = "\n".join([*tell(ledger, found), "", verdict(found)])
    return (HOLDS if found.perfect else DOES_NOT), text


async def judged(settings: Settings, path: Path, *, wait_seconds: float) -> tuple[Ledger, Score]:
    """The ledger and its score, once nothing is under way or the time is over."""
    until = time.monotonic() + wait_seconds
    while True:
        line = await read_line(settings, until)
        with path.open("rb") as file:
            ledger = read_ledger(
                file,
                wikis=settings.wikis,
                streams=settings.followed,
                all_changes=settings.recentchange == "all",
            )
        found = score(
            ledger,
            line,
            murmur2=murmur2,
            quiet_ms=round(settings.quiet_seconds * 1000),
            caught_up_ms=round(settings.caught_up_seconds * 1000),
        )
        if not found.unfinished or time.monotonic() >= until:
            return ledger, found
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def read_line(settings: Settings, until: float) -> Line:
    """Every topic. The log first: what stands in it then, each step must have finished before its output is read.

    until: by the monotonic clock, how long to wait for that; what is left then is in `lags`.
    """
    topics = Topics(settings)
    read: dict[str, list[Record]] = {}
    lags: list[Lag] = []
    steps = {
        topics.source: (Step.GATE, Step.FETCH),
        topics.content: (Step.ENRICH,),
        topics.enriched: (Step.PUBLISH,),
        topics.decisions: (Step.PUBLISH,),
    }
    for topic, readers in steps.items():
        read[topic] = await _read(settings, topic, settings.partitions)
        for step in readers:
            lags += await _lags(settings, step, read[topic], until)
    for policy in topics.policies:
        for topic in (topics.edits(policy), topics.pages(policy)):
            read[topic] = await _read(settings, topic, settings.partitions)
    return Line(
        partitions=settings.partitions,
        source=read[topics.source],
        content=read[topics.content],
        enriched=read[topics.enriched],
        decisions=read[topics.decisions],
        deadletter=await _read(settings, topics.deadletter, 1),
        edits={policy: read[topics.edits(policy)] for policy in topics.policies},
        pages={policy: read[topics.pages(policy)] for policy in topics.policies},
        lags=lags,
    )


async def _read(settings: Settings, topic: str, partitions: int) -> list[Record]:
    parts = [await read_partition(settings, topic, partition) for partition in range(partitions)]
    return [_record(record) for part in parts for record in part]


def _record(record: Any) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key or b"",
        value=record.value,
        headers=dict(record.headers),
        at_ms=record.timestamp,
    )


async def _lags(settings: Settings, step: Step, records: Sequence[Record], until: float) -> list[Lag]:
    """What a step has not finished of these records."""
    async with reading(settings, group=Topics(settings).group(step)) as reader:
        while True:
            lags = []
            for topic, partition in sorted({(record.topic, record.partition) for record in records}):
                done = await reader.committed(TopicPartition(topic, partition)) or 0
                left = [r for r in records if (r.topic, r.partition) == (topic, partition) and r.offset >= done]
                count = sum(r.headers.get("kind") != KIND_TICK for r in left)
                if left:
                    lags.append(Lag(step=step, topic=topic, partition=partition, records=count, done=done))
            if not any(lag.records for lag in lags) or time.monotonic() >= until:
                return lags
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
