"""The exactly-once loop on a real broker: what it writes, how it comes back, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError, UnknownError
from aiokafka.record.memory_records import MemoryRecords
from chaos_worker import Copier, copy_loop
from conftest import MakeSettings, all_readable, produce, read_all

from schemas.reasons import Step
from streams import cluster, metrics
from streams.broker import Broker
from streams.kafka import Out, close_producer, producer, quiet_client_logs, read_partition
from streams.ownership import OwnershipLost
from streams.settings import Settings, cache_folder
from streams.topics import Topics
from streams.transaction import batches, send_batches

kafka_needed = pytest.mark.kafka
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def running(
    settings: Settings, handler: Any, *, ends_with: type[Exception] | None = None, **more: Any
) -> AsyncIterator[asyncio.Task[None]]:
    """The loop over `handler`, stopped at the end as a step would be."""
    stop = asyncio.Event()
    task = asyncio.create_task(copy_loop(settings, handler, **more).run(stop))
    try:
        yield task
    finally:
        stop.set()
        with nullcontext() if ends_with is None else pytest.raises(ends_with):
            await asyncio.wait_for(task, PATIENCE_SECONDS)


async def until(settings: Settings, wanted: int, *tasks: asyncio.Task[None], topic: str = "") -> list[Any]:
    """The committed records of `topic` (`decisions`) once there are as many. Raises what a loop raised meanwhile."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            records = await read_all(settings, topic or Topics(settings).decisions)
            if len(records) >= wanted:
                return records
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)


def numbered(settings: Settings, numbers: Iterable[int]) -> list[Out]:
    """Input records: number n goes to partition n modulo their count."""
    topic = Topics(settings).source
    return [Out(topic=topic, key=b"%d" % n, value=b"event", partition=n % settings.partitions) for n in numbers]


async def check_ledger(settings: Settings, numbers: Iterable[int]) -> None:
    """Each number was written once; each partition's running counts have no gap; its state agrees with its output."""
    await all_readable(settings)
    topics = Topics(settings)
    assert sorted(int(record.key) for record in await read_all(settings, topics.decisions)) == sorted(numbers)
    for partition in range(settings.partitions):
        written = await read_partition(settings, topics.decisions, partition)
        counts = [int(dict(record.headers)["count"]) for record in written]
        assert counts == list(range(1, len(written) + 1))
        # A commit is answered before its markers stand on both topics.
        for _ in range(200):
            states = await read_partition(settings, topics.gate_state, partition)
            if [int(record.value) for record in states[-1:]] == counts[-1:]:
                break
            await asyncio.sleep(0.1)
        assert [int(record.value) for record in states[-1:]] == counts[-1:]


class Stumbling(Copier):
    """Copies, but raises what it was given before it does, once for each; keeps what was called."""

    def __init__(self, settings: Settings, *failures: Exception) -> None:
        super().__init__(settings)
        self.failures = list(failures)
        self.calls: list[str] = []

    async def own(self, partition: int) -> None:
        self.calls.append("own")
        await super().own(partition)

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        self.calls.append("work")
        outs = await super().work(partition, records)
        if self.failures:
            raise self.failures.pop(0)
        return outs

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        self.calls.append("committed")

    def lost(self, partition: int) -> None:
        self.calls.append("lost")
        super().lost(partition)


class Rewriting(Copier):
    """Writes what a function makes of each record."""

    def __init__(self, settings: Settings, rewrite: Callable[[Any], list[Out]]) -> None:
        super().__init__(settings)
        self._rewrite = rewrite
        self.seen: list[tuple[str, int]] = []

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        self.seen += [(record.topic, record.offset) for record in records]
        return [out for record in records for out in self._rewrite(record)]


@kafka_needed
async def test_a_loop_that_starts_again_goes_on_after_the_last_commit_with_the_state_of_then(
    settings: Settings,
) -> None:
    for numbers in (range(30), range(30, 60)):
        await produce(settings, numbered(settings, numbers))
        async with running(settings, Copier(settings)) as task:
            await until(settings, numbers.stop, task)
    await check_ledger(settings, range(60))


@kafka_needed
async def test_records_for_which_nothing_is_to_be_written_are_not_read_again(settings: Settings) -> None:
    await produce(settings, numbered(settings, range(30)))
    first = Rewriting(settings, lambda record: [])
    async with running(settings, first), asyncio.timeout(PATIENCE_SECONDS):
        while len(first.seen) < 30:
            await first.done.wait()
            first.done.clear()
    await produce(settings, numbered(settings, range(30, 33)))
    second = Rewriting(settings, lambda record: [])
    async with running(settings, second), asyncio.timeout(PATIENCE_SECONDS):
        while len(second.seen) < 3:
            await second.done.wait()
            second.done.clear()
    assert sorted(second.seen) == [(Topics(settings).source, 10)] * 3


@kafka_needed
async def test_a_partition_of_two_inputs_is_worked_on_as_one_input_after_input(settings: Settings) -> None:
    topics = Topics(settings)
    outs = numbered(settings, range(30))
    await produce(
        settings, [*outs, *(Out(topic=topics.content, key=o.key, value=b"", partition=o.partition) for o in outs)]
    )
    handler = Copier(settings)
    async with running(settings, handler, inputs=[topics.content, topics.source]) as task:
        await until(settings, 60, task)
    await check_ledger(settings, [*range(30), *range(30)])


@kafka_needed
async def test_workers_that_come_and_go_lose_and_double_nothing(make_settings: MakeSettings) -> None:
    settings = await make_settings(assign="group")
    numbers = count()
    sent = 0

    async def feed(more: int) -> None:
        nonlocal sent
        await produce(settings, numbered(settings, [next(numbers) for _ in range(more)]))
        sent += more

    async with AsyncExitStack() as workers:
        # A is alone, B joins and takes its share, A leaves, C joins, B leaves; records come all the time.
        leaving = AsyncExitStack()
        for _ in range(3):
            joined, handler = AsyncExitStack(), Copier(settings)
            workers.push_async_exit(joined)
            task = await joined.enter_async_context(running(settings, handler))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not handler.done.is_set():
                    await feed(settings.partitions)
            await asyncio.gather(feed(100), leaving.aclose())
            await until(settings, sent, task)
            leaving = joined
    await check_ledger(settings, range(sent))


@kafka_needed
async def test_of_two_that_own_the_same_partitions_the_newest_wins_and_nothing_is_doubled(settings: Settings) -> None:
    await produce(settings, numbered(settings, range(30)))
    async with AsyncExitStack() as loops:
        first = await loops.enter_async_context(running(settings, Copier(settings), ends_with=OwnershipLost))
        await until(settings, 30, first)
        second = await loops.enter_async_context(running(settings, Copier(settings)))
        await produce(settings, numbered(settings, range(30, 60)))
        await until(settings, 60, second)
        assert first.done()
    await check_ledger(settings, range(60))


@kafka_needed
async def test_of_two_that_start_in_the_same_moment_one_stays_and_the_other_says_why_it_ends(
    make_settings: MakeSettings,
) -> None:
    settings = await make_settings(partitions=4)
    stop = asyncio.Event()
    tasks = [asyncio.create_task(copy_loop(settings, Copier(settings)).run(stop)) for _ in range(2)]
    try:
        for begin in count(0, 40):
            # Until each has met the other, there must be something to do on every partition.
            await produce(settings, numbered(settings, range(begin, begin + 40)))
            await until(settings, begin + 40)
            if any(task.done() for task in tasks):
                break
        total = begin + 80
        await produce(settings, numbered(settings, range(begin + 40, total)))
        await until(settings, total)
        lost = [task for task in tasks if task.done()]
        assert len(lost) == 1
        with pytest.raises(OwnershipLost, match=r"the newest and stays; this one ends"):
            lost[0].result()
    finally:
        stop.set()
        await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    await check_ledger(settings, range(total))


@kafka_needed
async def test_a_send_that_the_broker_refuses_fails_its_whole_transaction(settings: Settings) -> None:
    await produce(settings, numbered(settings, range(9)))
    refused = os.urandom(5_000_000)
    turns = iter([refused])

    def rewrite(record: Any) -> list[Out]:
        # The first time round one record is more than its topic takes, and only the broker knows.
        value = next(turns, b"event")
        return [Out(topic=Topics(settings).decisions, key=record.key, value=value, partition=record.partition)]

    async with running(settings, Rewriting(settings, rewrite), checked=False) as task:
        records = await until(settings, 9, task)
    assert sorted(int(record.key) for record in records) == list(range(9))
    assert {record.value for record in records} == {b"event"}


@kafka_needed
async def test_a_record_that_its_topic_would_reject_goes_to_the_dead_letters_and_the_rest_goes_on(
    settings: Settings,
) -> None:
    topics = Topics(settings)
    noise = random.Random(7).randbytes
    large, huge = noise(4_100_000), noise(26_000_000)
    values = {b"0": b"small", b"1": large, b"2": huge, b"3": b"small"}

    def rewrite(record: Any) -> list[Out]:
        return [Out(topic=topics.decisions, key=record.key, value=values[record.key], partition=record.partition)]

    await produce(settings, numbered(settings, range(4)))
    async with running(settings, Rewriting(settings, rewrite)) as task:
        written = await until(settings, 2, task)
        letters = await until(settings, 2, task, topic=topics.deadletter)
    assert {record.key for record in written} == {b"0", b"3"}
    by_size = sorted(letters, key=lambda letter: len(letter.value))
    # What not even the dead letters take is cut to what they take. (Compared before `assert`, which would print it.)
    whole, cut = by_size[0].value == large, huge.startswith(by_size[1].value)
    assert (whole, cut) == (True, True)
    assert 24_990_000 < len(by_size[1].value) < 25_000_000
    headers = dict(by_size[0].headers)
    assert (headers["step"], headers["reason"]) == (b"gate", b"too_large")
    assert headers["origin"] == f"{topics.decisions}/1/1".encode()
    assert b"up to offset 0" in headers["detail"]


@kafka_needed
async def test_after_a_kafka_error_the_state_is_dropped_and_built_anew(make_settings: MakeSettings) -> None:
    settings = await make_settings(partitions=1)
    rebuilds = metrics.REBUILDS.labels(Step.GATE)
    before = rebuilds._value.get()
    await produce(settings, numbered(settings, range(10)))
    handler = Stumbling(settings, UnknownError("of the test"))
    async with running(settings, handler) as task:
        await until(settings, 10, task)
    assert handler.calls == ["own", "work", "lost", "own", "work", "committed", "lost"]
    assert rebuilds._value.get() == before + 1
    await check_ledger(settings, range(10))


@kafka_needed
async def test_a_fault_of_the_step_ends_the_loop_and_commits_nothing(make_settings: MakeSettings) -> None:
    settings = await make_settings(partitions=1)
    await produce(settings, numbered(settings, range(10)))
    handler = Stumbling(settings, ZeroDivisionError("of the test"))
    async with running(settings, handler, ends_with=ZeroDivisionError) as task:
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    assert handler.calls == ["own", "work", "lost"]
    async with running(settings, Copier(settings)) as task:
        await until(settings, 10, task)
    await check_ledger(settings, range(10))


@kafka_needed
async def test_a_restart_of_the_broker_is_answered_in_place_and_a_broker_that_is_away_does_not_hold_up_a_stop(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path, cache=cache_folder(os.environ), heap_mb=128) as broker:
        settings = Settings(kafka=broker.bootstrap, partitions=2, assign="all")
        await cluster.create(settings)
        async with running(settings, Copier(settings)) as task:
            await produce(settings, numbered(settings, range(20)))
            await until(settings, 20, task)
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
            await produce(settings, numbered(settings, range(20, 40)))
            await until(settings, 40, task)
            await check_ledger(settings, range(40))
            await asyncio.to_thread(broker.kill)
            started = time.monotonic()
        assert time.monotonic() - started < 10


def test_of_a_flood_of_client_log_lines_one_in_ten_seconds_is_kept_and_says_how_many_went(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("aiokafka.test_flood")
    quiet_client_logs()
    quiet_client_logs()
    for at in (100.0, 101.0, 102.0, 111.0):
        record = logger.makeRecord(logger.name, logging.WARNING, "f", 1, "Unable connect to %s", ("a node",), None)
        record.created = at
        logger.handle(record)
    assert [record.getMessage() for record in caplog.records] == [
        "Unable connect to a node",
        "Unable connect to a node (and 2 like it before)",
    ]


async def test_records_of_a_partition_go_in_as_many_batches_as_they_need_in_their_order() -> None:
    sender = producer(Settings(), transactional_id="t")
    sizes = [100_000, 100_000, 100_000, 600_000, 10, 10]
    outs = [Out(topic="t", key=b"%d" % n, value=os.urandom(size), partition=0) for n, size in enumerate(sizes)]
    made = list(batches(sender, outs))
    assert [batch.record_count() for batch in made] == [2, 1, 1, 2]
    assert all(batch.closed() for batch in made)
    sent = [record for batch in made for record in MemoryRecords(bytes(batch._build())).next_batch()]
    assert [(record.key, record.value) for record in sent] == [(out.key, out.value) for out in outs]
    await sender.stop()


@kafka_needed
async def test_what_is_handed_over_after_the_broker_ended_the_transaction_fails_as_kafka_does(
    settings: Settings,
) -> None:
    first, second = (producer(settings, transactional_id=settings.topic_prefix) for _ in range(2))
    try:
        await first.start()
        await first.begin_transaction()
        await second.start()  # which fences the first one
        with pytest.raises(KafkaError):
            await send_batches(first, numbered(settings, range(9)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while first._txn_manager.is_in_transaction():  # noqa: ASYNC110 - the client tells nobody
                await asyncio.sleep(0.01)
        # The client's own answer to this is no error of Kafka; it would end a step as its fault.
        with pytest.raises(KafkaError, match="not in transaction"):
            await send_batches(first, numbered(settings, range(9)))
    finally:
        await asyncio.gather(close_producer(first), close_producer(second))
