"""The requests of one worker of fetch: which is sent when, which are under way, and what their answers mean for a job.

It decides nothing: what to ask and when is the batcher's and `Asking`'s, what an answer means is `patience`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from processors.answers import Answers
from processors.asking import Asking
from processors.batcher import Batch, Batcher, Job
from processors.held import HeldTexts
from processors.pace import Breaker, BreakerState, Budget
from processors.patience import Patience, endure, endure_page, hear, hear_page
from processors.turns import TURN_SECONDS, Turns
from schemas.reasons import Answer, Step
from streams import metrics
from streams.content_api import CONNECTIONS, DEADLINE_SECONDS, ContentApi, Trouble
from streams.failpoints import failpoint
from streams.outbox import Outbox
from streams.settings import Settings

# Above this nothing more is asked: the broker does not take what we have.
MAX_OUTBOX_BYTES = 64_000_000

NOTHING = Answers(found={}, missing=frozenset())

log = logging.getLogger("sluice.fetch")


class Requests:
    """held: texts that need not be asked for. outbox: what it has, the broker does not have yet.

    is_wanted: whether the answer to a job is still ours to give. settle: called once for each job that has its answer,
    with the URL that gave it.
    """

    def __init__(
        self,
        settings: Settings,
        api: ContentApi,
        held: HeldTexts,
        outbox: Outbox,
        *,
        is_wanted: Callable[[Job], bool],
        settle: Callable[[Job, str], None],
    ) -> None:
        self._api = api
        self._held = held
        self._outbox = outbox
        self._is_wanted = is_wanted
        self._settle = settle
        self._batcher = Batcher(linger_seconds=settings.linger_seconds, lingers=settings.linger_of_wikis, has=held.has)
        turns = Turns(settings.partitions, CONNECTIONS, seconds=TURN_SECONDS, longest_seconds=DEADLINE_SECONDS)
        turns.owned = frozenset()
        self._asking = Asking(
            self._batcher, Budget(settings.requests_per_minute), [Breaker() for _ in api.sources], turns
        )
        self._patience = Patience(
            replica_lag_seconds=settings.replica_lag_seconds, give_up_seconds=settings.give_up_seconds
        )
        self._wake = asyncio.Event()
        self._broken: BaseException | None = None
        self.under_way: set[asyncio.Task[None]] = set()

    def add(self, job: Job) -> None:
        """Have it asked for."""
        self._batcher.add(job, time.monotonic())

    def drop(self, which: Callable[[Job], bool]) -> None:
        """Forget the jobs that wait and are so."""
        self._batcher.drop(which)

    def own(self, partitions: frozenset[int]) -> None:
        """Which partitions are ours: a worker's share of the budget and of the connections is its share of them."""
        self._asking.own(partitions, time.monotonic())

    def wake(self) -> None:
        """Look again at what is due: something has changed."""
        self._wake.set()

    def cancel(self) -> None:
        """End what is under way; its jobs are settled by nobody."""
        for ask in self.under_way:
            ask.cancel()

    async def run(self) -> None:
        """Ask for ever; cancel it to stop. What is under way then goes on. Raises what is a fault of ours."""
        while True:
            if self._broken is not None:
                raise self._broken
            self._wake.clear()
            now = time.monotonic()
            self._asking.turns.ahead_seconds = time.time() - now
            wait = self._asking.due_at(now) - now if self._outbox.size_bytes < MAX_OUTBOX_BYTES else 60.0
            if wait <= 0:
                if (batch := self._asking.take(now)) is not None:
                    self._start(batch)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(wait, 60.0))

    def _start(self, batch: Batch) -> None:
        for job in batch.jobs:
            if job.wants_parent:
                job.parent = self._held.get(job.event.wiki, job.event.parent_id)
        ask = asyncio.create_task(self._ask(batch))
        self.under_way.add(ask)
        ask.add_done_callback(lambda ask: self._asked(ask, batch))

    def _asked(self, ask: asyncio.Task[None], batch: Batch) -> None:
        self.under_way.discard(ask)
        self._wake.set()
        if ask.cancelled():
            self._asking.abandoned(batch)
        elif (error := ask.exception()) is not None:
            self._broken = error

    async def _ask(self, batch: Batch) -> None:
        try:
            with metrics.STEP_SECONDS.labels(Step.FETCH).time():
                await (self._ask_page(batch) if batch.page else self._ask_texts(batch))
        except Trouble as trouble:
            metrics.CONTENT_REQUESTS.labels(trouble.outcome).inc()
            log.info("fetch: %s: %s", batch.site[0], trouble)
            self._endure(batch, trouble)

    async def _ask_texts(self, batch: Batch) -> None:
        answers = await self._api.ask(batch.site, batch.ids, source=batch.source) if batch.ids else NOTHING
        self._heard(batch)
        for job in filter(self._is_wanted, batch.jobs):
            wait = hear(job, answers, now=time.monotonic(), age_seconds=_age(job), patience=self._patience)
            self._go_on(job, wait, batch.source)

    async def _ask_page(self, batch: Batch) -> None:
        (job,) = batch.jobs
        html = await self._api.page(batch.site, job.event.rev_id, source=batch.source)
        self._heard(batch)
        if self._is_wanted(job):
            wait = hear_page(job, html, now=time.monotonic(), age_seconds=_age(job), patience=self._patience)
            self._go_on(job, wait, batch.source)

    def _heard(self, batch: Batch) -> None:
        metrics.CONTENT_REQUESTS.labels("ok").inc()
        failpoint("fetch.answered")
        self._asking.succeeded(batch, time.monotonic())
        self._count_breakers()

    def _endure(self, batch: Batch, trouble: Trouble) -> None:
        now = time.monotonic()
        jitter = random.random()  # noqa: S311 - so that workers do not come back at once
        self._asking.failed(batch, now, jitter=jitter, retry_after_seconds=trouble.retry_after_seconds)
        self._count_breakers()
        away, cause = self._asking.away, trouble.may_be_cause
        for job in filter(self._is_wanted, batch.jobs):
            if batch.page:
                wait = endure_page(job, str(trouble), away=away)
            else:
                wait = endure(job, str(trouble), may_be_cause=cause, away=away, now=now, patience=self._patience)
            self._go_on(job, wait, batch.source)

    def _count_breakers(self) -> None:
        for number, breaker in enumerate(self._asking.breakers):
            for state in BreakerState:
                metrics.BREAKER.labels(self._api.sources[number], state).set(breaker.state is state)

    def _go_on(self, job: Job, wait: float | None, source: int) -> None:
        if wait is None and job.wants_page and _is_wikitext(job):
            self._batcher.again(job)
        elif wait is None:
            self._settle(job, self._api.url(job.site, source))
        elif wait > 0:
            self._batcher.park(job, time.monotonic() + wait)
        else:
            self._batcher.again(job)


def _age(job: Job) -> float:
    """Seconds since the event, by wall clock."""
    return time.time() - job.event.meta.at_ms / 1000


def _is_wikitext(job: Job) -> bool:
    """Only then there is a page worth reading: it has a text, or nobody asked for that."""
    revision = job.revision
    if revision is None or revision.answer not in {Answer.TEXT, Answer.NOT_ASKED}:
        return False
    return revision.model in {"wikitext", None}
