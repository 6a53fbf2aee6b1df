"""Questions that commands ask of a wiki's action API: spaced by the budget, and again where it gave no answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from processors.batcher import Site
from processors.pace import Budget
from streams.content_api import ContentApi, Trouble

TRIES = 5
MAX_WAIT_SECONDS = 60.0

log = logging.getLogger("sluice.queries")


async def ask(api: ContentApi, budget: Budget, site: Site, params: Mapping[str, str]) -> Mapping[str, Any]:
    """One answer, asked for a few times unless the first is final. Raises the last `Trouble`, and `UnknownSite`."""
    for attempt in range(1, TRIES + 1):
        await asyncio.sleep(budget.at(time.monotonic()) - time.monotonic())
        budget.spend(time.monotonic())
        try:
            return await api.query(site, params)
        except Trouble as exc:
            if attempt == TRIES or exc.final:
                raise
            wait = exc.retry_after_seconds if exc.retry_after_seconds is not None else 2.0**attempt
            log.warning("%s: %s; again in %.0f s", site[0], exc, wait)
            await asyncio.sleep(min(MAX_WAIT_SECONDS, wait))
    raise AssertionError("unreachable")
