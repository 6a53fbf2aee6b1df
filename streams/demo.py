"""The demo: a broker, a made-up world, the five steps, three windows of seconds, and a look at what came out.

Nothing in it is imitated but Wikimedia: the same steps, topics and Kafka as in production, on loopback, each step a
process of its own. At the end the oracle holds all that came out against what the world did.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.live import Live

from schemas.event import rfc3339
from schemas.log import Policy
from schemas.reasons import State, Step
from streams import cluster, run
from streams.broker import Broker
from streams.eventstreams import SimulatedSource
from streams.picture import View, line, picture
from streams.report import Seen, report
from streams.score import judged
from streams.settings import Settings, cache_folder, state_folder
from streams.step_processes import StepProcesses
from streams.storm import Storm, keep_up
from streams.watcher import Watcher
from streams.world import World, build_world, play

POLICIES = (
    Policy(name="live", hold_seconds=0),
    Policy(name="fast", hold_seconds=3),
    Policy(name="careful", hold_seconds=8),
)
GRACE_SECONDS = 1.0
# Time goes on after the last edit until everything is due, and a little more for the steps to finish.
AFTER_SECONDS = 8 + GRACE_SECONDS + 2
PATIENCE_SECONDS = 60.0
REDRAW_SECONDS = 0.25
# Where nobody watches a screen, a line about the whole this often.
SAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What to show. seconds: of editing. rate: changes a second. faults: none or storm. pictures: folder for them."""

    random_state: int
    seconds: float
    rate: float
    faults: str
    pictures: Path


def run_demo(show: Show, env: Mapping[str, str]) -> int:
    """Returns 0 if the score is perfect, 1 if not, 130 if it was interrupted."""
    # Its complaints of topics made a moment ago are no news here; what a step cannot repair it says itself.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(width=None if sys.stdout.isatty() else 80, highlight=False)
    console.print("[bold]sluice demo[/bold]: a real Kafka, a made-up Wikimedia, five steps, three windows")
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as name:
        folder = Path(name)
        if "SLUICE_KAFKA" in env:
            return asyncio.run(_demo(console, env["SLUICE_KAFKA"], folder, show))
        began = time.monotonic()
        with Broker(folder / "kafka", cache=cache_folder(env)) as broker:
            console.print(f"Kafka answers at {broker.bootstrap} after {time.monotonic() - began:.1f} s\n")
            return asyncio.run(_demo(console, broker.bootstrap, folder, show))


async def _demo(console: Console, kafka: str, folder: Path, show: Show) -> int:
    world = build_world(show.random_state, seconds=show.seconds, rate=show.rate, tail_seconds=AFTER_SECONDS)
    with (folder / "ledger.ndjson").open("wb") as file:
        source = SimulatedSource(world, ledger=world.ledger(file))
        await source.start()
        settings = _settings(kafka, source, world)
        await cluster.delete(settings)
        await cluster.create(settings)
        steps = StepProcesses(settings, folder)
        try:
            shown = Run(console, show, world, source, settings, steps)
            await shown.watch()
            file.flush()
            if shown.interrupted.is_set():
                console.print("interrupted; everything is stopped")
                return 130
            ledger, score = await judged(settings, folder / "ledger.ndjson", wait_seconds=PATIENCE_SECONDS)
            seen = Seen(
                ledger=ledger,
                score=score,
                tally=shown.watcher.tally,
                edits=shown.watcher.edits,
                sample=shown.watcher.sample,
                policies=POLICIES,
                time_scale=world.time_scale,
                grace_seconds=GRACE_SECONDS,
                peak_bytes=shown.peak_bytes,
                kills=shown.storm.kills,
                said=shown.storm.said,
            )
            report(console, seen, show.pictures)
            return run.OK if score.perfect else run.FAILED
        finally:
            await asyncio.to_thread(steps.stop)
            await source.stop()


def _settings(kafka: str, source: SimulatedSource, world: World) -> Settings:
    return Settings(
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
        replica_lag_seconds=1.0,
    )


class Run:
    """One run of it, watched. peak_bytes: most memory that the five steps had together."""

    def __init__(
        self,
        console: Console,
        show: Show,
        world: World,
        source: SimulatedSource,
        settings: Settings,
        steps: StepProcesses,
    ) -> None:
        self._console = console
        self._show = show
        self._world = world
        self._source = source
        self._steps = steps
        self.watcher = Watcher(settings)
        self.storm = Storm(steps, source, Random(show.random_state))  # noqa: S311 - a repeatable storm
        self.interrupted = asyncio.Event()
        self.peak_bytes = 0
        self._shown = 0
        self._said = 0.0

    async def watch(self) -> None:
        """Play the world and show what happens until it is over and every edit has its verdicts, or a signal comes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.interrupted.set)
        for step in Step:
            self._steps.start(step)
        async with self.watcher.following():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._source.until_connected(1), PATIENCE_SECONDS)
            tasks = [
                asyncio.create_task(play(self._world, self._source, after_seconds=AFTER_SECONDS)),
                asyncio.create_task(keep_up(self._steps, self.storm.said)),
            ]
            if self._show.faults == "storm":
                tasks.append(asyncio.create_task(self.storm.rage()))
            try:
                await self._draw(tasks[0])
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()
        self._steps.start_ended()

    async def _draw(self, playing: asyncio.Task[None]) -> None:
        """Until the world is over and everything that it gave is decided; no longer than patience lasts."""
        began = time.monotonic()
        whole = (self._world.end_ms - self._world.begin_ms) / 1000 + AFTER_SECONDS
        with self._screen() as live:
            while not self.interrupted.is_set():
                spent = time.monotonic() - began
                self.peak_bytes = max(self.peak_bytes, self._steps.resident_bytes())
                if live is not None:
                    live.update(picture(self._view(spent, whole)), refresh=True)
                else:
                    self._say(self._view(spent, whole), spent)
                if playing.done() and (self._decided() or spent > whole + PATIENCE_SECONDS):
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.interrupted.wait(), REDRAW_SECONDS)

    def _decided(self) -> bool:
        """Whether every edit that was heard has a verdict under every policy, and nobody is behind."""
        ends = self.watcher.tally.ends
        edits = len(self.watcher.edits)
        decided = all(len(ends.get(policy.name, {})) >= edits for policy in POLICIES)
        return edits > 0 and decided and not any(self.watcher.behind.values())

    def _view(self, spent: float, whole: float) -> View:
        return View(
            policies=POLICIES,
            tally=self.watcher.tally,
            edits=len(self.watcher.edits),
            finished=self.watcher.finished,
            behind=self.watcher.behind,
            clock_ms=self._source.now_ms,
            heard_ms=self.watcher.heard_ms,
            done=min(1.0, spent / whole),
            left_seconds=max(0.0, whole - spent),
            said=self.storm.said[-1] if self.storm.said else "",
        )

    def _screen(self) -> contextlib.AbstractContextManager[Live | None]:
        if self._console.is_terminal:
            return Live(console=self._console, auto_refresh=False, transient=False)
        return contextlib.nullcontext()

    def _say(self, view: View, spent: float) -> None:
        """Where nobody watches a screen: a line for each edit that did not simply pass, and how far it is."""
        for verdict in self.watcher.tally.verdicts[self._shown :]:
            if verdict.decision.state is not State.RELEASED:
                self._console.print(line(verdict))
        self._shown = len(self.watcher.tally.verdicts)
        if spent - self._said >= SAY_SECONDS:
            self._said = spent
            counts = ", ".join(f"{step} {count}" for step, count in view.finished.items())
            self._console.print(f" … {view.edits} edits; {counts}; {view.left_seconds:.0f} s to go", style="dim")


def default_pictures(env: Mapping[str, str]) -> Path:
    return state_folder(Settings.from_env(env), env) / "demo"
