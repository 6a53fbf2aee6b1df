"""The fetch step: for each edit in `source` its text and its parent's in `content`, or why there is none.

At least once: answers come out of order, what is committed is the low-water mark of each partition, and a repeat has
the same key. Here are the reader and what it makes of each record; `content_requests` asks, `content_records` writes.

The skeleton that stands in the log for an event drops what is under way for it and leaves a tombstone; where only its
parent was hidden, the revision is asked for anew, under the event that the skeleton is. What is shown again is asked
for anew, too, under the event that shows it. Of what is too old to have a skeleton, and of whole pages, the hiding
itself leaves a tombstone: the page's own topic may show it still.

    source ──► read ──► batcher ──► requests (3 at once) ──► records ──► outbox ──► content, deadletter
                                       ▲                                    │
                                     budget                      acked ──► low water ──► committed offset
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable
from typing import Any

from aiokafka.errors import KafkaError

from processors.batcher import Job
from processors.held import HeldTexts, HiddenTexts
from processors.patience import answer_without_asking, close
from processors.skeleton import Hidden, as_shown, hidden_by, stays
from schemas.event import EDIT_KINDS, Event, InvalidEvent, PageChange, VisibilityChange, decode_event
from schemas.log import KIND_EVENT, KIND_SKELETON
from schemas.reasons import Answer, SetAside, Step
from streams import metrics
from streams.content_api import ContentApi
from streams.content_records import Records
from streams.content_requests import Requests
from streams.content_source import UnknownSite
from streams.kafka import header, quiet_client_logs
from streams.out_of_order import OutOfOrder, Ticket
from streams.outbox import Outbox
from streams.settings import Settings
from streams.topics import KEEP_MS, Topics, limits

# Above this nothing more is read: an event that waits takes about 10 kB. Edits that linger for long must not keep
# others from being read.
MAX_IN_FLIGHT = 2000
MOST_EDITS_PER_SECOND = 30
COMMIT_SECONDS = 1.0
# A stop has 10 s in all: for requests under way, for what the broker has to confirm, for each of the rest.
ASK_SECONDS = 5.0
DRAIN_SECONDS = 1.5
CLOSE_SECONDS = 1.0


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
        self._hidden = HiddenTexts()
        self._open: set[Job] = set()
        self._outbox = Outbox(settings, Step.FETCH, limits(self._topics.table()))
        self._requests = Requests(settings, api, self._held, self._outbox, is_wanted=self._is_ours, settle=self._settle)
        self._records = Records(self._topics, self._outbox, self._held, self._hidden, self._requests.wake)
        self._log = OutOfOrder(
            settings,
            self._topics.source,
            Step.FETCH,
            max_in_flight=most_in_flight(max([settings.linger_seconds, *settings.linger_of_wikis.values()])),
            on_lost=self._drop_what_is_void,
        )

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
        dispatching = asyncio.create_task(self._requests.run())
        others = [asyncio.create_task(work) for work in (self._outbox.run(), self._keep_committing())]
        stopped = asyncio.create_task(stop.wait())
        try:
            # Of these only `stopped` ends by itself; what else does has failed.
            await asyncio.wait({reading, dispatching, *others, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, dispatching, *others):
                if task.done():
                    task.result()
            dispatching.cancel()
            await asyncio.wait({reading, dispatching, *self._requests.under_way}, timeout=ASK_SECONDS)
            await _bounded(self._outbox.drained(), DRAIN_SECONDS)
            await _bounded(self._log.commit(), CLOSE_SECONDS)
        finally:
            await _end([reading, dispatching, *others, stopped, *self._requests.under_way])

    # Reading

    async def _read(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for ticket in await self._log.read():
                self._take(ticket)
            self._requests.own(self._log.owned)
            self._requests.wake()

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
            self._records.set_aside(ticket, SetAside.WRONG_RECORD, str(exc))
            return
        if kind == KIND_EVENT or isinstance(event, VisibilityChange):
            # A skeleton says of an edit what was so when it was made.
            self._hear(event)
        if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
            hidden = hidden_by(payload) if kind == KIND_EVENT else None
            if hidden is not None and _is_beyond_the_log(hidden, event):
                self._records.gone(ticket, hidden.wiki, hidden.page_id, hidden.rev_id or 0)
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
            self._records.gone(ticket, *place)
        elif not is_shown:
            self._records.gone_for_now(ticket, *place)
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
        self._requests.drop(lambda job: job in gone)
        for job in gone:
            job.origin.done()
        self._held.forget(event.wiki, event.rev_id)

    # Answering

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
            self._requests.add(job)
            return
        close(job, known, Answer.NOT_ASKED)
        self._settle(job, "")

    def _settle(self, job: Job, source: str) -> None:
        self._open.discard(job)
        self._records.settle(job, source)

    async def _keep_committing(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            self._log.measure()
            await self._log.commit()

    # Owning

    def _drop_what_is_void(self) -> None:
        # Whoever owns the partitions next asks for what is under way, on the same connections.
        self._requests.cancel()
        self._open = {job for job in self._open if self._log.is_ours(job.origin)}
        self._requests.drop(lambda job: not self._is_ours(job))

    def _is_ours(self, job: Job) -> bool:
        """False once its partition is another worker's, or what it was about was erased."""
        return job in self._open and self._log.is_ours(job.origin)


def _is_beyond_the_log(hidden: Hidden, event: Event) -> bool:
    """Whether no skeleton will come of what was hidden, since the log does not have it any more; a page may show it."""
    return hidden.rev_id is None or 0 < hidden.since_ms < event.meta.at_ms - KEEP_MS


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _bounded(work: Awaitable[Any], seconds: float) -> None:
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(work, seconds)
