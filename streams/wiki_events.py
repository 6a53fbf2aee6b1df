"""How the streams write what happens on a wiki: events without their `meta`, and canaries.

Source: mediawiki/page/change 1.12, recentchange 1.0, revision/tags-change and visibility-change 1.0 and
page/prediction_classification_change 1.3 of the Wikimedia Event Platform.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from processors.digest import sha1_base36
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE
from streams.wiki_pages import VISIBLE, Revision, Wiki, address, seconds, stamp

RISK = "mediawiki.page_revert_risk_prediction_change.v1"
# Stream → the schema of its events.
SCHEMAS = {
    PAGE_CHANGE: "/mediawiki/page/change/1.12.0",
    TAGS_CHANGE: "/mediawiki/revision/tags-change/1.0.0",
    VISIBILITY_CHANGE: "/mediawiki/revision/visibility-change/1.0.0",
    RECENT_CHANGE: "/mediawiki/recentchange/1.0.0",
    RISK: "/mediawiki/page/prediction_classification_change/1.3.0",
}
DATACENTRES = ("eqiad", "codfw")
TOPICS = tuple(f"{datacentre}.{stream}" for stream in SCHEMAS for datacentre in DATACENTRES)
# `is_content_visible` and so on → the name of the same thing in visibility-change.
SHOWN = {"content": "text", "editor": "user", "comment": "comment"}
# The bits of a hiding in its log entry.
BITS = {"text": 1, "comment": 2, "user": 4}


def page_change(
    kind: str, changelog: str, at_ms: int, revision: Revision, performer: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What only some kinds have is added by who makes it. performer: None = suppressed."""
    doc = revision.doc()
    if revision.revert is not None and kind == "edit":
        doc = doc | {"revert": revision.revert}
    page = revision.page
    return {
        "$schema": SCHEMAS[PAGE_CHANGE],
        "changelog_kind": changelog,
        "page_change_kind": kind,
        "dt": seconds(at_ms),
        "wiki_id": page.wiki.name,
        "page": page.doc(),
        **({} if performer is None or page.is_redacted else {"performer": performer}),
        "revision": doc,
    }


def suppressed(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The same page_change when everything about its revision is hidden even from the administrators."""
    gone = {"editor", "comment", "rev_size", "rev_sha1", "content_slots"}
    revision = {name: value for name, value in doc["revision"].items() if name not in gone}
    hidden = {f"is_{what}_visible": False for what in SHOWN}
    return {name: value for name, value in doc.items() if name != "performer"} | {"revision": revision | hidden}


def _of_revision(stream: str, revision: Revision) -> dict[str, Any]:
    page = revision.page
    parent = {"rev_parent_id": revision.parent_id} if revision.parent_id else {}
    spoken = {"comment": revision.comment, "parsedcomment": html.escape(revision.comment)}
    return {
        "$schema": SCHEMAS[stream],
        "database": page.wiki.name,
        "page_id": page.page_id,
        "page_title": page.key,
        "page_namespace": page.namespace,
        "rev_id": revision.rev_id,
        "rev_timestamp": seconds(revision.at_ms),
        "rev_sha1": revision.sha1,
        "rev_minor_edit": revision.is_minor,
        "rev_len": revision.size_bytes,
        "rev_content_model": revision.model[0],
        "rev_content_format": revision.model[1],
        "page_is_redirect": page.is_redirect,
        **parent,
        **(spoken if revision.visible["comment"] else {}),
    }


def tags_change(revision: Revision, tags: Sequence[str], before: Sequence[str]) -> dict[str, Any]:
    doc = _of_revision(TAGS_CHANGE, revision)
    return doc | {"tags": list(tags), "prior_state": {"tags": list(before)}}


def visibility_change(
    revision: Revision, before: Mapping[str, bool], performer: Mapping[str, Any] | None
) -> dict[str, Any]:
    doc = _of_revision(VISIBILITY_CHANGE, revision)
    if performer is not None:
        doc["performer"] = {
            "user_text": performer["user_text"],
            "user_groups": performer["groups"],
            "user_is_bot": performer["is_bot"],
            "user_id": performer["user_id"],
            "user_registration_dt": performer["registration_dt"],
            "user_edit_count": performer["edit_count"],
        }
    return doc | {"visibility": dict(revision.visible), "prior_state": {"visibility": dict(before)}}


def risk(kind: str, revision: Revision, probability: float) -> dict[str, Any]:
    page = revision.page
    return {
        "$schema": SCHEMAS[RISK],
        "page_change_kind": kind,
        "dt": seconds(revision.at_ms),
        "wiki_id": page.wiki.name,
        "page": {"page_id": page.page_id, "page_title": page.key, "namespace_id": page.namespace},
        "revision": {"rev_id": revision.rev_id, "rev_dt": seconds(revision.at_ms)},
        "predicted_classification": {
            "model_name": "revertrisk-language-agnostic",
            "model_version": "3",
            "predictions": ["true" if probability > 0.5 else "false"],
            "probabilities": {"true": probability, "false": 1 - probability},
        },
    }


def recent_change(
    wiki: Wiki, kind: str, at_ms: int, title: str, namespace: int, user: str | None, comment: str
) -> dict[str, Any]:
    """What every recentchange has; edits and log entries add their own. user: None = redacted."""
    return {
        "$schema": SCHEMAS[RECENT_CHANGE],
        "type": kind,
        "namespace": namespace,
        "title": title,
        "title_url": address(wiki, title),
        "comment": comment,
        "parsedcomment": html.escape(comment),
        "timestamp": at_ms // 1000,
        **({} if user is None else {"user": user}),
        "bot": False,
        "server_url": f"https://{wiki.domain}",
        "server_name": wiki.domain,
        "server_script_path": "/w",
        "wiki": wiki.name,
    }


def recent_edit(revision: Revision, rc_id: int) -> dict[str, Any]:
    page, parent = revision.page, revision.parent
    user = None if page.is_redacted else revision.user
    kind = "edit" if revision.parent_id else "new"
    doc = recent_change(page.wiki, kind, revision.at_ms, page.title, page.namespace, user, revision.comment)
    old = {} if parent is None else {"old": parent.size_bytes}
    before = {"old": revision.parent_id} if revision.parent_id else {}
    from_to = f"diff={revision.rev_id}&oldid={revision.parent_id}" if before else f"oldid={revision.rev_id}"
    # New pages can be patrolled on every wiki.
    if page.wiki.has_patrol or not before:
        doc["patrolled"] = bool({"autoreviewer", "bot", "sysop"} & set(revision.editor["groups"]))
    return doc | {
        "id": rc_id,
        "bot": revision.editor["is_bot"],
        "minor": revision.is_minor,
        "notify_url": f"https://{page.wiki.domain}/w/index.php?{from_to}&rcid={rc_id}",
        "length": {**old, "new": revision.size_bytes},
        "revision": {**before, "new": revision.rev_id},
    }


def categorize(revision: Revision, rc_id: int, category: str) -> dict[str, Any]:
    """A page was put into a category: it names the category, and the edit only in a URL."""
    wiki = revision.page.wiki
    comment = f"[[:{revision.page.title}]]"
    user = None if revision.page.is_redacted else revision.user
    doc = recent_change(wiki, "categorize", revision.at_ms, category, 14, user, comment)
    from_to = f"diff={revision.rev_id}&oldid={revision.parent_id}&rcid={rc_id}"
    url = f"https://{wiki.domain}/w/index.php?{from_to}"
    return doc | {"id": rc_id, "bot": revision.editor["is_bot"], "notify_url": url}


def canary(topic: str, at_ms: int) -> dict[str, Any]:
    """A sign of life of one topic, `meta` included; its id follows from topic and time. It is of no wiki, and nothing
    in it means anything."""
    stream = topic.partition(".")[2]
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{topic} {at_ms}")
    meta = {"stream": stream, "domain": "canary", "id": str(name), "dt": stamp(at_ms)}
    return {"$schema": SCHEMAS[stream], **_example(stream), "meta": meta}


def _example(stream: str) -> dict[str, Any]:
    sha1 = sha1_base36("canary")
    page = {"page_id": 1, "page_title": "TestPage10", "namespace_id": 0, "is_redirect": False}
    at = "2016-01-29T21:13:24Z"
    if stream == PAGE_CHANGE:
        revision = {"rev_id": 2, "rev_parent_id": 1, "rev_dt": at, "rev_size": 2, "rev_sha1": sha1}
        doc = {"changelog_kind": "update", "page_change_kind": "edit", "dt": at}
        return {**doc, "wiki_id": "canarywiki", "page": page, "revision": revision}
    if stream == RECENT_CHANGE:
        doc = {"type": "edit", "title": "TestPage10", "user": "Canary User", "wiki": "canarywiki"}
        return {**doc, "revision": {"old": 1, "new": 2}}
    if stream == RISK:
        doc = {"page_change_kind": "edit", "dt": at, "wiki_id": "canarywiki"}
        scored = {"model_name": "canary", "model_version": "1", "predictions": [], "probabilities": {"true": 0.5}}
        return {**doc, "page": page, "revision": {"rev_id": 2, "rev_dt": at}, "predicted_classification": scored}
    subject = {"database": "canarywiki", "page_id": 1, "page_title": "TestPage10", "rev_id": 2, "rev_sha1": sha1}
    if stream == TAGS_CHANGE:
        return {**subject, "tags": ["canary"], "prior_state": {"tags": []}}
    hidden = VISIBLE | {"text": False}
    return {**subject, "visibility": hidden, "prior_state": {"visibility": VISIBLE}}
