"""What every edit must have been decided to be under every policy, read off its page's whole history at once.

fire time f = start + hold + grace; hold 0: f = start, and it fires where it is read, or, where it comes into force
later, at the first tick that has heard f, unless a bar was read before
a bar read before the tick that fires, of a time < f: withheld, or superseded if its own editor did it
a bar of a time ≥ f: released first, then retracted; a bar read after the tick: retracted
a newer revision of the page released before: superseded by it

So it is under the short form of a policy that is in force from when it came. All others are `processors.oracle_full`'s.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from processors.oracle_deadline import in_gap
from processors.oracle_full import Moment, Stand, Walk
from processors.oracle_history import BARS
from processors.oracle_page import Edit, Page, Said
from processors.oracle_rules import NEEDED
from schemas.decision import Decision, Signal
from schemas.log import Policies, Policy
from schemas.reasons import BASE_SIGNALS, Bar, State

FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Step:
    """One transition that must come, and when in the log."""

    moment: Moment
    decision: Decision


@dataclass(slots=True)
class Fate:
    """What one edit must go through under one policy. No steps: it still waits, for `fire_ms`.

    since: the place of the log from which on the policy holds it. full: it was not read off at once.
    """

    page: Page
    edit: Edit
    policy: str
    since: int
    fire_ms: int
    steps: list[Step]
    full: bool = False

    @property
    def released(self) -> Step | None:
        return next((step for step in self.steps if step.decision.state is State.RELEASED), None)

    @property
    def in_force(self) -> bool:
        """Whether the policy is, at the end of the log."""
        _, policies = self.page.partition.rules[-1]
        return self.policy in {policy.name for policy in policies.policies}

    def waits_at(self, place: int) -> bool:
        """Whether it waits under the policy when the record at a place of the log is read."""
        return self.since < place and not (self.steps and self.steps[0].moment[0] < place)


def fates(page: Page) -> Iterator[Fate]:
    """Every edit of the page under every policy that was in force when it was read, or came while it waited.

    A policy that comes, or comes back, applies to all that is pending: to what waits under any other, or did when that
    went.
    """
    rules = page.partition.rules
    in_force = [(place, {policy.name for policy in policies.policies}) for place, policies in rules]
    since: dict[str, dict[Edit, int]] = {p.name: {} for _, policies in rules for p in policies.policies}
    for edit in page.edits:
        policies = page.partition.policies_at(edit.place)
        for policy in policies.policies if policies else ():
            since[policy.name][edit] = edit.place
    found = {name: _fates(page, name, held) for name, held in since.items()}
    for place, names in in_force:
        waits = {edit for edit in page.known(place) if any(_waits_at(place, each.get(edit)) for each in found.values())}
        for name, held in since.items():
            if name in names and (come := waits.difference(held)):
                held |= dict.fromkeys(come, place)
                found[name] = _fates(page, name, held)
    for each in found.values():
        yield from each.values()


def _waits_at(place: int, fate: Fate | None) -> bool:
    return fate is not None and fate.waits_at(place)


def _fates(page: Page, name: str, since: Mapping[Edit, int]) -> dict[Edit, Fate]:
    """since: which edits the policy holds, and from which place of the log on."""
    rules = page.partition.rules
    named = [next((p for p in policies.policies if p.name == name), None) for _, policies in rules]
    # What is not to be read off at once: full rules, and a policy that went.
    walked = any(p is not None and p.rules for p in named) or None in named[named.index(next(filter(None, named))) :]
    return {fate.edit: fate for fate in (_walked if walked else _read_off)(page, name, since)}


def _walked(page: Page, name: str, since: Mapping[Edit, int]) -> Iterator[Fate]:
    """Under a policy with full rules, or one that went."""
    steps: dict[Edit, list[Step]] = {}

    def say(stand: Stand, moment: Moment, decision: Decision) -> None:
        steps.setdefault(stand.edit, []).append(Step(moment, decision))

    walk = Walk(page, name, since, say)
    for stand in walk.run():
        edit = stand.edit
        yield Fate(page, edit, name, since[edit], walk.fire_ms(stand), steps.get(edit, []), full=True)


def _read_off(page: Page, name: str, since: Mapping[Edit, int]) -> Iterator[Fate]:
    """Under a policy in the short form, from when it came."""
    found: list[Fate] = []
    went_out: list[tuple[Moment, Fate]] = []
    newest_first = sorted(since, key=lambda e: (e.event.rev_id, e.epoch), reverse=True)
    for _, epochs in groupby(newest_first, key=lambda e: e.event.rev_id):
        made = [_fate(page, edit, name, since[edit]) for edit in epochs]
        for fate in made:
            _overtaken(fate, went_out)
        for fate in made:
            if (step := fate.released) is not None:
                insort(went_out, (step.moment, fate), key=_moment)
        found += made
    yield from reversed(found)


def _moment(each: tuple[Moment, Fate]) -> Moment:
    return each[0]


def _fate(page: Page, edit: Edit, name: str, since: int) -> Fate:
    """What becomes of it if no newer edit is looked at."""
    fire, at = _fire(page, edit, name, since)
    fate = Fate(page, edit, name, since, fire, [])
    after: list[Said] = []
    for said in (each for each in edit.said if each.signal.kind in BASE_SIGNALS):
        if said.place < since:
            after.append(said)
            continue
        signal, (rules, policy) = said.signal, _rules(page, name, said.place)
        instant = policy.hold_ms == 0
        in_time = at is None or (said.place <= at if instant else said.place < at)
        if in_time and (instant or signal.at_ms < fire_ms(edit, policy, rules)):
            state = State.SUPERSEDED if signal.by_self else State.WITHHELD
            fate.steps.append(Step((said.place, 0, 0, 0, 0), _barred(fate, policy, rules, state, signal, said.place)))
            return fate
        after.append(said)
    # Other policies may have put the fire time off behind a bar that was too late for the one before.
    rules, policy = _rules(page, name, since if at is None else at)
    for said in after:
        if at is not None and said.place < at and (not policy.hold_ms or said.signal.at_ms < fire):
            state = State.SUPERSEDED if said.signal.by_self else State.WITHHELD
            moment = (at, 1, fire, edit.event.rev_id, edit.epoch)
            fate.steps.append(Step(moment, _barred(fate, policy, rules, state, said.signal, at)))
            return fate
    if at is not None and (gap := _gap(fate, at)) is not None:
        fate.steps.append(gap)
    elif at is not None:
        fate.steps.append(_release(fate, *_rules(page, name, at), at))
        fate.steps += _taken_back(fate, after, at)
    return fate


def _release(fate: Fate, rules: Policies, policy: Policy, at: int) -> Step:
    fire, event = fire_ms(fate.edit, policy, rules), fate.edit.event
    moment = (at, int(at != fate.edit.place), fire, event.rev_id, fate.edit.epoch)
    return Step(moment, _decided(fate, policy, rules, State.RELEASED, fire, None))


def _barred(fate: Fate, policy: Policy, rules: Policies, state: State, signal: Signal, place: int) -> Decision:
    decision = _decided(fate, policy, rules, state, signal.at_ms, signal)
    return decision._replace(signals=(*_unheard(fate, place), *decision.signals))


def _unheard(fate: Fate, place: int) -> tuple[Signal, ...]:
    """What may have been said in a span that nobody heard cannot be known."""
    rules, policy = _rules(fate.page, fate.policy, place)
    gaps = [gap for at, gap in fate.page.partition.gaps if at <= place]
    gap = in_gap(gaps, NEEDED, fate.edit.start_ms, fire_ms(fate.edit, policy, rules)) if policy.hold_ms else None
    return () if gap is None else (gap,)


def _gap(fate: Fate, at: int) -> Step | None:
    unheard = _unheard(fate, at)
    if not unheard:
        return None
    rules, policy = _rules(fate.page, fate.policy, at)
    fire = fire_ms(fate.edit, policy, rules)
    decision = _decided(fate, policy, rules, State.WITHHELD, fire, None)
    moment = (at, 1, fire, fate.edit.event.rev_id, fate.edit.epoch)
    return Step(moment, decision._replace(reason=Bar.COVERAGE_GAP, signals=unheard))


def _taken_back(fate: Fate, after: list[Said], at: int) -> Iterator[Step]:
    """By the first bar that is no self-revert; one that was read before the tick follows the release at once.

    What a horizon left out is taken back at the tick after it became longer.
    """
    part = fate.page.partition
    begins = [at, *(place for place, _ in part.rules if place > at)]
    for begin, end in pairwise([*begins, FOREVER]):
        rules, policy = _rules(fate.page, fate.policy, begin)
        fire = fire_ms(fate.edit, policy, rules)
        tick = at if begin == at else part.fires_at(begin, -1) or FOREVER
        barred = [each for each in after if not each.signal.by_self and each.signal.at_ms - fire <= rules.horizon_ms]
        places = [tick if each.place < begin else each.place for each in barred]
        if places and (place := min(places)) < end:
            signal = barred[places.index(place)].signal
            moment = (place, 1, fire, fate.edit.event.rev_id, fate.edit.epoch)
            yield Step(moment, _decided(fate, policy, rules, State.RETRACTED, signal.at_ms, signal))
            return


def _overtaken(fate: Fate, newer: Sequence[tuple[Moment, Fate]]) -> None:
    """If a newer edit of the page was released while this one waited, or before and is out still, that is its end.

    newer: those that are released, and when, in this order.
    """
    own = fate.steps[0].moment if fate.steps else (1 << 62, 0, 0, 0, 0)
    at = bisect_right(newer, (fate.since, 9, 0, 0, 0), key=_moment)
    if at < len(newer) and newer[at][0] < own:
        moment, other = newer[at]
        rules, policy = _rules(fate.page, fate.policy, moment[0])
        decision = _decided(fate, policy, rules, State.SUPERSEDED, other.fire_ms, None, other.edit.event.rev_id)
        # What came too late for a fire time that other policies then put behind it.
        late = [s.signal for s in fate.edit.said if s.place < moment[0] and s.signal.kind in BASE_SIGNALS]
        late = [signal for signal in late if signal.at_ms < decision.decided_for_ms]
        fate.steps = [Step(moment, decision._replace(signals=tuple(late)))]
    elif fate.released is not None and (out := [other for _, other in newer[:at] if _is_out(other, own)]):
        by = max(out, key=lambda other: other.edit.event.rev_id)
        rules, policy = _rules(fate.page, fate.policy, own[0])
        decision = _decided(fate, policy, rules, State.SUPERSEDED, fate.fire_ms, None, by.edit.event.rev_id)
        fate.steps = [Step(own, decision)]


def _is_out(other: Fate, moment: Moment) -> bool:
    """Whether it is out at that moment, and known still."""
    out = [step.decision.state for step in other.steps if step.moment < moment]
    gone_ms = other.page.partition.forgotten_before(moment[0])
    return out == [State.RELEASED] and other.edit.start_ms > gone_ms


def fire_ms(edit: Edit, policy: Policy, rules: Policies) -> int:
    return edit.start_ms + (policy.hold_ms + rules.grace_ms if policy.hold_ms else 0)


def _fire(page: Page, edit: Edit, name: str, since: int) -> tuple[int, int | None]:
    """Fire time, and the place in the log where it is reached: of a hold of 0 where the edit itself is read.

    Where other policies come into force meanwhile, those of the tick count.
    """
    starts = [since, *[place for place, _ in page.partition.rules if place > since]]
    fire = 0
    for number, begin in enumerate(starts):
        rules, policy = _rules(page, name, begin)
        fire = fire_ms(edit, policy, rules)
        at = page.partition.fires_at(begin, fire) if policy.hold_ms or begin > edit.place else edit.place
        if at is not None and (number + 1 == len(starts) or at < starts[number + 1]):
            return fire, at
    return fire, None


def _rules(page: Page, name: str, place: int) -> tuple[Policies, Policy]:
    """The policy as it is in force at a place."""
    for at, policies in reversed(page.partition.rules):
        if at <= place:
            for policy in policies.policies:
                if policy.name == name:
                    return policies, policy
    raise LookupError(f"no policy {name} before {place}")


def _decided(
    fate: Fate,
    policy: Policy,
    rules: Policies,
    state: State,
    decided_for_ms: int,
    signal: Signal | None,
    superseded_by: int | None = None,
) -> Decision:
    edit = fate.edit
    barred = signal is not None and state in {State.WITHHELD, State.RETRACTED}
    return Decision(
        policy=policy.name,
        wiki=fate.page.key[0],
        page_id=fate.page.key[1],
        rev_id=edit.event.rev_id,
        epoch=edit.epoch,
        state=state,
        reason=BARS[signal.kind] if barred and signal is not None else None,
        event_id=edit.event_id,
        start_ms=edit.start_ms,
        hold_ms=policy.hold_ms,
        fire_ms=fire_ms(edit, policy, rules),
        decided_for_ms=decided_for_ms,
        signals=_heard(edit, signal),
        superseded_by=signal.by_rev_id if state is State.SUPERSEDED and signal is not None else superseded_by,
        partial=edit.partial,
    )


def _heard(edit: Edit, last: Signal | None) -> tuple[Signal, ...]:
    """Everything said about the edit up to the signal that decided; a release was decided without any."""
    if last is None:
        return ()
    signals = [said.signal for said in edit.said if said.signal.kind in BASE_SIGNALS]
    return tuple(signals[: signals.index(last) + 1])
