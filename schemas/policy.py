"""Policies: how sure, or how long, a customer wants to wait, per wiki, topic, kind of change and kind of editor.

A policy is a list of rules; the first one that matches an edit decides how it is held. The short form, a name and a
hold, is a policy of one *plain* rule: what speaks against an edit itself counts, what speaks against the edits below
it, or against its editor, does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from schemas.reasons import EditorClass

DAY_SECONDS = 86_400.0
HORIZON_SECONDS = 30 * DAY_SECONDS
# What waits longer than its hold (for a review, a quiet page, a bar that may be lifted) ends after this at the latest.
MAX_HOLD_SECONDS = 7 * DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which edits a rule is for; an empty field matches all. topic: exact, or a prefix that ends with `*`."""

    wiki: tuple[str, ...] = ()
    ns: tuple[int, ...] = ()
    topic: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    editor_class: tuple[EditorClass, ...] = ()
    page_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """A model's score above `max` is over; extend_seconds: how much longer it then waits, None = it is withheld.

    max: None = the limit that Wikimedia uses on that wiki for 15 % of false alarms, of the language-agnostic model.
    missing: how an edit counts whose score has not come 30 s after it. A patrol or an approval overrules the model.
    """

    model: str
    max: float | None = None
    extend_seconds: float | None = None
    missing: Literal["over", "under"] = "under"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What must have happened beside the hold, how long it is waited for, and what happens if it does not come."""

    kind: Literal["patrolled", "approved", "other_editor"]
    wait_seconds: float
    otherwise: Literal["release", "withhold"] = "withhold"


@dataclass(frozen=True, slots=True, kw_only=True)
class War:
    """At least n reverts by two editors or more within these hours: the page must become quiet first."""

    n: int = 3
    hours: float = 24.0

    @property
    def name(self) -> str:
        """By which an edit remembers which war it was: rules may see one where others do not."""
        return f"{self.n} in {self.hours:g} h"


# No slots, so that what is asked for at every edit is computed once.
@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one kind of edit is held.

    hold_seconds counts from the edit (clock edit) or from the page's last edit (quiet), but never beyond
    max_hold_seconds. trust: editor class → factor of the hold. plain: see the module.

    protect: the share of bad edits to keep away, None = a fixed hold. The hold is then what was learned to give it,
    min_hold_seconds at least and max_hold_seconds at most, and hold_seconds while nothing is known.
    """

    match: Match = field(default_factory=Match)
    hold_seconds: float = 0.0
    protect: float | None = None
    min_hold_seconds: float = 0.0
    clock: Literal["edit", "quiet"] = "edit"
    max_hold_seconds: float = MAX_HOLD_SECONDS
    emit: Literal["latest", "each"] = "latest"
    risk: Risk | None = None
    require: Review | None = None
    trust: Mapping[EditorClass, float] = field(default_factory=dict)
    war: War | None = None
    restore: bool = False
    horizon_seconds: float = HORIZON_SECONDS
    stall: Literal["closed", "open"] = "closed"
    plain: bool = False

    @cached_property
    def max_hold_ms(self) -> int:
        return round(max(self.max_hold_seconds, self.hold_seconds) * 1000)

    @cached_property
    def horizon_ms(self) -> int:
        return round(self.horizon_seconds * 1000)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """rules: in order, the first that matches decides. Without rules it is the short form. path: where it was read."""

    name: str
    hold_seconds: float = 0.0
    rules: tuple[Rule, ...] = ()
    path: str = field(default="", compare=False)

    @cached_property
    def hold_ms(self) -> int:
        return round(self.hold_seconds * 1000)

    @property
    def usual_hold_seconds(self) -> float:
        """The hold of what no special rule is for."""
        return self.rules[-1].hold_seconds if self.rules else self.hold_seconds

    def in_force(self, horizon_seconds: float) -> tuple[Rule, ...]:
        """The rules; an edit that none matches is held by the last one."""
        short = Rule(hold_seconds=self.hold_seconds, horizon_seconds=horizon_seconds, plain=True)
        return self.rules or (short,)


@dataclass(frozen=True, kw_only=True)
class Policies:
    """Everything that decides beside the events themselves; it enters the log as a control record.

    grace_seconds is added once to each deadline of a hold > 0. horizon_seconds: how long a release can be retracted
    under the short form; a rule says it itself.
    """

    policies: tuple[Policy, ...]
    grace_seconds: float = 60.0
    horizon_seconds: float = HORIZON_SECONDS

    @cached_property
    def look_at_patrols(self) -> bool:
        """Whether a rule requires one, or holds back what one would clear."""
        rules = [rule for policy in self.policies for rule in policy.rules]
        return any(rule.risk or (rule.require and rule.require.kind == "patrolled") for rule in rules)

    @cached_property
    def grace_ms(self) -> int:
        return round(self.grace_seconds * 1000)

    @cached_property
    def horizon_ms(self) -> int:
        return round(self.horizon_seconds * 1000)


def policy_document(policy: Policy) -> dict[str, Any]:
    """As JSON. The short form stays short."""
    doc: dict[str, Any] = {"hold_seconds": policy.hold_seconds, "name": policy.name}
    if policy.rules:
        doc["rules"] = [_document(rule) for rule in policy.rules]
    return doc


def read_policy(doc: Mapping[str, Any]) -> Policy:
    """The reverse of `policy_document`. Raises `KeyError`, `TypeError` or `ValueError`."""
    return Policy(
        name=str(doc["name"]),
        hold_seconds=float(doc["hold_seconds"]),
        rules=tuple(_rule(rule) for rule in doc.get("rules", ())),
    )


def _document(value: Any) -> dict[str, Any]:
    """A dataclass without the fields that are at their defaults."""
    doc = {}
    default = type(value)() if isinstance(value, Rule | Match | War) else None
    for each in fields(value):
        item = getattr(value, each.name)
        if default is not None and item == getattr(default, each.name):
            continue
        if isinstance(item, Match | Risk | Review | War):
            item = _document(item)
        doc[each.name] = {str(key): each for key, each in item.items()} if isinstance(item, Mapping) else item
    return doc


def _rule(doc: Mapping[str, Any]) -> Rule:
    made = dict(doc)
    if "match" in made:
        made["match"] = Match(**{name: tuple(values) for name, values in made["match"].items()})
    for name, kind in (("risk", Risk), ("require", Review), ("war", War)):
        if made.get(name) is not None:
            made[name] = kind(**made[name])
    return Rule(**made)
