"""What went out, read again by its key, so that it can be said again without what was hidden since."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka import close_consumer, consumer
from streams.settings import Settings

# So much may the clocks of two brokers differ.
CLOCKS_MS = 60_000
# A commit is answered before every reader sees its records: what went out this short a time ago is waited for.
RECENT_MS = 600_000
PATIENCE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.05


class Published:
    """Reads the topics that partners read. Its consumer is started by the first reading."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def read(self, topic: str, partition: int, key: bytes, at_ms: int) -> bytes | None:
        """The value under `key` that went out at `at_ms` (broker's time) or later; None if it is not there any more.

        Reads from there up to where it is and a little further: it may have been said anew.
        """
        async with self._lock:
            if self._reader is None:
                self._reader = consumer(self._settings)
                await self._reader.start()
            patience = PATIENCE_SECONDS if at_ms > 1000 * time.time() - RECENT_MS else 0.0
            until = time.monotonic() + patience
            tp = TopicPartition(topic, partition)
            while True:
                value = await self._look(self._reader, tp, key, at_ms)
                if value is not None or time.monotonic() >= until:
                    return value
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _look(self, reader: AIOKafkaConsumer, tp: TopicPartition, key: bytes, at_ms: int) -> bytes | None:
        reader.assign([tp])
        place = (await reader.offsets_for_times({tp: max(0, at_ms - CLOCKS_MS)}))[tp]
        end = (await reader.end_offsets([tp]))[tp]
        if place is None:
            return None
        reader.seek(tp, place.offset)
        found: bytes | None = None
        until_ms = 0
        while await reader.position(tp) < end:
            for record in (await reader.getmany(tp, timeout_ms=1000)).get(tp, ()):
                if found is not None and record.timestamp > until_ms:
                    return found
                if record.key == key and record.value is not None:
                    found, until_ms = bytes(record.value), record.timestamp + 2 * CLOCKS_MS
        return found

    async def close(self) -> None:
        if self._reader is not None:
            await close_consumer(self._reader)
