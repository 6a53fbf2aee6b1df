"""What a rule of a policy file asks of an edit, from the words of its knobs: which rule, how long, which signals.

The tables are those of the configuration of Wikimedia's wikis (wikimedia/operations-mediawiki-config, August 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.event import PAGE_CHANGE, RECENT_CHANGE, RISK_STREAMS, TAGS_CHANGE, VISIBILITY_CHANGE, milliseconds
from schemas.learned import Protect
from schemas.log import Policies
from schemas.policy import Match, Risk, Rule
from schemas.reasons import BASE_SIGNALS, EditorClass, SignalKind

# What every hold > 0 must have heard before it lets an edit out.
NEEDED = frozenset((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE))
DAY_MS = 86_400_000
MODELS = dict(zip(("language-agnostic", "multilingual", "wikidata"), RISK_STREAMS, strict=True))
PATROLLED = frozenset({
    "frwiki", "itwiki", "nlwiki", "ptwiki", "zhwiki", "viwiki", "idwiki", "fawiki", "hewiki", "nowiki", "cswiki",
    "rowiki", "fiwiki", "wikidatawiki", "commonswiki", "metawiki",
})  # fmt: skip
REVIEWED = frozenset({
    "dewiki", "plwiki", "ruwiki", "huwiki", "fiwiki", "ukwiki", "trwiki", "arwiki", "bewiki", "kawiki", "eowiki",
    "sqwiki",
})  # fmt: skip
LIMITS = {
    "enwiki": 0.831, "idwiki": 0.845, "trwiki": 0.608, "simplewiki": 0.906, "cywiki": 0.111, "mlwiki": 0.936,
}  # fmt: skip
USUAL_LIMIT = 0.85
GROUPS = frozenset({"sysop", "patroller", "reviewer", "autoreview", "autoreviewer", "autopatrolled", "editor"})
REVIEWS = {
    "patrolled": {SignalKind.PATROL},
    "approved": {SignalKind.APPROVE, SignalKind.UNAPPROVE},
    "other_editor": {SignalKind.OTHER_EDITOR},
}


class Traits(NamedTuple):
    """What of an edit a rule can match."""

    wiki: str
    namespace: int
    kinds: frozenset[str]
    editor: EditorClass
    flags: frozenset[str]
    topics: frozenset[str]


class Asked(NamedTuple):
    """The rule that matches, its place in the policy, and what it comes to for this edit.

    review: "" = none. protect: how the hold was chosen, None = it is fixed.
    """

    number: int
    rule: Rule
    hold_ms: int
    review: str
    scored: bool
    protect: Protect | None = None

    @property
    def instant(self) -> bool:
        """It holds nothing and waits for nobody."""
        return not self.hold_ms and not self.review


def asked(rules: Sequence[Rule], traits: Traits, learned: Callable[[float], Protect]) -> Asked:
    """By the first rule that matches; the last one is for all others. learned: what was chosen for a share to protect.

    A learned hold lies between the shortest and the longest one of the rule.
    """
    number = next((n for n, rule in enumerate(rules) if _matches(rule.match, traits)), len(rules) - 1)
    rule = rules[number]
    hold_ms = rule.hold_seconds * 1000 * rule.trust.get(traits.editor, 1.0)
    protect = None if rule.protect is None else learned(rule.protect)
    if protect is not None and protect.hold_ms is not None:
        hold_ms = protect.hold_ms
    hold_ms *= 2 if "create" in traits.kinds and not rule.plain else 1
    if protect is not None:
        hold_ms = min(max(hold_ms, rule.min_hold_seconds * 1000), rule.max_hold_ms)
    scored = rule.risk is not None and traits.editor not in {EditorClass.BOT, EditorClass.TRUSTED}
    return Asked(number, rule, round(hold_ms), review_of(rule, traits.wiki), scored, protect)


def _matches(match: Match, traits: Traits) -> bool:
    return all(
        not wanted or held
        for wanted, held in (
            (match.wiki, traits.wiki in match.wiki),
            (match.ns, traits.namespace in match.ns),
            (match.kind, bool(traits.kinds & set(match.kind))),
            (match.editor_class, traits.editor in match.editor_class),
            (match.page_flags, bool(traits.flags & set(match.page_flags))),
            (match.topic, any(_is(wanted, topic) for wanted in match.topic for topic in traits.topics)),
        )
    )


def _is(wanted: str, topic: str) -> bool:
    return topic.startswith(wanted.removesuffix("*")) if wanted.endswith("*") else topic == wanted


def review_of(rule: Rule, wiki: str) -> str:
    """What the rule requires and the wiki can supply."""
    kind = rule.require.kind if rule.require else ""
    supplied = {"patrolled": wiki in PATROLLED or wiki.endswith("wikivoyage"), "approved": wiki in REVIEWED}
    return kind if supplied.get(kind, True) else ""


def streams(rule: Rule, review: str) -> frozenset[str]:
    """What must be heard until the fire time: of an open rule edits alone."""
    if rule.stall == "open":
        return frozenset((PAGE_CHANGE,))
    needed = set(NEEDED)
    if review in {"patrolled", "approved"}:
        needed.add(RECENT_CHANGE)
    if rule.risk is not None:
        needed |= {stream for model, stream in MODELS.items() if rule.risk.model == f"revertrisk-{model}"}
    return frozenset(needed)


def kept_ms(rules: Iterable[Rule], grace_ms: int) -> int:
    """How long an edit is known: as long as it may wait, and then for the horizon; of pages whose activity counts, for
    its thirty days and two for what is heard late.
    """
    waits, horizons, active = [0], [0], 0
    for rule in rules:
        hold_ms = rule.hold_seconds * 1000 * max((1.0, *rule.trust.values()))
        if not rule.plain:
            extend_ms = (rule.risk.extend_seconds or 0) * 1000 if rule.risk else 0
            wait_ms = rule.require.wait_seconds * 1000 if rule.require else 0
            hold_ms = max(rule.max_hold_ms, 2 * hold_ms, wait_ms) + extend_ms
        waits.append(round(hold_ms))
        horizons.append(rule.horizon_ms)
        active = max(active, 32 * DAY_MS if rule.protect is not None else 0)
    return max(max(waits) + (grace_ms if max(waits) else 0) + max(horizons), active)


class Limits(NamedTuple):
    """What policies listen to. What nobody listens to is not heard, also not for those that come later.

    followed: the sets of streams that are followed together. kept_ms: how long an edit is known. blocks, titles: the
    log actions that name a user, or a page; flags: what of a page is noted for an edit; topics: before the first one.
    """

    followed: frozenset[frozenset[str]]
    kept_ms: int = 0
    blocks: bool = False
    titles: bool = False
    flags: frozenset[str] = frozenset()
    topics: bool = False


def limits(policies: Policies | None) -> Limits:
    """Of all of them together."""
    if policies is None:
        return Limits(frozenset((NEEDED,)))
    rules = [rule for policy in policies.policies for rule in policy.in_force(policies.horizon_seconds)]
    full = [rule for rule in rules if not rule.plain]
    titles = any(
        rule.risk or (rule.require and rule.require.kind != "other_editor") or "protected" in rule.match.page_flags
        for rule in full
    )
    breaking = any("breaking" in rule.match.page_flags for rule in full)
    flags = {"breaking" if breaking else "", "protected" if titles or breaking else ""} - {""}
    return Limits(
        frozenset({NEEDED, *(streams(rule, review) for rule in rules for review in ("", *REVIEWS))}),
        kept_ms(rules, policies.grace_ms),
        bool(full),
        titles,
        frozenset(flags),
        any(rule.match.topic for rule in rules),
    )


def listened(asked: Asked) -> frozenset[SignalKind]:
    """The kinds of signal that can change what becomes of an edit under its rule."""
    rule = asked.rule
    kinds = set(BASE_SIGNALS)
    if rule.plain:
        return frozenset(kinds | {SignalKind.COVERAGE_GAP})
    kinds |= {SignalKind.BLOCK, SignalKind.TAINT, SignalKind.COVERAGE_GAP}
    if asked.scored:
        kinds |= {SignalKind.RISK, SignalKind.PATROL, SignalKind.APPROVE}
    if rule.clock == "quiet" or rule.war:
        kinds.add(SignalKind.LATER_EDIT)
    if rule.war:
        kinds.add(SignalKind.EDIT_WAR)
    if rule.restore:
        kinds.add(SignalKind.RESTORES)
    return frozenset(kinds | REVIEWS.get(asked.review, set()))


def risk_limit(risk: Risk, wiki: str) -> float:
    return LIMITS.get(wiki, USUAL_LIMIT) if risk.max is None else risk.max


def editor_class(editor: Mapping[str, Any] | None, at_ms: int) -> EditorClass:
    """editor: as in a page_change event; trusted by group, or by 500 edits and 90 days."""
    if not editor:
        return EditorClass.UNKNOWN
    edits: int = -1 if editor.get("edit_count") is None else editor["edit_count"]
    since = editor.get("registration_dt")
    if editor.get("is_bot"):
        return EditorClass.BOT
    if editor.get("is_temp"):
        return EditorClass.TEMP
    if not editor.get("user_id"):
        return EditorClass.ANON
    if GROUPS & set(editor.get("groups") or ()) or (
        edits >= 500 and since and at_ms - milliseconds(since) >= 90 * DAY_MS
    ):
        return EditorClass.TRUSTED
    return EditorClass.NEW if 0 <= edits < 25 else EditorClass.REGISTERED
