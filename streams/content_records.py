"""What fetch writes: texts or why there is none, tombstones of what was hidden, and letters about what needs a look.

Nobody else writes `content`, so what erases a text comes after it, however late we are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from processors.batcher import Job
from processors.held import HeldTexts, HiddenTexts
from processors.skeleton import as_shown
from schemas.content import Content, Html, Text, encode_content, record_key
from schemas.deadletter import DeadLetter
from schemas.event import PageChange
from schemas.reasons import Answer, SetAside, Step
from streams import metrics
from streams.kafka import Out, RecordTooLarge, letter_out
from streams.out_of_order import Ticket
from streams.outbox import Outbox
from streams.topics import Topics

# Answers that somebody should look at, beside the record that says so.
LETTERS = {Answer.SHA1_MISMATCH: SetAside.SHA1_MISMATCH, Answer.UNAVAILABLE: SetAside.CONTENT_UNAVAILABLE}

log = logging.getLogger("sluice.fetch")


class Records:
    """What one worker gives its outbox. A ticket is done once the broker has what was to be written for it.

    held: gets each text that is written. hidden: what must not be. done: called after each ticket that is done.
    """

    def __init__(
        self, topics: Topics, outbox: Outbox, held: HeldTexts, hidden: HiddenTexts, done: Callable[[], None]
    ) -> None:
        self._topics = topics
        self._outbox = outbox
        self._held = held
        self._hidden = hidden
        self._done = done
        self._newest_ms = 0

    def gone(self, ticket: Ticket, wiki: str, page_id: int, rev_id: int) -> None:
        """A tombstone, and with it the ticket is done. rev_id: 0 = all of the page."""

        def done() -> None:
            ticket.done()
            self._done()
            _count_tombstone()

        self._outbox.put([self._tombstone(ticket, wiki, page_id, rev_id)], done)

    def gone_for_now(self, ticket: Ticket, wiki: str, page_id: int, rev_id: int) -> None:
        """A tombstone of a revision of which only the parent was hidden: it is said again, under the same ticket."""
        left = b"all but what is of its parent"
        self._outbox.put([self._tombstone(ticket, wiki, page_id, rev_id, left)], _count_tombstone)

    def set_aside(self, ticket: Ticket, reason: SetAside, detail: str) -> None:
        """A letter, and with it the ticket is done."""
        self._put(ticket, self._letter(ticket, reason, detail))

    def settle(self, job: Job, source: str) -> None:
        """The answer to a job. source: the URL that gave it, "" if nobody was asked."""
        event, ticket, revision = job.event, job.origin, job.revision
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
            self._done()
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

    def _tombstone(self, ticket: Ticket, wiki: str, page_id: int, rev_id: int, left: bytes = b"") -> Out:
        """left: what may be said again of the revision, "" = nothing."""
        return Out(
            topic=self._topics.content,
            key=record_key(wiki, page_id, rev_id),
            value=None,
            partition=ticket.record.partition,
            headers=[("left", left)] if left else [],
        )


def _count_tombstone() -> None:
    metrics.ERASED.labels("tombstone").inc()


def _html(job: Job) -> Html | None:
    if job.html is not None or not job.wants_html or job.revision is None:
        return job.html
    answer = job.revision.answer
    return Html(answer=Answer.NOT_ASKED if answer is Answer.TEXT else answer)
