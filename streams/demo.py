"""The demo: a broker, a made-up world, the five steps, three windows of seconds, and a look at what came out.

Nothing in it is imitated but Wikimedia: the same steps, topics and Kafka as in production, on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.live import Live

from schemas.decision import decode_decisions
from schemas.event import EDIT_KINDS, PAGE_CHANGE, PageChange, decode_event, rfc3339
from schemas.log import Policy
from schemas.reasons import Step
from streams import cluster, metrics, run
from streams.broker import Broker
from streams.eventstreams import SimulatedSource
from streams.kafka import consumer
from streams.picture import line, picture
from streams.report import Published, holds, read_published, report
from streams.settings import Settings, cache_folder
from streams.tally import Tally
from streams.topics import Topics
from streams.world import World, build_world, play

POLICIES = (
    Policy(name="live", hold_seconds=0),
    Policy(name="fast", hold_seconds=3),
    Policy(name="careful", hold_seconds=8),
)
GRACE_SECONDS = 1.0
# Time goes on after the last edit until everything is due, and a little more for the steps to finish.
AFTER_SECONDS = 8 + GRACE_SECONDS + 2
PATIENCE_SECONDS = 30.0
REDRAW_SECONDS = 0.25


def run_demo(*, random_state: int, seconds: float, rate: float, env: Mapping[str, str]) -> int:
    """Returns 0 if all that must hold of what came out holds, 130 if it was interrupted."""
    # Its complaints of topics made a moment ago are no news here; what a step cannot repair it says itself.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(width=None if sys.stdout.isatty() else 80, highlight=False)
    console.print("[bold]sluice demo[/bold]: a real Kafka, a made-up Wikimedia, five steps, three windows")
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as folder:
        if "SLUICE_KAFKA" in env:
            return asyncio.run(_demo(console, env["SLUICE_KAFKA"], random_state, seconds, rate))
        began = time.monotonic()
        with Broker(Path(folder), cache=cache_folder(env)) as broker:
            console.print(f"Kafka answers at {broker.bootstrap} after {time.monotonic() - began:.1f} s\n")
            return asyncio.run(_demo(console, broker.bootstrap, random_state, seconds, rate))


async def _demo(console: Console, kafka: str, random_state: int, seconds: float, rate: float) -> int:
    world = build_world(random_state, seconds=seconds, rate=rate)
    source = SimulatedSource(world)
    await source.start()
    settings = Settings(
        kafka=kafka,
        topic_prefix="demo",
        partitions=3,
        assign="all",
        metrics_port=0,
        source=source.url,
        content=source.content,
        since=rfc3339(world.begin_ms - 1000),
        policies=POLICIES,
        grace_seconds=GRACE_SECONDS,
        tick_seconds=0.25,
        linger_seconds=0.25,
        requests_per_minute=6000,
    )
    metrics.initialise()
    await cluster.delete(settings)
    await cluster.create(settings)
    stop, interrupted = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    steps = asyncio.create_task(run.run_steps(settings, list(Step), stop))
    watcher = Watcher(settings, source)
    try:
        await _watch(console, watcher, world, interrupted)
        published = await read_published(settings)
    finally:
        stop.set()
        await steps
        await source.stop()
    if interrupted.is_set():
        console.print("interrupted; everything is stopped")
        return 130
    report(console, world, watcher.tally, watcher.changes, published, POLICIES)
    return run.OK if holds(watcher.tally, watcher.changes, published, POLICIES) else run.FAILED


class Watcher:
    """Follows the decisions topic as any reader could, and the world's page changes as they are served."""

    def __init__(self, settings: Settings, source: SimulatedSource) -> None:
        self.settings = settings
        self._source = source
        self._seen = 0
        self._ids: set[str] = set()
        self.changes: dict[tuple[str, int], PageChange] = {}
        self.edits = 0
        self.titles: dict[tuple[str, int], str] = {}
        self.tally = Tally(titles=self.titles)

    def look(self) -> None:
        """Take in what the world has served since the last look."""
        for message in self._source.messages[self._seen :]:
            if PAGE_CHANGE in message.topic:
                event = decode_event(message.data)
                # The world sends some events twice.
                if isinstance(event, PageChange) and event.kind in EDIT_KINDS and event.meta.event_id not in self._ids:
                    self._ids.add(event.meta.event_id)
                    self.edits += 1
                    self.changes.setdefault((event.wiki, event.rev_id), event)
                    self.titles[event.wiki, event.rev_id] = event.title.replace("_", " ")
        self._seen = len(self._source.messages)

    def decided(self) -> bool:
        """Whether every edit has a verdict under every policy."""
        return all(len(self.tally.ends.get(policy.name, {})) >= self.edits for policy in POLICIES)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self._follow())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _follow(self) -> None:
        reader = consumer(self.settings, Topics(self.settings).decisions)
        await reader.start()
        try:
            async for record in reader:
                self.look()
                self.tally.hear(decode_decisions(record.value))
        finally:
            await reader.stop()

    def finished(self) -> dict[Step, int]:
        """Records that each step has finished, from its own metrics."""
        return {step: int(_records(step)) for step in Step}


def _records(step: Step) -> float:
    return metrics.REGISTRY.get_sample_value("sluice_records_total", {"step": step, "outcome": "out"}) or 0.0


async def _watch(console: Console, watcher: Watcher, world: World, interrupted: asyncio.Event) -> None:
    """Play the world and show what happens, until every edit is decided and published."""
    began = time.monotonic()
    whole = (world.end_ms - world.begin_ms) / 1000 + AFTER_SECONDS
    async with watcher.following():
        playing = asyncio.create_task(play(world, watcher._source, after_seconds=AFTER_SECONDS))
        with _screen(console) as live:
            shown = 0
            while not interrupted.is_set():
                watcher.look()
                spent = time.monotonic() - began
                if live is not None:
                    left = max(0.0, whole - spent)
                    live.update(picture(watcher.tally, POLICIES, watcher.finished(), watcher.edits, left), refresh=True)
                else:
                    shown = _print_new(console, watcher, shown)
                if playing.done() and (watcher.decided() or spent > whole + PATIENCE_SECONDS):
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(interrupted.wait(), REDRAW_SECONDS)
        playing.cancel()
        await asyncio.wait({playing})
    if not interrupted.is_set():
        await _until_published(watcher)


def _screen(console: Console) -> contextlib.AbstractContextManager[Live | None]:
    if console.is_terminal:
        return Live(console=console, auto_refresh=False)
    return contextlib.nullcontext()


def _print_new(console: Console, watcher: Watcher, shown: int) -> int:
    """Where nobody watches a screen: a line for each edit that did not simply pass."""
    for verdict in watcher.tally.verdicts[shown:]:
        if verdict.decision.state != "released":
            console.print(line(verdict))
    return len(watcher.tally.verdicts)


async def _until_published(watcher: Watcher) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        published: Published = await read_published(watcher.settings)
        if holds(watcher.tally, watcher.changes, published, POLICIES):
            return
        await asyncio.sleep(0.5)
