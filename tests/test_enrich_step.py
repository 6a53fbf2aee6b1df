"""The enrich step on a real Kafka: one record per revision, the same bytes for a repeat, nothing lost on the way."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from conftest import produce, read_all

from processors.enrich import enrich
from schemas.content import Content, Text, decode_content, encode_content
from schemas.enriched import ContentAbsent, decode_enriched, encode_enriched
from schemas.event import PAGE_CHANGE
from schemas.reasons import Answer, Step
from streams import enrich as step
from streams import metrics
from streams.kafka import Out, consumer, header
from streams.parse_worker import NOTHING
from streams.parse_workers import _Worker
from streams.settings import Settings
from streams.topics import Topics

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[1]


def content(rev_id: int, text: str) -> Content:
    event = {
        "meta": {"id": f"e{rev_id}", "stream": PAGE_CHANGE, "domain": "en.wikipedia.org", "dt": "2026-11-22T02:23:40Z"},
        "page_change_kind": "edit",
        "dt": "2026-11-22T02:23:39Z",
        "wiki_id": "enwiki",
        "page": {"page_id": 7, "page_title": "Loch_Ness", "namespace_id": 0},
        "revision": {"rev_id": rev_id, "rev_parent_id": rev_id - 1, "rev_dt": "2026-11-22T02:23:39Z"},
    }
    return Content(
        wiki="enwiki",
        page_id=7,
        rev_id=rev_id,
        event=orjson.dumps(event),
        revision=Text(rev_id=rev_id, answer=Answer.TEXT, text=text, model="wikitext"),
        parent=Text(rev_id=rev_id - 1, answer=Answer.TEXT, text="A [[lake]].", model="wikitext"),
        source="https://en.wikipedia.org",
    )


def out(settings: Settings, record: Content, partition: int = 0) -> Out:
    topic = Topics(settings).content
    return Out(topic=topic, key=record.key, value=encode_content(record), partition=partition)


async def run_until(settings: Settings, done: Callable[[], Awaitable[bool]]) -> None:
    """Run the step until `done` says so; a step that ends by itself fails the test."""
    stop = asyncio.Event()
    task = asyncio.create_task(step.run(settings, stop))
    try:
        async with asyncio.timeout(60):
            while not await done():
                assert not task.done(), task.exception()
                await asyncio.wait({task}, timeout=0.3)
    finally:
        stop.set()
        await task


async def enriched(settings: Settings) -> list[object]:
    return await read_all(settings, Topics(settings).enriched)


def has(settings: Settings, records: int, letters: int = 0) -> Callable[[], Awaitable[bool]]:
    async def done() -> bool:
        got = len(await enriched(settings)), len(await read_all(settings, Topics(settings).deadletter))
        return got >= (records, letters) and got[1] >= letters

    return done


async def test_every_content_record_gives_one_enriched_record_under_its_key_and_in_its_partition(
    settings: Settings,
) -> None:
    contents = [content(rev_id, f"A [[lake]] of {rev_id} m.") for rev_id in range(100, 130)]
    await produce(settings, [out(settings, c, partition=c.rev_id % 3) for c in contents])
    await run_until(settings, has(settings, 30))
    records = await enriched(settings)
    assert {(r.partition, r.key) for r in records} == {(c.rev_id % 3, c.key) for c in contents}
    expected = {c.key: encode_enriched(enrich(decode_content(encode_content(c)))) for c in contents}
    assert {r.key: r.value for r in records} == expected
    assert all(decode_enriched(r.value).delta is not None for r in records)


async def test_a_repeat_has_the_same_bytes(settings: Settings) -> None:
    record = out(settings, content(100, "A [[lake]]{{cn}}."))
    await produce(settings, [record, record])
    await run_until(settings, has(settings, 2))
    first, second = await enriched(settings)
    assert (first.key, first.value) == (second.key, second.value)


async def test_a_tombstone_in_content_erases_in_enriched_and_never_overtakes_what_it_erases(
    settings: Settings,
) -> None:
    records = [out(settings, content(rev_id, "A [[lake]].")) for rev_id in range(20)]
    tombstones = [Out(topic=record.topic, key=record.key, value=None, partition=0) for record in records]
    in_turn = [record for pair in zip(records, tombstones, strict=True) for record in pair]
    await produce(settings, in_turn)
    await run_until(settings, has(settings, 40))
    assert [(r.key, r.value is None) for r in await enriched(settings)] == [(r.key, r.value is None) for r in in_turn]


async def test_what_cannot_be_read_goes_to_the_dead_letters_with_its_bytes_and_the_line_goes_on(
    settings: Settings,
) -> None:
    wrong = content(101, "x")
    wrong = Content(wiki="enwiki", page_id=7, rev_id=101, event=b"{}", revision=wrong.revision, parent=None, source="")
    topic = Topics(settings).content
    bad = Out(topic=topic, key=b"enwiki:7:99", value=b"\xff no JSON", partition=0)
    await produce(settings, [bad, out(settings, wrong), out(settings, content(102, "good"))])
    await run_until(settings, has(settings, 1, letters=2))
    letters = await read_all(settings, Topics(settings).deadletter)
    assert [(r.value, header(r, "reason"), header(r, "step"), header(r, "origin")) for r in letters] == [
        (bad.value, b"wrong_record", b"enrich", f"{topic}/0/0".encode()),
        (encode_content(wrong), b"wrong_record", b"enrich", f"{topic}/0/1".encode()),
    ]
    assert [r.key for r in await enriched(settings)] == [b"enwiki:7:102"]


def kill_whoever_has(page: Content, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each process that is given the page to parse is killed in the middle of it, no other one. Returns their ids."""
    ask, whole, killed = _Worker._ask, encode_content(page), []

    def kill(pid: int) -> None:
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)

    async def give(worker: _Worker, content: bytes, left_out: int, reason: ContentAbsent) -> tuple[int, int, bytes]:
        if content == whole and left_out == NOTHING:
            asyncio.get_running_loop().call_later(0.02, kill, worker.pid)
        return await ask(worker, content, left_out, reason)

    monkeypatch.setattr(_Worker, "_ask", give)
    return killed


@pytest.mark.chaos
async def test_a_page_that_no_parser_survives_has_a_record_that_says_so_and_all_others_are_parsed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = content(50, "A [[lake]]{{cn}}.\n" * 20_000)
    contents = [content(rev_id, f"A [[lake]] of {rev_id} m.") for rev_id in range(100, 140)]
    killed = kill_whoever_has(long, monkeypatch)
    await produce(settings, [out(settings, c, partition=c.rev_id % 3) for c in [contents[0], long, *contents[1:]]])
    await run_until(settings, has(settings, 41))
    found = {r.key: decode_enriched(r.value) for r in await enriched(settings)}
    assert found.pop(long.key).content_absent is ContentAbsent.CRASH
    assert found == {c.key: enrich(c) for c in contents}
    assert len(killed) == 2
    assert await read_all(settings, Topics(settings).deadletter) == []


async def test_faust_leaves_the_process_as_it_was(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    await produce(settings, [out(settings, content(100, "x"))])
    await run_until(settings, has(settings, 1))
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
    assert signal.getsignal(signal.SIGTERM) is before
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert os.listdir(tmp_path) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_batch_is_counted_when_the_broker_has_it(settings: Settings) -> None:
    def counted(outcome: str) -> float:
        return metrics.REGISTRY.get_sample_value("sluice_records_total", {"step": "enrich", "outcome": outcome}) or 0

    taken, written = counted("in"), counted("out")
    await produce(settings, [out(settings, content(rev_id, "x")) for rev_id in range(5)])
    await run_until(settings, has(settings, 5))
    assert (counted("in") - taken, counted("out") - written) == (5, 5)
    newest = metrics.REGISTRY.get_sample_value("sluice_last_event_timestamp_seconds", {"step": Step.ENRICH})
    assert newest == 1_795_314_220
    assert metrics.REGISTRY.get_sample_value("sluice_consumer_lag_seconds", {"step": Step.ENRICH}) == 0


@pytest.mark.chaos
async def test_a_step_that_is_killed_loses_nothing(settings: Settings) -> None:
    text = "A [[lake]] {{convert|37|km}}.\n" * 100
    contents = [content(rev_id, f"{text}{rev_id}") for rev_id in range(600)]
    await produce(settings, [out(settings, c, partition=c.rev_id % 3) for c in contents])
    for written in (20, 200):
        worker = await _worker(settings)
        await _until_written(settings, written, worker)
        worker.kill()
        await worker.wait()
    last = await _worker(settings)
    try:
        async with asyncio.timeout(90):
            while {r.key for r in await enriched(settings)} != {c.key for c in contents}:
                assert last.returncode is None
    finally:
        last.kill()
        await last.wait()


async def _until_written(settings: Settings, records: int, worker: asyncio.subprocess.Process) -> None:
    reader = consumer(settings)
    await reader.start()
    try:
        partitions = [TopicPartition(Topics(settings).enriched, number) for number in range(3)]
        async with asyncio.timeout(90):
            while sum((await reader.end_offsets(partitions)).values()) < records:
                assert worker.returncode is None
    finally:
        await reader.stop()


async def _worker(settings: Settings) -> asyncio.subprocess.Process:
    """The step as a process; as one named member it takes over at once from the one that was killed."""
    code = (
        "import asyncio; from streams import enrich; from streams.settings import Settings; "
        f"asyncio.run(enrich.run(Settings(kafka={settings.kafka!r}, topic_prefix={settings.topic_prefix!r}, "
        "partitions=3, instance='one'), asyncio.Event()))"
    )
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT)
