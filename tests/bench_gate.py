"""The gate's rows of the bench: against stream processors on one Kafka; many policies, many pages, long logs."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition
from bench_table import alone, row
from conftest import read_all
from peers import EPOCH, history
from windows import peak_mb

from processors.digest import page_partition
from processors.shard import Shard
from processors.store import PageKey, Row
from schemas.decision import decode_decisions, encode_decision
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from schemas.log import KIND_CONTROL, KIND_EVENT, KIND_TICK, Policies, Policy, Tick, encode_policies, encode_tick
from schemas.page import BEGAN_KEY, MARK_KEY, POLICIES_KEY, WHEN_HEADER, Edit, Page, When, encode_when, policies_mark
from schemas.page_record import encode_page
from schemas.policy import Match, Rule
from schemas.reasons import State, Step
from streams import cluster
from streams.collector import collect_rarely
from streams.disk import Disk
from streams.gate import HOT_PAGES, MOST_RECORDS, Gate
from streams.kafka import Out, consumer, producer, send, send_all
from streams.settings import Settings
from streams.step_processes import StepProcesses, env_of
from streams.topics import Topics

HERE = Path(__file__).parent
DAY = 86_400


def named(holds: Sequence[int]) -> tuple[Policy, ...]:
    # As a gate has them that read them: it knows equal policies by their bytes.
    return tuple(Policy(name=f"w{n}_{hold}", hold_seconds=float(hold)) for n, hold in enumerate(holds))


def on_the_log(settings: Settings, log: Iterable[tuple[bytes, bytes]]) -> Iterator[Out]:
    """The records where the source would put them; the key is the partition, for those who keep state by key."""
    topic, every = Topics(settings).source, range(settings.partitions)
    for kind, value in log:
        places: Iterable[int] = every
        if kind == KIND_EVENT:
            places = [page_partition("enwiki", orjson.loads(value)["page"]["page_id"], settings.partitions)]
        for partition in places:
            key, headers = b"%d" % partition, [("kind", kind)]
            yield Out(topic=topic, key=key, value=value, partition=partition, headers=headers)


async def fill(settings: Settings, outs: Iterator[Out]) -> dict[int, int]:
    """Writes them; returns how many went to each partition."""
    counts = dict.fromkeys(range(settings.partitions), 0)
    while some := list(islice(outs, 20_000)):
        await send_all(settings, some)
        for out in some:
            counts[out.partition or 0] += 1
    return counts


async def over_kafka(
    settings: Settings, python: Path | None, holds: Sequence[int], count: int, rounds: int = 2
) -> None:
    """Exactly once, from the log to its decisions, against those who promise at least once; each as often, by turns."""
    policies, best, memory, bodies = named(holds), {}, {}, {}

    def log() -> Iterator[tuple[bytes, bytes]]:
        yield KIND_CONTROL, encode_policies(Policies(policies=policies))
        yield from history(count)

    await cluster.create(settings)
    topics = Topics(settings)
    counts = await fill(settings, on_the_log(settings, log()))
    windows = [f"{policy.name}={round(policy.hold_seconds * 1000)}" for policy in policies]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name in ("memory", "folder", "Bytewax", "Quix"):
                if name in {"memory", "folder"}:
                    # The log is read anew by another group with other topics behind it.
                    mine = settings.with_(
                        topic_prefix=f"{settings.topic_prefix}_{name}{number}",
                        state=f"{folder}/{number}" if name == "folder" else "",
                    )
                    await cluster.create(mine)
                    await fill(mine, on_the_log(mine, log()))
                    command = [sys.executable, HERE / "gate_worker.py", str(sum(counts.values()))]
                    env = env_of(mine) | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
                elif python is None:
                    continue
                else:
                    mine = settings.with_(topic_prefix=f"{settings.topic_prefix}_{name.lower()}{number}")
                    await cluster.create(mine)
                    script = {"Bytewax": "peer_bytewax_kafka.py", "Quix": "peer_quix.py"}[name]
                    out, store = Topics(mine).decisions, f"{folder}/{name}{number}"
                    command = [python, HERE / script, settings.kafka, topics.source, out, store, *windows]
                    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
                done = await asyncio.to_thread(
                    subprocess.run, command, env=env, check=True, capture_output=True, text=True
                )
                took, peak = map(float, done.stdout.split()[-2:])
                best[name] = min(best.get(name, took), took)
                memory[name] = peak
                if number == 0:
                    records = await read_all(mine, Topics(mine).decisions)
                    bodies[name] = sorted(encode_decision(d) for r in records for d in decode_decisions(r.value))
                    assert bodies[name] == bodies["memory"], f"{name} decides differently"
                await cluster.delete(mine)
    await cluster.delete(settings)
    for name, goal in (("Bytewax", "1"), ("Quix", "1.5")):
        for kind in ("memory", "folder"):
            if name in best:
                what = f"gate over Kafka, {count:,} edits" if kind == "memory" else "  with its state folder"
                said = f"{name}, at least once; {memory[kind]:.0f} MB against {memory[name]:.0f}"
                row(what, count / best[kind], count / best[name], "/s", said, goal=f"≥ {goal}")


def many_policies(count: int = 20_000) -> None:
    """Fifty policies, no two with the same rules, against three of their kind; all pages are in use.

    Customers: each has a rule for a wiki of its own, and one of six holds for the rest. Holds: each has another one.
    """
    for kind, what in (("customers", "50 policies, own rules, 6 holds"), ("holds", "50 policies of 50 holds")):
        three, fifty = (_in_a_process("policies", kind, str(number), str(count)) for number in (3, 50))
        row(f"{what}, CPU", fifty[0] * 10, three[0] * 10, "ds", "3 policies", goal="< 3")
        row("  memory that it takes", fifty[1], three[1], "MB", "3 policies", goal="< 2")


def over_policies(kind: str, number: int, count: int) -> None:
    """Run in a process of its own: prints CPU seconds, and MB that it took."""
    if kind == "holds":
        policies = named([0, 300, 3600] if number == 3 else [0, *(75 * n for n in range(1, number))])
    else:
        holds = (0, 300, 3600, 60, 900, 1800)
        policies = tuple(
            Policy(
                name=f"customer{n}",
                rules=(Rule(match=Match(wiki=(f"w{n}wiki",)), hold_seconds=n), Rule(hold_seconds=holds[n % 6])),
            )
            for n in range(number)
        )
    log, before = list(history(count)), peak_mb()
    shard = Shard()
    shard.apply(KIND_CONTROL, encode_policies(Policies(policies=policies)))
    began = time.process_time()
    for each, value in log:
        for group in shard.apply(each, value):
            group.value  # noqa: B018 - the record, which costs to make
    print(time.process_time() - began, peak_mb() - before)


def growth(few: int, many: int) -> None:
    """What an event costs the gate but for Kafka, its store on disk and all, when ten times as many came before."""
    (first, _), (last, _) = (_in_a_process("growth", str(count)) for count in (few, many))
    said = f"{few:,} edits"
    row(f"µs an edit, {many:,} edits", last / many * 1e6, first / few * 1e6, "µs", said, goal="≤ 1.2")


def over_edits(count: int) -> None:
    """Run in a process of its own: prints CPU seconds and the most memory in MB."""
    collect_rarely()  # as a gate does
    spent = 0.0
    with tempfile.TemporaryDirectory() as folder, Disk(Path(folder) / "d.db", topic="t", now_s=1, stale_s=9) as disk:
        shard = Shard(store=disk, hot_pages=HOT_PAGES)
        shard.apply(KIND_CONTROL, encode_policies(Policies(policies=named((0, 300, 3600)))))
        log = history(count)
        while some := list(islice(log, MOST_RECORDS)):
            began = time.process_time()
            for kind, value in some:
                for group in shard.apply(kind, value):
                    group.value  # noqa: B018 - the record, which costs to make
            disk.commit(shard.changed(), shard.beside, 1, 1.0)
            shard.flush({})
            spent += time.process_time() - began
    print(spent, peak_mb())


def _in_a_process(*arguments: str) -> tuple[float, float]:
    command = [sys.executable, __file__, *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    took, peak = map(float, done.stdout.split())
    return took, peak


async def many_pending(settings: Settings, count: int) -> None:
    """Pages with an edit each that waits under two of three policies, in the state folder of a step process.

    The folder is prepared, page by page as the step writes it; then edits come, it is killed, and it comes back.
    """
    await cluster.create(settings)
    with tempfile.TemporaryDirectory() as folder:
        held = await asyncio.to_thread(prepare, settings, Path(folder) / "gate", count)
        rules = encode_policies(Policies(policies=PENDING_POLICIES))
        state, every = Topics(settings).gate_state, range(settings.partitions)
        known = ((POLICIES_KEY, rules), (MARK_KEY, b"%d" % PENDING_MARK))
        await send_all(settings, [Out(state, key, value, n) for n in every for key, value in known])
        size = sum(path.stat().st_size for path in (Path(folder) / "gate").iterdir())
        settings = settings.with_(state=folder)
        steps = StepProcesses(settings, Path(folder))
        try:
            first, first_cpu = await _decides(settings, steps, 0, starts=True)
            pid = steps.running[Step.GATE].pid
            for number in range(1, 6):
                await _decides(settings, steps, number, starts=False)
            resident, peak = (_status_mb(pid, name) for name in ("VmRSS", "VmHWM"))
            steps.kill(Step.GATE)
            again, cpu = await _decides(settings, steps, 6, starts=True)
        finally:
            steps.end()
    await cluster.delete(settings)
    alone(f"{count:,} pending, resident", f"{resident:,.0f} MB", f"< 500 MB at 1,600,000; at most it had {peak:.0f} MB")
    alone("  state of each", f"{held / count:,.0f} B", f"≤ 400 B; on disk with its indexes {size / count:,.0f} B")
    said = f"< 5 s at 1,600,000; {cpu:.1f} s of CPU; after the first start {first:.1f} s, {first_cpu:.1f} of CPU"
    alone("  first decision after kill -9", f"{again:.1f} s", said)


async def from_the_topic(settings: Settings, count: int) -> None:
    """How soon a gate knows all its pages that has nothing but the state topic."""
    await cluster.create(settings)
    state, rules = Topics(settings).gate_state, encode_policies(Policies(policies=PENDING_POLICIES))
    numbers = iter(range(1, count + 1))
    known = ((POLICIES_KEY, rules), (MARK_KEY, b"%d" % PENDING_MARK))
    await send_all(settings, [Out(state, key, value, 0) for key, value in known])
    while some := list(islice(numbers, 20_000)):
        waiting = ((n, pending_page(n)) for n in some)
        when = encode_when(When(PENDING_MARK, EPOCH + DAY * 1000, 2))
        outs = [Out(state, page.key, encode_page(page), 0, [(WHEN_HEADER, when)]) for _, page in waiting]
        await send_all(settings, outs)
    for kind, folder in (("a store on disk", True), ("memory", False)):
        with tempfile.TemporaryDirectory() as path:
            gate = Gate(settings.with_(state=path if folder else ""))
            began, cpu = time.monotonic(), time.process_time()
            await gate.own(0)
            took, cpu = time.monotonic() - began, time.process_time() - cpu
            gate.lost(0)
        said = f"≥ 50,000/s; {count / cpu:,.0f} for each second of CPU"
        alone(f"pages taken up into {kind}", f"{count / took:,.0f} /s", said)
    await cluster.delete(settings)


PENDING_POLICIES = named((0, DAY, 7 * DAY))
PENDING_MARK = policies_mark(encode_policies(Policies(policies=PENDING_POLICIES)))


def pending_page(n: int) -> Page:
    """One that has an edit which waits under two of three policies."""
    names, context = tuple(policy.name for policy in PENDING_POLICIES), (0, ("edit",), "registered", (), ())
    event_id, sha1 = f"{n:08}-0000-4000-8000-000000000000", f"{n:031}"
    edit = Edit(2_500_000_000 + n, 0, event_id, EPOCH + n, sha1, f"{n:016x}", context, b"100")
    return Page("enwiki", n, f"Page_{n}", names, {edit.rev_id: sha1}, [edit], mark=PENDING_MARK)


def prepare(settings: Settings, folder: Path, count: int) -> int:
    """The stores of all partitions as a gate leaves them; returns the bytes of all page states with their keys.

    Each is complete up to the one record that its topic has.
    """
    held, rules = 0, encode_policies(Policies(policies=PENDING_POLICIES))
    topic, every = Topics(settings).gate_state, range(settings.partitions)
    with ExitStack() as stack:
        disks = []
        for n in every:
            name, path = f"{settings.kafka}/{topic}/{n}", folder / f"{topic}-{n}.db"
            disks.append(stack.enter_context(Disk(path, topic=name, now_s=time.time(), stale_s=1e9)))
        numbers = iter(range(1, count + 1))
        while some := list(islice(numbers, 50_000)):
            rows: list[dict[PageKey, Row | None]] = [{} for _ in every]
            for n in some:
                page = pending_page(n)
                value = encode_page(page)
                held += len(value) + len(page.key)
                kept = Row(value, When(PENDING_MARK, EPOCH + n + DAY * 1000 + 60_000, 2))
                rows[page_partition("enwiki", n, settings.partitions)]["enwiki", n] = kept
            for disk, each in zip(disks, rows, strict=True):
                disk.write(each)
        for disk in disks:
            beside = {POLICIES_KEY: rules, MARK_KEY: b"%d" % PENDING_MARK, BEGAN_KEY: b"%d" % EPOCH}
            disk.commit({}, beside, 1, time.time(), PENDING_MARK)
    return held


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


async def _decides(settings: Settings, steps: StepProcesses, number: int, *, starts: bool) -> tuple[float, float]:
    """Seconds until one of new edits of 500 of the pages is decided, the gate's start included if it starts; and
    the CPU seconds of the gate so far."""
    topics = Topics(settings)
    reader = consumer(settings)
    await reader.start()
    try:
        tps = [TopicPartition(topics.decisions, p) for p in range(settings.partitions)]
        reader.assign(tps)
        await reader.seek_to_end(*tps)
        for tp in tps:
            await reader.position(tp)
        doc = orjson.loads(next(history(10))[1])
        log = []
        for n in range(1 + 500 * number, 501 + 500 * number):
            doc["page"]["page_id"], doc["revision"]["rev_id"] = n, 3_000_000_000 + n
            doc["meta"]["id"] = f"later-{n}"
            log.append((KIND_EVENT, orjson.dumps(doc)))
        await send_all(settings, list(on_the_log(settings, log)))
        began = time.monotonic()
        if starts:
            steps.start(Step.GATE)
        async with asyncio.timeout(300):
            while not await reader.getmany(timeout_ms=100):
                pass
        return time.monotonic() - began, _cpu_seconds(steps.running[Step.GATE].pid)
    finally:
        await reader.stop()


class Watch:
    """A reader of decisions that notes how long after its cause each can be read: `came` says when that was written."""

    def __init__(self, settings: Settings) -> None:
        self.came: dict[str, float] = {}
        self.released: list[float] = []
        self.retracted: list[float] = []
        self.started = asyncio.Event()
        self._reader = consumer(settings, Topics(settings).decisions)

    async def run(self, stop: asyncio.Event) -> None:
        await self._reader.start()
        try:
            while not stop.is_set():
                for records in (await self._reader.getmany(timeout_ms=200)).values():
                    self._note(records, time.monotonic())
        finally:
            await self._reader.stop()

    def _note(self, records: Sequence[Any], now: float) -> None:
        self.started.set()
        for record in records:
            cause = record.key.rpartition(b":")[2].decode()
            if cause in self.came and cause.startswith("tick-"):
                self.released.append(now - self.came[cause])
            elif cause in self.came and any(d.state is State.RETRACTED for d in decode_decisions(record.value)):
                self.retracted.append(now - self.came[cause])


async def latencies(settings: Settings, seconds: int = 30, rate: int = 30) -> None:
    """Paced edits, a transaction with a tick each second, as the source writes them: how long after it a release can be
    read that it brings, and how long after a revert the retraction."""
    policies = (Policy(name="live", hold_seconds=0), Policy(name="short", hold_seconds=3))
    settings = settings.with_(policies=policies)
    rules = Policies(policies=policies, grace_seconds=0.0)
    await cluster.create(settings)
    watch, stop = Watch(settings), asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        steps = StepProcesses(settings.with_(state=folder), Path(folder))
        sender = producer(settings, transactional_id=f"{settings.topic_prefix}.paced")
        reading = asyncio.create_task(watch.run(stop))
        try:
            steps.start(Step.GATE)
            await sender.start()
            await _write(settings, sender, [(KIND_CONTROL, encode_policies(rules))])
            events = (value for kind, value in history(rate * seconds) if kind == KIND_EVENT)
            for second in range(seconds + 5):
                began = time.monotonic()
                docs = [_at(second, value) for value in islice(events, rate)]
                heard = dict.fromkeys((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE), EPOCH + second * 1000 - 500)
                tick = KIND_TICK, encode_tick(Tick(number=second, heard_ms=heard, cursor=()))
                await _write(settings, sender, [*((KIND_EVENT, orjson.dumps(doc)) for doc in docs), tick])
                if second == 0:
                    # The first second waits for the process to start; it is not counted.
                    await watch.started.wait()
                else:
                    causes = [f"tick-{second}", *(doc["meta"]["id"] for doc in docs)]
                    watch.came |= dict.fromkeys(causes, time.monotonic())
                    await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))
            await asyncio.sleep(2)
        finally:
            stop.set()
            await reading
            await asyncio.to_thread(steps.stop)
            steps.end()
            await sender.stop()
    await cluster.delete(settings)
    what = (f"release after its tick, {rate}/s", watch.released), ("retraction after its revert", watch.retracted)
    for name, found in what:
        shares = statistics.quantiles(found, n=100)
        alone(name, f"p99 {shares[98] * 1000:,.0f} ms", f"< 1 s; p50 {shares[49] * 1000:,.0f} ms of {len(found):,}")


def _at(second: int, value: bytes) -> dict[str, Any]:
    doc: dict[str, Any] = orjson.loads(value)
    doc["dt"] = doc["meta"]["dt"] = doc["revision"]["rev_dt"] = rfc3339(EPOCH + second * 1000)
    return doc


async def _write(settings: Settings, sender: AIOKafkaProducer, log: Sequence[tuple[bytes, bytes]]) -> None:
    await sender.begin_transaction()
    for out in on_the_log(settings, log):
        await send(sender, out, {})
    await sender.commit_transaction()


if __name__ == "__main__":
    if sys.argv[1] == "growth":
        over_edits(int(sys.argv[2]))
    else:
        over_policies(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
