"""What networks, servers and Kafka do to the source: each message of the server's own list is in the log exactly once.

Small numbers here; `make soak` has the large ones.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from conftest import MakeSettings, produce, read_all
from sse_server import Fault, SseServer, canaries, page_change, recent_change
from tcp_proxy import TcpProxy
from test_erase import edit, hide, kinds
from test_source import AT_MS, Log, id_of, letters, offset_of, read, running, until

from processors.digest import page_partition
from schemas.control import encode_endpoint
from schemas.decision import decode_decisions
from schemas.event import PAGE_CHANGE, RISK_STREAMS, TAGS_CHANGE
from schemas.log import Policy, decode_tick
from schemas.reasons import State, Step
from streams import cluster, gate, metrics, sse
from streams.broker import Broker
from streams.clock import now_ms
from streams.endpoints import Choice
from streams.kafka import Out, header, producer, read_partition
from streams.settings import Settings, cache_folder
from streams.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("haste")]

STATUSES = (403, 404, 429, 500, 502, 503)
# What the tests lower.
REFUSED_SECONDS = sse.REFUSED_SECONDS


@pytest.fixture
async def at(make_settings: MakeSettings, server: SseServer) -> Settings:
    return await make_settings(source=server.url, since="earliest", tick_seconds=0.02, recentchange="all")


def edits(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Three in each millisecond, and every tenth a little earlier than the one before."""
    return [page_change(n, AT_MS + n // 3 - 28 * (n % 10 == 9), page=n % 7) for n in range(begin, begin + count)]


async def holds_each_once(settings: Settings, docs: list[dict[str, Any]], seconds: float = 60) -> Log:
    """The log, once everything is in it: each of `docs` once, and in their order."""
    log = await until(settings, lambda log: len(set(log.ids)) >= len(docs), seconds)
    assert Counter(log.ids) == Counter(map(id_of, docs))
    order = {id_of(doc): n for n, doc in enumerate(docs)}
    places = [(r.partition, order[each]) for r, each in zip(log.events, log.ids, strict=True)]
    assert places == sorted(places)
    return log


@pytest.mark.parametrize("cuts", [50, pytest.param(1000, marks=pytest.mark.soak)])
async def test_cut_at_any_byte_the_log_has_each_message_once(at: Settings, server: SseServer, cuts: int) -> None:
    chooser = random.Random(cuts)
    server.faults = [
        Fault(how=chooser.choice(("torn", "torn-rst")), after_bytes=chooser.randrange(5000)) for _ in range(cuts)
    ]
    docs = edits(6 * cuts)
    for doc in docs:
        server._append(doc, "")
    async with running(at):
        await holds_each_once(at, docs, seconds=cuts)
    assert not server.faults


async def test_whatever_a_server_answers_the_log_has_each_message_once(at: Settings, server: SseServer) -> None:
    server.faults = [
        fault
        for status in STATUSES
        for fault in (
            Fault(status=status),
            Fault(status=status, headers={"Retry-After": "1000000000"}),
            Fault(status=status, headers={"Retry-After": "Fri, 31 Dec 2099 23:59:59 GMT"}),
        )
    ]
    refused = len(server.faults) + 1
    server.faults += [Fault(how="html"), Fault(after=2, how="error"), Fault(after=1, how="drip"), Fault(how="mute")]
    docs = edits(30)
    await server.add(*docs)
    async with running(at.with_(idle_seconds=0.3)):
        await holds_each_once(at, docs)
    assert not server.faults
    # Whoever refuses us is asked once in this time at most; outside of tests it is a second.
    times = [float(request["at"]) for request in server.requests[: refused + 1]]
    assert all(after - before >= sse.REFUSED_SECONDS for before, after in pairwise(times))
    assert REFUSED_SECONDS == 1.0


async def test_a_line_without_end_ends_the_connection_and_costs_nothing(at: Settings, server: SseServer) -> None:
    docs = edits(20)
    await server.add(*docs)
    garbage = ended("garbage")
    server.faults = [Fault(after=3, how="endless"), Fault(after=2, how="endless")]
    async with running(at):
        await holds_each_once(at, docs)
    assert ended("garbage") == garbage + 2
    assert not await letters(at)


async def test_what_comes_several_times_and_from_both_endpoints_is_in_the_log_once(
    make_settings: MakeSettings, server: SseServer
) -> None:
    chooser = random.Random(7)
    docs: list[dict[str, Any]] = []
    async with SseServer().running() as second:
        settings = await make_settings(
            source=server.url, source_fallback=second.url, since="earliest", tick_seconds=0.02
        )
        second.offset_base = 5000  # another cluster: everything of the last minute comes again
        async with running(settings):
            for choice in (Choice.FALLBACK, Choice.PRIMARY) * 2:
                fresh = edits(20, len(docs))
                docs += fresh
                for each in (server, second):
                    await each.add(*(doc for doc in fresh for _ in range(chooser.randrange(1, 4))))
                    await each.add(*chooser.choices(docs, k=10))
                record = Out(
                    topic=Topics(settings).control, key=b"endpoint", value=encode_endpoint(choice), partition=0
                )
                asked = server if choice == Choice.PRIMARY else second
                before = len(asked.requests)
                await produce(settings, [record])
                async with asyncio.timeout(60):
                    while len(asked.requests) == before:  # noqa: ASYNC110 - a server tells nobody
                        await asyncio.sleep(0.02)
                log = await all_of(settings, len(docs))
    assert Counter(log.ids) == Counter(map(id_of, docs))
    assert not await letters(settings)


async def all_of(settings: Settings, count: int) -> Log:
    return await until(settings, lambda log: len(set(log.ids)) == count)


@pytest.mark.chaos
async def test_memory_is_flat_whatever_network_and_broker_do(tmp_path: Path, server: SseServer) -> None:
    chooser = random.Random(9)
    broker = Broker(tmp_path, cache=cache_folder(os.environ))
    await asyncio.to_thread(broker.start)
    try:
        settings = Settings(
            kafka=broker.bootstrap, partitions=3, source=server.url, since="earliest", tick_seconds=0.1, metrics_port=0
        )
        await cluster.create(settings)
        # None on partition 0: there the ticks alone are read.
        pages = [page for page in range(100) if page_partition("enwiki", page, 3) != 0]
        junk = "x" * 800_000
        docs = [page_change(n, AT_MS + n, page=chooser.choice(pages)) | {"junk": junk} for n in range(500)]
        hows = ("torn", "torn-rst", "eof", "rst", "error", "html")
        running_step = process(settings)
        try:
            await server.add(*docs[:20])
            await reaches(settings, 20)
            before = peak_mb(running_step.pid)
            server.faults = [Fault(after=chooser.randrange(20), how=chooser.choice(hows)) for _ in range(10)]
            server.cut()
            await server.add(*docs[20:80])
            await reaches(settings, 80)
            os.kill(broker.pid, signal.SIGSTOP)
            await server.add(*docs[80:])
            await server.until_stuck()
            os.kill(broker.pid, signal.SIGCONT)
            await reaches(settings, len(docs))
            grown = peak_mb(running_step.pid) - before
        finally:
            running_step.terminate()
            assert await asyncio.to_thread(running_step.wait, 60) == 0
        log = await all_of(settings, len(docs))
    finally:
        await asyncio.to_thread(broker.stop)
    assert Counter(log.ids) == Counter(map(id_of, docs))
    # 336 MB were there to come while the broker stood still. 32 may wait and 32 be on their way, here and in the
    # client's batches; and what the allocator leaves between them differs from machine to machine.
    assert grown < 250


async def reaches(settings: Settings, offset: int) -> None:
    """Returns when that many messages are in the log, by the cursor in its last tick."""
    async with asyncio.timeout(90):
        while True:
            ticks = Log(await read_partition(settings, Topics(settings).source, 0))
            if offset_of(ticks) >= offset:
                return
            await asyncio.sleep(0.2)


def peak_mb(pid: int) -> float:
    """The most memory that a process has had so far: no other process of the machine changes that."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def test_a_storm_of_redeployments_costs_nothing_but_requests(at: Settings, server: SseServer) -> None:
    server.faults = [Fault(after=n % 3, how=("eof", "rst", "torn")[n % 3]) for n in range(40)]
    docs = edits(60)
    await server.add(*docs)
    async with running(at):
        await holds_each_once(at, docs)
    assert not server.faults


async def happens(count: Any, at_least: float, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while count() < at_least:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.02)


def ended(reason: str) -> float:
    """Connections that ended so until now."""
    return float(metrics.RECONNECTS.labels(reason)._value.get())


async def test_a_connection_of_which_only_one_side_is_left_is_given_up_and_costs_nothing(
    make_settings: MakeSettings, server: SseServer
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    docs = edits(20)
    await server.add(*docs[:10])
    async with TcpProxy(host, int(port)) as proxy:
        settings = await make_settings(
            source=f"http://{host}:{proxy.port}", since="earliest", tick_seconds=0.02, idle_seconds=0.3
        )
        idle = ended("idle")
        async with running(settings):
            await holds_each_once(settings, docs[:10])
            proxy.freeze()
            await server.add(*docs[10:])
            await happens(lambda: ended("idle"), idle + 1)
            await happens(lambda: proxy.opened, 2)
            assert len((await read(settings)).ids) == 10
            proxy.thaw()
            await holds_each_once(settings, docs)


async def test_a_line_of_a_megabyte_is_in_the_log_whole_among_small_ones(at: Settings, server: SseServer) -> None:
    docs = edits(9)
    docs[4]["revision"]["comment"] = "大" * 350_000
    await server.add(*docs)
    async with running(at):
        log = await holds_each_once(at, docs)
    assert {record.value for record in log.events} == {message.data for message in server.messages}
    assert max(len(record.value) for record in log.events) > 1_000_000
    assert not await letters(at)


async def test_a_connection_renewed_before_the_server_cuts_it_leaves_no_gap_and_doubles_nothing(
    at: Settings, server: SseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_AGE_SECONDS", 0.1)
    docs: list[dict[str, Any]] = []
    aged, others = ended("age"), ended("cut") + ended("end") + ended("idle")
    async with running(at):
        async with asyncio.timeout(30):
            while ended("age") < aged + 8:
                fresh = edits(3, len(docs))
                docs += fresh
                await server.add(*fresh)
                await asyncio.sleep(0.01)
        await holds_each_once(at, docs)
    assert ended("cut") + ended("end") + ended("idle") == others


async def test_a_batch_that_the_broker_rejects_is_written_again_whole_once_it_is_taken(
    at: Settings, server: SseServer
) -> None:
    docs = edits(30)
    docs[15]["revision"]["comment"] = random.Random(1).randbytes(100_000).hex()
    await server.add(*docs[:10])
    rebuilt = metrics.REBUILDS.labels(Step.SOURCE)._value
    async with running(at) as step:
        await holds_each_once(at, docs[:10])
        before = rebuilt.get()
        await bound_records(at, 50_000)
        await server.add(*docs[10:])
        await happens(rebuilt.get, before + 2)
        # What came before the large one may have met a tick of its own.
        assert len((await read(at)).ids) <= 15
        await bound_records(at, None)
        log = await holds_each_once(at, docs)
        assert not step.done()
    numbers = [decode_tick(r.value).number for r in log.ticks if r.partition == 0]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not await letters(at)


async def bound_records(settings: Settings, max_bytes: int | None) -> None:
    """What the log's topic takes from now on; None = what its table says."""
    topics = Topics(settings)
    config = next(row.config for row in topics.table() if row.name == topics.source)
    if max_bytes is not None:
        config["max.message.bytes"] = str(max_bytes)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.source, configs=config)])
    finally:
        await admin.close()
    # The broker has said yes before it does so.
    async with asyncio.timeout(60):
        while await _takes(settings, topics.source, 100_000) != (max_bytes is None):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)


async def _takes(settings: Settings, topic: str, size: int) -> bool:
    """Whether the broker takes a record of so many bytes now; no reader of committed records sees it."""
    sender = producer(settings, transactional_id=f"{topic}.takes", compression_type=None)
    await sender.start()
    try:
        await sender.begin_transaction()
        await sender.send_and_wait(topic, b"x" * size, key=b"takes", partition=0)
    except MessageSizeTooLargeError:
        return False
    else:
        return True
    finally:
        await sender.abort_transaction()
        await sender.stop()


async def test_a_datacentre_switch_while_we_are_away_loses_nothing_and_doubles_nothing(
    at: Settings, server: SseServer
) -> None:
    docs = [page_change(n, AT_MS + 500 * n, page=n % 7) for n in range(300)]
    broken = page_change(900, AT_MS + 99_600) | {"$schema": "/mediawiki/page/change/2.0.0"}
    await server.add(*docs[:200], broken)
    async with running(at):
        await until(at, lambda log: offset_of(log) == 201)
    # All that comes again lies in the last minute; what was written of it is known from the log alone.
    server.offset_base = -40
    await server.add(*docs[200:])
    async with running(at):
        log = await until(at, lambda log: len(set(log.ids)) == 300)
        await until(at, lambda log: offset_of(log) == 261)
    assert Counter((await read(at)).ids) == Counter(map(id_of, docs))
    assert len(await letters(at)) == 1
    numbers = [decode_tick(r.value).number for r in log.ticks if r.partition == 0]
    assert numbers == sorted(set(numbers))


async def test_the_endpoint_flipped_under_load_by_records_of_people_costs_nothing(
    make_settings: MakeSettings, server: SseServer
) -> None:
    docs: list[dict[str, Any]] = []
    async with SseServer().running() as second:
        settings = await make_settings(
            source=server.url, source_fallback=second.url, since="earliest", tick_seconds=0.02
        )
        async with running(settings):
            for n, choice in enumerate((Choice.FALLBACK, Choice.PRIMARY, Choice.FALLBACK, Choice.FALLBACK)):
                fresh = edits(20, 20 * n)
                docs += fresh
                await server.add(*fresh)
                await second.add(*fresh)
                record = Out(
                    topic=Topics(settings).control, key=b"endpoint", value=encode_endpoint(choice), partition=0
                )
                await produce(settings, [record])
                await holds_each_once(settings, docs)
        assert len(second.requests) >= 2
        before = len(server.requests)
        # The last choice counts after a restart, too; and no reader of the log is bothered with it.
        async with running(settings):
            more = edits(5, 80)
            await second.add(*more)
            log = await holds_each_once(settings, docs + more)
        assert len(server.requests) == before
    assert all(b"choice" not in r.value for r in log.records)


async def test_what_a_newer_source_sends_passes_and_is_counted_and_what_lacks_a_person_passes_too(
    at: Settings, server: SseServer
) -> None:
    def drift() -> float:
        return float(metrics.SCHEMA_DRIFT.labels(PAGE_CHANGE)._value.get())

    before = drift()
    newer = page_change(1, AT_MS) | {"$schema": "/mediawiki/page/change/1.13.0", "never_seen": {"a": [1]}}
    large = page_change(5_000_000_000, AT_MS + 1)
    special = page_change(3, AT_MS + 2)
    special["page"]["namespace_id"] = -1
    gone = page_change(4, AT_MS + 3) | {"page_change_kind": "delete", "performer": {}}
    gone["revision"] = {"rev_id": 4, "rev_dt": gone["dt"], "is_content_visible": False, "is_editor_visible": False}
    bare = recent_change(5, AT_MS + 4, kind="log")
    risk = {
        "$schema": "/mediawiki/page/prediction_classification_change/1.3.0",
        "meta": {k: v for k, v in page_change(6, AT_MS + 5)["meta"].items() if k != "domain"}
        | {"id": "risk", "stream": RISK_STREAMS[0], "topic": f"eqiad.{RISK_STREAMS[0]}"},
        "wiki_id": "enwiki",
        "page": {"page_id": 1},
        "revision": {"rev_id": 6},
        "predicted_classification": {"model_name": "m", "model_version": "3", "probabilities": {"true": 0.1}},
    }
    docs = [newer, large, special, gone, bare, risk]
    await server.add(*docs, page_change(7, AT_MS + 6) | {"$schema": "/mediawiki/page/change/2.0.0"})
    async with running(at):
        await until(at, lambda log: set(log.ids) == set(map(id_of, docs)))
        await until(at, lambda log: offset_of(log) == 5)
    assert drift() == before + 1
    assert [header(letter, "reason") for letter in await letters(at)] == [b"unknown_schema"]


RUN = """
import asyncio, os, signal
from streams import source, sse
from streams.settings import Settings
sse.REFUSED_SECONDS = 0.01
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await source.run(Settings.from_env(os.environ), stop)
asyncio.run(main())
"""
# Where the source kills itself; the pass is chosen at random.
KILLS = (
    "source.fenced", "source.read", "source.sent", "source.committed", "source.disconnected",
    "erase.found", "erase.committed",
)  # fmt: skip


def process(settings: Settings, failpoint: str = "") -> subprocess.Popen[bytes]:
    env = os.environ | {name: value for name, value, _ in settings.described()} | {"SLUICE_FAILPOINT": failpoint}
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=Path(__file__).parents[1], env=env)


@pytest.mark.chaos
@pytest.mark.parametrize("state", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 6))])
async def test_killed_at_each_of_its_failpoints_it_neither_loses_nor_doubles_nor_forgets_to_erase(
    make_settings: MakeSettings, server: SseServer, state: int
) -> None:
    chooser = random.Random(state)
    settings = await make_settings(source=server.url, since="earliest", tick_seconds=0.03, erase_seconds=0.05)
    docs: list[dict[str, Any]] = []
    for n, name in enumerate(KILLS):
        fresh = [edit(20 * n + each, page=7) for each in range(1, 11)]
        hiding = hide(20 * n + chooser.randrange(1, 11), at=20 * n + 11)
        docs += [*fresh, hiding]
        server.faults = [Fault(after=3, how="torn"), Fault(after=4, how="rst")]
        await server.add(*fresh, hiding)
        passes = 1 if name in {"source.fenced", "source.disconnected"} else chooser.randrange(1, 3)
        dying = process(settings, f"{name}:{passes}")
        try:
            assert await asyncio.to_thread(dying.wait, 60) == -signal.SIGKILL, name
        finally:
            dying.kill()
    server.faults = []
    async with running(settings):
        log = await until(settings, lambda log: len(proofs(log)) == len(KILLS))
        log = await until(settings, lambda log: len(set(log.ids)) == len(docs))
    assert Counter(log.ids) == Counter(map(id_of, docs))
    numbers = [decode_tick(r.value).number for r in log.ticks if r.partition == 0]
    assert numbers == list(range(1, len(numbers) + 1))


def proofs(log: Log) -> set[bytes]:
    return {r.key for r in kinds(log, b"erasure")}


async def test_no_hold_ends_in_a_span_that_was_not_heard_and_every_one_ends_after_it_by_source_and_gate(
    make_settings: MakeSettings, server: SseServer
) -> None:
    #  speaking ---- cut for twice the window ---- speaking ---- tags deaf for twice the window ---- all speak
    hold = 0.6
    settings = await make_settings(
        source=server.url, partitions=1, tick_seconds=0.03, quiet_seconds=0.15, caught_up_seconds=0.3,
        deaf_seconds=0.5, grace_seconds=0.1, policies=(Policy(name="short", hold_seconds=hold),),
    )  # fmt: skip
    world = World(server)
    async with running(settings), deciding(settings):
        await until(settings, lambda log: bool(log.ticks))
        await world.live(1.0)
        server.faults = [Fault(status=503)] * 10_000
        server.cut()
        cut_ms = now_ms()
        await world.live(2 * hold)
        server.faults = []
        await world.live(1.2)
        deaf_ms = now_ms()
        await world.live(2 * hold + 0.6, without=TAGS_CHANGE)
        back_ms = now_ms()
        await world.live(1.5)
        async with asyncio.timeout(60):
            while len(ends := await released(settings)) < world.edits - 30:  # noqa: ASYNC110 - a topic tells nobody
                await asyncio.sleep(0.2)
    assert len({rev for rev, _, _ in ends}) == len(ends)
    cut = [made for _, fire, made in ends if cut_ms + 300 < fire < cut_ms + 2000 * hold]
    deaf = [made for _, fire, made in ends if deaf_ms + 700 < fire < back_ms]
    assert cut
    assert deaf
    assert min(cut) >= cut_ms + 2000 * hold - 50
    assert min(deaf) >= back_ms - 50


class World:
    """Edits and canaries in real time."""

    def __init__(self, server: SseServer) -> None:
        self._server = server
        self.edits = 0

    async def live(self, seconds: float, without: str = "") -> None:
        until_ms = now_ms() + 1000 * seconds
        while now_ms() < until_ms:
            self.edits += 1
            beats = [each for each in canaries(self.edits, now_ms()) if each["meta"]["stream"] != without]
            await self._server.add(page_change(self.edits, now_ms(), page=self.edits), *beats)
            await asyncio.sleep(0.03)


@asynccontextmanager
async def deciding(settings: Settings) -> AsyncIterator[None]:
    """The gate, as a step."""
    stop = asyncio.Event()
    task = asyncio.create_task(gate.run(settings, stop))
    try:
        yield
        stop.set()
        await asyncio.wait_for(task, 60)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def released(settings: Settings) -> list[tuple[int, int, int]]:
    """(revision, fire time, broker's time of its decision)."""
    return [
        (decision.rev_id, decision.fire_ms, record.timestamp)
        for record in await read_all(settings, Topics(settings).decisions)
        for decision in decode_decisions(record.value)
        if decision.state is State.RELEASED
    ]


@pytest.mark.chaos
@pytest.mark.soak
@pytest.mark.parametrize("how", ["frozen", "terminated", "killed", "away"])
async def test_whatever_the_broker_does_under_load_the_log_has_each_message_once_and_memory_is_flat(
    tmp_path: Path, server: SseServer, how: str
) -> None:
    broker = Broker(tmp_path, cache=cache_folder(os.environ))
    await asyncio.to_thread(broker.start)
    docs: list[dict[str, Any]] = []

    async def feed() -> None:
        while True:
            fresh = edits(20, len(docs))
            docs.extend(fresh)
            await server.add(*fresh)
            await asyncio.sleep(0.1)

    try:
        settings = Settings(
            kafka=broker.bootstrap, partitions=3, source=server.url, since="earliest", tick_seconds=0.2, metrics_port=0
        )
        await cluster.create(settings)
        feeding = asyncio.create_task(feed())
        async with running(settings) as step:
            await until(settings, lambda log: len(log.events) > 100)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            rebuilt = metrics.REBUILDS.labels(Step.SOURCE)._value.get()
            for _ in range(1 if how == "away" else 3):
                await disturb(broker, how)
            seen = len((await read(settings)).events)
            await until(settings, lambda log: len(log.events) > seen, 180)
            feeding.cancel()
            await until(settings, lambda log: len(set(log.ids)) == len(docs), 180)
            assert not step.done()
            grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    finally:
        feeding.cancel()
        await asyncio.to_thread(broker.stop)
    assert grown_mb < 150
    print(f"{how}: {len(docs)} events, {metrics.REBUILDS.labels(Step.SOURCE)._value.get() - rebuilt} rebuilds")


async def disturb(broker: Broker, how: str) -> None:
    if how == "frozen":
        os.kill(broker.pid, signal.SIGSTOP)
        await asyncio.sleep(20)
        os.kill(broker.pid, signal.SIGCONT)
    elif how == "killed":
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
    else:
        await asyncio.to_thread(broker.stop)
        await asyncio.sleep(60 if how == "away" else 0)
        await asyncio.to_thread(broker.start)
    await asyncio.sleep(3)
