"""The exactly-once loop on a real broker: restarts, takeovers, failures, and chaos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from chaos_worker import Copier, copy_loop
from conftest import produce, read_all

from streams.kafka import Out
from streams.settings import Settings
from streams.topics import Topics

pytestmark = pytest.mark.kafka
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def running(settings: Settings, handler: Any, **more: Any) -> AsyncIterator[asyncio.Task[None]]:
    """The loop over `handler`, stopped at the end as a step would be."""
    stop = asyncio.Event()
    task = asyncio.create_task(copy_loop(settings, handler, **more).run(stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


async def until(settings: Settings, wanted: int, task: asyncio.Task[None] | None = None) -> list[Any]:
    """Every record of `decisions` once there are at least `wanted`."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            records = await read_all(settings, Topics(settings).decisions)
            if len(records) >= wanted:
                return records
            if task is not None and task.done():
                task.result()
            await asyncio.sleep(0.1)


def numbered(settings: Settings, numbers: Iterable[int]) -> list[Out]:
    topic = Topics(settings).source
    return [Out(topic=topic, key=b"%d" % n, value=b"event %d" % n, partition=n % settings.partitions) for n in numbers]


def keys(records: Iterable[Any]) -> list[int]:
    return sorted(int(record.key) for record in records)


async def test_each_record_is_written_once_and_the_offsets_are_committed_with_it(settings: Settings) -> None:
    await produce(settings, numbered(settings, range(60)))
    async with running(settings, Copier(settings)) as task:
        await until(settings, 60, task)
    assert keys(await read_all(settings, Topics(settings).decisions)) == list(range(60))


async def test_a_loop_that_starts_again_resumes_after_the_last_commit(settings: Settings) -> None:
    await produce(settings, numbered(settings, range(30)))
    async with running(settings, Copier(settings)) as task:
        await until(settings, 30, task)
    await produce(settings, numbered(settings, range(30, 60)))
    async with running(settings, Copier(settings)) as task:
        await until(settings, 60, task)
    assert keys(await read_all(settings, Topics(settings).decisions)) == list(range(60))
