"""The stage of the simulated world: its clock and queue, its pages, and what is said about them.

What happens is decided elsewhere; here is how a revision is saved, and how the streams hear of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE
from streams import wiki_events as write
from streams.ledger import Did
from streams.prose import Text
from streams.wiki_pages import Editor, Page, Recent, Revision, Wiki, address, stamp

ACTIVE = "eqiad"
RECENT_TOPIC = f"{ACTIVE}.{RECENT_CHANGE}"
# How late page_change comes on the real wikis: half within 2.3 s, 99 in 100 within 21.8 s.
LATENESS_MS = (2300, 0.97)
MAX_LATENESS_MS = 155_000
# Of the recentchanges, stamped up to 8 ms earlier than the one before them, which is at most half a second old.
BACKWARDS = 0.01
MAX_BACKWARDS_MS, NEAR_MS = 8, 500
REVERT_TAGS = {"rollback": "mw-rollback", "undo": "mw-undo", "manual": "mw-manual-revert"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An event for a topic, offered at `at_ms`. Its `meta` has no topic, partition and offset yet; its `dt` may be
    a few milliseconds earlier."""

    at_ms: int
    topic: str
    event: dict[str, Any]


Entry = Announced | Did


class Deck:
    """Deals its cards in a shuffled order, and shuffles them again when there are none left: what is rare comes in a
    short world too."""

    def __init__(self, random: Random, **counts: int) -> None:
        self._random = random
        self._cards = [name for name, count in counts.items() for _ in range(count)]
        self._left: list[str] = []

    def draw(self) -> str:
        if not self._left:
            self._left = list(self._cards)
            self._random.shuffle(self._left)
        return self._left.pop()


class Scene:
    """time_scale: how many times quicker than on the real wikis everything but the rate of edits is.

    undone: vandalism that was undone lately. changes: page_change events so far, for whoever keeps to a rate.
    """

    def __init__(self, random: Random, *, begin_ms: int, last_ms: int, time_scale: float) -> None:
        self.random = random
        self.begin_ms = self.now = begin_ms
        self.last_ms = last_ms
        self.time_scale = time_scale
        self.wikis: list[Wiki] = []
        self.undone: deque[Revision] = deque(maxlen=50)
        self.changes = 0
        self.wants_duplicate = False
        self._queue: list[tuple[int, int, Callable[[], None] | Announced]] = []
        self._order = 0
        self._recent_ms = 0
        self._out: list[Entry] = []
        self._tags_come = Deck(random, before=1, after=2)
        self._recent_comes = Deck(random, before=9, after=1)

    # Time.

    def next_ms(self) -> int | None:
        """When the next thing happens; None = nothing does any more."""
        return self._queue[0][0] if self._queue else None

    def step(self) -> list[Entry]:
        """Let the next thing happen; returns what it was, for the streams and for the ledger."""
        self.now, _, what = heapq.heappop(self._queue)
        if isinstance(what, Announced):
            self._date(what)
            return [what]
        what()
        done, self._out = self._out, []
        return done

    def _date(self, entry: Announced) -> None:
        """Producers' clocks differ: in a topic the time runs backwards now and then."""
        if entry.topic != RECENT_TOPIC:
            return
        last_ms, self._recent_ms = self._recent_ms, entry.at_ms
        if last_ms > entry.at_ms - NEAR_MS and self.random.random() < BACKWARDS:
            self._recent_ms = last_ms - 1 - int(self.random.random() * MAX_BACKWARDS_MS)
            entry.event["meta"]["dt"] = stamp(self._recent_ms)

    def at(self, at_ms: int, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (at_ms, self._order, happen))

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """In so many seconds of the real wikis; here it is less by `time_scale`."""
        self.at(self.now + self.scaled_ms(seconds), happen)

    def scaled_ms(self, seconds: float) -> int:
        return max(50, round(seconds * 1000 / self.time_scale))

    # Acts.

    def did(self, page: Page, what: str, revision: Revision | None = None, **more: Any) -> None:
        """Put it down. revision: the one that it made or concerns."""
        if revision is not None:
            more["rev_id"] = revision.rev_id
            more["parent_id"] = revision.parent_id or None
            more["sha1"] = revision.sha1
            more["size_bytes"] = revision.size_bytes
            more.setdefault("user", revision.user)
        self._out.append(
            Did(at_ms=self.now, wiki=page.wiki.name, page_id=page.page_id, title=page.title, what=what, **more)
        )

    def page(self, wiki: Wiki, title: str, namespace: int = 0) -> Page:
        wiki.page_id += 1 + int(self.random.random() * 4)
        page = Page(wiki=wiki, page_id=wiki.page_id, title=title, namespace=namespace)
        wiki.pages.append(page)
        return page

    def revision(
        self, page: Page, text: Text, editor: Editor, comment: str, *, is_minor: bool = False, at_ms: int | None = None
    ) -> Revision:
        """Save; nobody hears of it yet. at_ms: when it says it was made, now by default."""
        page.wiki.rev_id += 1 + int(self.random.random() * 3)
        parent = page.revisions[-1] if page.revisions else None
        made = Revision(
            page,
            page.wiki.rev_id,
            parent,
            self.now if at_ms is None else at_ms,
            text,
            comment,
            editor.snapshot(),
            is_minor=is_minor,
        )
        page.remember(made)
        editor.edit_count += 1
        return made

    def save(
        self,
        page: Page,
        text: Text,
        editor: Editor,
        comment: str,
        what: str,
        *,
        how: str | None = None,
        is_minor: bool = False,
        at_ms: int | None = None,
        undoes: list[Revision] | None = None,
        method: str | None = None,
    ) -> Revision:
        """Save an edit and announce it. undoes: what it takes back exactly, oldest first, by `method`."""
        revision = self.revision(page, text, editor, comment, is_minor=is_minor, at_ms=at_ms)
        if undoes and method:
            revision.tags.append(REVERT_TAGS[method])
            revision.revert = {
                "method": method,
                "is_exact": True,
                "rev_original_id": undoes[0].parent_id,
                "rev_reverted_oldest_id": undoes[0].rev_id,
                "rev_reverted_newest_id": undoes[-1].rev_id,
            }
        elif self.random.random() < 0.12:
            revision.tags.append("mobile edit" if self.random.random() < 0.6 else "visualeditor")
        self.did(page, what, revision, how=how, undoes=tuple(bad.rev_id for bad in undoes or ()))
        self._announce(revision)
        return revision

    # What is said.

    def _announce(self, revision: Revision) -> None:
        page, wiki, request, random = revision.page, revision.page.wiki, self.new_id(), self.random
        kind, changelog = ("edit", "update") if revision.parent_id else ("create", "insert")
        event = write.page_change(kind, changelog, revision.at_ms, revision, revision.editor)
        if revision.parent is not None:
            event["prior_state"] = {"revision": revision.parent.doc()}
            revision.parent.forget_doc()
        at = self.announce_at(page)
        wiki.rc_id += 1
        rc_id, recent = wiki.rc_id, write.recent_edit(revision, wiki.rc_id)
        early, late = max(self.now, at - 5 - int(random.random() * 75)), at + 5 + int(random.random() * 400)
        recent_at = early if self._recent_comes.draw() == "before" else late
        self.say(RECENT_CHANGE, recent_at, wiki, page.uri, recent, request)
        self.say(PAGE_CHANGE, at, wiki, page.uri, event, request)
        wiki.recent.append(
            Recent(
                rc_id=rc_id,
                at_ms=revision.at_ms,
                title=page.title,
                namespace=page.namespace,
                comment=revision.comment,
                user=revision.user,
                revision=revision,
                log=None,
            )
        )
        if revision.tags:
            early, late = max(self.now, at - int(random.random() * 60)), at + 1 + int(random.random() * 150)
            tagged = write.tags_change(revision, revision.tags, [])
            tags_at = early if self._tags_come.draw() == "before" else late
            self.say(TAGS_CHANGE, tags_at, wiki, page.uri, tagged, request)

    def announce_at(self, page: Page) -> int:
        """When page_change speaks of what happens now: later, and in order for each page."""
        median, sigma = LATENESS_MS
        late = min(self.random.lognormvariate(0, sigma) * median, MAX_LATENESS_MS) / self.time_scale
        at = self.now + 50 + int(self.random.random() * 350 + late)
        page.announced_ms = max(at, page.announced_ms + 1)
        return page.announced_ms

    def log(
        self,
        page: Page,
        at_ms: int,
        kind: str,
        action: str,
        params: Any,
        *,
        user: str,
        comment: str = "",
        title: str | None = None,
    ) -> None:
        """A recentchange of type `log`: it names no page and no revision by id. title: of the page by default."""
        wiki, namespace = page.wiki, page.namespace
        if title is None:
            title = page.title
        event = write.recent_change(wiki, "log", self.now, title, namespace, user, comment)
        wiki.rc_id += 1
        # Patrols, reviews and taggings are only sent to the feed: no row stands behind them.
        if kind not in {"patrol", "review", "stable", "tag"}:
            event["id"] = wiki.rc_id
            row = Recent(
                rc_id=wiki.rc_id,
                at_ms=self.now,
                title=title,
                namespace=namespace,
                comment=comment,
                user=user,
                revision=None,
                log=(kind, action, params),
            )
            wiki.recent.append(row)
        log_id = 0 if kind == "abusefilter" else wiki.rc_id * 3
        event |= {"log_id": log_id, "log_type": kind, "log_action": action, "log_params": params}
        event["log_action_comment"] = comment
        self.say(RECENT_CHANGE, max(self.now, at_ms), wiki, address(wiki, title), event, self.new_id())

    def say(self, stream: str, at_ms: int, wiki: Wiki, uri: str, event: dict[str, Any], request_id: str) -> None:
        event["meta"] = {
            "stream": stream,
            "uri": uri,
            "id": self.new_id(),
            "request_id": request_id,
            "domain": wiki.domain,
            "dt": stamp(at_ms),
        }
        entry = Announced(at_ms=at_ms, topic=f"{ACTIVE}.{stream}", event=event)
        self._offer(entry)
        self.changes += stream == PAGE_CHANGE
        if self.wants_duplicate and stream == PAGE_CHANGE:
            # Sent twice by its producer: the same event, at another offset.
            self.wants_duplicate = False
            again_ms = at_ms + 1 + int(self.random.random() * 20_000 / self.time_scale)
            self._offer(Announced(at_ms=again_ms, topic=entry.topic, event=event))

    def canary(self, topic: str) -> None:
        self._offer(Announced(at_ms=self.now, topic=topic, event=write.canary(topic, self.now)))

    def _offer(self, entry: Announced) -> None:
        self._order += 1
        heapq.heappush(self._queue, (entry.at_ms, self._order, entry))

    def new_id(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
