"""What partners read, held against the decisions and the ledger: once, in order, the right text, the right rights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from processors.oracle_decisions import EditKey, Made
from processors.oracle_facts import Check, Disagreement, Finding, Line, PageKey, Record
from processors.oracle_log import proved
from schemas.reasons import Bar, State


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
                doc = None if record.value is None else _read(record.value)
                sent.append(Sent(record, policy, (policy, wiki, int(page_id), int(rev_id), int(epoch)), action, doc))
            except (ValueError, orjson.JSONDecodeError) as exc:
                unread.append(
                    Disagreement(
                        check=Check.GHOSTS,
                        what=f"a record that is none: {exc!r:.60}",
                        expected="wiki:page:rev:epoch:action",
                        came=repr(record.key),
                        place=record.place,
                    )
                )
    return sent, unread


def _read(value: bytes) -> dict[str, Any]:
    """A record with a digest in the place of its content: all of them together may be larger than memory."""
    doc: dict[str, Any] = orjson.loads(value)
    if doc.get("content") is not None:
        doc["content"] = hashlib.sha256(orjson.dumps(doc["content"], option=orjson.OPT_SORT_KEYS)).hexdigest()
    return doc


def about(check: Check, each: Sent, what: str, expected: str, came: str) -> Disagreement:
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


def page_in(key: bytes) -> PageKey:
    wiki, page_id = key.decode().split(":")[:2]
    return wiki, int(page_id)


def at(doc: Any, *names: str) -> Any:
    for name in names:
        doc = doc.get(name) if isinstance(doc, dict) else None
    return doc


def check_once(sent: Sequence[Sent]) -> Finding:
    """C2 for partners: no record id and no key twice on a topic; a tombstone erases what came before it."""
    wrong = []
    seen: dict[tuple[str, str], Sent] = {}
    for each in sent:
        if each.doc is None:
            # Both lie on the same partition; it may come again, with less in it.
            gone = seen.pop((each.policy, each.record.key.decode()), None)
            if gone is not None and gone.doc is not None:
                seen.pop((each.policy, _id(gone.doc)), None)
            continue
        firsts = [seen.setdefault((each.policy, name), each) for name in (each.record.key.decode(), _id(each.doc))]
        twice = [first for first in firsts if first is not each]
        if twice:
            wrong.append(about(Check.DUPLICATES, each, "a partner got it twice", "once", twice[0].record.place))
    return Finding(check=Check.DUPLICATES, looked_at=len(sent), disagreements=tuple(wrong))


def _id(doc: Mapping[str, Any]) -> str:
    return str((doc.get("meta") or {}).get("id"))


def check_order(sent: Sequence[Sent], made: Mapping[EditKey, Sequence[Made]]) -> Finding:
    """C3 for partners: per page, revisions never go back, and a retraction follows its release."""
    wrong = []
    last: dict[tuple[str, PageKey], Sent] = {}
    released: set[EditKey] = set()
    erased: set[EditKey] = set()
    for each in sorted(sent, key=lambda s: (s.record.topic, s.record.partition, s.record.offset)):
        if each.doc is None:
            erased.add(each.key)
            continue
        policy, wiki, page_id, rev_id, epoch = each.key
        if each.action == "retract":
            suppressed = any(m.decision.reason is Bar.SUPPRESSED for m in made.get(each.key, ()))
            if each.key not in released and not suppressed:
                wrong.append(about(Check.ORDER, each, "no release came before it", "a release first", "a retraction"))
            continue
        released.add(each.key)
        if each.key in erased:
            continue  # it comes again where it was erased, whatever came since
        before = last.get((policy, (wiki, page_id)))
        if before is not None and (before.key[3], before.key[4]) > (rev_id, epoch):
            what = f"it came after revision {before.key[3]} of the same page"
            wrong.append(about(Check.ORDER, each, what, f"before {before.record.place}", each.record.place))
        last[policy, (wiki, page_id)] = each
    return Finding(check=Check.ORDER, looked_at=len(sent), disagreements=tuple(wrong))


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
            if action == "release" and suppressed and retracted:
                # What was hidden must be erased: a tombstone, or nothing any more.
                if released and out[key, action].doc is not None:
                    wrong.append(_differs(key, decided, "release", wanted=False, sent=out[key, action]))
                continue
            if action == "release" and name + b":release" in letters:
                continue
            if wanted != ((key, action) in out):
                wrong.append(_differs(key, decided, action, wanted=wanted, sent=out.get((key, action))))
    for (key, action), each in out.items():
        release = out.get((key, "release"))
        if action == "retract" and release is not None and release.doc is not None and each.doc is not None:
            named, meant = at(each.doc, "retracts"), _id(release.doc)
            if named != meant:
                wrong.append(about(Check.VIEW, each, "it takes back another record", meant, str(named)))
    wrong += [
        _differs(each.key, (), each.action, wanted=False, sent=each) for each in out.values() if each.key not in made
    ]
    return Finding(check=Check.VIEW, looked_at=len(made), disagreements=tuple(wrong))


def check_erased(sent: Sequence[Sent], pages: Sequence[Sent], line: Line) -> Finding:
    """C6: of what was hidden, nothing that went out before the proof stands, nor what the edit after it says of it."""
    proofs = proved(line)
    last = {(each.record.topic, each.record.key): each for each in [*sent, *pages]}
    wrong = []
    for each in last.values():
        if each.doc is None or each.action != "release":
            continue
        revision = each.key[1:4]
        said = each.doc.get("delta") is not None
        proved_ms = max(proofs.hidden.get(revision, 0), proofs.unsaid.get(revision, 0) if said else 0)
        if each.record.at_ms < proved_ms:
            wrong.append(about(Check.VIEW, each, "it was hidden, or its parent was", "nothing of that", "its words"))
    return Finding(check=Check.VIEW, looked_at=len(last), disagreements=tuple(wrong))


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
            doc = None if record.value is None else _read(record.value)
            wiki, page_id = page_in(record.key)
            rev_id, epoch = at(doc, "change", "revision", "id") or 0, at(doc, "integrity", "epoch") or 0
            found.append(Sent(record, policy, (policy, wiki, page_id, rev_id, epoch), "release", doc))
    return found


def check_pages(sent: Sequence[Sent], pages: Sequence[Sent]) -> Finding:
    """The pages topics folded: each page shows the newest edit that went out, or nothing if that was taken back."""
    heads: dict[tuple[str, str, int], Sent] = {}
    taken_back: set[EditKey] = set()
    erased: set[EditKey] = set()
    for each in sent:
        page = each.key[:3]
        if each.action == "retract":
            taken_back.add(each.key)
        elif each.doc is None:
            erased.add(each.key)
        else:
            erased.discard(each.key)
        if each.doc is not None and (page not in heads or each.key[3:] >= heads[page].key[3:]):
            heads[page] = each
    gone = taken_back | erased
    shown = {each.key[:3]: each for each in pages}
    wrong = []
    for page in sorted(set(heads) | set(shown)):
        head, now = heads.get(page), shown.get(page)
        wanted = None if head is None or head.key in gone else head.key[3:]
        found = None if now is None or now.doc is None else now.key[3:]
        never = head is not None and head.key in gone and now is None
        same = head is None or now is None or wanted is None or _shown(head.doc) == _shown(now.doc)
        if wanted != found or never or not same:
            wrong.append(_page_differs(page, wanted, found, head, now))
    return Finding(check=Check.VIEW, looked_at=len(set(heads) | set(shown)), disagreements=tuple(wrong))


def _shown(doc: Mapping[str, Any] | None) -> dict[str, Any]:
    """A release without the name of its topic."""
    meta = {name: value for name, value in (at(doc, "meta") or {}).items() if name != "stream"}
    return {**(doc or {}), "meta": meta}


def _page_differs(
    page: tuple[str, str, int], wanted: Any, found: Any, head: Sent | None, now: Sent | None
) -> Disagreement:
    policy, wiki, page_id = page
    where = "" if head is None else f" ({head.action} in {head.record.place})"
    same = wanted == found and wanted is not None
    return Disagreement(
        check=Check.VIEW,
        what=f"page {wiki}:{page_id} does not show under {policy!r} what stands",
        expected=("nothing, a tombstone" if wanted is None else f"revision {wanted[0]} (epoch {wanted[1]})") + where,
        came="nothing" if found is None else f"revision {found[0]} (epoch {found[1]})" + " in other words" * same,
        place="" if now is None else now.record.place,
        page=(wiki, page_id),
        rev_id=None if head is None else head.key[3],
    )
