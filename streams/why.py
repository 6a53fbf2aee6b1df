"""`sluice why WIKI REV`: every decision about one revision, what led to it, and whether its proof alone does too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from processors.prove import derive, rule_of
from processors.whatif import span
from schemas.decision import Decision, decode_decisions
from schemas.event import rfc3339
from schemas.learned import Protect
from schemas.log import KIND_CONTROL, Policies, decode_control, decode_policies
from schemas.page import POLICIES_KEY
from streams.capture import read_capture, replay
from streams.kafka import header, read_partition
from streams.policy_command import how, whom
from streams.settings import Settings
from streams.topics import Topics

# A decision, the watermark at which it was made (ms, None = not known), and the policies that were in force.
Found = tuple[Decision, int | None, Policies | None]


async def from_topics(settings: Settings, wiki: str, rev_id: int) -> list[Found]:
    """What `sluice.decisions.v1` holds about a revision, with the policies that are in force now."""
    topics, found = Topics(settings), []
    for partition in range(settings.partitions):
        records = await read_partition(settings, topics.decisions, partition)
        about = [
            record for record in records if record.value is not None and record.key.startswith(f"{wiki}:".encode())
        ]
        mine = [(d, _heard(record)) for record in about for d in decode_decisions(record.value) if d.rev_id == rev_id]
        if mine:
            policies = await _policies(settings, partition)
            found += [(decision, heard_ms, policies) for decision, heard_ms in mine if decision.wiki == wiki]
    return found


def from_capture(path: Path, wiki: str, rev_id: int) -> Iterator[Found]:
    """The same from a captured log, decided over again. Raises `InvalidCapture` and `OSError`."""
    policies: Policies | None = None
    for record, groups in replay(read_capture(path)):
        if record.kind == KIND_CONTROL:
            control = decode_control(record.value)
            policies = control if isinstance(control, Policies) else policies
        if isinstance(groups, list):
            made = (d for group in groups if group.wiki == wiki for d in group.decisions)
            yield from ((decision, None, policies) for decision in made if decision.rev_id == rev_id)


def told(wiki: str, rev_id: int, found: Iterable[Found]) -> tuple[str, bool]:
    """Everything in words, and whether each proof leads to its decision."""
    parts, good = [], True
    for decision, heard_ms, policies in found:
        text, proven = _one(decision, heard_ms, policies)
        parts.append(text)
        good = good and proven
    return "\n\n".join(parts) or f"no decision about {wiki} {rev_id}: it waits still, or was never heard of", good


def _one(d: Decision, heard_ms: int | None, policies: Policies | None) -> tuple[str, bool]:
    reason = f" ({d.reason})" if d.reason else f" by revision {d.superseded_by}" if d.superseded_by else ""
    lines = [
        f"{d.policy}: {d.wiki} page {d.page_id} revision {d.rev_id}, epoch {d.epoch}: {d.state}{reason}",
        f"  announced by event {d.event_id}; its hold began {rfc3339(d.start_ms)}",
        f"  deadline {rfc3339(d.start_ms + d.hold_ms)} (hold {d.hold_ms / 1000:g} s), fire time {rfc3339(d.fire_ms)}",
        f"  decided for {rfc3339(d.decided_for_ms)}"
        + (f", when everything was heard until {rfc3339(heard_ms)}" if heard_ms is not None and heard_ms >= 0 else ""),
        *([] if d.protect is None else [f"  {chosen(d.protect)}"]),
        *(f"  heard: {line}" for line in _signals(d)),
        f"  listened for and not heard: {', '.join(d.absent) or 'nothing'}",
    ]
    if d.partial:
        lines.append("  its parent was never seen: what it reverts and stands on is known in part only")
    try:
        rule = rule_of(d, policies or Policies(policies=()))
    except (KeyError, IndexError):
        lines.append("  the policy is not in force any more: the proof cannot be followed")
        return "\n".join(lines), True
    lines.insert(1, f"  rule {d.rule}: {whom(rule.match)}: {'; '.join(how(rule))}")
    proven = policies is not None and derive(d, policies) == (d.state, d.reason, d.decided_for_ms)
    lines.append(
        "  the proof alone leads to the same" if proven else "  THE PROOF DOES NOT LEAD TO THIS (or the policy changed)"
    )
    return "\n".join(lines), proven


def chosen(protect: Protect) -> str:
    """How a hold was chosen, in words: for which protection, from whose cases, and whether those are its own."""
    wanted = f"to keep {100 * protect.target:g} % of the bad edits of {protect.stratum} away"
    if protect.curve is None or protect.hold_ms is None:
        return f"hold {wanted}: too few cases are known anywhere, so until_learned of the rule"
    wider = "" if protect.curve == protect.stratum else ", a wider stratum: its own has too few or says no more"
    return f"hold {wanted}: {span(protect.hold_ms / 1000)} by {protect.cases} cases of {protect.curve}{wider}"


def _signals(d: Decision) -> Sequence[str]:
    made = []
    for s in d.signals:
        more = f" by revision {s.by_rev_id}" if s.by_rev_id else ""
        more += f" ({s.model}: {s.score:g})" if s.model and s.score is not None else ""
        more += " by the editor's own hand" if s.by_self else ""
        made.append(f"{s.kind}{more} at {rfc3339(s.at_ms)}, event {s.event_id}")
    return made or ["nothing"]


def _heard(record: object) -> int | None:
    text = header(record, "heard_ms")
    return None if text is None else int(text)


async def _policies(settings: Settings, partition: int) -> Policies | None:
    records = await read_partition(settings, Topics(settings).gate_state, partition)
    values = [record.value for record in records if record.key == POLICIES_KEY and record.value is not None]
    return decode_policies(values[-1]) if values else None
