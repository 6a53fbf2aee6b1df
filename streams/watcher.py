"""Follows the topics of a running line as any reader with `read_committed` could, for a screen and for its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.plans import heard_until
from schemas.decision import decode_decisions
from schemas.event import EDIT_KINDS, PageChange, decode_event
from schemas.log import KIND_EVENT, KIND_TICK, decode_tick
from schemas.reasons import Step
from streams.kafka import consumer, header
from streams.settings import Settings
from streams.tally import Tally
from streams.topics import Topics

LOOK_SECONDS = 0.5
# Offsets are committed about once a second: what is younger than this is under way, not behind.
FRESH_SECONDS = 2.0


class Watcher:
    """What has come out so far.

    finished: per step, the different records that it has written. behind: per step, the records of its inputs that are
    older than `FRESH_SECONDS` and not committed by its group. heard_ms: the watermark, -1 before the first tick. edits:
    (wiki, revision) → the event that announced it. sample: the last release of the last policy that has a delta.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings)
        self._settings = settings
        self._written: dict[Step, set[bytes]] = {step: set() for step in Step}
        self._last: dict[TopicPartition, int] = {}
        self._looks: deque[tuple[float, dict[TopicPartition, int]]] = deque()
        self._inputs = {
            Step.FETCH: (self._topics.source,),
            Step.ENRICH: (self._topics.content,),
            Step.GATE: (self._topics.source,),
            Step.PUBLISH: (self._topics.decisions, self._topics.enriched),
        }
        self._writers = {
            self._topics.content: Step.FETCH,
            self._topics.enriched: Step.ENRICH,
            self._topics.decisions: Step.GATE,
        } | {self._topics.edits(policy): Step.PUBLISH for policy in self._topics.policies}
        self.behind: dict[Step, int] = dict.fromkeys(self._inputs, 0)
        self.heard_ms = -1
        self.edits: dict[tuple[str, int], PageChange] = {}
        self.titles: dict[tuple[str, int], str] = {}
        self.tally = Tally(titles=self.titles)
        self.dead_letters = 0
        self.sample: dict[str, Any] | None = None

    @property
    def finished(self) -> Mapping[Step, int]:
        return {step: len(written) for step, written in self._written.items()}

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow from the beginning of every topic while the block runs. What fails within ends it with its error."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._measure())]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read(self) -> None:
        topics = (self._topics.source, *self._writers, self._topics.deadletter)
        reader = consumer(self._settings, *topics)
        await reader.start()
        try:
            async for record in reader:
                self._last[TopicPartition(record.topic, record.partition)] = record.offset
                self._hear(record)
        finally:
            await reader.stop()

    def _hear(self, record: Any) -> None:
        if record.topic == self._topics.source:
            self._hear_log(record)
            return
        if record.topic == self._topics.deadletter:
            # One that was erased was counted when it came.
            self.dead_letters += header(record, "erased") is None
            return
        step = self._writers[record.topic]
        if record.value is None:
            return
        self._written[step].add(record.topic.encode() + record.key)
        if step is Step.GATE:
            self.tally.hear(decode_decisions(record.value))
        elif step is Step.PUBLISH and self._settings.policies[-1].name in record.topic:
            self._hear_release(record.value)

    def _hear_log(self, record: Any) -> None:
        kind = header(record, "kind")
        if kind == KIND_TICK:
            self.heard_ms = max(self.heard_ms, heard_until(decode_tick(record.value).heard_ms))
        elif kind == KIND_EVENT and record.value is not None:
            self._written[Step.SOURCE].add(record.key)
            event = decode_event(record.value)
            if isinstance(event, PageChange) and event.kind in EDIT_KINDS:
                self.edits.setdefault((event.wiki, event.rev_id), event)
                self.titles[event.wiki, event.rev_id] = event.title.replace("_", " ")

    def _hear_release(self, value: bytes) -> None:
        doc = orjson.loads(value)
        if doc["action"] == "release" and doc["delta"] and doc["content"]:
            self.sample = doc

    async def _measure(self) -> None:
        """Keep `behind` true: what each group has committed, against the last record there is."""
        readers = {
            step: consumer(self._settings, group=self._topics.group(step), group_instance_id=None)
            for step in self._inputs
        }
        try:
            for reader in readers.values():
                await reader.start()
            while True:
                await self._look(readers)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for reader in readers.values():
                await reader.stop()

    async def _look(self, readers: Mapping[Step, AIOKafkaConsumer]) -> None:
        self._looks.append((time.monotonic(), dict(self._last)))
        if self._looks[0][0] > time.monotonic() - FRESH_SECONDS:
            return
        _, last = self._looks.popleft()
        for step, reader in readers.items():
            behind = 0
            for tp, offset in last.items():
                if tp.topic in self._inputs[step]:
                    behind += max(0, offset + 1 - (await reader.committed(tp) or 0))
            self.behind[step] = behind
