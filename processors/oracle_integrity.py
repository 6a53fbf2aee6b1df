"""C4: every release has the text that was served and announced, its decision, and the rights of its project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from processors.oracle_decisions import EditKey, Made
from processors.oracle_facts import Check, Finding
from processors.oracle_ledger import Ledger
from processors.oracle_published import Sent, about, at
from schemas.decision import Decision
from schemas.event import PageChange, rfc3339
from schemas.reasons import State

BY_SA = "CC-BY-SA-4.0"
# What differs from CC BY-SA 4.0: by the project's domain and, on Wikidata, the namespace of its data.
WIKIDATA_CC0 = frozenset({0, 120, 146})


def check_integrity(
    ledger: Ledger, made: Mapping[EditKey, Sequence[Made]], sent: Sequence[Sent], pages: Sequence[Sent]
) -> Finding:
    """C4: the text that was served and announced, the edit that was decided, licence and attribution of its project."""
    wrong = []
    releases = [each for each in (*sent, *pages) if each.doc is not None and each.action == "release"]
    for each in releases:
        offered = ledger.by_id.get(str(at(each.doc, "change", "event_id")))
        event = None if offered is None else offered.event
        if isinstance(event, PageChange):
            problems = [
                *_edit_problems(each, event),
                *_text_problems(ledger, each, event),
                *_rights_problems(each, event),
            ]
            wrong += [about(Check.INTEGRITY, each, *problem) for problem in problems]
    for each in [*sent, *pages]:
        if each.doc is not None:
            problems = list(_decision_problems(each, made.get(each.key, ())))
            wrong += [about(Check.INTEGRITY, each, *problem) for problem in problems]
    return Finding(check=Check.INTEGRITY, looked_at=len(releases), disagreements=tuple(wrong))


Problem = tuple[str, str, str]


def _decision_problems(each: Sent, made: Sequence[Made]) -> Iterator[Problem]:
    """The record says of its decision what the decision says."""
    wanted = State.RELEASED if each.action == "release" else State.RETRACTED
    decision = next((m.decision for m in made if m.decision.state is wanted), None)
    if decision is not None:
        for name, value in _told(decision).items():
            if at(each.doc, "integrity", name) != value:
                yield f"integrity.{name} is not the decision's", repr(value), repr(at(each.doc, "integrity", name))
    if each.action == "retract":
        payload = {"content", "change", "delta"} & set(each.doc or ())
        if payload:
            yield "a retraction has a payload", "ids and the reason", ", ".join(sorted(payload))


def _told(decision: Decision) -> dict[str, object]:
    return {
        "decided_for": rfc3339(decision.decided_for_ms),
        "epoch": decision.epoch,
        "fire_at": rfc3339(decision.fire_ms),
        "hold_seconds": decision.hold_ms / 1000,
        "hold_started_at": rfc3339(decision.start_ms),
        "policy": decision.policy,
        "reason": None if decision.reason is None else decision.reason.value,
        "state": decision.state.value,
    }


def _edit_problems(each: Sent, event: PageChange) -> Iterator[Problem]:
    expected = {
        ("change", "revision", "id"): each.key[3],
        ("change", "page", "id"): each.key[2],
        ("change", "page", "title"): event.title.replace("_", " "),
        ("change", "domain"): event.meta.domain,
        ("change", "revision", "sha1"): event.rev_sha1,
    }
    for names, value in expected.items():
        if at(each.doc, *names) != value:
            yield f"{'.'.join(names)} is not the edit's", repr(value), repr(at(each.doc, *names))
    stream = at(each.doc, "meta", "stream")
    if stream != each.record.topic:
        yield "meta.stream is not its topic", each.record.topic, repr(stream)


def _text_problems(ledger: Ledger, each: Sent, event: PageChange) -> Iterator[Problem]:
    sha1, sha256 = at(each.doc, "provenance", "text_sha1"), at(each.doc, "provenance", "text_sha256")
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
    absent = at(each.doc, "content_absent")
    reasons = {"hidden": "hidden", "missing": "missing", "sha1_mismatch": "wrong_text"}
    if absent is None:
        yield "it has neither text nor a reason why not", "one of both", "neither"
    elif absent in reasons and reasons[absent] not in {a.answer for a in answers}:
        yield f"it says that its text is {absent}", " or ".join(a.answer for a in answers) or "an answer", absent


def _rights_problems(each: Sent, event: PageChange) -> Iterator[Problem]:
    rights = at(each.doc, "rights") or {}
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
