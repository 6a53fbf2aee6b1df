"""Live = replay on a real Kafka: a gate that is killed again and again decides, byte for byte, as one that lives."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import all_readable, produce, read_all
from histories import END, FULL, Entry, Writer, by_page, random_log, run, shard_of

from schemas.decision import Decision, decode_decisions
from schemas.log import KIND_CONTROL, encode_policies
from schemas.reasons import Step
from streams import gate
from streams.kafka import Out, read_partition
from streams.settings import Settings
from streams.step_processes import StepProcesses
from streams.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

PATIENCE_SECONDS = 240.0
PLACES = ("loop.fenced", "loop.worked", "loop.sent", "loop.offsets_sent", "loop.committed")


def outs(settings: Settings, entries: Sequence[Entry]) -> list[Out]:
    """Each record where its page belongs; what concerns all, on every partition."""
    made = []
    for kind, value, page in entries:
        for partition in range(settings.partitions) if page == 0 else (page % settings.partitions,):
            headers = [("kind", kind)]
            made.append(
                Out(topic=Topics(settings).source, key=b"any", value=value, partition=partition, headers=headers)
            )
    return made


async def decided(settings: Settings) -> list[Decision]:
    return [d for r in await read_all(settings, Topics(settings).decisions) for d in decode_decisions(r.value)]


async def killed_at(settings: Settings, folder: Path, failpoints: Sequence[str]) -> None:
    """A slice of the log for each failpoint, at which the gate dies; then it lives."""
    log = random_log(7, length=40 * (len(failpoints) + 1))
    ending = Writer(at=END)
    ending.tick(0)
    log = [Entry(KIND_CONTROL, encode_policies(FULL), 0), *log, *ending.log]
    expected = by_page(run(shard_of(FULL), log[1:]))
    size = len(log) // (len(failpoints) + 1) + 1
    steps = StepProcesses(settings, folder)
    try:
        for number, failpoint in enumerate(failpoints):
            await produce(settings, outs(settings, log[number * size : (number + 1) * size]))
            steps.start(Step.GATE, failpoint=failpoint)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while steps.running[Step.GATE].exit_code is None:  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(0.1)
            assert steps.running[Step.GATE].wait() == -signal.SIGKILL, steps.log(Step.GATE)[-2000:]
        await produce(settings, outs(settings, log[len(failpoints) * size :]))
        steps.start(Step.GATE)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(await decided(settings)) < sum(map(len, expected.values())):  # noqa: ASYNC110
                await asyncio.sleep(0.3)
        assert await asyncio.to_thread(steps.stop) == {Step.GATE: 0}
    finally:
        steps.end()
    assert by_page(await decided(settings)) == expected


async def test_a_gate_that_is_killed_at_two_places_decides_as_one_that_lives(settings, tmp_path):
    await killed_at(settings, tmp_path, ("loop.sent:1", "loop.committed:2"))


@pytest.mark.soak
async def test_a_gate_that_is_killed_twenty_times_decides_as_one_that_lives(settings, tmp_path):
    await killed_at(settings, tmp_path, [f"{name}:{passes}" for passes in (1, 2, 1, 1) for name in PLACES])


async def test_four_workers_that_share_the_partitions_write_the_very_records_of_one(make_settings, monkeypatch):
    log = random_log(11, length=160)
    ending = Writer(at=END)
    ending.tick(0)
    log = [Entry(KIND_CONTROL, encode_policies(FULL), 0), *log, *ending.log]
    count = sum(map(len, by_page(run(shard_of(FULL), log[1:])).values()))
    owners: dict[int, gate.Gate] = {}

    class Watched(gate.Gate):
        async def own(self, partition: int) -> None:
            await super().own(partition)
            owners[partition] = self

    monkeypatch.setattr(gate, "Gate", Watched)
    written = []
    for workers, assign in ((1, "all"), (4, "group")):
        settings = await make_settings(partitions=4, assign=assign)
        stop = asyncio.Event()
        owners.clear()
        tasks = [asyncio.create_task(gate.run(settings, stop)) for _ in range(workers)]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(set(owners.values())) < workers or len(owners) < 4:  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(0.05)
                await produce(settings, outs(settings, log))
                while len(await decided(settings)) < count and not any(task.done() for task in tasks):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        finally:
            stop.set()
            await asyncio.gather(*tasks)
        await all_readable(settings)
        every = [await read_partition(settings, Topics(settings).decisions, partition) for partition in range(4)]
        written.append([[(record.key, record.value) for record in records] for records in every])
    assert written[0] == written[1]
    assert all(written[0])
