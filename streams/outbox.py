"""What a step hands to Kafka, at least once: an idempotent producer that is made anew when it sticks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.reasons import Step
from streams import metrics
from streams.failpoints import failpoint
from streams.kafka import Out, check_size, producer, send
from streams.settings import Settings

ROUND_ITEMS = 500
ROUND_BYTES = 32_000_000
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 1.0

log = logging.getLogger("sluice.outbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    outs: Sequence[Out]
    done: Callable[[], None]
    size_bytes: int


class Outbox:
    """limits: topic → largest record in bytes. size_bytes: of what was put and the broker does not have yet."""

    def __init__(self, settings: Settings, step: Step, limits: Mapping[str, int]) -> None:
        self._settings = settings
        self._step = step
        self._limits = limits
        self._items: deque[_Item] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._producer: AIOKafkaProducer = None
        self.size_bytes = 0

    def put(self, outs: Sequence[Out], done: Callable[[], None]) -> None:
        """Send `outs`; `done` is called once when the broker has all of them.

        Raises `RecordTooLarge`; then nothing was put.
        """
        for out in outs:
            check_size(out, self._limits)
        item = _Item(outs=tuple(outs), done=done, size_bytes=sum(out.size_bytes for out in outs))
        self.size_bytes += item.size_bytes
        self._items.append(item)
        self._filled.set()
        self._empty.clear()

    async def run(self) -> None:
        """Send for ever; cancel it to stop. Raises a `KafkaError` only if the first producer cannot be started."""
        self._producer = producer(self._settings)
        await self._producer.start()
        while True:
            await self._filled.wait()
            items = self._next_round()
            while items:
                items = await self._attempt(items)
                if items:
                    await self._rebuild()
            if not self._items:
                self._filled.clear()
                self._empty.set()

    async def drained(self) -> None:
        """Returns when the broker has everything that was put."""
        await self._empty.wait()

    async def close(self) -> None:
        """Stop the producer, within about a second. `run` must have ended."""
        if self._producer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self._producer.stop(), CLOSE_SECONDS)

    def _next_round(self) -> list[_Item]:
        items: list[_Item] = []
        size_bytes = 0
        while self._items and len(items) < ROUND_ITEMS and size_bytes < ROUND_BYTES:
            items.append(self._items.popleft())
            size_bytes += items[-1].size_bytes
        return items

    async def _attempt(self, items: Sequence[_Item]) -> list[_Item]:
        """Send all, in their order; returns the first one that the broker did not confirm and all behind it.

        Of those it may have some: a repeat is harmless, a text that comes after what erases it is not.
        """
        sent: list[asyncio.Future[Any]] = []
        (handed,) = await asyncio.gather(self._hand_over(items, sent), return_exceptions=True)
        results = [*await asyncio.gather(*sent, return_exceptions=True), *[handed] * (len(items) - len(sent))]
        failpoint("outbox.sent")
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, KafkaError | TimeoutError | asyncio.CancelledError):
                raise error
        taken = next((n for n, result in enumerate(results) if isinstance(result, BaseException)), len(items))
        for item in items[:taken]:
            self.size_bytes -= item.size_bytes
            item.done()
        if errors:
            said = ", ".join(sorted({repr(error) for error in errors}))[:500]
            log.warning("%s: %d records were not taken: %s", self._step, len(errors), said)
        return list(items[taken:])

    async def _hand_over(self, items: Sequence[_Item], sent: list[asyncio.Future[Any]]) -> None:
        """One after another: sends that run beside each other can overtake each other."""
        for item in items:
            futures = [await send(self._producer, out, self._limits) for out in item.outs]
            sent.append(asyncio.gather(*futures))

    async def _rebuild(self) -> None:
        """A producer that failed once may fail for ever: its sequence numbers have a hole."""
        metrics.REBUILDS.labels(self._step).inc()
        while True:
            await self.close()
            await asyncio.sleep(RETRY_SECONDS)
            self._producer = producer(self._settings)
            try:
                await self._producer.start()
            except KafkaError as exc:
                log.warning("%s: no producer: %r", self._step, exc)
            else:
                return
