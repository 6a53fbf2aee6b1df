"""What partners read, held against the decisions and the ledger: once, in order, the right text, the right rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from processors.oracle_decisions import EditKey, Made
from processors.oracle_facts import Check, Disagreement, Finding, Line, PageKey, Record
from processors.oracle_ledger import Ledger
from schemas.event import PageChange
from schemas.reasons import Bar, State

BY_SA = "CC-BY-SA-4.0"
# What differs from CC BY-SA 4.0: by the project's domain and, on Wikidata, the namespace of its data.
WIKIDATA_CC0 = frozenset({0, 120, 146})


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of an edits topic: a release or a retraction. doc: None for a tombstone."""

    record: Record
    policy: str
    key: EditKey
    action: str
    doc: Mapping[str, Any] | None


def sent_of(line: Line) -> tuple[list[Sent], list[Disagreement]]:
    """Every record of the edits topics, and those that nobody can read."""
    sent, unread = [], []
    for policy, records in line.edits.items():
        for record in records:
            try:
                wiki, page_id, rev_id, epoch, action = record.key.decode().rsplit(":", 4)
                doc = None if record.value is None else orjson.loads(record.value)
                sent.append(Sent(record, policy, (policy, wiki, int(page_id), int(rev_id), int(epoch)), action, doc))
            except (ValueError, orjson.JSONDecodeError) as exc:
                unread.append(_ghost(f"a record that is none: {exc!r:.60}", record.place, "wiki:page:rev:epoch:action"))
    return sent, unread


def _ghost(
    what: str, place: str, expected: str, page: PageKey | None = None, rev_id: int | None = None
) -> Disagreement:
    return Disagreement(
        check=Check.GHOSTS, what=what, expected=expected, came="this", place=place, page=page, rev_id=rev_id
    )


def _about(check: Check, each: Sent, what: str, expected: str, came: str) -> Disagreement:
    policy, wiki, page_id, rev_id, epoch = each.key
    of = f"{each.action} of {wiki} revision {rev_id}" + (f" (epoch {epoch})" if epoch else "")
    return Disagreement(
        check=check,
        what=f"{of} under {policy!r}: {what}",
        expected=expected,
        came=came,
        place=each.record.place,
        page=(wiki, page_id),
        rev_id=rev_id,
    )


def check_once(sent: Sequence[Sent]) -> Finding:
    """C2 for partners: no record id and no key twice on a topic; a tombstone erases what came before it."""
    wrong = []
    seen: dict[tuple[str, str], Sent] = {}
    for each in sent:
        if each.doc is None:
            continue
        firsts = [seen.setdefault((each.policy, name), each) for name in (each.record.key.decode(), _id(each.doc))]
        twice = [first for first in firsts if first is not each]
        if twice:
            wrong.append(_about(Check.DUPLICATES, each, "a partner got it twice", "once", twice[0].record.place))
    return Finding(check=Check.DUPLICATES, looked_at=len(sent), disagreements=tuple(wrong))


def _id(doc: Mapping[str, Any]) -> str:
    return str((doc.get("meta") or {}).get("id"))


def check_repeats(ledger: Ledger, line: Line) -> Finding:
    """C2 within: a key comes again only with the same bytes, or because the API's answer or the event is another."""
    wrong = []
    records = [*line.content, *line.enriched, *line.decisions]
    first: dict[tuple[str, int, bytes, str], tuple[Record, Any]] = {}
    for record in records:
        if record.value is None:
            continue
        doc = _without_tags(orjson.loads(record.value))
        event_id = _event_id(doc)
        before = first.setdefault((record.topic, record.partition, record.key, event_id), (record, doc))
        if before[0] is record:
            continue
        is_decision = "decisions" in doc
        if is_decision or (before[1] != doc and not _answers_changed(ledger, doc)):
            wiki, page_id = _page_in(record.key)
            wrong.append(
                Disagreement(
                    check=Check.DUPLICATES,
                    what=f"key {record.key.decode()} comes again" + ("" if is_decision else " with other bytes"),
                    expected="once" if is_decision else "the same bytes",
                    came=f"{before[0].place} and {record.place}",
                    place=record.place,
                    page=(wiki, page_id),
                )
            )
    return Finding(check=Check.DUPLICATES, looked_at=len(records), disagreements=tuple(wrong))


def _without_tags(doc: dict[str, Any]) -> dict[str, Any]:
    """The API's tags grow with time, and the ledger does not say when."""
    for name in ("change", "revision", "parent"):
        if isinstance(doc.get(name), dict):
            doc[name].pop("tags", None)
    return doc


def _event_id(doc: Mapping[str, Any]) -> str:
    if "event" in doc:
        return str(doc["event"]["meta"]["id"])
    return str((doc.get("change") or {}).get("event_id", ""))


def _answers_changed(ledger: Ledger, doc: Mapping[str, Any]) -> bool:
    if "change" in doc:
        domain, parent = doc["change"]["domain"], doc["change"]["revision"]["parent_id"]
    else:
        domain, parent = doc["event"]["meta"]["domain"], doc["event"]["revision"].get("rev_parent_id")
    return any(
        len({(a.answer, a.sha256) for a in ledger.answers.get((domain, rev_id), ())}) > 1
        for rev_id in (doc["rev_id"], parent)
    )


def _page_in(key: bytes) -> PageKey:
    wiki, page_id = key.decode().split(":")[:2]
    return wiki, int(page_id)


def check_ghosts(ledger: Ledger, line: Line, sent: Sequence[Sent]) -> Finding:
    """C5: what is out names an event of the ledger, with the same page and revision."""
    wrong = []
    records = [*line.content, *line.enriched, *line.decisions, *(each.record for each in sent if each.doc)]
    for record in records:
        if record.value is None:
            continue
        doc = orjson.loads(record.value)
        for wiki, page_id, rev_id, event_id in _named(record.key, doc):
            offered = ledger.by_id.get(event_id) if event_id else None
            event = None if offered is None else offered.event
            right = isinstance(event, PageChange) and (event.wiki, event.page_id, event.rev_id) == (
                wiki,
                page_id,
                rev_id,
            )
            if not right and event_id is not None:
                what = f"{wiki} page {page_id} revision {rev_id}: event {event_id} never said so"
                wrong.append(_ghost(what, record.place, "an event of the ledger", (wiki, page_id), rev_id))
    for record in line.source:
        if record.headers.get("kind") == b"event":
            event_id = record.key.split(b":", 3)[-1].decode()
            offered = ledger.by_id.get(event_id)
            if offered is None:
                wrong.append(_ghost(f"event {event_id} was never offered", record.place, "an event of the ledger"))
            elif record.value is None or not _as_served(ledger, event_id, orjson.loads(record.value)):
                wrong.append(_ghost(f"event {event_id} is not as it was served", record.place, "its bytes unchanged"))
    return Finding(check=Check.GHOSTS, looked_at=len(records) + len(line.source), disagreements=tuple(wrong))


def _as_served(ledger: Ledger, event_id: str, doc: Any) -> bool:
    return any(doc == copy.doc for copy in ledger.copies[event_id])


def _named(key: bytes, doc: Mapping[str, Any]) -> Iterator[tuple[str, int, int, str | None]]:
    """(wiki, page, revision, event id) of everything a record speaks of; a retraction names no event."""
    if "decisions" in doc:
        for d in doc["decisions"]:
            yield d["wiki"], d["page_id"], d["rev_id"], d["event_id"]
    elif "event" in doc:
        yield doc["wiki"], doc["page_id"], doc["rev_id"], doc["event"]["meta"]["id"]
    else:
        wiki, page_id, rev_id = key.decode().split(":")[:3]
        yield wiki, int(page_id), int(rev_id), (doc.get("change") or {}).get("event_id")


def check_order(sent: Sequence[Sent], made: Mapping[EditKey, Sequence[Made]]) -> Finding:
    """C3 for partners: per page, revisions never go back, and a retraction follows its release."""
    wrong = []
    last: dict[tuple[str, PageKey], Sent] = {}
    released: set[EditKey] = set()
    for each in sorted(sent, key=lambda s: (s.record.topic, s.record.partition, s.record.offset)):
        if each.doc is None:
            continue
        policy, wiki, page_id, rev_id, epoch = each.key
        if each.action == "retract":
            suppressed = any(m.decision.reason is Bar.SUPPRESSED for m in made.get(each.key, ()))
            if each.key not in released and not suppressed:
                wrong.append(_about(Check.ORDER, each, "no release came before it", "a release first", "a retraction"))
            continue
        released.add(each.key)
        before = last.get((policy, (wiki, page_id)))
        if before is not None and (before.key[3], before.key[4]) > (rev_id, epoch):
            what = f"it came after revision {before.key[3]} of the same page"
            wrong.append(_about(Check.ORDER, each, what, f"before {before.record.place}", each.record.place))
        last[policy, (wiki, page_id)] = each
    return Finding(check=Check.ORDER, looked_at=len(sent), disagreements=tuple(wrong))


def check_integrity(ledger: Ledger, sent: Sequence[Sent], pages: Sequence[Sent]) -> Finding:
    """C4: the text that was served and announced, the edit that was decided, licence and attribution of its project."""
    wrong = []
    releases = [each for each in (*sent, *pages) if each.doc is not None and each.action == "release"]
    for each in releases:
        offered = ledger.by_id.get(str(_at(each.doc, "change", "event_id")))
        event = None if offered is None else offered.event
        if isinstance(event, PageChange):
            problems = [
                *_edit_problems(each, event),
                *_text_problems(ledger, each, event),
                *_rights_problems(each, event),
            ]
            wrong += [_about(Check.INTEGRITY, each, *problem) for problem in problems]
    return Finding(check=Check.INTEGRITY, looked_at=len(releases), disagreements=tuple(wrong))


def _at(doc: Any, *names: str) -> Any:
    for name in names:
        doc = doc.get(name) if isinstance(doc, dict) else None
    return doc


Problem = tuple[str, str, str]


def _edit_problems(each: Sent, event: PageChange) -> Iterator[Problem]:
    expected = {
        ("change", "revision", "id"): each.key[3],
        ("change", "page", "id"): each.key[2],
        ("change", "page", "title"): event.title.replace("_", " "),
        ("change", "domain"): event.meta.domain,
        ("change", "revision", "sha1"): event.rev_sha1,
        ("integrity", "policy"): each.policy,
        ("integrity", "epoch"): each.key[4],
        ("integrity", "state"): State.RELEASED.value,
    }
    for names, value in expected.items():
        if _at(each.doc, *names) != value:
            yield f"{'.'.join(names)} is not the edit's", repr(value), repr(_at(each.doc, *names))
    stream = _at(each.doc, "meta", "stream")
    if stream != each.record.topic:
        yield "meta.stream is not its topic", each.record.topic, repr(stream)


def _text_problems(ledger: Ledger, each: Sent, event: PageChange) -> Iterator[Problem]:
    sha1, sha256 = _at(each.doc, "provenance", "text_sha1"), _at(each.doc, "provenance", "text_sha256")
    answers = ledger.answers.get((event.meta.domain, event.rev_id), ())
    main = next((slot.sha1 for slot in event.slots if slot.role == "main"), None)
    announced = main or (event.rev_sha1 if not event.slots else None)
    if sha256 is not None:
        served = [a.sha256 for a in answers if a.answer == "text"]
        if sha256 not in served:
            yield "its text is none that the API served for it", " or ".join(map(str, served)) or "no text", sha256
        if announced and sha1 != announced:
            yield "its text is not what the event announced", announced, str(sha1)
        return
    absent = _at(each.doc, "content_absent")
    reasons = {"hidden": "hidden", "missing": "missing", "sha1_mismatch": "wrong_text"}
    if absent is None:
        yield "it has neither text nor a reason why not", "one of both", "neither"
    elif absent in reasons and reasons[absent] not in {a.answer for a in answers}:
        yield f"it says that its text is {absent}", " or ".join(a.answer for a in answers) or "an answer", absent


def _rights_problems(each: Sent, event: PageChange) -> Iterator[Problem]:
    rights = _at(each.doc, "rights") or {}
    licence = licence_of(event.meta.domain, event.namespace)
    if rights.get("licence") != licence:
        yield "the licence is not that of its project", licence, repr(rights.get("licence"))
    attribution = str(rights.get("attribution") or "")
    owed = (event.title.replace("_", " "), str(event.rev_id), licence)
    missing = [part for part in owed if part not in attribution]
    if missing:
        yield "the attribution lacks something", " and ".join(missing), repr(attribution)
    url = str(rights.get("attribution_url") or "")
    if not url.startswith(f"https://{event.meta.domain}/"):
        yield "the attribution leads elsewhere", f"https://{event.meta.domain}/…", repr(url)


def licence_of(domain: str, namespace: int) -> str:
    """By the terms of use of the projects."""
    if domain.endswith("wikidata.org") and namespace in WIKIDATA_CC0:
        return "CC0-1.0"
    return "CC-BY-2.5" if domain.endswith("wikinews.org") else BY_SA


def check_published(
    made: Mapping[EditKey, Sequence[Made]], sent: Sequence[Sent], line: Line, policies: Sequence[str]
) -> Finding:
    """The edits topics folded: exactly what was released, and each retraction of what had gone out."""
    out = {(each.key, each.action): each for each in sent}
    letters = b"\n".join(record.headers.get("origin", b"") for record in line.deadletter)
    wrong = []
    for key, decided in made.items():
        if key[0] not in policies:
            continue
        states = [each.decision.state for each in decided]
        name = b":".join(str(part).encode() for part in key[1:])
        released, retracted = (key, "release") in out, (key, "retract") in out
        overtaken = State.RETRACTED in states and not released and not retracted
        suppressed = any(each.decision.reason is Bar.SUPPRESSED for each in decided)
        for action, state in (("release", State.RELEASED), ("retract", State.RETRACTED)):
            wanted = state in states and not overtaken
            if action == "release" and (name + b":release" in letters or (suppressed and retracted)):
                continue
            if wanted != ((key, action) in out):
                wrong.append(_differs(key, decided, action, wanted=wanted, sent=out.get((key, action))))
    wrong += [
        _differs(each.key, (), each.action, wanted=False, sent=each) for each in out.values() if each.key not in made
    ]
    return Finding(check=Check.VIEW, looked_at=len(made), disagreements=tuple(wrong))


def _differs(key: EditKey, decided: Sequence[Made], action: str, *, wanted: bool, sent: Sent | None) -> Disagreement:
    policy, wiki, page_id, rev_id, _ = key
    why = "; ".join(f"{made.decision.state.value} in {made.record.place}" for made in decided) or "nothing was decided"
    return Disagreement(
        check=Check.VIEW,
        what=f"{wiki} revision {rev_id} under {policy!r}: its {action} is " + ("not there" if wanted else "out"),
        expected=why,
        came=f"no {action}" if wanted or sent is None else sent.record.place,
        place="" if sent is None else sent.record.place,
        page=(wiki, page_id),
        rev_id=rev_id,
    )


def pages_of_topics(line: Line) -> list[Sent]:
    """Every record of the pages topics in the shape of the edits topics; a tombstone's revision is 0."""
    found = []
    for policy, records in line.pages.items():
        for record in records:
            doc = None if record.value is None else orjson.loads(record.value)
            wiki, page_id = _page_in(record.key)
            rev_id, epoch = _at(doc, "change", "revision", "id") or 0, _at(doc, "integrity", "epoch") or 0
            found.append(Sent(record, policy, (policy, wiki, page_id, rev_id, epoch), "release", doc))
    return found


def check_pages(sent: Sequence[Sent], pages: Sequence[Sent]) -> Finding:
    """The pages topics folded: each page shows the newest edit that went out, or nothing if that was taken back."""
    heads: dict[tuple[str, str, int], Sent] = {}
    gone: set[EditKey] = set()
    for each in sent:
        page = each.key[:3]
        if each.action == "retract":
            gone.add(each.key)
        if each.doc is not None and (page not in heads or each.key[3:] >= heads[page].key[3:]):
            heads[page] = each
    shown = {each.key[:3]: each for each in pages}
    wrong = []
    for page in sorted(set(heads) | set(shown)):
        head, now = heads.get(page), shown.get(page)
        wanted = None if head is None or head.key in gone else head.key[3:]
        found = None if now is None or now.doc is None else now.key[3:]
        never = head is not None and head.key in gone and now is None
        if wanted != found or never:
            wrong.append(_page_differs(page, wanted, found, head, now))
    return Finding(check=Check.VIEW, looked_at=len(set(heads) | set(shown)), disagreements=tuple(wrong))


def _page_differs(
    page: tuple[str, str, int], wanted: Any, found: Any, head: Sent | None, now: Sent | None
) -> Disagreement:
    policy, wiki, page_id = page
    at = "" if head is None else f" ({head.action} in {head.record.place})"
    return Disagreement(
        check=Check.VIEW,
        what=f"page {wiki}:{page_id} does not show under {policy!r} what stands",
        expected=("nothing, a tombstone" if wanted is None else f"revision {wanted[0]} (epoch {wanted[1]})") + at,
        came="nothing" if found is None else f"revision {found[0]} (epoch {found[1]})",
        place="" if now is None else now.record.place,
        page=(wiki, page_id),
        rev_id=None if head is None else head.key[3],
    )


def check_finished(line: Line, edits: Sequence[PageChange]) -> Finding:
    """C8: each revision of the log has its content, each content its parsed record, or a dead letter says why not."""
    content = {_page_and_rev(orjson.loads(r.value)) for r in line.content if r.value is not None}
    enriched = {_page_and_rev(orjson.loads(r.value)) for r in line.enriched if r.value is not None}
    letters = [record.value or b"" for record in line.deadletter]
    wrong = []
    for event in edits:
        revision = (event.wiki, event.page_id, event.rev_id)
        if revision in enriched or any(event.meta.event_id.encode() in letter for letter in letters):
            continue
        missing = "parsed record" if revision in content else "content"
        wrong.append(
            Disagreement(
                check=Check.RECOVERED,
                what=f"{event.wiki} revision {event.rev_id} never got its {missing}",
                expected=f"a record of event {event.meta.event_id} or a dead letter",
                came="neither",
                page=revision[:2],
                rev_id=event.rev_id,
            )
        )
    return Finding(check=Check.RECOVERED, looked_at=len(edits), disagreements=tuple(wrong))


def _page_and_rev(doc: Mapping[str, Any]) -> tuple[str, int, int]:
    return str(doc["wiki"]), int(doc["page_id"]), int(doc["rev_id"])
