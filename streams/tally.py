"""What a watcher of the topics knows: counts per policy, the last verdicts, and which edits are still waiting."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.decision import Decision
from schemas.reasons import State

SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the picture. why: in words, for people."""

    policy: str
    wiki: str
    rev_id: int
    title: str
    state: State
    why: str
    decision: Decision


@dataclass(slots=True)
class Tally:
    """Fed with every decision in the order of the log; `titles` with every edit."""

    policies: tuple[str, ...]
    titles: dict[tuple[str, int], str] = field(default_factory=dict)
    states: dict[tuple[str, str, int, int], State] = field(default_factory=dict)
    last: deque[Verdict] = field(default_factory=lambda: deque(maxlen=SHOWN))
    withheld: list[Verdict] = field(default_factory=list)

    def heard(self, decisions: Iterable[Decision]) -> list[Verdict]:
        """Take in decisions; returns them as verdicts."""
        made = []
        for decision in decisions:
            self.states[decision.policy, decision.wiki, decision.rev_id, decision.epoch] = decision.state
            verdict = Verdict(
                policy=decision.policy,
                wiki=decision.wiki,
                rev_id=decision.rev_id,
                title=self.titles.get((decision.wiki, decision.page_id), "?"),
                state=decision.state,
                why=why(decision),
                decision=decision,
            )
            self.last.append(verdict)
            if decision.state is State.WITHHELD:
                self.withheld.append(verdict)
            made.append(verdict)
        return made

    def counts(self, policy: str) -> Mapping[State, int]:
        """How many edits are in each state under a policy; an edit that is out and back counts as retracted."""
        return Counter(state for (name, *_), state in self.states.items() if name == policy)

    def ends(self, policy: str) -> dict[tuple[str, int, int], State]:
        """(wiki, revision, epoch) → where it stands."""
        return {edit: state for (name, *edit), state in self._tuples() if name == policy}  # type: ignore[misc]

    def _tuples(self) -> Iterable[tuple[tuple[str, str, int, int], State]]:
        return self.states.items()


def why(decision: Decision) -> str:
    """A decision's reason in a few words."""
    if decision.state is State.RELEASED:
        if not decision.hold_ms:
            return "at once"
        return f"nothing against it for {decision.hold_ms / 1000:g} s"
    if decision.state is State.SUPERSEDED:
        return "undone by its own author" if decision.signals else f"rev {decision.superseded_by} took its place"
    signal = decision.signals[-1]
    after = (signal.at_ms - decision.start_ms) / 1000
    what = {
        "identity_revert": f"reverted by rev {signal.by_rev_id}",
        "declared_revert": f"reverted by rev {signal.by_rev_id}",
        "reverted_tag": "tagged mw-reverted",
        "page_delete": "page deleted",
        "hide": "hidden",
    }[signal.kind]
    return f"{what} after {after:.0f} s"
