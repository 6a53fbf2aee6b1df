"""Chaos for the exactly-once loop: workers killed, frozen and doubled, the broker stopped and killed, ids counted.

Two or three workers copy numbered records over six partitions. A zombie is a worker frozen until others have its
partitions and thawed afterwards; with `assign=all` every worker owns everything, so all the time the newest one fences
the others. At the end every number must be there once for a `read_committed` reader, and each partition's state must
agree with its output.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import read_all
from test_exactly_once import check_ledger

from streams import cluster
from streams.broker import Broker
from streams.kafka import producer
from streams.settings import Settings, cache_folder
from streams.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

WORKER = Path(__file__).parent / "chaos_worker.py"
PARTITIONS = 6
RATE = 200
# Between two faults, so that something happens meanwhile; nothing is asserted of it.
PACE_SECONDS = 1.5
FREEZE_SECONDS = 8.0
PATIENCE_SECONDS = 240.0


class Workers:
    """Keeps `count` worker processes running, whatever ends them."""

    def __init__(self, settings: Settings, count: int, log: Path) -> None:
        self._settings = settings
        self._log = log
        self.running: list[subprocess.Popen[bytes]] = []
        self.count = count

    def fill(self) -> None:
        self.running = [worker for worker in self.running if worker.poll() is None]
        while len(self.running) < self.count:
            s = self._settings
            command = [sys.executable, str(WORKER), s.kafka, s.topic_prefix, str(s.partitions), s.assign]
            with self._log.open("ab") as log:
                self.running.append(subprocess.Popen(command, stdout=log, stderr=log))

    def signal(self, chooser: random.Random, number: signal.Signals) -> subprocess.Popen[bytes]:
        worker = chooser.choice(self.running)
        worker.send_signal(number)
        return worker

    def end(self) -> None:
        for worker in self.running:
            worker.kill()
            worker.wait()


@contextlib.asynccontextmanager
async def feeding(settings: Settings) -> AsyncIterator[list[int]]:
    """Send numbers until the block ends; the list grows with each, and all of them have been acknowledged after it."""
    sent: list[int] = []
    futures: list[asyncio.Future[object]] = []
    sender = producer(settings)
    await sender.start()
    stop = asyncio.Event()

    async def feed() -> None:
        topic = Topics(settings).source
        while not stop.is_set():
            for _ in range(RATE // 20):
                n = len(sent)
                sent.append(n)
                futures.append(await sender.send(topic, key=b"%d" % n, value=b"x", partition=n % PARTITIONS))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(feed())
    try:
        yield sent
    finally:
        stop.set()
        await task
        await asyncio.gather(*futures)
        await sender.stop()


async def storm(folder: Path, assign: str, random_state: int, faults: list[str]) -> None:
    """Run the workers through `faults` in an order that `random_state` gives, and hold the ledger."""
    chooser = random.Random(random_state)
    chooser.shuffle(faults)
    broker = Broker(folder / "kafka", cache=cache_folder(os.environ), fast_cleaner=True)
    await asyncio.to_thread(broker.start)
    settings = Settings(kafka=broker.bootstrap, topic_prefix="chaos", partitions=PARTITIONS, assign=assign)
    await cluster.create(settings)
    workers = Workers(settings, 3 if assign == "group" else 2, folder / "workers.log")
    thawing: list[asyncio.Task[None]] = []
    try:
        async with feeding(settings) as sent:
            # Two that own everything by hand may fence each other at their start: then both end, and start again.
            await output(settings, 1, workers)
            for fault in faults:
                workers.fill()
                if fault == "kill":
                    workers.signal(chooser, signal.SIGKILL)
                elif fault == "term":
                    workers.signal(chooser, signal.SIGTERM)
                elif fault == "freeze":
                    thawing.append(asyncio.create_task(thaw(workers.signal(chooser, signal.SIGSTOP))))
                else:
                    await asyncio.to_thread(broker.kill if fault == "broker kill" else broker.stop)
                    await asyncio.to_thread(broker.start)
                await asyncio.sleep(PACE_SECONDS)
        await asyncio.gather(*thawing)
        workers.count = 1
        await output(settings, len(sent), workers)
        # Whoever still wakes up late must not add anything.
        for worker in workers.running:
            worker.send_signal(signal.SIGTERM)
            await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
        await check_ledger(settings, sent)
    finally:
        workers.end()
        await asyncio.to_thread(broker.stop)


async def thaw(worker: subprocess.Popen[bytes]) -> None:
    await asyncio.sleep(FREEZE_SECONDS)
    worker.send_signal(signal.SIGCONT)


async def output(settings: Settings, count: int, workers: Workers) -> None:
    """Return when that many records have come out; workers that ended meanwhile are started again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(await read_all(settings, Topics(settings).decisions)) < count:
            workers.fill()
            await asyncio.sleep(0.5)


FAULTS = ["kill", "kill", "kill", "freeze", "freeze", "term", "broker term", "broker kill"]


@pytest.mark.parametrize("assign", ["group", pytest.param("all", marks=pytest.mark.soak)])
async def test_no_number_is_lost_or_doubled_whatever_happens_to_workers_and_broker(tmp_path, assign):
    await storm(tmp_path, assign, 1, list(FAULTS))


@pytest.mark.soak
@pytest.mark.parametrize("assign", ["group", "all"])
@pytest.mark.parametrize("random_state", range(2, 6))
async def test_the_same_holds_in_longer_storms(tmp_path, assign, random_state):
    await storm(tmp_path, assign, random_state, FAULTS * 3)
