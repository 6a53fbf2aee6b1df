"""A storm over a running line: every few seconds one step is killed, or the weather around its source turns bad."""

from __future__ import annotations

import asyncio
from random import Random

from schemas.reasons import Step
from streams.eventstreams import SimulatedSource
from streams.step_processes import StepProcesses
from streams.world_storm import BLOWS, blow, calm

PAUSE_SECONDS = (1.5, 4.0)
KILLS = 0.5  # of all blows
LOOK_SECONDS = 0.3
SAID = {
    "cut": "cut the stream",
    "tear": "tore the stream within an event",
    "stall": "let the stream fall silent",
    "refuse": "cut the stream and refused the next connection",
    "throttle": "cut the stream and throttled the next connection",
    "api": "let the content API fail",
    "lag": "let the wikis' databases lag",
    "replica": "let the content API know the newest edits too late",
    "wrong_text": "let the content API serve a wrong text",
}


class Storm:
    """said: what it did, oldest first. kills: how many steps it killed."""

    def __init__(self, steps: StepProcesses, source: SimulatedSource, random: Random) -> None:
        self._steps = steps
        self._source = source
        self._random = random
        self.said: list[str] = []
        self.kills = 0

    async def rage(self) -> None:
        """Until it is cancelled; then the weather is fair and every step runs."""
        try:
            while True:
                await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
                if self._random.random() < KILLS:
                    await self._kill(self._random.choice(list(Step)))
                else:
                    what = self._random.choice(BLOWS)
                    self.said.append(SAID[what])
                    await blow(self._source, self._random, what)
        finally:
            await calm(self._source)

    async def _kill(self, step: Step) -> None:
        self.said.append(f"killed {step} with kill -9; it starts again")
        self.kills += 1
        # Shielded: a step that was killed is always started again.
        await asyncio.shield(asyncio.to_thread(self._killed_and_started, step))

    def _killed_and_started(self, step: Step) -> None:
        self._steps.kill(step)
        self._steps.start(step)


async def keep_up(steps: StepProcesses, said: list[str]) -> None:
    """Start what ended by itself again, until it is cancelled."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        said += [f"{step} ended by itself and was started again" for step in steps.start_ended()]
