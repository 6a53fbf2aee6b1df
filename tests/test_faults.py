"""Faults of network, processes and broker, each while a world is edited; then the oracle judges every topic."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, rig
from test_broker import small_disk

from schemas.reasons import Step
from streams.broker import Broker
from streams.jars import BrokerError
from streams.settings import cache_folder

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

CACHE = cache_folder(os.environ)
LONGEST_SECONDS = 400.0
Trouble = Callable[[Rig], Coroutine[Any, Any, None]]


async def cuts(line: Rig) -> None:
    for _ in range(6):
        await asyncio.sleep(1.2)
        line.streams.cut()
        line.apis.cut()


async def half_open(line: Rig) -> None:
    """The cable is pulled: nothing ends, nothing comes; who waits for ever, waits for ever."""
    await asyncio.sleep(2)
    line.streams.freeze()
    line.apis.freeze()
    await asyncio.sleep(5)
    line.streams.thaw()
    line.apis.thaw()


async def slow(line: Rig) -> None:
    line.streams.delay_seconds = line.apis.delay_seconds = 0.3
    await asyncio.sleep(5)
    line.streams.delay_seconds = line.apis.delay_seconds = 0.0


async def drip(line: Rig) -> None:
    line.streams.drip_bytes = line.apis.drip_bytes = 1000
    line.streams.drip_seconds = line.apis.drip_seconds = 0.02
    await asyncio.sleep(6)
    line.streams.drip_bytes = line.apis.drip_bytes = 0


async def corrupt_answers(line: Rig) -> None:
    """A byte of every 3,000 of the content API's answers is another; of the stream, TLS would take care."""
    line.apis.corrupt_every = 3000
    await asyncio.sleep(6)
    line.apis.corrupt_every = 0


async def refused(line: Rig) -> None:
    line.streams.refuse = line.apis.refuse = True
    line.streams.cut()
    line.apis.cut()
    await asyncio.sleep(4)
    line.streams.refuse = line.apis.refuse = False


async def frozen_steps(line: Rig) -> None:
    for step in Step:
        await line.freeze(step, 1.5)


NETWORK: list[Trouble] = [cuts, half_open, slow, drip, corrupt_answers, refused]


async def run(kafka: str, folder: Path, random_state: int, trouble: Trouble) -> None:
    async with asyncio.timeout(LONGEST_SECONDS), rig(kafka, folder, random_state=random_state) as line:
        await line.play(trouble(line))
        score = await line.score()
    assert len(score.decided) > 100


@pytest.mark.soak
async def test_cuts_and_a_pulled_cable_lose_and_double_nothing(kafka: str, tmp_path: Path) -> None:
    async def both(line: Rig) -> None:
        await cuts(line)
        await half_open(line)
        assert line.streams.opened > 6

    await run(kafka, tmp_path, 1, both)


@pytest.mark.soak
@pytest.mark.parametrize("trouble", [*NETWORK, frozen_steps])
@pytest.mark.parametrize("random_state", [2, 3])
async def test_no_fault_of_network_or_process_loses_or_doubles_anything(
    kafka: str, tmp_path: Path, trouble: Trouble, random_state: int
) -> None:
    await run(kafka, tmp_path, random_state, trouble)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["kill", "stop", "freeze"])
async def test_no_fault_of_the_broker_loses_or_doubles_anything(tmp_path: Path, how: str) -> None:
    with Broker(tmp_path / "kafka", cache=CACHE, fast_cleaner=True) as broker:

        async def trouble(line: Rig) -> None:
            for _ in range(2):
                await asyncio.sleep(3)
                if how == "freeze":
                    os.kill(broker.pid, signal.SIGSTOP)
                    await asyncio.sleep(6)
                    os.kill(broker.pid, signal.SIGCONT)
                else:
                    await asyncio.to_thread(broker.kill if how == "kill" else broker.stop)
                    await asyncio.sleep(2)
                    await asyncio.to_thread(broker.start)

        await run(broker.bootstrap, tmp_path, 4, trouble)


def fill(disk: Path) -> Path:
    """A file that takes what is left of the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(100_000)):
            pass
    assert shutil.disk_usage(disk).free < 100_000
    return ballast


async def ended(broker: Broker) -> None:
    while True:
        await asyncio.sleep(0.5)
        broker.check()


@pytest.mark.soak
async def test_a_disk_that_fills_and_is_freed_costs_nothing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 120_000_000) as disk,
        Broker(disk / "kafka", cache=CACHE, fast_cleaner=True) as broker,
    ):

        async def trouble(line: Rig) -> None:
            await asyncio.sleep(3)
            ballast = await asyncio.to_thread(fill, disk)
            with pytest.raises(BrokerError):
                await ended(broker)
            ballast.unlink()
            await asyncio.to_thread(broker.start)

        await run(broker.bootstrap, tmp_path, 5, trouble)
