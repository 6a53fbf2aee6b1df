"""Which revisions go into the next request: gathered per wiki by size or linger, while other wikis are not held up.

Pure: `now` is an argument, in seconds of any clock that does not go back.

    waiting ──► in flight ──► answered            what is not known yet is parked, then waits again
       ▲            │
       └────────────┘ trouble: the wiki pauses, its jobs wait again, in smaller batches if a batch may be the cause
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from processors.pace import RetryBudget
from schemas.content import Html, Text
from schemas.event import PageChange

# (wiki, domain): a wiki is asked under the name that the event gave.
Site = tuple[str, str]

MAX_IDS = 50
# The API cuts an answer at 8 MB by default; what is cut off costs a second request.
MAX_BATCH_BYTES = 8_000_000
# At this level a job is asked without others, above it its revision without its parent.
ALONE = 5
BACKOFF_SECONDS = 60.0
# A server may ask for more patience than this; it is asked again all the same.
MAX_RETRY_AFTER_SECONDS = 300.0


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A revision to be fetched, and what is known of it so far; it changes until `wanted` is empty.

    revision, parent: the final answers, None until there is one. origin: where the caller wants to find back to.
    asked, mismatches, failures: how often. first_asked: when. level: how many failed requests it may have caused.
    trouble: what went wrong last, for people. retry: the next request for it is one more for the same, since the last
    one failed or came too early. wants_html, html, page_tries: whether the page as rendered is wanted too, and so on.
    """

    event: PageChange
    origin: Any
    revision: Text | None = None
    parent: Text | None = None
    asked: int = 0
    mismatches: int = 0
    failures: int = 0
    level: int = 0
    first_asked: float | None = None
    since: float = 0.0
    trouble: str = ""
    retry: bool = False
    wants_html: bool = False
    html: Html | None = None
    page_tries: int = 0

    @property
    def site(self) -> Site:
        return self.event.wiki, self.event.meta.domain

    @property
    def wants_parent(self) -> bool:
        return self.parent is None and self.event.parent_id > 0

    @property
    def wanted(self) -> tuple[int, ...]:
        """The ids to ask for."""
        parent = (self.event.parent_id,) if self.wants_parent else ()
        if self.revision is not None:
            return parent
        return (self.event.rev_id, *parent) if self.level <= ALONE else (self.event.rev_id,)

    @property
    def wants_page(self) -> bool:
        """What is left to ask for is the page as rendered: one request for it alone."""
        return self.wants_html and self.html is None and not self.wanted

    @property
    def size_bytes(self) -> int:
        """About what the answer will hold; a parent is taken to be as large as its child."""
        return (self.event.rev_size or 0) * len(self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One request. source: number of the one that is asked; trial: to see whether that is back. page: for the HTML of
    its one job's revision."""

    site: Site
    jobs: tuple[Job, ...]
    source: int = 0
    trial: bool = False
    page: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        """What the jobs want, without repeats; at most 50."""
        return tuple(dict.fromkeys(rev_id for job in self.jobs for rev_id in job.wanted))


@dataclass(slots=True)
class _Queue:
    waiting: deque[Job] = field(default_factory=deque)
    pages: deque[Job] = field(default_factory=deque)
    in_flight: int = 0
    failures: int = 0
    not_before: float = 0.0

    def may_ask(self) -> bool:
        # After a failure one request at a time tries whether the wiki is back.
        return not (self.failures and self.in_flight)


class Batcher:
    """All jobs that are not answered, by wiki.

    linger_seconds: of each wiki; lingers: of those that have one of their own. has: whether the text of a wiki's
    revision is at hand, so that who sends the request fills it in and does not ask for it.
    """

    def __init__(
        self,
        *,
        linger_seconds: float,
        lingers: Mapping[str, float] | None = None,
        max_ids: int = MAX_IDS,
        max_bytes: int = MAX_BATCH_BYTES,
        has: Callable[[str, int], bool] = lambda wiki, rev_id: False,
    ) -> None:
        self._has = has
        self._linger_seconds = linger_seconds
        self._lingers = lingers or {}
        self._retries = RetryBudget()
        self._max_ids = max_ids
        self._max_bytes = max_bytes
        self._queues: dict[Site, _Queue] = {}
        self._parked: list[tuple[float, int, Job]] = []
        self._numbers = count()

    def add(self, job: Job, now: float) -> None:
        """The job waits for others of its wiki, from now on."""
        job.since = now
        self.again(job)

    def park(self, job: Job, until: float) -> None:
        """The job is left alone until then; after that it waits for others as if it were new."""
        heapq.heappush(self._parked, (until, next(self._numbers), job))

    def again(self, job: Job) -> None:
        """The job waits for the next request; it has lingered already."""
        queue = self._queues.setdefault(job.site, _Queue())
        (queue.pages if job.wants_page else queue.waiting).append(job)

    def take(self, now: float) -> Batch | None:
        """The batch that has waited longest of those that are full or have lingered; None if there is none.

        Must be followed by `succeeded`, `failed` or `abandoned`.
        """
        self._unpark(now)
        self._tidy(now)
        ready = [
            (page, jobs[0].since, site)
            for site, queue in self._queues.items()
            for page, jobs in ((False, queue.waiting), (True, queue.pages))
            if jobs and self._due(site, queue, now, page=page) <= now
        ]
        if not ready:
            return None
        # A request for texts serves up to 50 revisions, one for a page serves one.
        page, _, site = min(ready)
        queue = self._queues[site]
        lead = self._lead(queue.pages if page else queue.waiting, now)
        jobs = [lead] if page else self._form(queue, lead)[0]
        if all(job.retry for job in jobs):
            self._retries.spend(now)
        else:
            self._retries.earn()
        taken = set(jobs)
        queue.pages = deque(job for job in queue.pages if job not in taken)
        queue.waiting = deque(job for job in queue.waiting if job not in taken)
        queue.in_flight += 1
        for job in jobs:
            job.first_asked = now if job.first_asked is None else job.first_asked
        return Batch(site=site, jobs=tuple(jobs), page=page)

    def due_at(self, now: float) -> float:
        """When `take` will have something, if nothing is added before; infinity if never."""
        self._unpark(now)
        due = float("inf")
        for site, queue in self._queues.items():
            if queue.waiting:
                due = min(due, self._due(site, queue, now, page=False))
            if queue.pages:
                due = min(due, self._due(site, queue, now, page=True))
        return min(due, self._parked[0][0]) if self._parked else due

    def succeeded(self, batch: Batch) -> None:
        """The wiki answered."""
        queue = self._queues[batch.site]
        queue.in_flight -= 1
        queue.failures = 0

    def failed(self, batch: Batch, now: float, *, jitter: float, retry_after_seconds: float | None) -> None:
        """The wiki is not asked for a while: longer each time, and not before it said. jitter: 0 to 1, by chance."""
        queue = self._queues[batch.site]
        queue.in_flight -= 1
        queue.failures += 1
        backoff = min(BACKOFF_SECONDS, 2.0 ** min(queue.failures - 1, 10)) * (0.5 + jitter / 2)
        told = min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS)
        queue.not_before = max(queue.not_before, now + max(backoff, told * (1 + jitter / 10)))

    def abandoned(self, batch: Batch) -> None:
        """Nobody waits for the answer any more."""
        self._queues[batch.site].in_flight -= 1

    def drop(self, goes: Callable[[Job], bool]) -> None:
        """Forget the jobs of which `goes` is true. What is in flight is the caller's to leave alone."""
        for queue in self._queues.values():
            queue.waiting = deque(job for job in queue.waiting if not goes(job))
            queue.pages = deque(job for job in queue.pages if not goes(job))
        self._parked = [entry for entry in self._parked if not goes(entry[2])]
        heapq.heapify(self._parked)

    def _unpark(self, now: float) -> None:
        while self._parked and self._parked[0][0] <= now:
            self.add(heapq.heappop(self._parked)[2], now)

    def _due(self, site: Site, queue: _Queue, now: float, *, page: bool) -> float:
        jobs = queue.pages if page else queue.waiting
        if not jobs or not queue.may_ask():
            return float("inf")
        lead = self._lead(jobs, now)
        due = queue.not_before if page else max(self._lingered(site, queue, lead), queue.not_before)
        return max(due, self._retries.at(now)) if lead.retry else due

    def _lead(self, jobs: deque[Job], now: float) -> Job:
        """The first; but what only repeats lets what is new go first where it has to wait for the budget of repeats."""
        if jobs[0].retry and self._retries.at(now) > now:
            return next((job for job in jobs if not job.retry), jobs[0])
        return jobs[0]

    def _lingered(self, site: Site, queue: _Queue, lead: Job) -> float:
        # Only a queue of half as many jobs as ids can fill a request: each job asks for two at most.
        if 2 * len(queue.waiting) >= self._max_ids and self._form(queue, lead)[1]:
            return lead.since
        return lead.since + self._lingers.get(site[0], self._linger_seconds)

    def _form(self, queue: _Queue, lead: Job) -> tuple[list[Job], bool]:
        """The next batch: of `lead` and those of its level. True if it is full.

        What failed once goes along with what is new: mostly it was not the cause.
        """
        level = max(lead.level, 1)
        max_ids = max(1, self._max_ids >> (level - 1)) if level < ALONE else 1
        jobs: list[Job] = []
        ids: set[int] = set()
        size_bytes = 0
        for job in (lead, *queue.waiting):
            if max(job.level, 1) != level or (job is lead and jobs):
                continue
            more = {rev_id for rev_id in job.wanted if rev_id not in ids and not self._is_parent_at_hand(job, rev_id)}
            size_bytes += job.size_bytes
            if jobs and (len(ids) + len(more) > max_ids or size_bytes > self._max_bytes):
                return jobs, True
            jobs.append(job)
            ids |= more
        return jobs, len(ids) >= max_ids

    def _is_parent_at_hand(self, job: Job, rev_id: int) -> bool:
        return rev_id == job.event.parent_id and self._has(job.event.wiki, rev_id)

    def _tidy(self, now: float) -> None:
        for site, queue in list(self._queues.items()):
            if not (queue.waiting or queue.pages or queue.in_flight) and queue.not_before <= now:
                del self._queues[site]
