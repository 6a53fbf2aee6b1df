"""Running steps: in one process or several, until a signal says stop.

Exit codes: 0 = asked to stop, 1 = a step failed, 2 = cannot be started as configured, 3 = another owner took over.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from schemas.reasons import Step
from streams import cluster, metrics
from streams.collector import collect_rarely
from streams.ownership import OwnershipLost
from streams.settings import DEFAULT_SOURCE, InvalidSetting, Settings

log = logging.getLogger("sluice.run")

StepRun = Callable[[Settings, asyncio.Event], Awaitable[None]]
OK, FAILED, MISCONFIGURED, NOT_OURS = 0, 1, 2, 3
# A step is given this long to finish what it holds; the whole must end within 30 s.
DRAIN_SECONDS = 25.0
RESTART_SECONDS = 1.0


def run_until_signal(settings: Settings, steps: Sequence[Step]) -> int:
    """Run `steps` in this process until SIGINT or SIGTERM. Returns the exit code."""
    if Step.GATE in steps:
        collect_rarely()
    return asyncio.run(_until_signal(settings, steps))


async def _until_signal(settings: Settings, steps: Sequence[Step]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    metrics.serve(settings)
    return await run_steps(settings, steps, stop)


async def run_steps(settings: Settings, steps: Sequence[Step], stop: asyncio.Event) -> int:
    """Run `steps` until `stop` is set; returns the exit code.

    One step alone ends with its process, so that whoever supervises it sees why. Beside others a step that failed is
    started again after a second, as a process would be.
    """
    try:
        await cluster.require(settings)
    except cluster.LayoutDiffers as exc:
        log.error("%s", exc)  # noqa: TRY400 - the sentence is all that its reader can act on
        return MISCONFIGURED
    if len(steps) == 1:
        return await _alone(settings, steps[0], stop)
    tasks = [asyncio.create_task(_kept_up(settings, step, stop), name=step) for step in steps]
    codes = await asyncio.gather(*tasks)
    return max(codes)


async def _alone(settings: Settings, step: Step, stop: asyncio.Event) -> int:
    try:
        await _bounded(settings, step, stop)
    except InvalidSetting as exc:
        log.error("%s: %s", step, exc)  # noqa: TRY400 - as above
        return MISCONFIGURED
    except OwnershipLost as exc:
        log.error("%s: another owner took over: %s", step, exc)  # noqa: TRY400 - as above
        return NOT_OURS
    except Exception:
        log.exception("%s failed", step)
        return FAILED
    return OK


async def _kept_up(settings: Settings, step: Step, stop: asyncio.Event) -> int:
    while True:
        code = await _alone(settings, step, stop)
        if stop.is_set() or code == MISCONFIGURED:
            stop.set()
            return code
        log.warning("%s ended with code %d and is started again", step, code)
        await asyncio.sleep(RESTART_SECONDS)


async def _bounded(settings: Settings, step: Step, stop: asyncio.Event) -> None:
    """Run a step; once `stop` is set it has `DRAIN_SECONDS` to end by itself."""
    task = asyncio.ensure_future(_run_of(step)(settings, stop))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=DRAIN_SECONDS)
        if not task.done():
            log.error("%s did not end within %.0f s and is abandoned", step, DRAIN_SECONDS)
            task.cancel()
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
    finally:
        stopping.cancel()


def _run_of(step: Step) -> StepRun:
    """The step's `run`. A process loads the step that it runs: all five take four times as long to start."""
    run: StepRun = importlib.import_module(f"streams.{step}").run
    return run


async def can_reach(url: str, timeout_seconds: float = 5.0) -> bool:
    """Whether the host of `url` takes a connection."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, port), timeout_seconds)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def is_live(settings: Settings) -> bool:
    """Whether the settings name Wikimedia's own stream."""
    return urlsplit(settings.source).hostname == urlsplit(DEFAULT_SOURCE).hostname
