"""Policies made ready for millions of edits: what each kind of edit waits for, worked out once per kind. Pure.

Most edits fire a fixed time after they were made. For these a plan knows what fires next, and when.

A *lane* is what policies share that have the same rules for a wiki: whatever happens to an edit there under one of them
happens under all, so it is worked out once, and fifty policies that are three under many names, or that differ on other
wikis, cost little more than three. On a page where they once differed (one of them came later) they go separate ways,
until that is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from zlib import crc32

from processors.hear import RISK_STREAMS
from processors.wikis import can_approve, can_patrol
from schemas.decision import Decision
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE
from schemas.learned import NOTHING_LEARNED, Learned, Protect, Stratum
from schemas.log import Gap, encode_learned, encode_policies
from schemas.page import PENDING, Context, Edit, Lanes, policies_mark
from schemas.policy import Match, Policies, Policy, Rule
from schemas.reasons import BASE_SIGNALS, EditorClass, SignalKind

# Every hold > 0 needs these to be heard before it may release.
REQUIRED_STREAMS = frozenset((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE))
CREATION_FACTOR = 2
# How active a page is, is the number of its edits within so long; an edit that is heard late counts too.
ACTIVITY_MS = 30 * 86_400_000
_LATE_MS = 2 * 86_400_000
# Models were not made for their edits.
UNSCORED = frozenset({EditorClass.BOT, EditorClass.TRUSTED})


def heard_until(heard_ms: Mapping[str, int]) -> int:
    """The watermark of a plain hold; -1 while a required stream was never heard."""
    return min(heard_ms.get(stream, -1) for stream in REQUIRED_STREAMS)


# (delay after the start in ms, lanes) of a moment at which something may fire.
Step = tuple[int, tuple[int, ...]]
# So many states of one kind of edit are kept in mind.
_MOST_AHEAD = 10_000


class Plan:
    """What one kind of edit waits for.

    Per lane, in their order: rules, numbers (of the rule within its policy), holds_ms, latest (whether only the newest
    edit goes out), watermarks (index into `Rules.watermarks`), reviews (what is required, None if the wiki cannot give
    it), protects (how its hold was chosen, None where it is fixed), heeded (the kinds of signal that can be in its
    decisions), waits_ms (how long after its start it waits at least). instant: the lanes that hold nothing. simple:
    those that fire at a fixed time; special: all others. wars, others: the lanes in which a war of editors, or another
    editor, makes a difference.
    """

    __slots__ = (
        "_ahead", "_least", "context", "heeded", "holds_ms", "instant", "latest", "listened", "numbers", "others",
        "protects", "reviews", "rules", "simple", "special", "waits_ms", "wars", "watermarks",
    )  # fmt: skip

    def __init__(self, wiki: str, context: Context, rules: Rules, protects: Sequence[Protect] = ()) -> None:
        self.context = context
        found = [_first(policy, wiki, context) for policy in rules.policies]
        self.numbers = tuple(number for number, _ in found)
        self.rules = tuple(rule for _, rule in found)
        by_target = {protect.target: protect for protect in protects}
        self.protects = tuple(None if rule.protect is None else by_target[rule.protect] for rule in self.rules)
        self.holds_ms = tuple(
            _hold_ms(rule, context, protect) for rule, protect in zip(self.rules, self.protects, strict=True)
        )
        self.latest = tuple(rule.emit == "latest" for rule in self.rules)
        self.reviews = tuple(_review(rule, wiki) for rule in self.rules)
        streams = [_streams(rule, review) for rule, review in zip(self.rules, self.reviews, strict=True)]
        self.listened = tuple(
            _listened(rule, review, context[2]) for rule, review in zip(self.rules, self.reviews, strict=True)
        )
        self.heeded = tuple(_heeded(rule, kinds) for rule, kinds in zip(self.rules, self.listened, strict=True))
        everyone = range(len(self.rules))
        self.instant = tuple(i for i in everyone if not self.holds_ms[i] and not self.reviews[i])
        # What holds nothing needs no stream of its own; the first set is that of every plain hold.
        self.watermarks = tuple(
            0 if i in self.instant else rules.watermarks.index(each) for i, each in enumerate(streams)
        )
        fixed = [i for i in everyone if i not in self.instant and self._fires_at_a_fixed_time(i)]
        self.special = tuple(i for i in everyone if i not in self.instant and i not in fixed)
        self.waits_ms = tuple(0 if i in self.instant else self.holds_ms[i] + rules.grace_ms for i in everyone)
        self.simple = frozenset(fixed)
        self.others = tuple(i for i in everyone if self.reviews[i] == "other_editor")
        self.wars = tuple(i for i in everyone if self.rules[i].war)
        self._ahead: dict[bytes, Step | None] = {}
        self._least: dict[bytes, int | None] = {}

    def ahead(self, states: bytes) -> Step | None:
        """The soonest moment at which something fires in these states, where all does at a fixed time; None if none."""
        if states not in self._ahead:
            if len(self._ahead) >= _MOST_AHEAD:
                self._ahead.clear()
            waiting = [lane for lane in range(len(self.rules)) if states[lane] == PENDING and lane not in self.special]
            soonest_ms = min((self.waits_ms[lane] for lane in waiting), default=None)
            lanes = tuple(lane for lane in waiting if self.waits_ms[lane] == soonest_ms)
            self._ahead[states] = None if soonest_ms is None else (soonest_ms, lanes)
        return self._ahead[states]

    def least_wait_ms(self, states: bytes) -> int | None:
        """How long after its start an edit waits at least in these states; None if it waits for nothing."""
        if states not in self._least:
            if len(self._least) >= _MOST_AHEAD:
                self._least.clear()
            waits = [waits_ms for lane, waits_ms in enumerate(self.waits_ms) if states[lane] == PENDING]
            self._least[states] = min(waits, default=None)
        return self._least[states]

    def _fires_at_a_fixed_time(self, i: int) -> bool:
        rule = self.rules[i]
        waits = rule.clock == "quiet" or rule.risk or rule.war or self.reviews[i]
        return not waits and self.watermarks[i] == 0


class Rules:
    """Policies in force, with the plans made so far.

    mark: tells these policies, and `before`, from others. watermarks: the distinct sets of streams that rules require;
    the first is that of every plain hold. gaps: the spans of event time that nobody heard; gap_end_ms: what began after
    that lies in none of them. names: of the policies, in their order. targets: the protections that rules ask for.
    learned: the table in force; before: the one that was when these policies came into force, for edits that were
    observed before them. active_from_ms: from when on it is known how active pages are, None = not yet. restless:
    whether some rule asks for all edits of a page at each event.
    Per lane: lanes (the policies that share it, by their place in `names`), spoken (the name of the first of them, by
    which decisions name them all), weights (how many they are), policies (their rules). count: how many lanes. shared:
    by the spoken name, (place, name) of each policy of the lane; None if no two policies are alike.
    """

    def __init__(
        self,
        policies: Policies,
        gaps: Sequence[Gap] = (),
        *,
        learned: Learned = NOTHING_LEARNED,
        before: Learned = NOTHING_LEARNED,
        active_from_ms: int | None = None,
    ) -> None:
        self.source = policies
        self.mark = policies_mark(
            encode_policies(policies), b"" if before is NOTHING_LEARNED else encode_learned(before)
        )
        self.gaps = tuple(gaps)
        self.gap_end_ms = max((gap.to_ms for gap in gaps), default=-1)
        self.learned, self.before, self.active_from_ms = learned, before, active_from_ms
        self.names = tuple(policy.name for policy in policies.policies)
        every_policy = tuple(policy.in_force(policies.horizon_seconds) for policy in policies.policies)
        self._every_policy = every_policy
        self._put_in_lanes(_alike(every_policy))
        # With whichever lanes, they all know of each other.
        self._every: dict[Lanes, Rules] = {self.lanes: self}
        self._by_wiki: dict[str, Rules] = {}
        self._names_wikis = any(rule.match.wiki for policy in every_policy for rule in policy)
        self._marks: dict[int, int] = {}
        self._places = {name: at for at, name in enumerate(self.names)}
        self.grace_ms = policies.grace_ms
        every = [rule for policy in self.policies for rule in policy]
        kinds = ("", "patrolled", "approved", "other_editor")
        sets = dict.fromkeys([REQUIRED_STREAMS, *(_streams(rule, kind) for rule in every for kind in kinds)])
        self.watermarks = tuple(sets)
        longest_ms = max((_longest_ms(rule) for rule in every), default=0)
        self.longest_ms = longest_ms + (self.grace_ms if longest_ms else 0)
        horizon_ms = max((rule.horizon_ms for rule in every), default=0)
        self.targets = tuple(sorted({rule.protect for rule in every if rule.protect is not None}))
        self.keep_ms = max(self.longest_ms + horizon_ms, ACTIVITY_MS + _LATE_MS if self.targets else 0)
        full = [rule for rule in every if not rule.plain]
        self.blocks = bool(full)
        self.titles = any(
            rule.risk or (rule.require and rule.require.kind != "other_editor") or "protected" in rule.match.page_flags
            for rule in full
        )
        self.breaking = any("breaking" in rule.match.page_flags for rule in full)
        self.restless = self.breaking or bool(self.targets)
        self.war_ms = max((round(rule.war.hours * 3_600_000) for rule in full if rule.war), default=0)
        self.neighbours = any(rule.war or (rule.require and rule.require.kind == "other_editor") for rule in full)
        self.wars = tuple(dict.fromkeys(rule.war for rule in full if rule.war))

    def _put_in_lanes(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.policies = tuple(self._every_policy[lane[0]] for lane in lanes)
        self.spoken = tuple(self.names[lane[0]] for lane in lanes)
        self.weights = tuple(len(lane) for lane in lanes)
        self.count = len(lanes)
        self.zero = b"0" * self.count
        self.shared = (
            {self.names[lane[0]]: tuple((at, self.names[at]) for at in lane) for lane in lanes}
            if len(lanes) < len(self._every_policy)
            else None
        )
        self._plans: dict[tuple[str, Context, tuple[Protect, ...]], Plan] = {}

    def of(self, lanes: Lanes) -> Rules:
        """The same rules for a page on which the policies share these lanes."""
        if lanes is self.lanes:
            return self
        if lanes not in self._every:
            self._every[lanes] = other = copy(self)
            other._put_in_lanes(lanes)
        return self._every[lanes]

    def on(self, wiki: str) -> Rules:
        """The same rules for pages of a wiki on which no two policies with the same rules for it ever differed."""
        if not self._names_wikis:
            return self
        if wiki not in self._by_wiki:
            self._by_wiki[wiki] = self.of(_alike([_on(policy, wiki) for policy in self._every_policy]))
        return self._by_wiki[wiki]

    def lanes_of(self, states: Collection[bytes]) -> Lanes:
        """The lanes that policies can share where edits stand so under each of them."""
        if self.shared is None:
            return self.lanes
        found: list[tuple[int, ...]] = []
        for lane in self.lanes:
            parts: dict[bytes, list[int]] = {}
            for at in lane:
                parts.setdefault(bytes(each[at] for each in states), []).append(at)
            found += [tuple(part) for part in parts.values()]
        return self.lanes if len(found) == self.count else tuple(sorted(found))

    def gather(self, states: bytes) -> bytes:
        """One digit per lane for one per policy. Those of policies that are gone stay behind them."""
        if self.shared is None:
            return states
        return bytes(states[lane[0]] for lane in self.lanes) + states[len(self.names) :]

    def put_in_force(self, wiki: str, edit: Edit) -> None:
        """Make an edit ready that has a digit for each policy."""
        edit.states = self.gather(edit.states)
        self.attach(wiki, edit)

    def attach(self, wiki: str, edit: Edit) -> None:
        """Give an edit the plan of its kind."""
        edit.plan = self.plan(wiki, edit.context, edit.protects)
        edit.context = edit.plan.context  # the one that all edits of this kind share

    def place(self, decision: Decision) -> int:
        """The place of a decision's policy among those in force."""
        return self._places[decision.policy]

    def mark_of(self, rule: Rule) -> int:
        """Tells a rule, with the grace, from others; the same everywhere."""
        if id(rule) not in self._marks:
            alone = Policies(policies=(Policy(name="", rules=(rule,)),), grace_seconds=self.source.grace_seconds)
            self._marks[id(rule)] = crc32(encode_policies(alone), int(rule.plain))
        return self._marks[id(rule)]

    def learn(self, learned: Learned) -> None:
        """Another table: for edits that are observed from now on. Whoever waits goes on waiting as it was chosen."""
        for rules in self._every.values():
            rules.learned = learned
            # Edits keep their plans; those of the last table's holds would never be asked for again.
            rules._plans.clear()

    def count_activity_from(self, heard_ms: int) -> None:
        """The log is heard since then, so that how active pages are is known a month later."""
        for rules in self._every.values():
            rules.active_from_ms = heard_ms + ACTIVITY_MS

    def plan(self, wiki: str, context: Context, protects: tuple[Protect, ...] = ()) -> Plan:
        """The plan of one kind of edit; the same object each time. protects: what was chosen when it was observed."""
        if self.targets or protects:
            protects = self._complete(wiki, context, protects)
        key = (wiki, context, protects)
        made = self._plans.get(key)
        if made is None:
            made = self._plans[key] = Plan(wiki, context, self, protects)
        return made

    def _complete(self, wiki: str, context: Context, protects: tuple[Protect, ...]) -> tuple[Protect, ...]:
        """One for each target: of an edit older than the policies, from the table with which they came into force."""
        by_target = {protect.target: protect for protect in protects}
        if tuple(by_target) == self.targets:
            return protects
        stratum = protects[0].stratum if protects else Stratum(wiki, str(context[2]))
        older = self.before.protects(stratum, self.targets)
        return tuple(by_target.get(protect.target, protect) for protect in older)


def _on(policy: Sequence[Rule], wiki: str) -> list[tuple[int, Rule]]:
    """The rules of a policy that can decide on a wiki, with their numbers, as if they named none."""
    found = []
    for number, rule in enumerate(policy):
        if not rule.match.wiki or wiki in rule.match.wiki:
            found.append((number, replace(rule, match=replace(rule.match, wiki=()))))
            if found[-1][1].match == _EVERYTHING:
                return found
    return [*found, (len(policy) - 1, policy[-1])]


_EVERYTHING = Match()


def _alike(policies: Sequence[Sequence[object]]) -> Lanes:
    """The places of policies with the same rules, in the order of the first of each."""
    lanes: list[list[int]] = []
    for at, policy in enumerate(policies):
        same = next((lane for lane in lanes if policies[lane[0]] == policy), None)
        if same is None:
            lanes.append([at])
        else:
            same.append(at)
    return tuple(tuple(lane) for lane in lanes)


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


def _hold_ms(rule: Rule, context: Context, protect: Protect | None) -> int:
    _, kinds, editor_class, _, _ = context
    hold_ms = rule.hold_seconds * 1000 * rule.trust.get(EditorClass(editor_class), 1.0)
    if protect is not None and protect.hold_ms is not None:
        hold_ms = protect.hold_ms
    # A page's first text has nothing that it could be compared with, nor a revert that would show in its SHA-1.
    if "create" in kinds and not rule.plain:
        hold_ms *= CREATION_FACTOR
    if protect is not None:
        hold_ms = min(max(hold_ms, rule.min_hold_seconds * 1000), rule.max_hold_ms)
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
