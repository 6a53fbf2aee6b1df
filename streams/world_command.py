"""`sluice world`: a simulated Wikimedia on loopback, for as long as one likes, with a ledger of all it did."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from schemas.event import rfc3339
from streams.collector import collect_rarely
from streams.eventstreams import SimulatedSource
from streams.ledger import Ledger
from streams.world import World, build_world, outlive, play
from streams.world_storm import storm

# Kafka keeps seven days; a run of hours on a laptop keeps what a reader may lag behind.
KEPT_MESSAGES = 200_000
# As on the real wikis; `--time-scale` shortens the first with all the rest.
CANARY_SECONDS = 900
VANDALISM_PERCENT = 6
REQUESTS_PER_MINUTE = 200
MAX_CONNECTIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions:
    """The options of the command, under their names there. hours: of world time. speed: 0 = as fast as it can."""

    rate: float
    wikis: int
    hours: float
    random_state: int
    speed: float
    time_scale: float
    faults: str
    ledger: Path | None
    port: int

    def world(self) -> World:
        """Raises `ValueError` for what is out of range."""
        if min(self.rate, self.hours, self.time_scale) <= 0 or self.speed < 0:
            raise ValueError("--rate, --hours and --time-scale must be more than 0, --speed at least 0")
        return build_world(
            self.random_state,
            seconds=self.hours * 3600,
            rate=self.rate,
            wikis=self.wikis,
            tail_seconds=0,
            time_scale=self.time_scale,
            vandalism_percent=VANDALISM_PERCENT,
            canary_every_ms=max(500, round(CANARY_SECONDS * 1000 / self.time_scale)),
            keeps_truth=False,
        )


def run_world(options: WorldOptions) -> int:
    """Serve until a signal; then 0. After the world's end its clock goes on, with canaries and nothing else.

    Raises `ValueError` for options out of range and `OSError` where port or file cannot be had.
    """
    collect_rarely()
    return asyncio.run(_serve(options))


async def _serve(options: WorldOptions) -> int:
    world, stop = options.world(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _ledger(world, options.ledger) as ledger:
        source = SimulatedSource(world, ledger=ledger, kept=KEPT_MESSAGES)
        source.api.requests_per_minute = REQUESTS_PER_MINUTE
        source.faults.max_connections = MAX_CONNECTIONS
        await source.start(port=options.port)
        _introduce(world, source, options)
        tasks = {asyncio.create_task(_happen(world, source, options.speed))}
        if options.faults == "storm":
            tasks.add(asyncio.create_task(storm(source, Random(options.random_state))))  # noqa: S311 - no secret
        try:
            await _until(stop, tasks)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await source.stop()
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
    print(
        f"sluice world: stopped at {rfc3339(source.now_ms)}, {source.log.end} messages, {source.sent} sent", flush=True
    )
    return 0


async def _happen(world: World, source: SimulatedSource, speed: float) -> None:
    """All that there is, then time alone: a world that went as fast as it could goes on at our pace."""
    await play(world, source, speed=speed, after_seconds=0)
    print("sluice world: its time is over; it is served, with canaries alone, until Ctrl-C", flush=True)
    await outlive(world, source, speed=speed or 1.0)


async def _until(stop: asyncio.Event, tasks: set[asyncio.Task[None]]) -> None:
    """Returns at the signal, or when one of the tasks fails: none ends by itself."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


@contextlib.contextmanager
def _ledger(world: World, path: Path | None) -> Iterator[Ledger | None]:
    """The file is begun anew, as the world is."""
    if path is None:
        yield None
        return
    with path.open("wb") as file:
        yield world.ledger(file)


def _introduce(world: World, source: SimulatedSource, options: WorldOptions) -> None:
    print(f"SLUICE_SOURCE={source.url}")
    print(f"SLUICE_CONTENT={source.content}", flush=True)
    pace = f"{options.speed:g} times as fast as ours" if options.speed else "as fast as it can"
    print(
        f"sluice world: {len(world.wikis)} wikis, {options.rate:g} changes/s from {rfc3339(world.begin_ms)} to "
        f"{rfc3339(world.end_ms)}, its time goes {pace}; Ctrl-C ends it",
        file=sys.stderr,
        flush=True,
    )
