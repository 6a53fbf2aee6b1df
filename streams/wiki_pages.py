"""Pages, revisions and editors of the generated world, and how events and the action API write them.

Source: mediawiki/page/change 1.12, recentchange 1.0, revision/tags-change and visibility-change 1.0 of the Wikimedia
Event Platform; MediaWiki 1.43, action=query&prop=revisions and meta=siteinfo, formatversion=2.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from processors.digest import sha1_base36
from schemas.event import rfc3339
from streams.prose import Language

# The characters that MediaWiki leaves as they are in a page's address.
IN_ADDRESS = ";@$!*(),/~:"
VISIBLE = {"text": True, "user": True, "comment": True}
# The bits of a hiding in its log entry.
BITS = {"text": 1, "comment": 2, "user": 4}


@dataclass(slots=True, kw_only=True)
class Editor:
    name: str
    user_id: int
    groups: tuple[str, ...]
    registered_ms: int
    edit_count: int
    is_bot: bool = False
    is_temp: bool = False

    def snapshot(self) -> dict[str, Any]:
        """As page_change writes a user at this moment."""
        return {
            "user_text": self.name,
            "groups": list(self.groups),
            "is_bot": self.is_bot,
            "is_system": False,
            "is_temp": self.is_temp,
            "user_id": self.user_id,
            "registration_dt": seconds(self.registered_ms),
            "edit_count": self.edit_count,
        }


@dataclass(slots=True, kw_only=True)
class Wiki:
    name: str
    domain: str
    language: Language
    rev_id: int
    page_id: int
    has_patrol: bool
    has_revert: bool
    rc_id: int = 1000
    pages: list[Page] = field(default_factory=list)
    editors: list[Editor] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Page:
    """open: the revision whose undoing is still to come. titles have spaces here and underscores in events."""

    wiki: Wiki
    page_id: int
    title: str
    revisions: list[Revision] = field(default_factory=list)
    is_redirect: bool = False
    is_deleted: bool = False
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
            "namespace_id": 0,
            "namespace_is_content": True,
            "is_redirect": self.is_redirect,
        }


@dataclass(slots=True, kw_only=True)
class Revision:
    """kind, how, undone_ms and undone_by are the truth about it."""

    page: Page
    rev_id: int
    parent: Revision | None
    at_ms: int
    text: str
    comment: str
    editor: dict[str, Any]
    kind: str
    is_minor: bool = False
    origin_rev_id: int = 0
    revert: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list)
    visible: dict[str, bool] = field(default_factory=lambda: dict(VISIBLE))
    how: str | None = None
    undone_ms: int | None = None
    undone_by: int | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.text.encode())

    def doc(self) -> dict[str, Any]:
        """`revision` of page_change."""
        sha1, size = sha1_base36(self.text), self.size_bytes
        doc: dict[str, Any] = {"rev_id": self.rev_id, "rev_dt": seconds(self.at_ms), "is_minor_edit": self.is_minor}
        if self.parent is not None:
            doc["rev_parent_id"] = self.parent.rev_id
        doc |= {"rev_size": size}
        if self.visible["text"]:
            doc["rev_sha1"] = sha1
        if self.visible["comment"]:
            doc["comment"] = self.comment
        if self.visible["user"]:
            doc["editor"] = self.editor
        doc |= {f"is_{what}_visible": self.visible[name] for what, name in SHOWN.items()}
        slot = {"slot_role": "main", "content_model": "wikitext", "content_format": "text/x-wiki"}
        if self.visible["text"]:
            slot["content_sha1"] = sha1
        origin = self.origin_rev_id or self.rev_id
        return doc | {"content_slots": {"main": {**slot, "content_size": size, "origin_rev_id": origin}}}

    def answer(self) -> dict[str, Any] | None:
        """What the action API says about it now; None is `badrevids`."""
        if self.page.is_deleted:
            return None
        sha1 = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        summed = {"sha1": sha1} if self.visible["text"] else {"sha1hidden": True}
        main: dict[str, Any] = {"size": self.size_bytes, **summed, "contentmodel": "wikitext"}
        if self.visible["text"]:
            main |= {"contentformat": "text/x-wiki", "content": self.text}
        else:
            main["texthidden"] = True
        user: dict[str, Any] = {"userhidden": True}
        if self.visible["user"]:
            temp = {"temp": True} if self.editor["is_temp"] else {}
            user = {"user": self.editor["user_text"], **temp, "userid": self.editor["user_id"]}
        return {
            "pageid": self.page.page_id,
            "ns": 0,
            "title": self.page.title,
            "revision": {
                "revid": self.rev_id,
                "parentid": self.parent.rev_id if self.parent is not None else 0,
                "minor": self.is_minor,
                **user,
                "timestamp": seconds(self.at_ms),
                "size": self.size_bytes,
                **summed,
                "roles": ["main"],
                "slots": {"main": main},
                **({"comment": self.comment} if self.visible["comment"] else {"commenthidden": True}),
                "tags": list(self.tags),
            },
        }


# `is_content_visible` and so on → the name of the same thing in visibility-change.
SHOWN = {"content": "text", "editor": "user", "comment": "comment"}


def seconds(at_ms: int) -> str:
    """`2026-01-05T12:00:00Z`, in whole seconds."""
    return rfc3339(at_ms - at_ms % 1000).replace(".000Z", "Z")


def address(wiki: Wiki, title: str) -> str:
    return f"https://{wiki.domain}/wiki/{quote(title.replace(' ', '_'), safe=IN_ADDRESS)}"


def page_change(
    kind: str, changelog: str, at_ms: int, revision: Revision, performer: Mapping[str, Any]
) -> dict[str, Any]:
    """An event without `meta`; what only some kinds have is added by who makes it."""
    doc = revision.doc()
    if revision.revert is not None and kind == "edit":
        doc["revert"] = revision.revert
    return {
        "$schema": "/mediawiki/page/change/1.12.0",
        "changelog_kind": changelog,
        "page_change_kind": kind,
        "dt": seconds(at_ms),
        "wiki_id": revision.page.wiki.name,
        "page": revision.page.doc(),
        "performer": dict(performer),
        "revision": doc,
    }


def _of_revision(stream: str, revision: Revision) -> dict[str, Any]:
    page = revision.page
    parent = {} if revision.parent is None else {"rev_parent_id": revision.parent.rev_id}
    return {
        "$schema": f"/mediawiki/revision/{stream}/1.0.0",
        "database": page.wiki.name,
        "page_id": page.page_id,
        "page_title": page.key,
        "page_namespace": 0,
        "rev_id": revision.rev_id,
        "rev_timestamp": seconds(revision.at_ms),
        "rev_sha1": sha1_base36(revision.text),
        "rev_minor_edit": revision.is_minor,
        "rev_len": revision.size_bytes,
        "rev_content_model": "wikitext",
        "rev_content_format": "text/x-wiki",
        "page_is_redirect": page.is_redirect,
        **parent,
    }


def tags_change(revision: Revision, tags: list[str], before: list[str]) -> dict[str, Any]:
    spoken = {"comment": revision.comment, "parsedcomment": html.escape(revision.comment)}
    shown = spoken if revision.visible["comment"] else {}
    doc = _of_revision("tags-change", revision) | shown
    return doc | {"tags": list(tags), "prior_state": {"tags": list(before)}}


def visibility_change(revision: Revision, before: Mapping[str, bool], performer: Mapping[str, Any]) -> dict[str, Any]:
    who = {
        "user_text": performer["user_text"],
        "user_groups": performer["groups"],
        "user_is_bot": performer["is_bot"],
        "user_id": performer["user_id"],
        "user_registration_dt": performer["registration_dt"],
        "user_edit_count": performer["edit_count"],
    }
    doc = _of_revision("visibility-change", revision) | {"performer": who}
    return doc | {"visibility": dict(revision.visible), "prior_state": {"visibility": dict(before)}}


def recent_change(
    wiki: Wiki, kind: str, at_ms: int, title: str, namespace: int, user: str, comment: str
) -> dict[str, Any]:
    """What every recentchange has; edits and log entries add their own."""
    return {
        "$schema": "/mediawiki/recentchange/1.0.0",
        "type": kind,
        "namespace": namespace,
        "title": title,
        "title_url": address(wiki, title),
        "comment": comment,
        "parsedcomment": html.escape(comment),
        "timestamp": at_ms // 1000,
        "user": user,
        "bot": False,
        "server_url": f"https://{wiki.domain}",
        "server_name": wiki.domain,
        "server_script_path": "/w",
        "wiki": wiki.name,
    }


def recent_edit(revision: Revision, rc_id: int) -> dict[str, Any]:
    page, parent = revision.page, revision.parent
    user = revision.editor["user_text"]
    kind = "edit" if parent is not None else "new"
    doc = recent_change(page.wiki, kind, revision.at_ms, page.title, 0, user, revision.comment)
    old = {} if parent is None else {"old": parent.size_bytes}
    before = {} if parent is None else {"old": parent.rev_id}
    from_to = f"oldid={revision.rev_id}" if parent is None else f"diff={revision.rev_id}&oldid={parent.rev_id}"
    if page.wiki.has_patrol:
        doc["patrolled"] = "autoreviewer" in revision.editor["groups"]
    return doc | {
        "id": rc_id,
        "bot": revision.editor["is_bot"],
        "minor": revision.is_minor,
        "notify_url": f"https://{page.wiki.domain}/w/index.php?{from_to}&rcid={rc_id}",
        "length": {**old, "new": revision.size_bytes},
        "revision": {**before, "new": revision.rev_id},
    }


def canary(stream: str, schema: str) -> dict[str, Any]:
    """A sign of life without its `meta`: of no wiki, and nothing in it means anything."""
    sha1 = sha1_base36("canary")
    if stream == "mediawiki.page_change.v1":
        page = {"page_id": 1, "page_title": "TestPage10", "namespace_id": 0, "is_redirect": False}
        revision = {"rev_id": 2, "rev_parent_id": 1, "rev_dt": "2016-01-29T21:13:24Z", "rev_size": 2, "rev_sha1": sha1}
        doc = {"changelog_kind": "update", "page_change_kind": "edit", "dt": "2016-01-29T21:13:24Z"}
        return {"$schema": schema, **doc, "wiki_id": "canarywiki", "page": page, "revision": revision}
    if stream == "mediawiki.recentchange":
        doc = {"type": "edit", "title": "TestPage10", "user": "Canary User", "wiki": "canarywiki"}
        return {"$schema": schema, **doc, "revision": {"old": 1, "new": 2}}
    subject = {"database": "canarywiki", "page_id": 1, "page_title": "TestPage10", "rev_id": 2, "rev_sha1": sha1}
    if stream == "mediawiki.revision-tags-change":
        return {"$schema": schema, **subject, "tags": ["canary"], "prior_state": {"tags": []}}
    hidden = VISIBLE | {"text": False}
    return {"$schema": schema, **subject, "visibility": hidden, "prior_state": {"visibility": VISIBLE}}


def siteinfo(wiki: Wiki) -> dict[str, Any]:
    """The `query` object of `meta=siteinfo&siprop=general|namespaces|namespacealiases|rightsinfo`."""
    english = {1: "Talk", 2: "User", 3: "User talk", 4: "Project", 6: "File", 10: "Template", 14: "Category"}
    local = wiki.language.namespaces
    spaces: dict[str, Any] = {"0": {"id": 0, "case": "first-letter", "name": "", "content": True}}
    for number, name in english.items():
        space = {"id": number, "case": "first-letter", "name": local[number], "canonical": name, "content": False}
        spaces[str(number)] = space
    licence = "https://creativecommons.org/licenses/by-sa/4.0/"
    return {
        "general": {
            "sitename": "Wikipedia",
            "generator": "MediaWiki 1.43.0",
            "case": "first-letter",
            "lang": wiki.language.code,
            "server": f"https://{wiki.domain}",
            "servername": wiki.domain,
            "wikiid": wiki.name,
            "articlepath": "/wiki/$1",
            "scriptpath": "/w",
        },
        "namespaces": spaces,
        "namespacealiases": [],
        "rightsinfo": {"url": licence, "text": "Creative Commons Attribution-Share Alike 4.0"},
    }
