"""What protection on demand would have given over a history: each edit's hold from what was known before it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from processors.cohorts import DAY_MS, SPAN_DAYS
from processors.curve import STANDS_MS, Edit, span
from processors.protect import Learner
from schemas.learned import Choice, Stratum

# The first part is only learned from; the last 30 % are scored.
LEARNED_FIRST = 0.7
# Sets with fewer bad edits say too little.
LEAST_BAD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An edit and the hold that was chosen for it when it was made."""

    edit: Edit
    choice: Choice

    @property
    def kept(self) -> bool:
        """Whether the edit was undone within its hold."""
        after = self.edit.seconds_to_revert
        return after is not None and round(after * 1000) < self.choice.hold_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """protection: share of the bad edits that partners never saw. window_seconds: the shortest fixed one that gives it.

    Both None without a bad edit; window_seconds also where no bad edit was kept away.
    """

    edits: int
    bad: int
    protection: float | None
    mean_hold_seconds: float
    window_seconds: float | None


def held_online(edits: Sequence[Edit], target: float) -> list[Held]:
    """All edits in order of time. A bad one is learned from once its revert has stood for 48 hours."""
    learner, made = Learner(), []
    known: list[tuple[int, int, int]] = []  # (when it is known, which edit, how long it stood)
    ordered = sorted(edits, key=lambda e: (e.revision.at_ms, e.revision.page, e.revision.rev_id))
    for number, edit in enumerate(ordered):
        at_ms = edit.revision.at_ms
        while known and known[0][0] <= at_ms:
            _, earlier, after_ms = heappop(known)
            learner.undone(_stratum(ordered[earlier]), ordered[earlier].revision.at_ms, after_ms)
        made.append(Held(edit=edit, choice=learner.choose(_stratum(edit), target, at_ms)))
        learner.began(_stratum(edit), at_ms)
        if edit.bad and edit.seconds_to_revert is not None:
            after_ms = round(edit.seconds_to_revert * 1000)
            heappush(known, (at_ms + after_ms + STANDS_MS, number, after_ms))
    return made


def taught(edits: Iterable[tuple[str, Edit]]) -> tuple[Learner, int]:
    """What is known at the end of histories, and when that is, in ms. edits: (wiki, edit), not empty.

    What came of the edits of the last 30 days, nobody knows: those are left out.
    """
    ordered = sorted(edits, key=lambda each: each[1].revision.at_ms)
    learner, until_ms = Learner(), ordered[-1][1].revision.at_ms
    for wiki, edit in ordered:
        at_ms = edit.revision.at_ms
        if at_ms > until_ms - SPAN_DAYS * DAY_MS:
            break
        learner.began(_stratum(edit, wiki), at_ms)
        if edit.bad and edit.seconds_to_revert is not None:
            learner.undone(_stratum(edit, wiki), at_ms, round(edit.seconds_to_revert * 1000))
    return learner, until_ms


def scored_part(held: Sequence[Held]) -> Sequence[Held]:
    """The edits that are scored."""
    return held[int(len(held) * LEARNED_FIRST) :]


def score(held: Sequence[Held]) -> Score:
    """What the holds gave, and what a fixed window would have cost that gives the same. held: not empty."""
    bad = [each for each in held if each.edit.bad]
    kept = sum(each.kept for each in bad)
    times = sorted(each.edit.seconds_to_revert or 0.0 for each in bad)
    return Score(
        edits=len(held),
        bad=len(bad),
        protection=kept / len(bad) if bad else None,
        mean_hold_seconds=sum(each.choice.hold_ms for each in held) / len(held) / 1000,
        window_seconds=times[kept - 1] if kept else None,
    )


def rows(held: Sequence[Held]) -> Mapping[str, Sequence[Held]]:
    """All edits, and each stratum with enough bad ones: editor, activity, and both."""
    sets: dict[str, list[Held]] = {}
    for each in held:
        _, editor_class, activity = _stratum(each.edit)
        for name in (f"- {editor_class}", f"- {activity} in 30 d", f"- {editor_class}, {activity} in 30 d"):
            sets.setdefault(name, []).append(each)
    enough = {name: sets[name] for name in sorted(sets) if sum(e.edit.bad for e in sets[name]) >= LEAST_BAD}
    return {"all": held, **enough}


def table(held: Sequence[Held], target: float) -> str:
    """The scored part of a history, row by row, and whose curves chose the holds."""
    scored = scored_part(held)
    if not any(each.edit.bad for each in scored):
        return "Nothing to score: none of these edits was undone."
    lines = [f"{'last 30 %':<30}{'edits':>8}{'bad':>7}{'kept away':>11}{'off':>7}{'mean hold':>11}{'same, fixed':>13}"]
    return "\n".join([*lines, *(_line(name, score(found), target) for name, found in rows(scored).items()),
                      *_sources(scored)])  # fmt: skip


def _line(name: str, found: Score, target: float) -> str:
    protection = found.protection or 0.0
    window = span(found.window_seconds) if found.window_seconds is not None else "-"
    return (
        f"{name:<30}{found.edits:>8,}{found.bad:>7,}{100 * protection:>10.1f}%{100 * (protection - target):>+7.1f}"
        f"{span(found.mean_hold_seconds):>11}{window:>13}"
    )


def _sources(scored: Sequence[Held]) -> Iterator[str]:
    chosen = Counter(each.choice.stratum for each in scored)
    for stratum, edits in chosen.most_common():
        cases = [each.choice.cases for each in scored if each.choice.stratum == stratum]
        source = f"the curve of {stratum}" if stratum else "too few cases anywhere: 7 days"
        yield f"{edits:,} holds from {source}" + (f" ({min(cases)} to {max(cases)} cases)" if stratum else "")


def _stratum(edit: Edit, wiki: str = "history") -> Stratum:
    return Stratum(wiki, edit.revision.kind, edit.activity)
