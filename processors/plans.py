"""Policies made ready for millions of edits: what each kind of edit waits for, worked out once per kind. Pure.

Most edits fire a fixed time after they were made. For these a plan lists the distinct delays with the policies of
each, so that fifty policies with three holds cost three deadlines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from processors.hear import RISK_STREAMS
from processors.wikis import can_approve, can_patrol
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE
from schemas.log import Gap
from schemas.page import Context
from schemas.policy import Match, Policies, Rule
from schemas.reasons import BASE_SIGNALS, EditorClass, SignalKind

# Every hold > 0 needs these to be heard before it may release.
REQUIRED_STREAMS = frozenset((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE))
CREATION_FACTOR = 2
# Models were not made for their edits.
UNSCORED = frozenset({EditorClass.BOT, EditorClass.TRUSTED})


def heard_until(heard_ms: Mapping[str, int]) -> int:
    """The watermark of a plain hold; -1 while a required stream was never heard."""
    return min(heard_ms.get(stream, -1) for stream in REQUIRED_STREAMS)


class Plan:
    """What one kind of edit waits for.

    Per policy, in their order: rules, numbers (of the rule within its policy), holds_ms, watermarks (index into
    `Rules.watermarks`), reviews (what is required, None if the wiki cannot give it), heeded (the kinds of signal that
    can be in its decisions). instant: the policies that hold nothing. steps: (delay_ms, policies) of those that fire
    at a fixed time, soonest first. special: all others.
    """

    __slots__ = (
        "context", "heeded", "holds_ms", "instant", "listened", "numbers", "reviews", "rules", "simple", "special",
        "steps", "wants_others", "watermarks",
    )  # fmt: skip

    def __init__(self, wiki: str, context: Context, rules: Rules) -> None:
        self.context = context
        found = [_first(policy, wiki, context) for policy in rules.policies]
        self.numbers = tuple(number for number, _ in found)
        self.rules = tuple(rule for _, rule in found)
        self.holds_ms = tuple(_hold_ms(rule, context) for rule in self.rules)
        self.reviews = tuple(_review(rule, wiki) for rule in self.rules)
        streams = [_streams(rule, review) for rule, review in zip(self.rules, self.reviews, strict=True)]
        self.watermarks = tuple(rules.watermarks.index(each) for each in streams)
        self.listened = tuple(
            _listened(rule, review, context[2]) for rule, review in zip(self.rules, self.reviews, strict=True)
        )
        self.heeded = tuple(_heeded(rule, kinds) for rule, kinds in zip(self.rules, self.listened, strict=True))
        everyone = range(len(self.rules))
        self.instant = tuple(i for i in everyone if not self.holds_ms[i] and not self.reviews[i])
        fixed = [i for i in everyone if i not in self.instant and self._fires_at_a_fixed_time(i)]
        self.special = tuple(i for i in everyone if i not in self.instant and i not in fixed)
        delays = sorted({self.holds_ms[i] for i in fixed})
        self.steps = tuple(
            (delay + rules.grace_ms, tuple(i for i in fixed if self.holds_ms[i] == delay)) for delay in delays
        )
        self.simple = frozenset(fixed)
        self.wants_others = any(review is not None and review == "other_editor" for review in self.reviews)

    def _fires_at_a_fixed_time(self, i: int) -> bool:
        rule = self.rules[i]
        waits = rule.clock == "quiet" or rule.risk or rule.war or self.reviews[i]
        return not waits and self.watermarks[i] == 0


class Rules:
    """Policies in force, with the plans made so far.

    watermarks: the distinct sets of streams that rules require; the first is that of every plain hold. gaps: the spans
    of event time that nobody heard.
    """

    def __init__(self, policies: Policies, gaps: Sequence[Gap] = ()) -> None:
        self.source = policies
        self.gaps = tuple(gaps)
        self.names = tuple(policy.name for policy in policies.policies)
        self.policies = tuple(policy.in_force(policies.horizon_seconds) for policy in policies.policies)
        self.grace_ms = policies.grace_ms
        self.count = len(self.names)
        self.zero = b"0" * self.count
        every = [rule for policy in self.policies for rule in policy]
        kinds = ("", "patrolled", "approved", "other_editor")
        sets = dict.fromkeys([REQUIRED_STREAMS, *(_streams(rule, kind) for rule in every for kind in kinds)])
        self.watermarks = tuple(sets)
        longest_ms = max((_longest_ms(rule) for rule in every), default=0)
        self.longest_ms = longest_ms + (self.grace_ms if longest_ms else 0)
        horizon_ms = max((rule.horizon_ms for rule in every), default=0)
        self.keep_ms = self.longest_ms + horizon_ms
        full = [rule for rule in every if not rule.plain]
        self.blocks = bool(full)
        self.titles = any(
            rule.risk or (rule.require and rule.require.kind != "other_editor") or "protected" in rule.match.page_flags
            for rule in full
        )
        self.breaking = any("breaking" in rule.match.page_flags for rule in full)
        self.war_ms = max((round(rule.war.hours * 3_600_000) for rule in full if rule.war), default=0)
        self.neighbours = any(rule.war or (rule.require and rule.require.kind == "other_editor") for rule in full)
        self.wars = tuple(dict.fromkeys((rule.war.n, round(rule.war.hours * 3_600_000)) for rule in full if rule.war))
        self._plans: dict[tuple[str, Context], Plan] = {}

    def plan(self, wiki: str, context: Context) -> Plan:
        """The plan of one kind of edit; the same object each time."""
        key = (wiki, context)
        made = self._plans.get(key)
        if made is None:
            made = self._plans[key] = Plan(wiki, context, self)
        return made


def _first(policy: Sequence[Rule], wiki: str, context: Context) -> tuple[int, Rule]:
    for number, rule in enumerate(policy):
        if matches(rule.match, wiki, context):
            return number, rule
    return len(policy) - 1, policy[-1]


def matches(match: Match, wiki: str, context: Context) -> bool:
    """Whether every field that the match names holds for an edit."""
    namespace, kinds, editor_class, flags, topics = context
    return (
        (not match.wiki or wiki in match.wiki)
        and (not match.ns or namespace in match.ns)
        and (not match.kind or not set(match.kind).isdisjoint(kinds))
        and (not match.editor_class or editor_class in match.editor_class)
        and (not match.page_flags or not set(match.page_flags).isdisjoint(flags))
        and (not match.topic or any(_is_topic(wanted, topic) for wanted in match.topic for topic in topics))
    )


def _is_topic(wanted: str, topic: str) -> bool:
    return topic.startswith(wanted[:-1]) if wanted.endswith("*") else topic == wanted


def _hold_ms(rule: Rule, context: Context) -> int:
    _, kinds, editor_class, _, _ = context
    hold_ms = rule.hold_seconds * 1000 * rule.trust.get(EditorClass(editor_class), 1.0)
    # A page's first text has nothing that it could be compared with, nor a revert that would show in its SHA-1.
    if "create" in kinds and not rule.plain:
        hold_ms *= CREATION_FACTOR
    return round(hold_ms)


def _review(rule: Rule, wiki: str) -> str:
    """What is required, "" where nothing is or the wiki cannot give it."""
    if rule.require is None:
        return ""
    given = {"patrolled": can_patrol(wiki), "approved": can_approve(wiki), "other_editor": True}
    return rule.require.kind if given[rule.require.kind] else ""


def _streams(rule: Rule, review: str) -> frozenset[str]:
    needed = frozenset((PAGE_CHANGE,)) if rule.stall == "open" else REQUIRED_STREAMS
    if rule.stall == "closed" and review in {"patrolled", "approved"}:
        needed |= {RECENT_CHANGE}
    if rule.stall == "closed" and rule.risk:
        needed |= {stream for stream, model in RISK_STREAMS.items() if rule.risk.model.startswith(model)}
    return needed


def _listened(rule: Rule, review: str, editor_class: str) -> tuple[SignalKind, ...]:
    if rule.plain:
        return BASE_SIGNALS
    kinds = {*BASE_SIGNALS, SignalKind.BLOCK, SignalKind.TAINT, SignalKind.COVERAGE_GAP}
    kinds |= {SignalKind.RISK} if rule.risk and editor_class not in UNSCORED else set()
    kinds |= {SignalKind.LATER_EDIT} if rule.clock == "quiet" or rule.war else set()
    kinds |= {SignalKind.EDIT_WAR} if rule.war else set()
    kinds |= {SignalKind.RESTORES} if rule.restore else set()
    kinds |= {
        "": set(),
        "patrolled": {SignalKind.PATROL},
        "approved": {SignalKind.APPROVE, SignalKind.UNAPPROVE},
        "other_editor": {SignalKind.OTHER_EDITOR},
    }[review]
    return tuple(kind for kind in SignalKind if kind in kinds)


def _heeded(rule: Rule, kinds: Sequence[SignalKind]) -> frozenset[SignalKind]:
    looked = {SignalKind.PATROL, SignalKind.APPROVE} if SignalKind.RISK in kinds else set()
    return frozenset({*kinds, SignalKind.COVERAGE_GAP, *looked})


def _longest_ms(rule: Rule) -> int:
    """How long after its start an edit may wait under the rule."""
    hold_ms = rule.hold_seconds * 1000 * max((1.0, *rule.trust.values()))
    if rule.plain:
        return round(hold_ms)
    extend = (rule.risk.extend_seconds or 0) if rule.risk else 0
    wait = rule.require.wait_seconds if rule.require else 0
    return round(max(rule.max_hold_ms, CREATION_FACTOR * hold_ms, wait * 1000) + extend * 1000)
