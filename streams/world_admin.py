"""What administrators do in the simulated world: move, delete, undelete, hide, suppress, protect, import."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from schemas.event import PAGE_CHANGE, VISIBILITY_CHANGE
from streams import wiki_events as write
from streams.prose import VANDALISM, new_page
from streams.wiki_curve import CURVES
from streams.wiki_events import BITS, SHOWN
from streams.wiki_pages import Page, Revision, Wiki
from streams.world_edits import Edits
from streams.world_people import DAY_MS, REGULAR, SYSOP, People
from streams.world_scene import Scene

NEWS_SECONDS = 1800


class Administration:
    """Each public method makes one thing happen on a wiki or page. False = nothing was there for it to happen to."""

    def __init__(self, scene: Scene, people: People, edits: Edits) -> None:
        self._scene = scene
        self._random = scene.random
        self._people = people
        self._edits = edits
        # Pages that were moved lately, with the redirect that each left behind.
        self._moved: deque[tuple[Page, Page]] = deque(maxlen=50)

    # Whole pages.

    def create(self, wiki: Wiki) -> bool:
        page = self._scene.page(wiki, self._new_title(wiki, wiki.language.places[-1]))
        text = new_page(self._random, wiki.language, page.title)
        comment = wiki.language.summaries["create"]
        made = self._scene.save(page, text, wiki.editors[REGULAR], comment, "create")
        self._edits.seen(made, is_bad=False)
        return True

    def spam_page(self, wiki: Wiki) -> bool:
        page = self._scene.page(wiki, self._new_title(wiki, wiki.language.spam_page))
        page.is_busy = True
        given = (self._random, wiki.language, page.title)
        text = VANDALISM["spam"](VANDALISM["replace"](("",), *given), *given)
        bad = self._scene.save(page, text, self._people.nobody(self._scene.now), "", "vandalism", how="spam_page")
        self._edits.seen(bad, is_bad=True)
        suppressed = self._random.random() < 0.05
        after = CURVES["anonymous"].draw(self._random)
        self._scene.after(after, lambda: self._delete(page, undoes=[bad], suppressed=suppressed))
        return True

    def suppress_page(self, wiki: Wiki) -> bool:
        """A page with somebody's address, of which not even the log speaks."""
        page = self._scene.page(wiki, self._new_title(wiki, wiki.language.spam_page))
        page.is_busy = True
        text = VANDALISM["insult"](("",), self._random, wiki.language, page.title)
        bad = self._scene.save(page, text, self._people.nobody(self._scene.now), "", "vandalism", how="attack_page")
        self._edits.seen(bad, is_bad=True)
        after = CURVES["anonymous"].draw(self._random)
        self._scene.after(after, lambda: self._delete(page, undoes=[bad], suppressed=True))
        return True

    def _new_title(self, wiki: Wiki, stem: str) -> str:
        wiki.titles += 1
        return f"{stem} {wiki.titles}"

    def delete_for_a_while(self, page: Page) -> bool:
        self._delete(page)
        self._scene.after(300 + self._random.random() * 3000, lambda: self._undelete(page))
        return True

    def _delete(self, page: Page, *, undoes: Iterable[Revision] = (), suppressed: bool = False) -> None:
        if page.is_deleted:
            return
        page.open, page.is_deleted = None, True
        self._leave(page)
        sysop = page.wiki.editors[SYSOP].name
        ended = tuple(bad.rev_id for bad in undoes)
        how = "suppressed" if suppressed else None
        self._scene.did(page, "delete", how=how, undoes=ended, user=None if suppressed else sysop)
        event = self._page_event("delete", "delete", page)
        event["page"] = event["page"] | {"revision_count": page.revision_count}
        if suppressed:
            at = self._scene.announce_at(page)
            event = write.suppressed(event)
            self._scene.say(PAGE_CHANGE, at, page.wiki, page.uri, event, self._scene.new_id())
        else:
            self._after_whole_page(page, event, "delete", [])

    def _leave(self, page: Page) -> None:
        if page in page.wiki.pages:
            page.wiki.pages.remove(page)

    def _undelete(self, page: Page) -> None:
        page.is_deleted = False
        page.wiki.pages.append(page)
        self._scene.did(page, "undelete", user=page.wiki.editors[SYSOP].name)
        count = {"count": {"revisions": page.revision_count, "files": 0}}
        self._after_whole_page(page, self._page_event("undelete", "insert", page), "restore", count)

    def _page_event(self, kind: str, changelog: str, page: Page) -> dict[str, Any]:
        admin = page.wiki.editors[SYSOP].snapshot()
        comment = {"comment": page.wiki.language.summaries[kind]}
        return write.page_change(kind, changelog, self._scene.now, page.tip, admin) | comment

    def _after_whole_page(self, page: Page, event: dict[str, Any], action: str, params: object) -> None:
        at, sysop = self._scene.announce_at(page), page.wiki.editors[SYSOP].name
        self._scene.say(PAGE_CHANGE, at, page.wiki, page.uri, event, self._scene.new_id())
        self._scene.log(page, at + 80, "delete", action, params, user=sysop, comment=str(event["comment"]))

    def move(self, page: Page) -> bool:
        """The page gets a dummy revision and a new title; a redirect, a page of its own, is left at the old one."""
        self._move(page, page.wiki.language.renamed % page.title, over=None)
        return True

    def move_back(self) -> bool:
        """A moved page goes back to its old title: the redirect there is deleted on the way."""
        for page, redirect in self._moved:
            is_calm = not (page.is_deleted or page.is_busy or page.open is not None)
            if is_calm and not redirect.is_deleted and redirect.revision_count == 1:
                self._moved.remove((page, redirect))
                self._move(page, redirect.title, over=redirect)
                return True
        return False

    def _move(self, page: Page, new: str, over: Page | None) -> None:
        scene, wiki, old, before = self._scene, page.wiki, page.title, page.tip
        admin = wiki.editors[SYSOP]
        comment = wiki.language.summaries["move"] % (old, new)
        redirect = scene.page(wiki, old, page.namespace)
        wiki.pages.remove(redirect)
        redirect.is_redirect = True
        at = scene.announce_at(page)
        if over is not None:
            self._make_room(over, page, at)
        prior = {"page": {"page_title": page.key, "namespace_id": page.namespace}, "revision": before.doc()}
        page.title = new
        moved = scene.revision(page, before.text, admin, comment, is_minor=True)
        moved.origin_rev_id = before.origin_rev_id
        scene.did(page, "move", moved)
        left = scene.revision(redirect, (wiki.language.redirect % new,), admin, comment)
        scene.did(redirect, "redirect", left)
        created = write.page_change("create", "insert", scene.now, left, left.editor)
        created["page"] = created["page"] | {"redirect_page_link": _link(page)}
        event = write.page_change("move", "update", scene.now, moved, moved.editor)
        event |= {"comment": comment, "created_redirect_page": redirect.doc(), "prior_state": prior}
        # The redirect's creation comes first, but where another had to make room.
        later = at + 12 + int(self._random.random() * 50)
        redirect.announced_ms, page.announced_ms = (at, later) if over is None else (later + 1, later)
        request = scene.new_id()
        scene.say(PAGE_CHANGE, redirect.announced_ms, wiki, redirect.uri, created, request)
        scene.say(PAGE_CHANGE, page.announced_ms, wiki, page.uri, event, request)
        params = {"target": new, "noredir": "0"}
        action = "move" if over is None else "move_redir"
        scene.log(page, at - 40, "move", action, params, user=admin.name, comment=comment, title=old)
        self._moved.append((page, redirect))

    def _make_room(self, over: Page, page: Page, at_ms: int) -> None:
        """Delete the redirect that stands where `page` goes."""
        scene, admin = self._scene, over.wiki.editors[SYSOP]
        over.is_deleted = True
        scene.did(over, "delete", user=admin.name)
        event = self._page_event("delete", "delete", over)
        event["page"] = event["page"] | {"revision_count": over.revision_count, "redirect_page_link": _link(page)}
        scene.say(PAGE_CHANGE, at_ms, over.wiki, over.uri, event, scene.new_id())
        comment = str(event["comment"])
        scene.log(over, at_ms + 30, "delete", "delete_redir", [], user=admin.name, comment=comment)

    # Single revisions.

    def hide_text(self) -> bool:
        """Of a revision that is not the current one: MediaWiki refuses to hide the text that readers see."""
        undone = [bad for bad in self._scene.undone if not bad.page.is_deleted and bad.visible["text"]]
        if undone:
            self._hide(undone[-1], ("text",))
        return bool(undone)

    def suppress_text(self) -> bool:
        undone = [bad for bad in self._scene.undone if not bad.page.is_deleted and bad.visible["text"]]
        if undone:
            self._hide(undone[0], ("text", "comment"), suppressed=True)
        return bool(undone)

    def hide_names(self, page: Page) -> bool:
        """Of the current revision: user and comment can be hidden there."""
        if page.open is not None or not page.tip.visible["user"]:
            return False
        self._hide(page.tip, ("user", "comment"))
        return True

    def _hide(self, revision: Revision, what: tuple[str, ...], *, suppressed: bool = False) -> None:
        scene, page, before = self._scene, revision.page, revision.visible
        admin, comment = page.wiki.editors[SYSOP], page.wiki.language.summaries["hide"]
        revision.hide(dict.fromkeys(what, False))
        revision.is_suppressed = suppressed
        user = None if suppressed else admin.name
        scene.did(page, "suppress" if suppressed else "hide", revision, how=",".join(what), user=user)
        at, request = scene.announce_at(page), scene.new_id()
        performer = None if suppressed else admin.snapshot()
        hidden = write.visibility_change(revision, before, performer)
        scene.say(VISIBILITY_CHANGE, at - 20, page.wiki, page.uri, hidden, request)
        if revision is page.tip:
            changed = {f"is_{long}_visible": before[name] for long, name in SHOWN.items() if not revision.visible[name]}
            event = write.page_change("visibility_change", "update", scene.now, revision, performer)
            event["prior_state"] = {"revision": changed}
            scene.say(PAGE_CHANGE, at, page.wiki, page.uri, event, request)
        if not suppressed:
            bits = sum(BITS[name] for name in what)
            params = {"type": "revision", "ids": [revision.rev_id], "ofield": 0, "nfield": bits}
            scene.log(page, at - 40, "delete", "revision", params, user=admin.name, comment=comment)

    def protect(self, page: Page) -> bool:
        """It makes a dummy revision that no page_change announces: a later edit has a parent nobody heard of."""
        scene, admin = self._scene, page.wiki.editors[SYSOP]
        comment, before = page.wiki.language.summaries["protect"], page.tip
        made = scene.revision(page, before.text, admin, comment, is_minor=True)
        made.origin_rev_id = before.origin_rev_id
        scene.did(page, "protect", made)
        params = {"description": "[edit=autoconfirmed] (indefinite)", "cascade": False}
        scene.log(page, scene.now + 60, "protect", "protect", params, user=admin.name, comment=comment)
        return True

    def import_page(self, wiki: Wiki) -> bool:
        """A revision that says it is weeks old."""
        scene = self._scene
        page = scene.page(wiki, self._new_title(wiki, wiki.language.places[0]))
        text = new_page(self._random, wiki.language, page.title)
        long_ago = scene.now - (20 + int(self._random.random() * 300)) * DAY_MS
        comment = wiki.language.summaries["import"]
        scene.save(page, text, wiki.editors[SYSOP], comment, "import", at_ms=long_ago)
        return True

    def null_edit(self, page: Page) -> bool:
        """Saved without a change: no revision, no event."""
        self._scene.did(page, "null_edit", user=page.wiki.editors[REGULAR].name)
        return True

    def news(self, page: Page, rate: float) -> bool:
        """Something happened, and all come to one page: half an hour of edits, a sixth of them bad."""
        scene = self._scene
        count = max(10, min(200, round(rate * NEWS_SECONDS / scene.time_scale / 4)))
        for n in range(count):
            scene.after(NEWS_SECONDS * (n + self._random.random()) / count, lambda: self._newsworthy(page))
        return True

    def _newsworthy(self, page: Page) -> None:
        if page.is_deleted or page.is_busy:
            return
        if page.open is None and self._random.random() < 1 / 6:
            self._edits.vandalise(page)
        else:
            self._edits.good(page)


def _link(page: Page) -> dict[str, Any]:
    """Where a redirect leads."""
    return {
        "page_title": page.key, "namespace_id": page.namespace, "page_id": page.page_id, "is_redirect": False,
    }  # fmt: skip
