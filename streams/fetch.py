"""The fetch step: for each edit in `source` its text and its parent's in `content`, or why there is none.

At least once: answers come out of order, what is committed is the low-water mark of each partition, and a repeat has
the same key. It decides nothing: what to ask is the batcher's, what an answer means is `patience`'s.

Nobody else writes `content`, so what erases a text comes after it, however late we are: the skeleton that stands in the
log for an event drops what is under way for it and leaves a tombstone; where only its parent was hidden, the revision
is asked for anew, under the event that the skeleton is. What is shown again is asked for anew, too, under the event
that shows it. Of what is too old to have a skeleton, and of whole pages, the hiding itself leaves a tombstone: the
page's own topic may show it still.

    source ──► read ──► batcher ──► dispatch ──► ask (3 at once) ──► outbox ──► content, deadletter
                                       ▲                                │
                                     budget                  acked ──► low water ──► committed offset
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Any

from aiokafka.errors import KafkaError

from processors.answers import Answers
from processors.asking import Asking
from processors.batcher import Batch, Batcher, Job
from processors.held import HeldTexts, HiddenTexts
from processors.pace import Breaker, BreakerState, Budget
from processors.patience import Patience, answer_without_asking, close, endure, endure_page, hear, hear_page
from processors.skeleton import Hidden, as_shown, hidden_by, stays
from processors.turns import TURN_SECONDS, Turns
from schemas.content import Content, Html, Text, encode_content, record_key
from schemas.deadletter import DeadLetter
from schemas.event import EDIT_KINDS, Event, InvalidEvent, PageChange, VisibilityChange, decode_event
from schemas.log import KIND_EVENT, KIND_SKELETON
from schemas.reasons import Answer, SetAside, Step
from streams import metrics
from streams.content_api import CONNECTIONS, DEADLINE_SECONDS, ContentApi, Trouble
from streams.content_source import UnknownSite
from streams.failpoints import failpoint
from streams.kafka import Out, RecordTooLarge, header, letter_out, quiet_client_logs
from streams.out_of_order import OutOfOrder, Ticket
from streams.outbox import Outbox
from streams.settings import Settings
from streams.topics import KEEP_MS, Topics, limits

# Above this nothing more is read: an event that waits takes about 10 kB. Edits that linger for long must not keep
# others from being read.
MAX_IN_FLIGHT = 2000
MOST_EDITS_PER_SECOND = 30
# Above this nothing more is asked: the broker does not take what we have.
MAX_OUTBOX_BYTES = 64_000_000
COMMIT_SECONDS = 1.0
# A stop has 10 s in all: for requests under way, for what the broker has to confirm, for each of the rest.
ASK_SECONDS = 5.0
DRAIN_SECONDS = 1.5
CLOSE_SECONDS = 1.0

# Answers that somebody should look at, beside the record that says so.
LETTERS = {Answer.SHA1_MISMATCH: SetAside.SHA1_MISMATCH, Answer.UNAVAILABLE: SetAside.CONTENT_UNAVAILABLE}

NOTHING = Answers(found={}, missing=frozenset())

log = logging.getLogger("sluice.fetch")


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Fetch until `stop` is set, then finish within 10 s.

    Raises `InvalidSetting`, and a `KafkaError` that no retry can repair.
    """
    quiet_client_logs()
    async with ContentApi(settings) as api:
        await Fetch(settings, api).run(stop)


def most_in_flight(linger_seconds: float) -> int:
    """How many edits may be under way: more where they linger for long."""
    return max(MAX_IN_FLIGHT, int(linger_seconds * MOST_EDITS_PER_SECOND))


class Fetch:
    """One worker: the records of its partitions, the requests under way, and what they share."""

    def __init__(self, settings: Settings, api: ContentApi) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self._api = api
        self._held = HeldTexts()
        self._batcher = Batcher(
            linger_seconds=settings.linger_seconds, lingers=settings.linger_of_wikis, has=self._held.has
        )
        turns = Turns(settings.partitions, CONNECTIONS, seconds=TURN_SECONDS, longest_seconds=DEADLINE_SECONDS)
        turns.owned = frozenset()
        self._asking = Asking(
            self._batcher, Budget(settings.requests_per_minute), [Breaker() for _ in api.sources], turns
        )
        self._patience = Patience(
            replica_lag_seconds=settings.replica_lag_seconds, give_up_seconds=settings.give_up_seconds
        )
        self._hidden = HiddenTexts()
        self._open: set[Job] = set()
        self._outbox = Outbox(settings, Step.FETCH, limits(self._topics.table()))
        self._log = OutOfOrder(
            settings,
            self._topics.source,
            Step.FETCH,
            max_in_flight=most_in_flight(max([settings.linger_seconds, *settings.linger_of_wikis.values()])),
            on_lost=self._drop_what_is_void,
        )
        self._asks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._newest_ms = 0
        self._broken: BaseException | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """See `run` of this module."""
        try:
            await self._log.start()
            await self._until(stop)
        finally:
            await _bounded(self._log.stop(), CLOSE_SECONDS)
            await self._outbox.close()

    async def _until(self, stop: asyncio.Event) -> None:
        reading = asyncio.create_task(self._read(stop))
        dispatching = asyncio.create_task(self._dispatch())
        others = [asyncio.create_task(work) for work in (self._outbox.run(), self._keep_committing())]
        stopped = asyncio.create_task(stop.wait())
        try:
            # Of these only `stopped` ends by itself; what else does has failed.
            await asyncio.wait({reading, dispatching, *others, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, dispatching, *others):
                if task.done():
                    task.result()
            dispatching.cancel()
            await asyncio.wait({reading, dispatching, *self._asks}, timeout=ASK_SECONDS)
            await _bounded(self._outbox.drained(), DRAIN_SECONDS)
            await _bounded(self._log.commit(), CLOSE_SECONDS)
        finally:
            await _end([reading, dispatching, *others, stopped, *self._asks])

    # Reading

    async def _read(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for ticket in await self._log.read():
                self._take(ticket)
            self._asking.own(self._log.owned, time.monotonic())
            self._wake.set()

    def _take(self, ticket: Ticket) -> None:
        metrics.RECORDS.labels(Step.FETCH, "in").inc()
        payload = ticket.record.value
        kind = header(ticket.record, "kind")
        if kind not in {KIND_EVENT, KIND_SKELETON} or payload is None:
            ticket.done()
            return
        try:
            event = decode_event(as_shown(payload))
        except InvalidEvent as exc:
            self._put(ticket, self._letter(ticket, SetAside.WRONG_RECORD, str(exc)))
            return
        if kind == KIND_EVENT or isinstance(event, VisibilityChange):
            # A skeleton says of an edit what was so when it was made.
            self._hear(event)
        if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
            hidden = hidden_by(payload) if kind == KIND_EVENT else None
            if hidden is not None and _is_beyond_the_log(hidden, event):
                gone = self._tombstone(ticket, hidden.wiki, hidden.page_id, hidden.rev_id or 0)
                self._outbox.put([gone], lambda: self._erased(ticket))
            else:
                ticket.done()
            return
        if kind == KIND_SKELETON and not self._erase(ticket, event):
            return
        self._begin(Job(event=event, origin=ticket))

    def _hear(self, event: Event) -> None:
        """What was hidden from the public is not to be had from us either."""
        deleted = isinstance(event, PageChange) and event.kind == "delete"
        if isinstance(event, PageChange | VisibilityChange) and (self._hidden.hear(event) or deleted):
            self._held.forget(event.wiki, event.rev_id)

    # Erasing

    def _erase(self, ticket: Ticket, event: PageChange) -> bool:
        """A skeleton: its event says what must not be said. True if what is left of it may be asked for."""
        is_shown, left = header(ticket.record, "shown") is not None, stays(ticket.record.value)
        if is_shown and not left:
            # Another event has the text of this revision, since it was undeleted.
            self._drop(event, event.meta.event_id)
            ticket.done()
            return False
        self._drop(event)
        place = event.wiki, event.page_id, event.rev_id
        if not left:
            self._outbox.put([self._tombstone(ticket, *place)], lambda: self._erased(ticket))
        elif not is_shown:
            gone = self._tombstone(ticket, *place, left=b"all but what is of its parent")
            self._outbox.put([gone], self._count_tombstone)
        return left

    def _drop(self, event: PageChange, event_id: str | None = None) -> None:
        """Forget what is under way for the edit; under this event only, if it is given."""
        place = event.wiki, event.page_id, event.rev_id
        gone = {
            job
            for job in self._open
            if (job.event.wiki, job.event.page_id, job.event.rev_id) == place
            and event_id in {None, job.event.meta.event_id}
        }
        self._open -= gone
        self._batcher.drop(lambda job: job in gone)
        for job in gone:
            job.origin.done()
        self._held.forget(event.wiki, event.rev_id)

    def _tombstone(self, ticket: Ticket, wiki: str, page_id: int, rev_id: int, *, left: bytes = b"") -> Out:
        """rev_id: 0 = all of the page. left: what may be said again of the revision, "" = nothing."""
        return Out(
            topic=self._topics.content,
            key=record_key(wiki, page_id, rev_id),
            value=None,
            partition=ticket.record.partition,
            headers=[("left", left)] if left else [],
        )

    def _erased(self, ticket: Ticket) -> None:
        ticket.done()
        self._wake.set()
        self._count_tombstone()

    def _count_tombstone(self) -> None:
        metrics.ERASED.labels("tombstone").inc()

    def _begin(self, job: Job) -> None:
        self._open.add(job)
        known = answer_without_asking(job.event)
        try:
            self._api.url(job.site)
        except UnknownSite as exc:
            known, job.trouble = known or Answer.UNAVAILABLE, str(exc)
        if job.event.rev_id <= 0:
            job.trouble = f"{job.event.rev_id} is no revision that can be asked for"
        form = self._settings.form_of(job.event.wiki)
        is_page = job.event.main is None or job.event.main.model in {"wikitext", "unknown"}
        job.wants_html = form != "wikitext" and is_page and known is None
        if form == "html" and job.wants_html:
            close(job, Answer.NOT_ASKED, Answer.NOT_ASKED)
        if known is None:
            self._batcher.add(job, time.monotonic())
            return
        close(job, known, Answer.NOT_ASKED)
        self._settle(job, source="")

    # Asking

    async def _dispatch(self) -> None:
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
        self._asks.add(ask)
        ask.add_done_callback(lambda ask: self._asked(ask, batch))

    def _asked(self, ask: asyncio.Task[None], batch: Batch) -> None:
        self._asks.discard(ask)
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
        for job in filter(self._is_ours, batch.jobs):
            wait = hear(job, answers, now=time.monotonic(), age_seconds=_age(job), patience=self._patience)
            self._go_on(job, wait, batch.source)

    async def _ask_page(self, batch: Batch) -> None:
        (job,) = batch.jobs
        html = await self._api.page(batch.site, job.event.rev_id, source=batch.source)
        self._heard(batch)
        if self._is_ours(job):
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
        for job in filter(self._is_ours, batch.jobs):
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
            self._settle(job, source=self._api.url(job.site, source))
        elif wait > 0:
            self._batcher.park(job, time.monotonic() + wait)
        else:
            self._batcher.again(job)

    # Writing

    def _settle(self, job: Job, *, source: str) -> None:
        event, ticket, revision = job.event, job.origin, job.revision
        self._open.discard(job)
        if revision is None:
            raise RuntimeError(f"{ticket.origin} is settled without an answer")
        revision = self._leave_out_what_is_hidden(job, revision)
        self._held.hold(event.wiki, revision)
        content = Content(
            wiki=event.wiki,
            page_id=event.page_id,
            rev_id=event.rev_id,
            event=as_shown(ticket.record.value or b""),
            revision=revision,
            parent=job.parent,
            source=source,
            html=_html(job),
        )
        letters = []
        if (reason := LETTERS.get(revision.answer)) is not None:
            letters.append(self._letter(ticket, reason, job.trouble))
        try:
            self._put(ticket, self._record(ticket, content), *letters, answered=(event, revision))
        except RecordTooLarge as exc:
            self._settle_too_large(content, ticket, event, str(exc))

    def _leave_out_what_is_hidden(self, job: Job, revision: Text) -> Text:
        """The revision's answer as it may be written; parent and page likewise."""
        left = self._hidden.without(job.event.wiki, revision)
        if job.parent is not None:
            job.parent = self._hidden.without(job.event.wiki, job.parent)
        if left is not revision and job.html is not None:
            job.html = Html(answer=Answer.HIDDEN)
        return left

    def _settle_too_large(self, content: Content, ticket: Ticket, event: PageChange, why: str) -> None:
        """Each text is within its bounds, but not all as JSON with their event: leave the page out, the texts too, or
        all of it."""
        if content.html is not None and content.html.text is not None:
            content = replace(content, html=Html(answer=Answer.TOO_LARGE))
            with contextlib.suppress(RecordTooLarge):
                self._put(ticket, self._record(ticket, content), answered=(event, content.revision))
                return
        revision = Text(rev_id=content.rev_id, answer=Answer.TOO_LARGE)
        parent = None if content.parent is None else Text(rev_id=content.parent.rev_id, answer=Answer.TOO_LARGE)
        without = replace(content, revision=revision, parent=parent)
        try:
            self._put(ticket, self._record(ticket, without), answered=(event, revision))
        except RecordTooLarge:
            self._put(ticket, self._letter(ticket, SetAside.TOO_LARGE, why), answered=(event, revision))

    def _record(self, ticket: Ticket, content: Content) -> Out:
        return Out(
            topic=self._topics.content,
            key=content.key,
            value=encode_content(content),
            partition=ticket.record.partition,
            headers=[("offset", str(ticket.record.offset).encode())],
        )

    def _letter(self, ticket: Ticket, reason: SetAside, detail: str) -> Out:
        log.debug("fetch: %s goes to the dead letters: %s: %s", ticket.origin, reason, detail[:300])
        letter = DeadLetter(
            step=Step.FETCH, reason=reason, detail=detail, origin=ticket.origin, payload=ticket.record.value or b""
        )
        return letter_out(self._topics.deadletter, letter)

    def _put(self, ticket: Ticket, *outs: Out, answered: tuple[PageChange, Text] | None = None) -> None:
        def done() -> None:
            ticket.done()
            self._wake.set()
            self._count(outs)
            if answered is not None:
                event, revision = answered
                metrics.CONTENT_ANSWERS.labels(revision.answer).inc()
                self._newest_ms = max(self._newest_ms, event.meta.at_ms)
                metrics.LAST_EVENT.labels(Step.FETCH).set(self._newest_ms / 1000)

        self._outbox.put(outs, done)

    def _count(self, outs: Iterable[Out]) -> None:
        for out in outs:
            if out.topic == self._topics.content:
                metrics.RECORDS.labels(Step.FETCH, "out").inc()
            else:
                metrics.DEAD_LETTERS.labels(Step.FETCH, dict(out.headers)["reason"].decode()).inc()

    async def _keep_committing(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            self._log.measure()
            await self._log.commit()

    # Owning

    def _drop_what_is_void(self) -> None:
        # Whoever owns the partitions next asks for what is under way, on the same connections.
        for ask in self._asks:
            ask.cancel()
        self._open = {job for job in self._open if self._log.is_ours(job.origin)}
        self._batcher.drop(lambda job: not self._is_ours(job))

    def _is_ours(self, job: Job) -> bool:
        """False once its partition is another worker's, or what it was about was erased."""
        return job in self._open and self._log.is_ours(job.origin)


def _is_beyond_the_log(hidden: Hidden, event: Event) -> bool:
    """Whether no skeleton will come of what was hidden, since the log does not have it any more; a page may show it."""
    return hidden.rev_id is None or 0 < hidden.since_ms < event.meta.at_ms - KEEP_MS


def _age(job: Job) -> float:
    """Seconds since the event, by wall clock."""
    return time.time() - job.event.meta.at_ms / 1000


def _html(job: Job) -> Html | None:
    if job.html is not None or not job.wants_html or job.revision is None:
        return job.html
    answer = job.revision.answer
    return Html(answer=Answer.NOT_ASKED if answer is Answer.TEXT else answer)


def _is_wikitext(job: Job) -> bool:
    """Only then there is a page worth reading: it has a text, or nobody asked for that."""
    revision = job.revision
    if revision is None or revision.answer not in {Answer.TEXT, Answer.NOT_ASKED}:
        return False
    return revision.model in {"wikitext", None}


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _bounded(work: Awaitable[Any], seconds: float) -> None:
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(work, seconds)
