"""Wikis, pages, revisions and editors of the simulated world, and what the action API says of a revision.

Source: MediaWiki 1.43, action=query&prop=revisions, formatversion=2.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from processors.digest import base36
from schemas.event import rfc3339
from streams.prose import Language, Text, joined
from streams.wiki_names import Name

# The characters that MediaWiki leaves as they are in a page's address.
IN_ADDRESS = ";@$!*(),/~:"
VISIBLE = {"text": True, "user": True, "comment": True}
# Revisions that a wiki knows of a page at least; more of the last ten minutes. That bounds the memory of a long run.
KEPT_REVISIONS, KEPT_MS = 24, 600_000
KEPT_RECENT_CHANGES = 2000
WIKITEXT = ("wikitext", "text/x-wiki")
ITEM = ("wikibase-item", "application/json")


# These three have an identity: two pages of the same fields are two pages.
@dataclass(slots=True, kw_only=True, eq=False)
class Editor:
    """user_id 0 = an IP address."""

    name: str
    user_id: int
    groups: tuple[str, ...]
    registered: str
    edit_count: int
    is_bot: bool = False
    is_temp: bool = False

    @property
    def is_anonymous(self) -> bool:
        return self.is_temp or not self.user_id

    def snapshot(self) -> dict[str, Any]:
        """As page_change writes a user at this moment."""
        doc: dict[str, Any] = {
            "user_text": self.name,
            "groups": list(self.groups),
            "is_bot": self.is_bot,
            "is_system": False,
            "is_temp": self.is_temp,
        }
        if self.user_id:
            doc["user_id"] = self.user_id
            doc["registration_dt"] = self.registered
            doc["edit_count"] = self.edit_count
        return doc


@dataclass(slots=True, kw_only=True, eq=False)
class Wiki:
    """editors: sysop, two rollbackers, two regulars, a newcomer, two bots. revisions: all that the API can answer."""

    name: str
    domain: str
    language: Language
    rev_id: int
    page_id: int
    has_patrol: bool
    is_flagged: bool
    has_risk: bool
    bot_share: float
    rc_id: int = 1000
    titles: int = 0
    pages: list[Page] = field(default_factory=list)
    editors: list[Editor] = field(default_factory=list)
    revisions: dict[int, Revision] = field(default_factory=dict)
    recent: deque[Recent] = field(default_factory=lambda: deque(maxlen=KEPT_RECENT_CHANGES))

    @property
    def model(self) -> tuple[str, str]:
        return ITEM if self.name == "wikidatawiki" else WIKITEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """A row of the recent changes. log: (type, action, parameters), None for an edit."""

    rc_id: int
    at_ms: int
    title: str
    namespace: int
    comment: str
    user: str
    revision: Revision | None
    log: tuple[str, str, Any] | None


@dataclass(slots=True, kw_only=True, eq=False)
class Page:
    """title: with its prefix; spaces here and underscores in events. open: the first revision of a row of vandalism, or
    the edit that its author is about to take back, as long as its undoing is to come. is_redacted: the streams name
    nobody who edits it."""

    wiki: Wiki
    page_id: int
    title: str
    namespace: int = 0
    revisions: list[Revision] = field(default_factory=list)
    revision_count: int = 0
    is_redirect: bool = False
    is_deleted: bool = False
    is_redacted: bool = False
    is_busy: bool = False
    open: Revision | None = None
    announced_ms: int = 0

    @property
    def tip(self) -> Revision:
        return self.revisions[-1]

    @property
    def key(self) -> str:
        return self.title.replace(" ", "_")

    @property
    def uri(self) -> str:
        return address(self.wiki, self.title)

    def doc(self) -> dict[str, Any]:
        return {
            "page_id": self.page_id,
            "page_title": self.key,
            "namespace_id": self.namespace,
            "namespace_is_content": self.namespace == 0,
            "is_redirect": self.is_redirect,
        }

    def remember(self, revision: Revision) -> None:
        self.revisions.append(revision)
        self.revision_count += 1
        self.wiki.revisions[revision.rev_id] = revision
        first_kept = self.revisions[min(KEPT_REVISIONS // 4, len(self.revisions) - 1)]
        if len(self.revisions) > KEPT_REVISIONS and first_kept.at_ms < revision.at_ms - KEPT_MS:
            for old in self.revisions[: KEPT_REVISIONS // 4]:
                self.wiki.revisions.pop(old.rev_id, None)
            del self.revisions[: KEPT_REVISIONS // 4]
            # What only the forgotten ones held on to is freed.
            self.revisions[0].parent = None


class Revision:
    """One revision. Its hashes and size are made once; `doc` until its visibility changes."""

    __slots__ = (
        "_doc", "at_ms", "comment", "digest", "editor", "is_minor", "is_suppressed", "model", "origin_rev_id", "page",
        "parent", "parent_id", "rev_id", "revert", "sha1", "size_bytes", "tags", "text", "user", "visible",
    )  # fmt: skip

    def __init__(
        self,
        page: Page,
        rev_id: int,
        parent: Revision | None,
        at_ms: int,
        text: Text,
        comment: str,
        editor: dict[str, Any],
        *,
        is_minor: bool = False,
    ) -> None:
        self.page = page
        self.rev_id = rev_id
        self.parent = parent
        self.parent_id = 0 if parent is None else parent.rev_id
        self.at_ms = at_ms
        self.text = text
        self.comment = comment
        self.editor = editor
        self.user: str = editor["user_text"]
        self.is_minor = is_minor
        self.is_suppressed = False
        self.origin_rev_id = rev_id
        self.revert: dict[str, Any] | None = None
        self.tags: list[str] = []
        self.visible = VISIBLE
        self.model = page.wiki.model if page.namespace == 0 else WIKITEXT
        self._doc: dict[str, Any] | None = None
        data = joined(text).encode()
        self.digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        self.sha1 = base36(int(self.digest, 16))
        self.size_bytes = len(data)

    def forget_doc(self) -> None:
        """Most revisions are never written again once the next one has come."""
        self._doc = None

    def hide(self, what: dict[str, bool]) -> None:
        self.visible = self.visible | what
        self._doc = None

    def doc(self) -> dict[str, Any]:
        """`revision` of page_change. It is shared: whoever adds to it copies it first."""
        if self._doc is None:
            self._doc = self._written()
        return self._doc

    def _written(self) -> dict[str, Any]:
        visible = self.visible
        doc: dict[str, Any] = {
            "rev_id": self.rev_id,
            "rev_dt": seconds(self.at_ms),
            "rev_parent_id": self.parent_id,
            "is_minor_edit": self.is_minor,
            "rev_size": self.size_bytes,
        }
        if visible["text"]:
            doc["rev_sha1"] = self.sha1
        if visible["comment"]:
            doc["comment"] = self.comment
        if visible["user"] and not self.page.is_redacted:
            doc["editor"] = self.editor
        doc["is_content_visible"] = visible["text"]
        doc["is_editor_visible"] = visible["user"]
        doc["is_comment_visible"] = visible["comment"]
        slot = {"slot_role": "main", "content_model": self.model[0], "content_format": self.model[1]}
        if visible["text"]:
            slot["content_sha1"] = self.sha1
        doc["content_slots"] = {"main": {**slot, "content_size": self.size_bytes, "origin_rev_id": self.origin_rev_id}}
        return doc

    def answer(self) -> dict[str, Any] | None:
        """What the action API says about it now; None is `badrevids`."""
        if self.page.is_deleted:
            return None
        visible = self.visible
        summed: dict[str, Any] = {"sha1": self.digest} if visible["text"] else {"sha1hidden": True}
        main: dict[str, Any] = {"size": self.size_bytes, **summed, "contentmodel": self.model[0]}
        if visible["text"]:
            main |= {"contentformat": self.model[1], "content": joined(self.text)}
        else:
            main["texthidden"] = True
        return {
            "pageid": self.page.page_id,
            "ns": self.page.namespace,
            "title": self.page.title,
            "revision": {
                "revid": self.rev_id,
                "parentid": self.parent_id,
                "minor": self.is_minor,
                **self.author(),
                "timestamp": seconds(self.at_ms),
                "size": self.size_bytes,
                **summed,
                "roles": ["main"],
                "slots": {"main": main},
                **({"comment": self.comment} if visible["comment"] else {"commenthidden": True}),
                "tags": list(self.tags),
                **({"suppressed": True} if self.is_suppressed else {}),
            },
        }

    def author(self) -> dict[str, Any]:
        if not self.visible["user"]:
            return {"userhidden": True}
        temp = {"temp": True} if self.editor["is_temp"] else {}
        user_id = self.editor.get("user_id", 0)
        return {"user": self.user, **temp, **({} if user_id else {"anon": True}), "userid": user_id}


def made_wiki(name: Name, language: Language, rev_id: int, page_id: int) -> Wiki:
    return Wiki(
        name=name.wiki,
        domain=name.domain,
        language=language,
        rev_id=rev_id,
        page_id=page_id,
        has_patrol=name.has_patrol,
        is_flagged=name.is_flagged,
        # The language-agnostic score is made for every Wikipedia and no other project.
        has_risk=name.domain.endswith(".wikipedia.org"),
        bot_share=name.bot_share,
    )


def seconds(at_ms: int) -> str:
    """`2026-01-05T12:00:00Z`, in whole seconds."""
    return _second(at_ms // 1000) + "Z"


def stamp(at_ms: int) -> str:
    """`2026-01-05T12:00:00.123Z`: `rfc3339`, and quicker where many times are close to each other."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03}Z"


@lru_cache(maxsize=4096)
def _second(at_s: int) -> str:
    return rfc3339(at_s * 1000)[:19]


def address(wiki: Wiki, title: str) -> str:
    return _address(wiki.domain, title)


@lru_cache(maxsize=8192)
def _address(domain: str, title: str) -> str:
    return f"https://{domain}/wiki/{quote(title.replace(' ', '_'), safe=IN_ADDRESS)}"
