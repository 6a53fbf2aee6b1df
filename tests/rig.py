"""A rig for fault tests: a world, proxies before its streams and its APIs, the five steps as processes, and the oracle.

async with rig(kafka, folder, random_state=1) as line:
    await line.play(trouble(line))      # while the world is edited
    assert (await line.score()).disagreements == ()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tcp_proxy import TcpProxy

from processors.oracle import Score
from processors.oracle_story import tell
from schemas.event import rfc3339
from schemas.log import Policy
from schemas.reasons import Step
from streams import cluster
from streams.eventstreams import SimulatedSource
from streams.score import judged
from streams.settings import Settings
from streams.step_processes import StepProcesses
from streams.storm import keep_up
from streams.world import World, build_world, play

HOLDS = {"live": 0, "fast": 2, "careful": 5}
# Longest hold, grace, and what a fault may cost.
AFTER_SECONDS = 15.0
PATIENCE_SECONDS = 180.0


@dataclass
class Rig:
    """streams, apis: the proxies. steps that end are started again."""

    world: World
    source: SimulatedSource
    streams: TcpProxy
    apis: TcpProxy
    settings: Settings
    steps: StepProcesses
    ledger: Path
    file: BinaryIO

    async def play(self, trouble: Coroutine[Any, Any, None]) -> None:
        """Let the world happen while `trouble` is made; both come to their end."""
        keeping = asyncio.create_task(keep_up(self.steps, []))
        try:
            await asyncio.wait_for(self.source.until_connected(1), PATIENCE_SECONDS)
            await asyncio.gather(play(self.world, self.source, after_seconds=AFTER_SECONDS), trouble)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            self.steps.start_ended()

    async def score(self) -> Score:
        """What the oracle says once everything is done. Fails with its story where it is not perfect."""
        self.file.flush()
        ledger, score = await judged(self.settings, self.ledger, wait_seconds=PATIENCE_SECONDS)
        assert score.perfect, "\n".join(tell(ledger, score))
        return score

    async def freeze(self, step: Step, seconds: float) -> None:
        """Stop a step's process as a whole, and let it go on."""
        pid = self.steps.running[step].pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def rig(
    kafka: str, folder: Path, *, random_state: int, seconds: float = 10, rate: float = 8
) -> AsyncIterator[Rig]:
    world = build_world(random_state, seconds=seconds, rate=rate, tail_seconds=5)
    path = folder / "ledger.ndjson"
    with path.open("wb") as file:
        source = SimulatedSource(world, ledger=world.ledger(file))
        await source.start()
        at = urlsplit(source.url)
        assert at.hostname is not None
        assert at.port is not None
        async with TcpProxy(at.hostname, at.port) as streams, TcpProxy(at.hostname, at.port) as apis:
            settings = Settings(
                kafka=kafka,
                topic_prefix=f"rig{random_state}-{folder.name[-30:]}",
                partitions=3,
                assign="all",
                metrics_port=0,
                source=f"http://127.0.0.1:{streams.port}",
                content=source.content.replace(str(at.port), str(apis.port), 1),
                since=rfc3339(world.begin_ms - 1000),
                policies=tuple(Policy(name=name, hold_seconds=hold) for name, hold in HOLDS.items()),
                grace_seconds=1.0,
                tick_seconds=0.25,
                linger_seconds=0.25,
                idle_seconds=2.0,
                requests_per_minute=6000,
                replica_lag_seconds=1.0,
            )
            await cluster.create(settings)
            steps = StepProcesses(settings, folder)
            try:
                for step in Step:
                    steps.start(step)
                yield Rig(world, source, streams, apis, settings, steps, path, file)
            finally:
                await asyncio.to_thread(steps.stop)
                steps.end()
                await source.stop()
