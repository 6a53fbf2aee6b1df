"""What was learned of how soon bad edits are undone: whose edits are alike, and which hold keeps a share of them away.

A table of holds enters the log as a control record, so that whoever reads the log chooses the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

# The hold while nothing is known: 7 days, which kept 99.2 to 99.9 % away on the measured wikis.
UNKNOWN_SECONDS = 7 * 86_400.0
# With 300 cases a quantile beyond this would rest on the longest two alone.
HIGHEST_TARGET = 0.99


class Stratum(NamedTuple):
    """Edits that are undone alike; "" = all, or not known. activity: of the page, in edits within 30 days."""

    wiki: str = ""
    editor_class: str = ""
    activity: str = ""

    def wider(self) -> tuple[Stratum, ...]:
        """All edits, the wiki's, each of its halves, and itself: the widest first, each once."""
        return _wider(self)

    def __str__(self) -> str:
        return " × ".join(part for part in self if part) or "all wikis"


@lru_cache(maxsize=50_000)
def _wider(own: Stratum) -> tuple[Stratum, ...]:
    wiki = own.wiki
    found = Stratum(), Stratum(wiki), Stratum(wiki, activity=own.activity), Stratum(wiki, own.editor_class), own
    return tuple(dict.fromkeys(found))


class Choice(NamedTuple):
    """stratum: whose curve gave the hold, None while nothing is known. cases: how many undone edits it rests on."""

    hold_ms: int
    stratum: Stratum | None
    cases: int


class Protect(NamedTuple):
    """How the hold of one edit was chosen for a target. stratum: the edit's own.

    curve: the stratum whose cases gave `hold_ms`; both None while nothing is known, when the rule says what applies.
    """

    target: float
    stratum: Stratum
    curve: Stratum | None
    cases: int
    hold_ms: int | None

    @property
    def whose(self) -> str:
        """How wide the curve's stratum is: own, editor_class, activity, wiki, all; none while nothing is known."""
        if self.curve is None:
            return "none"
        if self.curve == self.stratum:
            return "own"
        if not self.curve.wiki:
            return "all"
        return "editor_class" if self.curve.editor_class else "activity" if self.curve.activity else "wiki"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A table in force from its place in the log on. at_ms: the event time up to which was learned.

    rows: (stratum, target) → the hold of its edits. A stratum without a row takes that of its wiki, else that of all.
    """

    at_ms: int
    rows: Mapping[tuple[Stratum, float], Choice]
    _made: dict[tuple[Stratum, tuple[float, ...]], tuple[Protect, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def protects(self, stratum: Stratum, targets: tuple[float, ...]) -> tuple[Protect, ...]:
        """What is chosen for an edit of this stratum, in the order of the targets; the same object each time."""
        made = self._made.get((stratum, targets))
        if made is None:
            made = tuple(self._protect(stratum, target) for target in targets)
            self._made[stratum, targets] = made
        return made

    def _protect(self, stratum: Stratum, target: float) -> Protect:
        for each in (stratum, Stratum(stratum.wiki), Stratum()):
            row = self.rows.get((each, target))
            if row is not None:
                return Protect(target, stratum, row.stratum, row.cases, row.hold_ms)
        return Protect(target, stratum, None, 0, None)


NOTHING_LEARNED = Learned(at_ms=-1, rows={})


def learned_document(learned: Learned) -> dict[str, Any]:
    """As JSON: `rows` of [stratum, target, hold_ms, cases, whose curve], in their order."""
    rows = sorted(learned.rows.items())
    return {
        "at_ms": learned.at_ms,
        "kind": "learned",
        "rows": [
            [list(stratum), target, row.hold_ms, row.cases, list(row.stratum or Stratum())]
            for (stratum, target), row in rows
        ],
    }


def read_learned(doc: Mapping[str, Any]) -> Learned:
    """The reverse of `learned_document`. Raises `KeyError`, `TypeError` or `ValueError`."""
    rows = {}
    for stratum, target, hold_ms, cases, curve in doc["rows"]:
        if not 0 < target <= HIGHEST_TARGET or type(hold_ms) is not int or hold_ms <= 0:
            raise ValueError(f"a hold of {hold_ms!r} ms for a share of {target!r}")
        edits, whose = read_stratum(stratum), read_stratum(curve)
        if whose not in edits.wider():
            raise ValueError(f"the curve of {whose} for edits of {edits}")
        rows[edits, float(target)] = Choice(hold_ms, whose, int(cases))
    return Learned(at_ms=int(doc["at_ms"]), rows=rows)


def protect_document(protect: Protect) -> dict[str, Any]:
    """As JSON. `curve` and `hold_ms` are null while nothing is known."""
    return {
        "cases": protect.cases,
        "curve": None if protect.curve is None else list(protect.curve),
        "hold_ms": protect.hold_ms,
        "stratum": list(protect.stratum),
        "target": protect.target,
    }


def read_protect(doc: Mapping[str, Any]) -> Protect:
    """The reverse of `protect_document`. Raises `KeyError`, `TypeError` or `ValueError`."""
    curve, hold_ms = doc["curve"], doc["hold_ms"]
    return Protect(
        float(doc["target"]),
        read_stratum(doc["stratum"]),
        None if curve is None else read_stratum(curve),
        int(doc["cases"]),
        None if hold_ms is None else int(hold_ms),
    )


def read_stratum(parts: Sequence[Any]) -> Stratum:
    """Raises `TypeError` or `ValueError`."""
    wiki, editor_class, activity = parts
    return Stratum(str(wiki), str(editor_class), str(activity))
