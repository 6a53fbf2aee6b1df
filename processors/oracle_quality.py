"""How good a window was, by what the edits really were: the numbers of the demo's table, from the ledger's truth.

Bad is what the world did as vandalism; good every other edit. Times are event time: a window is judged, not a machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

from processors.oracle_ledger import Did, Ledger
from processors.oracle_verdicts import Fate
from schemas.decision import Decision
from schemas.reasons import State

Revision = tuple[str, int]  # wiki, revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """One window. Shares are from 0 to 1, None where there is nothing to divide by.

    protection: of the bad edits, those that never went out. leak: of the edits that went out, the bad ones. exposure:
    of the time that bad text stood on the wikis, the time that a reader of this window saw it. delay_*_ms: of the good
    edits, from the edit to its release. good_lost: good edits that never went out, for whatever reason. retractions:
    edits taken back.
    """

    policy: str
    edits: int
    bad: int
    bad_out: int
    good_lost: int
    retractions: int
    exposure_ms: int
    stood_ms: int
    delay_median_ms: float | None
    delay_mean_ms: float | None
    out: int

    @property
    def protection(self) -> float | None:
        return 1 - self.bad_out / self.bad if self.bad else None

    @property
    def leak(self) -> float | None:
        return self.bad_out / self.out if self.out else None

    @property
    def exposure(self) -> float | None:
        return self.exposure_ms / self.stood_ms if self.stood_ms else None


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad edit: when it was made, when it was undone, and by which revision (None: by a deletion, or not known)."""

    at_ms: int
    until_ms: int
    by: Revision | None = None


def told(fates: Iterable[Fate]) -> dict[str, dict[Revision, Bad]]:
    """Per policy what a line can know to be bad: another undid, deleted or hid it while it waited or was out."""
    found: dict[str, dict[Revision, Bad]] = {}
    for fate in fates:
        bad = found.setdefault(fate.policy, {})
        for step in fate.steps:
            if fate.edit.epoch == 0 and step.decision.state in {State.WITHHELD, State.RETRACTED}:
                bad[fate.page.key[0], fate.edit.event.rev_id] = Bad(fate.edit.start_ms, step.decision.decided_for_ms)
    return found


def quality(
    ledger: Ledger, decisions: Iterable[Decision], known: Mapping[str, Mapping[Revision, Bad]] | None = None
) -> list[Quality]:
    """One per policy, in the order in which the policies first decided. Of a revision its first epoch counts.

    known: what is bad under each policy; None = what the world did as vandalism.
    """
    by_policy: dict[str, dict[Revision, list[Decision]]] = {}
    for decision in decisions:
        if decision.epoch == 0:
            edits = by_policy.setdefault(decision.policy, {})
            edits.setdefault((decision.wiki, decision.rev_id), []).append(decision)
    truth = {(did.wiki, did.rev_id): did for did in ledger.did if did.rev_id is not None and _is_edit(did)}
    end_ms = max((offered.at_ms for offered in ledger.offered), default=0)
    undone = undone_in(ledger)
    vandalism = {}
    for revision, did in truth.items():
        if did.what == "vandalism":
            by, until_ms = undone.get(revision, (None, end_ms))
            vandalism[revision] = Bad(did.at_ms, until_ms, by)
    return [
        _quality(policy, {revision: made for revision, made in edits.items() if known is not None or revision in truth},
                 vandalism if known is None else known.get(policy, {}), end_ms)
        for policy, edits in by_policy.items()
    ]  # fmt: skip


def _quality(
    policy: str, known: Mapping[Revision, list[Decision]], is_bad: Mapping[Revision, Bad], end_ms: int
) -> Quality:
    out = {revision: made[0] for revision, made in known.items() if made[0].state is State.RELEASED}
    bad = [revision for revision in known if revision in is_bad]
    delays = [out[revision].fire_ms - out[revision].start_ms for revision in out if revision not in is_bad]
    exposure_ms = stood_ms = 0
    for revision in bad:
        edit = is_bad[revision]
        stood_ms += max(0, edit.until_ms - edit.at_ms)
        if revision in out:
            taken_back = [made.decided_for_ms for made in known[revision] if made.state is State.RETRACTED]
            replaced = [out[edit.by].fire_ms] if edit.by is not None and edit.by in out else []
            # `rev_dt` is in whole seconds: an edit is not seen before it is made.
            shown_ms = max(out[revision].fire_ms, edit.at_ms)
            exposure_ms += max(0, min([*taken_back, *replaced, end_ms]) - shown_ms)
    return Quality(
        policy=policy,
        edits=len(known),
        bad=len(bad),
        bad_out=sum(revision in out for revision in bad),
        good_lost=len(known) - len(bad) - len(delays),
        retractions=sum(made[-1].state is State.RETRACTED for made in known.values()),
        exposure_ms=exposure_ms,
        stood_ms=stood_ms,
        delay_median_ms=median(delays) if delays else None,
        delay_mean_ms=fmean(delays) if delays else None,
        out=len(out),
    )


def _is_edit(did: Did) -> bool:
    return did.what in {"good", "create", "vandalism", "self_reverted", "undo", "repair", "move", "redirect", "import"}


def undone_in(ledger: Ledger) -> Mapping[Revision, tuple[Revision | None, int]]:
    """What was undone → the revision that did it (None: a deletion), and when; the first time counts."""
    undone: dict[Revision, tuple[Revision | None, int]] = {}
    for did in ledger.did:
        by = None if did.rev_id is None else (did.wiki, did.rev_id)
        for rev_id in did.undoes:
            undone.setdefault((did.wiki, rev_id), (by, did.at_ms))
    return undone
