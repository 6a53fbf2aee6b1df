"""A gate in a process of its own, for the bench: works until it has taken in so many records, then says what it took.

Run: `python gate_worker.py RECORDS`, settings from the environment. Prints CPU seconds, and the most memory in MB.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time

from windows import peak_mb

from schemas.reasons import Step
from streams import gate, metrics
from streams.settings import Settings


async def main(records: int) -> None:
    settings, stop = Settings.from_env(os.environ), asyncio.Event()
    taken = metrics.RECORDS.labels(Step.GATE, "in")
    began = time.process_time()
    step = asyncio.create_task(gate.run(settings, stop))
    while taken._value.get() < records and not step.done():  # noqa: ASYNC110 - looked at from outside
        await asyncio.sleep(0.05)
    stop.set()
    await step
    print(time.process_time() - began, peak_mb())


if __name__ == "__main__":
    gc.set_threshold(50_000, 50, 100)  # as `sluice gate` does
    asyncio.run(main(int(sys.argv[1])))
