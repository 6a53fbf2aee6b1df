"""What the action API said about revisions, held against what the event announced. Pure.

Source: action=query&prop=revisions, formatversion=2, rvslots=*, of MediaWiki 1.43 and later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from processors.digest import sha1_base36, sha1_base36_from_hex
from schemas.content import Html, SlotText, Text
from schemas.event import PageChange
from schemas.json_text import as_text
from schemas.reasons import Answer

# $wgMaxArticleSize: the largest wikitext that MediaWiki saves. Other models can be larger (an entity: 3 MB).
MAX_TEXT_BYTES = 2 * 1024 * 1024

# Error codes that say "later", of us and not of what we asked for.
THROTTLING = frozenset({"maxlag", "ratelimited", "readonly"})

# What Parsoid says of the revision at the beginning of its HTML.
_ABOUT = re.compile(r'<html[^>]* about="[^"]*/revision/(\d+)"')
_HEX_SHA1 = re.compile(r"[0-9a-f]{40}", re.ASCII | re.IGNORECASE)


class NotAnAnswer(ValueError):
    """The body is not what the API answers: a page of a proxy, a piece of an answer, or nothing."""


class ApiError(ValueError):
    """The API answered with an error of its own. code: its word for it."""

    def __init__(self, code: str, info: str) -> None:
        super().__init__(f"{code}: {info}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A revision as the API gives it.

    text is absent if it is hidden or could not be loaded. sha1 is that of the main slot, base-36, 31 digits, absent
    where the API says none. roles: all slots of the revision. size_bytes: of the main slot. slots: the texts of those
    beside it; sha1s: what the API says of these, by role.
    """

    rev_id: int
    hidden: bool
    text: str | None
    sha1: str | None
    size_bytes: int
    model: str | None
    roles: tuple[str, ...]
    tags: tuple[str, ...]
    slots: tuple[SlotText, ...] = ()
    sha1s: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One answer. What is in neither was cut off, as it did not fit into the answer: ask again."""

    found: Mapping[int, Found]
    missing: frozenset[int]


def read_answers(body: bytes, asked: Iterable[int]) -> Answers:
    """Read the answer for the revisions `asked`; what was not asked for is left out.

    Raises `ApiError` and `NotAnAnswer`.
    """
    wanted = frozenset(asked)
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise NotAnAnswer(f"not JSON: {exc}") from exc
    try:
        if "error" in doc:
            raise ApiError(as_text(doc["error"]["code"]), as_text(doc["error"].get("info", "")))
        query = doc["query"]
        pages = [page for page in query.get("pages", ()) if "revisions" in page]
        found = [_found(revision) for page in pages for revision in page["revisions"]]
        missing = {int(rev_id) for rev_id in query.get("badrevids", ())}
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, ApiError):
            raise
        raise NotAnAnswer(f"no answer to a query for revisions: {exc!r:.200}") from exc
    return Answers(
        found={each.rev_id: each for each in found if each.rev_id in wanted},
        missing=frozenset(missing & wanted),
    )


def announced_sha1(event: PageChange) -> str | None:
    """The SHA-1 of the main slot's text, as far as the event tells it."""
    if event.main is not None and event.main.sha1:
        return event.main.sha1
    return event.rev_sha1 if not event.slots else None


def announced_parent_sha1(event: PageChange, found: Found) -> str | None:
    """The same of the parent; the event tells only the whole revision's, which is the text's if there is one slot."""
    if event.prior_rev_id == found.rev_id and found.roles == ("main",):
        return event.prior_rev_sha1
    return None


def announced_bytes(event: PageChange) -> int:
    """The size of the main slot's text, or of the revision; 0 if the event does not tell."""
    return event.main.size_bytes if event.main is not None else event.rev_size or 0


def announced_slots(event: PageChange) -> dict[str, str]:
    """Role → SHA-1 of each slot beside the main one, as the event tells it."""
    return {slot.role: slot.sha1 for slot in event.slots if slot.role != "main" and slot.sha1}


def judge(found: Found, announced: str | None, slots: Mapping[str, str] | None = None) -> Text:
    """What the API gave, as an answer.

    announced: the SHA-1 that the text must have beside the API's own, if known; slots: those of the other slots. A slot
    whose text is another makes it another revision.
    """

    def answer(kind: Answer, *, text: str | None = None, sha1: str | None = None) -> Text:
        others = found.slots if kind is Answer.TEXT else ()
        return Text(
            rev_id=found.rev_id, answer=kind, text=text, sha1=sha1, model=found.model, tags=found.tags, slots=others
        )

    if found.hidden:
        return answer(Answer.HIDDEN)
    if found.size_bytes > MAX_TEXT_BYTES:
        return answer(Answer.TOO_LARGE)
    if found.text is None:
        return answer(Answer.UNAVAILABLE)
    sha1 = sha1_base36(found.text)
    if {announced, found.sha1} - {None, sha1}:
        return answer(Answer.SHA1_MISMATCH, sha1=sha1)
    for slot in found.slots:
        if {(slots or {}).get(slot.role), found.sha1s.get(slot.role)} - {None, slot.sha1}:
            return answer(Answer.SHA1_MISMATCH, sha1=slot.sha1)
    if len(found.text) > MAX_TEXT_BYTES or len(found.text.encode()) > MAX_TEXT_BYTES:
        return answer(Answer.TOO_LARGE)
    return answer(Answer.TEXT, text=found.text, sha1=sha1)


def judge_page(body: bytes, rev_id: int) -> Html:
    """The HTML that came for a revision, as an answer."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Html(answer=Answer.UNAVAILABLE)
    said = _ABOUT.search(text, 0, 5_000)
    if said is not None and said[1] != str(rev_id):
        return Html(answer=Answer.SHA1_MISMATCH)
    return Html(answer=Answer.TEXT, text=text)


def _found(revision: Mapping[str, Any]) -> Found:
    slot = revision["slots"]["main"]
    text, sha1 = slot.get("content"), slot.get("sha1")
    if text is not None and not isinstance(text, str):
        raise TypeError("content is no text")
    if sha1 is not None and not _HEX_SHA1.fullmatch(sha1):
        raise ValueError("sha1 is none")
    others = {role: other for role, other in revision["slots"].items() if role != "main"}
    hidden = any(key in each for each in (revision, slot) for key in ("texthidden", "sha1hidden"))
    return Found(
        rev_id=int(revision["revid"]),
        hidden=hidden,
        text=None if hidden else text,
        sha1=None if sha1 is None else sha1_base36_from_hex(sha1),
        size_bytes=int(slot.get("size", 0)),
        model=None if slot.get("contentmodel") is None else as_text(slot["contentmodel"]),
        roles=tuple(sorted(as_text(role) for role in revision.get("roles", ()))),
        tags=tuple(sorted(as_text(tag) for tag in revision.get("tags", ()))),
        slots=tuple(
            SlotText(
                role=role, model=other.get("contentmodel"), sha1=sha1_base36(other["content"]), text=other["content"]
            )
            for role, other in sorted(others.items())
            if isinstance(other.get("content"), str)
        ),
        sha1s={role: sha1_base36_from_hex(other["sha1"]) for role, other in others.items() if other.get("sha1")},
    )
