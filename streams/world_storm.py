"""Bad weather around a simulated world: cuts, torn events, stalls, refusals, lag, and now and then a wrong text.

It comes by the clock of this machine, whatever the speed of the world: what it tries is the reader. Everything heals by
itself: who asks again gets the right answer.
"""

from __future__ import annotations

import asyncio
from random import Random

from streams.eventstreams import Refusal, SimulatedSource
from streams.wiki_api import ApiFault

# Seconds between two blows, from and to.
PAUSE_SECONDS = (1.0, 4.0)
STALL_SECONDS = (0.3, 2.0)
LAG_SECONDS = 7.2
REPLICA_LAG_MS = 3000
BLOWS = ("cut", "tear", "stall", "refuse", "throttle", "api", "api", "lag", "replica", "wrong_text")


async def storm(source: SimulatedSource, random: Random) -> None:
    """Goes on until it is cancelled; what it did to the source ends with it."""
    try:
        while True:
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            await blow(source, random, random.choice(BLOWS))
    finally:
        await calm(source)


async def blow(source: SimulatedSource, random: Random, what: str) -> None:
    """One of BLOWS; one that lasts is over when this returns."""
    faults = source.api.faults
    if what in {"cut", "tear"}:
        source.cut(torn=what == "tear")
    elif what == "stall":
        await source.stall()
        await asyncio.sleep(random.uniform(*STALL_SECONDS))
        await source.stall(stalled=False)
    elif what in {"refuse", "throttle"}:
        status = 429 if what == "throttle" else random.choice((500, 502, 503, 504))
        source.faults.refusals.append(Refusal(status=status, retry_after="1" if status in {429, 503} else ""))
        source.cut()
    elif what == "api":
        for _ in range(random.randint(1, 3)):
            kind = random.choice(("status", "status", "throttle", "html", "slow"))
            if kind == "throttle":
                faults.append(ApiFault(kind="status", status=429, retry_after="1"))
            elif kind == "status":
                faults.append(ApiFault(kind="status", status=random.choice((500, 502, 503, 504))))
            elif kind == "html":
                faults.append(ApiFault(kind="html"))
            else:
                faults.append(ApiFault(kind="slow", seconds=random.uniform(0.1, 1.0)))
    elif what == "wrong_text":
        faults.append(ApiFault(kind="wrong_text"))
    else:
        source.api.lag_seconds = LAG_SECONDS if what == "lag" else 0.0
        source.api.replica_lag_ms = REPLICA_LAG_MS if what == "replica" else 0
        await asyncio.sleep(random.uniform(*STALL_SECONDS))
        source.api.lag_seconds, source.api.replica_lag_ms = 0.0, 0


async def calm(source: SimulatedSource) -> None:
    source.faults.refusals.clear()
    source.api.faults.clear()
    source.api.lag_seconds, source.api.replica_lag_ms = 0.0, 0
    if source.stalled:
        await source.stall(stalled=False)
