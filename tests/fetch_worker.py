"""A fetch worker that tests start, stop and kill. Its settings are SLUICE_* of the environment; SIGTERM stops it."""

from __future__ import annotations

import asyncio
import os
import signal

from streams import fetch
from streams.settings import Settings


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await fetch.run(Settings.from_env(os.environ), stop)


if __name__ == "__main__":
    asyncio.run(main())
