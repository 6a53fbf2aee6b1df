"""What happens in the generated world, in the order of its time: edits, vandalism and its undoing, moves, deletions.

Rare things are put at set parts of the world's time and chances are dealt like cards, so that a short world has
each of them too.
"""

from __future__ import annotations

import heapq
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from schemas.event import PAGE_CHANGE, READABLE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from streams import wiki_pages as write
from streams.prose import ENGLISH, GERMAN, GOOD, JAPANESE, VANDALISM, Change, Language, new_page
from streams.wiki_pages import BITS, SHOWN, Editor, Page, Revision, Wiki

DAY_MS = 86_400_000
# Undoing comes between these after the damage, log-uniformly.
UNDO_MS = (1_000, 20_000)
SELF_UNDO_MS = (1_000, 5_000)
# Pages of a wiki from the beginning, for each edit a second of all wikis, and at least.
PAGES_PER_RATE = 7 / 6
MIN_PAGES = 7
ACTIVE = "eqiad"
TAG = {"rollback": "mw-rollback", "undo": "mw-undo", "manual": "mw-manual-revert"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An event for a topic. Its `meta` has no topic, partition and offset yet; `at_ms` is its `meta.dt`."""

    at_ms: int
    topic: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """From now on the action API says this of a revision; None is `badrevids`."""

    at_ms: int
    domain: str
    rev_id: int
    answer: Mapping[str, Any] | None


Entry = Announced | Answered


class Deck:
    """Deals its cards in a shuffled order, and shuffles them again when there are none left."""

    def __init__(self, random: Random, **counts: int) -> None:
        self._random = random
        self._cards = [name for name, count in counts.items() for _ in range(count)]
        self._left: list[str] = []

    def draw(self) -> str:
        if not self._left:
            self._left = list(self._cards)
            self._random.shuffle(self._left)
        return self._left.pop()


class Maker:
    """Runs the world once. Afterwards `entries()` is what happened and `saved` each edit with its title then."""

    def __init__(self, random: Random, *, seconds: float, rate: float, begin_ms: int) -> None:
        self._random = random
        self._begin_ms = self._now = begin_ms
        self._last_slot_ms = begin_ms + round(seconds * 1000)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._said: list[tuple[int, int, Entry]] = []
        self._order = 0
        # Undoing takes the place of an edit to come, so that the rate stays what was asked for.
        self._owed = 0
        self._temps = random.randint(10_000, 80_000)
        self._undone: list[Revision] = []
        self.saved: list[tuple[Revision, str]] = []
        deck = partial(Deck, random)
        self._what = deck(good=39, vandalism=9, self_reverted=2)
        self._damage = deck(**dict.fromkeys(VANDALISM, 1))
        self._care = deck(sentence=5, reference=3, number=3, link=3, section=1)
        self._how = deck(rollback=4, undo=3, manual=2, never=1)
        self._self_how = deck(undo=1, manual=1)
        self._spoiled = deck(repair=1, never=1)
        self._on_top = deck(no=24, yes=1)
        self._tags_come = deck(before=1, after=2)
        self._recent_comes = deck(before=9, after=1)
        self._reverted_tag = deck(sent=9, lost=1)
        self._block = deck(yes=1, no=3)
        self._patrol = deck(yes=1, no=4)
        self.wikis = self._wikis(rate)
        for n in range(round(seconds * rate)):
            self._at(begin_ms + int((n + random.random()) * 1000 / rate), self._slot)
        self._schedule(seconds)

    def run(self) -> None:
        while self._queue:
            self._now, _, happen = heapq.heappop(self._queue)
            happen()

    def entries(self) -> list[Entry]:
        return [entry for _, _, entry in sorted(self._said, key=lambda said: said[:2])]

    # Before the beginning.

    def _wikis(self, rate: float) -> list[Wiki]:
        made = [
            self._wiki("enwiki", ENGLISH, rev_id=1_331_204_000, page_id=79_000_000, has_patrol=False, has_revert=True),
            self._wiki("dewiki", GERMAN, rev_id=262_415_000, page_id=13_600_000, has_patrol=True, has_revert=False),
            self._wiki("jawiki", JAPANESE, rev_id=2**31 + 7_000, page_id=5_100_000, has_patrol=True, has_revert=True),
        ]
        for wiki in made:
            self._people(wiki)
            first = wiki.language.places[:MIN_PAGES]
            for n in range(max(MIN_PAGES, round(rate * PAGES_PER_RATE))):
                again = n // len(first)
                self._old_page(wiki, first[n % len(first)] + (f" {again + 1}" if again else ""))
        return made

    def _wiki(self, name: str, language: Language, **given: Any) -> Wiki:
        return Wiki(name=name, domain=f"{language.code}.wikipedia.org", language=language, **given)

    def _people(self, wiki: Wiki) -> None:
        more: Sequence[tuple[str, ...]] = (("sysop",), ("rollbacker", "autoreviewer"), ("rollbacker",), (), (), ())
        for n, (name, groups) in enumerate(zip(wiki.language.users, more, strict=True)):
            is_new = n == len(more) - 1
            count = self._random.randint(0, 5) if is_new else self._random.randint(60, 90_000)
            days = self._random.randint(0, 2) if is_new else self._random.randint(200, 6000)
            basic = ("*", "user") if is_new else ("*", "user", "autoconfirmed")
            self._person(wiki, name, (*groups, *basic), count, days)
        self._person(wiki, "LedgerBot", ("bot", "*", "user", "autoconfirmed"), 412_000, 3000).is_bot = True

    def _person(self, wiki: Wiki, name: str, groups: tuple[str, ...], count: int, days: int) -> Editor:
        registered = self._begin_ms - days * DAY_MS - self._random.randint(1, DAY_MS)
        user_id = 40_000 + 17 * len(wiki.editors) + len(name)
        editor = Editor(name=name, user_id=user_id, groups=groups, registered_ms=registered, edit_count=count)
        wiki.editors.append(editor)
        return editor

    def _old_page(self, wiki: Wiki, title: str) -> None:
        page = self._page(wiki, title)
        wiki.rev_id += self._random.randint(1, 5)
        page.revisions.append(
            Revision(
                page=page,
                rev_id=wiki.rev_id,
                parent=None,
                at_ms=self._begin_ms - self._random.randint(1, 300) * DAY_MS,
                text=new_page(self._random, wiki.language, title),
                comment=wiki.language.summaries["create"],
                editor=self._random.choice(wiki.editors[:5]).snapshot(),
                kind="good",
            )
        )
        self._answer(page.revisions)

    def _page(self, wiki: Wiki, title: str) -> Page:
        wiki.page_id += self._random.randint(1, 4)
        page = Page(wiki=wiki, page_id=wiki.page_id, title=title)
        wiki.pages.append(page)
        return page

    def _temp(self, wiki: Wiki) -> Editor:
        self._temps += self._random.randint(1, 40)
        user_id = 900_000 + self._temps
        name = f"~2026-{self._temps}"
        return Editor(
            name=name, user_id=user_id, groups=("*", "temp"), registered_ms=self._now, edit_count=0, is_temp=True
        )

    def _schedule(self, seconds: float) -> None:
        """The rare things, at set parts of the time."""
        random, wikis = self._random, self.wikis
        planned: list[tuple[float, Callable[[], bool]]] = [
            (0.05 + 0.25 * n, partial(self._create, wiki)) for n, wiki in enumerate(wikis)
        ]
        planned += [
            (0.3, lambda: self._spam_page(random.choice(wikis), round(seconds * 150))),
            (0.4, self._move),
            (0.5, lambda: self._delete_for_a_while(round(seconds * 200))),
            (0.6, self._hide_text),
            (0.65, self._hide_names),
        ]
        for part, happen in planned:
            self._at(self._begin_ms + round(part * seconds * 1000), partial(self._until_done, happen))

    def _until_done(self, happen: Callable[[], bool]) -> None:
        """Where nothing is there yet for it to happen to, look again later."""
        if not happen() and self._now < self._last_slot_ms:
            self._at(self._now + 500, lambda: self._until_done(happen))

    # Edits.

    def _slot(self) -> None:
        if self._owed:
            self._owed -= 1
            return
        what = self._what.draw()
        if what == "good" and self._on_top.draw() == "yes":
            open_pages = [page for page in self._pages() if page.open is not None and page.open.kind == "vandalism"]
            if open_pages:
                self._good(self._random.choice(open_pages))
                return
        pages = self._calm(self._random.choice(self.wikis)) or [
            page for wiki in self.wikis for page in self._calm(wiki)
        ]
        if not pages:
            self._good(self._random.choice(self._pages()))
        elif what == "vandalism":
            self._vandalise(self._random.choice(pages))
        elif what == "self_reverted":
            self._try_out(self._random.choice(pages))
        else:
            self._good(self._random.choice(pages))

    def _pages(self) -> list[Page]:
        return [p for wiki in self.wikis for p in wiki.pages if not p.is_deleted and not p.is_redirect]

    def _calm(self, wiki: Wiki) -> list[Page]:
        return [p for p in wiki.pages if not p.is_deleted and not p.is_redirect and p.open is None]

    def _good(self, page: Page) -> None:
        wiki, kind = page.wiki, self._care.draw()
        is_temp = self._random.random() < 0.15
        editor = self._temp(wiki) if is_temp else self._random.choice(wiki.editors)
        text = self._changed(page, GOOD[kind])
        self._save(page, text, editor, wiki.language.summaries[kind], "good", is_minor=kind in {"number", "link"})

    def _vandalise(self, page: Page) -> None:
        editor = self._temp(page.wiki) if self._random.random() < 0.6 else page.wiki.editors[5]
        text = self._changed(page, VANDALISM[self._damage.draw()])
        revision = self._save(page, text, editor, "", "vandalism")
        how = self._how.draw()
        if how != "never":
            page.open = revision
            low, high = UNDO_MS
            after = round(math.exp(self._random.uniform(math.log(low), math.log(high))))
            self._at(self._now + after, lambda: self._undo(revision, how, None))

    def _try_out(self, page: Page) -> None:
        """An edit that its own author takes back."""
        editor = self._temp(page.wiki) if self._random.random() < 0.5 else self._random.choice(page.wiki.editors[3:6])
        text = self._changed(page, GOOD["sentence"])
        revision = page.open = self._save(page, text, editor, "", "self_reverted")
        how = self._self_how.draw()
        self._at(self._now + self._random.randint(*SELF_UNDO_MS), lambda: self._undo(revision, how, editor))

    def _undo(self, bad: Revision, how: str, author: Editor | None) -> None:
        """Give the page the text from before `bad` back. author: who takes back an edit of their own."""
        page, parent = bad.page, bad.parent
        page.open = None
        if page.tip is not bad or parent is None:
            self._too_late(bad)
            return
        summaries, name = page.wiki.language.summaries, bad.editor["user_text"]
        comment = summaries[how] if how == "manual" else summaries[how] % (name, name)
        helpers = [editor for editor in page.wiki.editors[:3] if editor.name != name]
        undoing = self._save(
            page, parent.text, author or self._random.choice(helpers), comment, "undo", how=how, undoes=bad
        )
        self._owed += self._now < self._last_slot_ms
        self._mark_undone(bad, how, undoing.rev_id)
        if self._reverted_tag.draw() == "sent":
            self._at(page.announced_ms + self._random.randint(300, 3000), lambda: self._tag_reverted(bad))
        if author is None:
            self._undone.append(bad)
            if self._block.draw() == "yes":
                self._at(self._now + self._random.randint(500, 3000), lambda: self._block_user(page.wiki, name))

    def _too_late(self, bad: Revision) -> None:
        """Others have edited on top: the exact text from before cannot come back without losing their work."""
        if bad.kind == "self_reverted":
            bad.kind = "good"
        elif self._spoiled.draw() == "repair":
            bad.page.open = bad
            self._at(self._now + self._random.randint(1000, 3000), lambda: self._repair(bad))

    def _repair(self, bad: Revision) -> None:
        page, parent = bad.page, bad.parent
        page.open = None
        if parent is None:
            return
        editor, language = self._random.choice(page.wiki.editors[:5]), page.wiki.language
        text = self._changed(page, GOOD["sentence"], parent.text)
        repair = self._save(page, text, editor, language.summaries["repair"], "repair", how="repair")
        self._owed += self._now < self._last_slot_ms
        self._mark_undone(bad, "repair", repair.rev_id)

    def _mark_undone(self, bad: Revision, how: str, by: int | None) -> None:
        bad.how, bad.undone_ms, bad.undone_by = how, self._now, by

    def _changed(self, page: Page, change: Change, text: str | None = None) -> str:
        """A text that the page never had before."""
        before = [revision.text for revision in page.revisions]
        base = page.tip.text if text is None else text
        given = (self._random, page.wiki.language, page.title)
        made = change(base, *given)
        while made in before:
            # Where the change finds nothing to change, a sentence more always can.
            made = GOOD["sentence"](made, *given)
        return made

    # Whole pages.

    def _create(self, wiki: Wiki) -> bool:
        page = self._page(wiki, wiki.language.places[-1])
        text = new_page(self._random, wiki.language, page.title)
        self._save(page, text, wiki.editors[4], wiki.language.summaries["create"], "good")
        return True

    def _spam_page(self, wiki: Wiki, stays_ms: int) -> bool:
        page = self._page(wiki, wiki.language.spam_page)
        text = VANDALISM["spam"](VANDALISM["replace"]("", *self._about(page)), *self._about(page))
        page.open = bad = self._save(page, text, self._temp(wiki), "", "vandalism")
        self._at(self._now + stays_ms, lambda: self._delete(page))
        self._at(self._now + stays_ms, lambda: self._mark_undone(bad, "deletion", None))
        return True

    def _about(self, page: Page) -> tuple[Random, Language, str]:
        return self._random, page.wiki.language, page.title

    def _delete_for_a_while(self, away_ms: int) -> bool:
        pages = [page for page in self._pages() if page.open is None and len(page.revisions) > 1]
        if not pages:
            return False
        page = self._random.choice(pages)
        self._delete(page)
        self._at(self._now + away_ms, lambda: self._undelete(page))
        return True

    def _delete(self, page: Page) -> None:
        page.open, page.is_deleted = None, True
        event = self._page_event("delete", "delete", page)
        event["page"]["revision_count"] = len(page.revisions)
        self._after_whole_page(page, event, "delete", [])

    def _undelete(self, page: Page) -> None:
        page.is_deleted = False
        count = {"count": {"revisions": len(page.revisions), "files": 0}}
        self._after_whole_page(page, self._page_event("undelete", "insert", page), "restore", count)

    def _page_event(self, kind: str, changelog: str, page: Page) -> dict[str, Any]:
        admin = page.wiki.editors[0].snapshot()
        comment = {"comment": page.wiki.language.summaries[kind]}
        return write.page_change(kind, changelog, self._now, page.tip, admin) | comment

    def _after_whole_page(self, page: Page, event: dict[str, Any], action: str, params: Any) -> None:
        self._answer(page.revisions)
        request, at = self._id(), self._announce_at(page)
        self._say(PAGE_CHANGE, at, page.wiki, page.uri, event, request)
        self._log(page.wiki, at + self._random.randint(5, 150), "delete", action, page.title, event["comment"], params)

    def _move(self) -> bool:
        """The page gets a dummy revision and a new title; a redirect, a page of its own, is left at the old one."""
        pages = [page for page in self._pages() if page.open is None]
        if not pages:
            return False
        page = self._random.choice(pages)
        wiki, old, before = page.wiki, page.title, page.tip
        new, admin, request = wiki.language.renamed % old, wiki.editors[0], self._id()
        comment = wiki.language.summaries["move"] % (old, new)
        redirect = self._page(wiki, old)
        redirect.is_redirect = True
        link = {"page_title": new.replace(" ", "_"), "namespace_id": 0, "page_id": page.page_id, "is_redirect": False}
        prior = {"page": {"page_title": page.key, "namespace_id": 0}, "revision": before.doc()}
        page.title = new
        moved = self._revision(page, before.text, admin, comment, "move", is_minor=True)
        moved.origin_rev_id = before.origin_rev_id or before.rev_id
        left = self._revision(redirect, wiki.language.redirect % new, admin, comment, "redirect")
        self._answer([*page.revisions, left])
        first = write.page_change("create", "insert", self._now, left, left.editor)
        first["page"] |= {"redirect_page_link": link}
        second = write.page_change("move", "update", self._now, moved, moved.editor)
        second |= {"comment": comment, "created_redirect_page": redirect.doc(), "prior_state": prior}
        at = self._announce_at(page)
        page.announced_ms = at + self._random.randint(5, 60)
        self._say(PAGE_CHANGE, at, wiki, redirect.uri, first, request)
        self._say(PAGE_CHANGE, page.announced_ms, wiki, page.uri, second, request)
        params = {"target": new, "noredir": "0"}
        self._log(wiki, at - self._random.randint(5, 80), "move", "move", old, comment, params)
        return True

    def _hide_text(self) -> bool:
        """Of a revision that is not the current one: MediaWiki refuses to hide the text that readers see."""
        undone = [bad for bad in self._undone if not bad.page.is_deleted]
        if undone:
            self._hide(undone[-1], ("text",))
        return bool(undone)

    def _hide_names(self) -> bool:
        tips = [page.tip for page in self._pages() if page.open is None and page.tip.kind == "good"]
        if tips:
            self._hide(self._random.choice(tips), ("user", "comment"))
        return bool(tips)

    def _hide(self, revision: Revision, what: Iterable[str]) -> None:
        page, before = revision.page, dict(revision.visible)
        admin, comment, request = page.wiki.editors[0].snapshot(), page.wiki.language.summaries["hide"], self._id()
        revision.visible |= dict.fromkeys(what, False)
        self._answer([revision])
        at = self._announce_at(page)
        hidden = write.visibility_change(revision, before, admin)
        self._say(VISIBILITY_CHANGE, at - self._random.randint(1, 30), page.wiki, page.uri, hidden, request)
        if revision is page.tip:
            changed = {f"is_{long}_visible": before[name] for long, name in SHOWN.items() if not revision.visible[name]}
            event = write.page_change("visibility_change", "update", self._now, revision, admin)
            event["prior_state"] = {"revision": changed}
            self._say(PAGE_CHANGE, at, page.wiki, page.uri, event, request)
        bits = sum(BITS[name] for name in what)
        params = {"type": "revision", "ids": [revision.rev_id], "ofield": 0, "nfield": bits}
        self._log(page.wiki, at - self._random.randint(31, 80), "delete", "revision", page.title, comment, params)

    # What is said about it.

    def _at(self, at_ms: int, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (at_ms, self._order, happen))

    def _revision(
        self, page: Page, text: str, editor: Editor, comment: str, kind: str, *, is_minor: bool = False
    ) -> Revision:
        page.wiki.rev_id += self._random.randint(1, 3)
        parent = page.revisions[-1] if page.revisions else None
        revision = Revision(
            page=page,
            rev_id=page.wiki.rev_id,
            parent=parent,
            at_ms=self._now,
            text=text,
            comment=comment,
            editor=editor.snapshot(),
            kind=kind,
            is_minor=is_minor,
        )
        page.revisions.append(revision)
        editor.edit_count += 1
        self.saved.append((revision, page.title))
        return revision

    def _save(
        self,
        page: Page,
        text: str,
        editor: Editor,
        comment: str,
        kind: str,
        *,
        is_minor: bool = False,
        how: str | None = None,
        undoes: Revision | None = None,
    ) -> Revision:
        """Save an edit and announce it. undoes: the one revision that it takes back exactly, by `how`."""
        revision = self._revision(page, text, editor, comment, kind, is_minor=is_minor)
        if kind in {"undo", "repair"}:
            revision.how = how
        if undoes is not None and how is not None:
            revision.tags.append(TAG[how])
            if page.wiki.has_revert and undoes.parent is not None:
                revision.revert = {
                    "method": how,
                    "is_exact": True,
                    "rev_original_id": undoes.parent.rev_id,
                    "rev_reverted_oldest_id": undoes.rev_id,
                    "rev_reverted_newest_id": undoes.rev_id,
                }
        self._answer([revision])
        self._announce(revision)
        return revision

    def _announce(self, revision: Revision) -> None:
        page, wiki, request = revision.page, revision.page.wiki, self._id()
        kind, changelog = ("create", "insert") if revision.parent is None else ("edit", "update")
        event = write.page_change(kind, changelog, self._now, revision, revision.editor)
        if revision.parent is not None:
            event["prior_state"] = {"revision": revision.parent.doc()}
        at = self._announce_at(page)
        wiki.rc_id += 1
        early, late = at - self._random.randint(5, 80), at + self._random.randint(5, 400)
        recent_at = early if self._recent_comes.draw() == "before" else late
        self._say(RECENT_CHANGE, recent_at, wiki, page.uri, write.recent_edit(revision, wiki.rc_id), request)
        self._say(PAGE_CHANGE, at, wiki, page.uri, event, request)
        if revision.tags:
            early, late = at - self._random.randint(1, 60), at + self._random.randint(1, 150)
            tags_at = early if self._tags_come.draw() == "before" else late
            tagged = write.tags_change(revision, revision.tags, [])
            self._say(TAGS_CHANGE, tags_at, wiki, page.uri, tagged, request)
        if wiki.has_patrol and self._patrol.draw() == "yes":
            self._at(at + self._random.randint(500, 4000), lambda: self._log_patrol(revision))

    def _announce_at(self, page: Page) -> int:
        """When page_change speaks of what happens now: a little later, and in order for each page."""
        page.announced_ms = max(self._now + self._random.randint(100, 1000), page.announced_ms + 1)
        return page.announced_ms

    def _tag_reverted(self, bad: Revision) -> None:
        if bad.page.is_deleted:
            return
        before = list(bad.tags)
        bad.tags.append("mw-reverted")
        self._answer([bad])
        event = write.tags_change(bad, bad.tags, before)
        self._say(TAGS_CHANGE, self._now, bad.page.wiki, bad.page.uri, event, self._id())

    def _log_patrol(self, revision: Revision) -> None:
        page, parent = revision.page, revision.parent
        if not page.is_deleted:
            previous = 0 if parent is None else parent.rev_id
            params = {"curid": str(revision.rev_id), "previd": str(previous), "auto": 0}
            self._log(page.wiki, self._now, "patrol", "patrol", page.title, "", params)

    def _block_user(self, wiki: Wiki, name: str) -> None:
        title, reason = f"{wiki.language.namespaces[2]}:{name}", wiki.language.summaries["block"]
        params = {"duration": "1 day", "flags": "nocreate", "sitewide": True}
        self._log(wiki, self._now, "block", "block", title, reason, params, namespace=2)

    def _log(
        self, wiki: Wiki, at: int, log: str, action: str, title: str, comment: str, params: Any, *, namespace: int = 0
    ) -> None:
        """A recentchange of type `log`: it names no page and no revision by id."""
        event = write.recent_change(wiki, "log", self._now, title, namespace, wiki.editors[0].name, comment)
        wiki.rc_id += 1
        if log != "patrol":
            event["id"] = wiki.rc_id
        event |= {"log_id": wiki.rc_id * 3, "log_type": log, "log_action": action, "log_params": params}
        event["log_action_comment"] = comment
        self._say(RECENT_CHANGE, at, wiki, write.address(wiki, title), event, self._id())

    def _answer(self, revisions: Iterable[Revision]) -> None:
        for revision in revisions:
            domain, rev_id = revision.page.wiki.domain, revision.rev_id
            entry = Answered(at_ms=self._now, domain=domain, rev_id=rev_id, answer=revision.answer())
            self._keep(entry)

    def _say(self, stream: str, at_ms: int, wiki: Wiki, uri: str, event: dict[str, Any], request_id: str) -> None:
        meta = {"stream": stream, "uri": uri, "id": self._id(), "request_id": request_id, "domain": wiki.domain}
        meta["dt"] = rfc3339(at_ms)
        self._keep(Announced(at_ms=at_ms, topic=f"{ACTIVE}.{stream}", event={**event, "meta": meta}))

    def _keep(self, entry: Entry) -> None:
        self._order += 1
        self._said.append((entry.at_ms, self._order, entry))

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def canary(topic: str, at_ms: int) -> Announced:
    """A sign of life of one topic; its id follows from topic and time."""
    stream = topic.partition(".")[2]
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{topic} {at_ms}")
    meta = {"stream": stream, "domain": "canary", "id": str(name), "dt": rfc3339(at_ms)}
    # The newest page_change is 1.12; the others have had no other version.
    version = "12.0" if stream == PAGE_CHANGE else "0.0"
    event = write.canary(stream, READABLE[stream] + version)
    return Announced(at_ms=at_ms, topic=topic, event={**event, "meta": meta})
