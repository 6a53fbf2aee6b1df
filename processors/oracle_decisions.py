"""Decisions held against what follows from the ledger, and what stands on the topics against the decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from processors.oracle_facts import Check, Disagreement, Finding, Line, Record
from processors.oracle_verdicts import Fate
from schemas.decision import Decision, decode_decisions
from schemas.event import rfc3339
from schemas.log import InvalidRecord
from schemas.reasons import State

EditKey = tuple[str, str, int, int, int]  # policy, wiki, page id, revision, epoch
# The fields of a decision that follow from the ledger.
JUDGED = (
    "state", "reason", "decided_for_ms", "fire_ms", "superseded_by", "signals", "event_id", "start_ms", "hold_ms",
    "rule", "partial", "protect",
)  # fmt: skip
PATHS = (
    (State.RELEASED,),
    (State.WITHHELD,),
    (State.SUPERSEDED,),
    (State.RELEASED, State.RETRACTED),
)


@dataclass(frozen=True, slots=True)
class Made:
    """One decision, and the record it lies in."""

    record: Record
    decision: Decision


def decisions_of(line: Line) -> Mapping[EditKey, list[Made]]:
    """Every decision in the order of the log, by policy and edit. Records that are none are left to C5."""
    made: dict[EditKey, list[Made]] = {}
    for record in line.decisions:
        try:
            for decision in decode_decisions(record.value or b""):
                made.setdefault(key_of(decision), []).append(Made(record, decision))
        except InvalidRecord:
            continue
    return made


def key_of(d: Decision) -> EditKey:
    return d.policy, d.wiki, d.page_id, d.rev_id, d.epoch


def check_one_verdict(fates: Sequence[Fate], made: Mapping[EditKey, list[Made]]) -> Finding:
    """C1, second half: every edit ends once under every policy."""
    wrong = []
    for fate in fates:
        key = _key(fate)
        found = made.get(key, [])
        path = tuple(each.decision.state for each in found)
        if fate.steps and path not in PATHS:
            wrong.append(
                Disagreement(
                    check=Check.COMPLETE,
                    what=f"{_name(key)} has " + ("no verdict" if not path else "two verdicts"),
                    expected=_path(step.decision.state for step in fate.steps),
                    came=_path(path),
                    place=found[-1].record.place if found else "",
                    page=fate.page.key,
                    rev_id=key[3],
                )
            )
    return Finding(check=Check.COMPLETE, looked_at=len(fates), disagreements=tuple(wrong))


def check_decisions(fates: Sequence[Fate], made: Mapping[EditKey, list[Made]]) -> Finding:
    """Each decision, field by field."""
    wrong: list[Disagreement] = []
    for fate in fates:
        key = _key(fate)
        found = made.get(key, [])
        for number in range(max(len(found), len(fate.steps))):
            expected = fate.steps[number].decision if number < len(fate.steps) else None
            came = found[number] if number < len(found) else None
            if came is None or expected is None or _differing(fate, expected, came.decision):
                wrong.append(_disagree(fate, key, expected, came))
                break
    return Finding(check=Check.DECISIONS, looked_at=sum(map(len, made.values())), disagreements=tuple(wrong))


def _disagree(fate: Fate, key: EditKey, expected: Decision | None, came: Made | None) -> Disagreement:
    differs: list[str] = []
    if expected is not None and came is not None:
        differs = _differing(fate, expected, came.decision)
    return Disagreement(
        check=Check.DECISIONS,
        what=f"{_name(key)} was not decided as it follows from the ledger"
        + (f": {', '.join(differs)}" if differs else ""),
        expected=said(expected, differs) if expected else f"nothing yet, it is due at {rfc3339(fate.fire_ms)}",
        came=said(came.decision, differs) if came else "nothing",
        place=came.record.place if came else "",
        page=fate.page.key,
        rev_id=key[3],
    )


def _differing(fate: Fate, expected: Decision, came: Decision) -> list[str]:
    return [name for name in JUDGED if getattr(expected, name) != getattr(came, name)]


def said(decision: Decision, names: Iterable[str] = ()) -> str:
    """A decision in words; names: the fields that matter."""
    text = decision.state.value + (f" ({decision.reason.value})" if decision.reason else "")
    text += f", decided for {rfc3339(decision.decided_for_ms)}, fire time {rfc3339(decision.fire_ms)}"
    if decision.superseded_by is not None:
        text += f", by rev {decision.superseded_by}"
    if decision.signals:
        heard = [f"{s.kind.value}{' by self' if s.by_self else ''} at {rfc3339(s.at_ms)}" for s in decision.signals]
        text += ", heard " + " and ".join(heard)
    for name in names:
        if name not in JUDGED[:6]:
            text += f", {name} {getattr(decision, name)}"
    return text


def _key(fate: Fate) -> EditKey:
    return (fate.policy, *fate.page.key, fate.edit.event.rev_id, fate.edit.epoch)


def _name(key: EditKey) -> str:
    policy, wiki, _, rev_id, epoch = key
    return f"{wiki} revision {rev_id}" + (f" (epoch {epoch})" if epoch else "") + f" under {policy!r}"


def _path(states: Iterable[State]) -> str:
    return " → ".join(state.value for state in states) or "nothing"
