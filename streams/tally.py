"""What a watcher of the topics knows: where every edit stands under each policy, and the last verdicts in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.decision import Decision
from schemas.reasons import SignalKind, State

EditKey = tuple[str, int, int]  # wiki, revision, epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision and, in words, why."""

    title: str
    why: str
    decision: Decision


@dataclass(slots=True)
class Tally:
    """Fed with every decision in the order of the log. titles: (wiki, revision) → the page's title."""

    titles: Mapping[tuple[str, int], str]
    ends: dict[str, dict[EditKey, State]] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    def hear(self, decisions: Iterable[Decision]) -> list[Verdict]:
        """Take in decisions; returns them as verdicts."""
        made = []
        for decision in decisions:
            edit = (decision.wiki, decision.rev_id, decision.epoch)
            self.ends.setdefault(decision.policy, {})[edit] = decision.state
            title = self.titles.get((decision.wiki, decision.rev_id), "?")
            made.append(Verdict(title=title, why=why(decision), decision=decision))
        self.verdicts += made
        return made

    def counts(self, policy: str) -> Mapping[State, int]:
        """How many edits stand where; what is out and was taken back counts as retracted."""
        return Counter(self.ends.get(policy, {}).values())


def why(decision: Decision) -> str:
    """A decision's reason in a few words."""
    if decision.state is State.RELEASED:
        return f"nothing against it for {decision.hold_ms / 1000:g} s" if decision.hold_ms else "at once"
    if not decision.signals:
        return f"rev {decision.superseded_by} took its place"
    signal = decision.signals[-1]
    what = {
        SignalKind.IDENTITY_REVERT: f"reverted by rev {signal.by_rev_id}",
        SignalKind.DECLARED_REVERT: f"reverted by rev {signal.by_rev_id}",
        SignalKind.REVERTED_TAG: "tagged mw-reverted",
        SignalKind.PAGE_DELETE: "page deleted",
        SignalKind.HIDE: "hidden",
        SignalKind.BLOCK: "its editor was blocked",
    }.get(signal.kind, decision.reason)
    own = ", own edit" if signal.by_self else ""
    return f"{max(0, signal.at_ms - decision.start_ms) / 1000:.0f} s later {what}{own}"
