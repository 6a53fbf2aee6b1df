"""What becomes of a page's edits under a policy with full rules: the page walked from record to record, as written.

Whether an edit goes out depends here on the edits below it, so it cannot be read off its own history. At each tick that
an edit may be waiting for everything is worked out anew, from all that was said until then.

taint: an edit's line goes back from it, to the revision whose text it restores, else to the one before. If it meets
something barred before something released, the edit waits, up to the longest hold, until no bar is left unresolved: an
edit on the line between undid what was barred, or everything that barred it was itself undone.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from processors.oracle_deadline import Deadline, at_war, deadline, in_gap
from processors.oracle_history import BARS, REVERTS
from processors.oracle_learned import learned
from processors.oracle_page import Edit, Page
from processors.oracle_rules import NEEDED, Asked, Traits, asked, listened, streams
from schemas.decision import Decision, Signal
from schemas.log import Policies
from schemas.policy import Rule
from schemas.reasons import Bar, SignalKind, State

BREAKING_EDITORS, BREAKING_MS = 10, 3_600_000
# What speaks against the text of an edit, and so against what is built on it. A deletion ends the line of a page.
TEXT = REVERTS | {SignalKind.REVERTED_TAG, SignalKind.HIDE, SignalKind.BLOCK}
# What other edits say, before all else in a proof, in this order.
BESIDE = (SignalKind.OTHER_EDITOR, SignalKind.EDIT_WAR)
CLEARS = TEXT | {SignalKind.RISK, SignalKind.PATROL, SignalKind.APPROVE}

# Place in the log, then, within a tick, fire time, revision and epoch.
Moment = tuple[int, int, int, int, int]
Say = Callable[["Stand", Moment, Decision], None]


@dataclass(slots=True, eq=False)
class Stand:
    """How an edit stands under the policy. asked: what the rule asks that matches its traits, while it waits.

    floor_ms: when the last taint went from it. fire_ms, under: of one that is out, when it went out and under which
    rule, with which grace.
    """

    edit: Edit
    traits: Traits
    asked: Asked
    state: State | None = State.PENDING
    reason: Bar | None = None
    heard: list[Signal] = field(default_factory=list)
    floor_ms: int = 0
    fire_ms: int = 0
    under: tuple[Rule, int] | None = None


def _revision(stand: Stand) -> tuple[int, int]:
    return stand.edit.event.rev_id, stand.edit.epoch


class Walk:
    """One page under one policy. since: which edits it holds, and from which place of the log on. say: takes each
    decision as it is made.
    """

    def __init__(self, page: Page, name: str, since: Mapping[Edit, int], say: Say) -> None:
        self.page, self.name, self._since, self._say = page, name, since, say
        self.all: list[Stand] = []
        self.stands: list[Stand] = []  # those that are known still
        self._waiting: list[Stand] = []  # those that waited when it was last asked
        self._out: list[Stand] = []  # those that were released, by revision
        self._place = 0
        self._known = 0  # up to this place the page's edits count: a revert speaks of what was there before it
        self._policies: Policies | None = None
        self._rules: tuple[Rule, ...] = ()  # none while the policy is gone
        self._owes = False  # whether something may have to be taken back that others rules left out
        # By place of the log: which edits are announced there, and of which something is said.
        self._announced: dict[int, list[Edit]] = {}
        self._about: dict[int, list[Edit]] = {}
        for edit in page.edits:
            self._announced.setdefault(edit.place, []).append(edit)
            for said in edit.said:
                self._about.setdefault(said.place, []).append(edit)

    def run(self) -> list[Stand]:
        """The whole log."""
        for place, tick in self._records():
            self._place, self._known = place, place - 1
            if tick is None:
                self._take_rules()
                if self._policies is not None:
                    self._event()
            else:
                if self._rules:
                    self._tick(tick)
                self._forget()
        return self.all

    def fire_ms(self, stand: Stand) -> int:
        """When an edit fires, or fired, as far as it is known at the end of the log; 0 if nothing lets it fire."""
        waits = stand.state is State.PENDING and self._rules and stand in self.stands
        return self._ending(stand).fire_ms if waits else stand.fire_ms

    def _records(self) -> Iterator[tuple[int, int | None]]:
        """(place, number of the tick or None), of everything that can change something here."""
        page, part = self.page, self.page.partition
        places = {*self._announced, *self._about}
        places |= {place for place, _ in part.rules} | {place for place, _ in part.gaps}
        places |= {each[0] for each in page.topics} | {each[0] for each in page.protected}
        records = [(place, None) for place in places]
        yield from sorted([*records, *((t.record.offset, n) for n, t in enumerate(part.ticks))], key=lambda r: r[0])

    def _take_rules(self) -> None:
        policies = self.page.partition.policies_at(self._place)
        policy = next((p for p in policies.policies if p.name == self.name), None) if policies else None
        if policies is None or policy is None:
            self._rules = ()
            return
        comes, changes = not self._rules, policies is not self._policies
        self._policies, self._rules = policies, policy.in_force(policies.horizon_seconds)
        if comes:
            self._find_what_is_there()
        for stand in self._pending():
            before = stand.asked
            stand.traits = self._traits(stand.edit)
            stand.asked = self._asked(stand.edit, stand.traits)
            changes = changes or before != stand.asked
        if changes:
            self._catch_up()
            self._owes = True

    def _find_what_is_there(self) -> None:
        """The policy comes, or comes back: it holds what waits under others; other edits only lie below."""
        there = {stand.edit for stand in self.stands}
        for edit in self.page.known(self._place):
            if edit in there:
                continue
            traits = self._traits(edit)
            holds = self._since.get(edit) == self._place
            stand = Stand(edit, traits, self._asked(edit, traits), State.PENDING if holds else None)
            told = [said.signal for said in edit.said if said.place < self._place]
            stand.heard = [s for s in told if holds or s.kind is not SignalKind.BLOCK]
            self.stands.append(stand)
            if holds:
                self.all.append(stand)
                self._waiting.append(stand)

    def _pending(self) -> list[Stand]:
        self._waiting = [stand for stand in self._waiting if stand.state is State.PENDING]
        return self._waiting

    def _asked(self, edit: Edit, traits: Traits) -> Asked:
        came, in_force = 0, None
        for place, policies in self.page.partition.rules:
            if place <= self._place and policies != in_force:  # else they came before
                came, in_force = place, policies
        return asked(self._rules, traits, lambda target: learned(self.page, edit, target, came))

    def _traits(self, edit: Edit) -> Traits:
        page, event = self.page, edit.event
        noted = page.partition.limits(edit.place).flags
        was = [
            on for place, at_ms, on in page.protected
            if place <= self._place and at_ms <= edit.start_ms and ("protected" in noted or place > edit.place)
        ]  # fmt: skip
        hour = page.begun(edit.start_ms - BREAKING_MS, edit.start_ms)
        near = {e.user for e in hour if e.place <= edit.place and e.user}
        breaking = "breaking" in noted and len(near) >= BREAKING_EDITORS
        flags = {"protected" if was and was[-1] else "", "breaking" if breaking else ""}
        topics = [topics for place, topics in page.topics if place <= self._place]
        return Traits(
            event.wiki, event.namespace, edit.kinds, edit.editor, frozenset(flags - {""}),
            topics[-1] if topics else frozenset(),
        )  # fmt: skip

    # What is said.

    def _event(self) -> None:
        new = self._announced.get(self._place, ())
        told = [stand for stand in self.stands if stand.edit in self._about.get(self._place, ())]
        for stand in sorted(told, key=lambda each: each.edit.event.rev_id):
            self._told(stand)
        shown = [edit.start_ms for edit in new if edit.shown is not None]
        overdue = self._overdue(shown[0]) if shown and self._rules else []
        self._known = self._place
        for edit in new:
            if self._rules:
                traits = self._traits(edit)
                stand = Stand(edit, traits, self._asked(edit, traits))
                self.all.append(stand)
                self.stands.append(stand)
                self._waiting.append(stand)
                self._neighbours(stand)
                self._told(stand, late=False)
                self._at_once(stand)
                self._told(stand, late=True)
        self._cleared(overdue, shown[0] if shown else 0)

    def _told(self, stand: Stand, *, late: bool | None = None) -> None:
        """late: of a new edit, only (or all but) the block that waited for it."""
        for said in stand.edit.said:
            blocks = said.signal.kind is SignalKind.BLOCK
            if said.place == self._place and (late is None or late is blocks):
                self._tell(stand, said.signal)

    def _neighbours(self, new: Stand) -> None:
        """Somebody else edited after the others; and the page may be at war."""
        edit = new.edit
        if edit.epoch:
            return  # nobody edited
        for other in self._pending():
            if other.edit.number > edit.number:
                break
            if other.edit.epoch and edit.start_ms < other.edit.start_ms:
                continue  # it was made before that one was there again
            have = {(signal.kind, signal.model) for signal in other.heard}
            by_another = edit.user is not None and other is not new and edit.user != other.edit.user
            if by_another and other.asked.review == "other_editor" and (SignalKind.OTHER_EDITOR, "") not in have:
                self._tell(other, self._signal(SignalKind.OTHER_EDITOR, edit, edit.start_ms, by=edit.event.rev_id))
            war = other.asked.rule.war
            if war and (SignalKind.EDIT_WAR, war.name) not in have and at_war(self.page, war, edit):
                self._tell(other, self._signal(SignalKind.EDIT_WAR, edit, edit.start_ms)._replace(model=war.name))

    def _catch_up(self) -> None:
        """What rules ask for now is told of those that came before."""
        if any(stand.asked.review == "other_editor" or stand.asked.rule.war for stand in self._pending()):
            for stand in self.stands:
                self._neighbours(stand)

    @staticmethod
    def _signal(kind: SignalKind, edit: Edit, at_ms: int, by: int | None = None) -> Signal:
        return Signal(kind=kind, event_id=edit.event_id, at_ms=at_ms, by_rev_id=by)

    def _tell(self, stand: Stand, signal: Signal) -> None:
        if signal.kind is SignalKind.BLOCK and stand.state is not State.PENDING:
            return  # it concerns what still waits
        if not self._rules:
            stand.heard.append(signal)  # while the policy is gone nothing is decided under it
            return
        overdue = self._overdue(signal.at_ms) if signal.kind in CLEARS else []
        if self._bars(stand, signal):
            if stand.state is State.PENDING:
                self._bar(stand, signal, self._ending(stand), (self._place, 0, 0, 0, 0))
            elif stand.state is State.RELEASED:
                self._take_back(stand, signal, (self._place, 0, 0, 0, 0))
        stand.heard.append(signal)
        self._cleared(overdue, signal.at_ms)

    def _overdue(self, at_ms: int) -> list[Stand]:
        """What would be out by then if it were not for what it stands on."""
        return [s for s in self._pending() if self._tainted(s) and self._deadline(s).fire_ms <= at_ms]

    def _cleared(self, overdue: list[Stand], at_ms: int) -> None:
        for stand in overdue:
            if stand.state is State.PENDING and not self._tainted(stand):
                stand.floor_ms = max(stand.floor_ms, at_ms)

    @staticmethod
    def _bars(stand: Stand, signal: Signal) -> bool:
        """The short form knows no blocks."""
        return signal.kind in BARS and not (signal.kind is SignalKind.BLOCK and stand.asked.rule.plain)

    def _bar(self, stand: Stand, signal: Signal, ending: Deadline, moment: Moment) -> None:
        """In time if it happened before the fire time; else the release goes first, at its tick."""
        if signal.at_ms < ending.fire_ms or stand.asked.instant:
            state = State.SUPERSEDED if signal.by_self else State.WITHHELD
            by = signal.by_rev_id if signal.by_self else None
            self._settle(stand, moment, state, ending.fire_ms, signal.at_ms, BARS[signal.kind], signal, ending.why, by)

    def _take_back(self, stand: Stand, signal: Signal, moment: Moment) -> None:
        """Within the horizon of its release; another rule that came into force since counts it by its own hold."""
        asked = self._asked(stand.edit, stand.traits)
        fire_ms = stand.fire_ms
        if (asked.rule, self._grace_ms()) != stand.under:
            fire_ms = stand.edit.start_ms + (0 if asked.instant else asked.hold_ms + self._grace_ms())
        in_time = signal.at_ms - fire_ms <= asked.rule.horizon_ms
        if in_time and not signal.by_self and signal.kind is not SignalKind.BLOCK:
            stand.asked = asked
            self._settle(stand, moment, State.RETRACTED, fire_ms, signal.at_ms, BARS[signal.kind], signal, ())

    # When time comes.

    def _at_once(self, stand: Stand) -> None:
        """What holds nothing; and what brings back, or keeps, the text that is out."""
        edit = stand.edit
        if stand.state is State.PENDING and stand.asked.instant:
            self._release(stand, Deadline(edit.start_ms), (self._place, 0, 0, 0, 0))
        elif (
            stand.state is State.PENDING and stand.asked.rule.restore and not edit.epoch and "create" not in edit.kinds
        ):
            head = self._newest_out()
            if head is not None and edit.event.rev_sha1 is not None and head.edit.event.rev_sha1 == edit.event.rev_sha1:
                same = self._signal(SignalKind.RESTORES, head.edit, edit.start_ms, by=head.edit.event.rev_id)
                self._release(stand, Deadline(edit.start_ms, None, (same,)), (self._place, 0, 0, 0, 0))

    def _tick(self, number: int) -> None:
        if self._owes:
            self._owes = False
            self._make_up()
        # What goes out may end the line of another one that is due as well.
        while due := self._due(number):
            self._fire(number, due)

    def _make_up(self) -> None:
        """The policy is back, or another horizon in force: what is out and should not be is taken back."""
        barred = [
            (signal.at_ms, *_revision(stand), number, stand, signal)
            for stand in self._out
            for number, signal in enumerate(stand.heard)
            if signal.kind in BARS
        ]
        for at_ms, rev_id, epoch, _, stand, signal in sorted(barred, key=lambda each: each[:4]):
            if stand.state is State.RELEASED:
                self._take_back(stand, signal, (self._place, 0, at_ms, rev_id, epoch))

    def _forget(self) -> None:
        gone_ms = self.page.partition.forgotten_before(self._place + 1)
        if self.stands and self.stands[0].edit.start_ms <= gone_ms:
            for known in (self.stands, self._waiting, self._out):
                known[:] = [stand for stand in known if stand.edit.start_ms > gone_ms]

    def _due(self, number: int) -> list[Stand]:
        """What may fire at a tick, in the order in which it does."""
        due = []
        for stand in self._pending():
            heard_ms = self._heard(stand, number)
            if stand.edit.start_ms + stand.asked.hold_ms <= heard_ms and (e := self._ending(stand)).fire_ms <= heard_ms:
                due.append((e.fire_ms, stand.edit.event.rev_id, stand.edit.epoch, stand))
        return [each[3] for each in sorted(due, key=lambda each: each[:3])]

    def _fire(self, number: int, due: list[Stand]) -> None:
        for stand in due:
            rev_id, epoch = _revision(stand)
            ending = self._ending(stand)
            if stand.state is State.PENDING and ending.fire_ms <= self._heard(stand, number):
                moment = (self._place, 1, ending.fire_ms, rev_id, epoch)
                for signal in stand.heard:
                    if stand.state is State.PENDING and self._bars(stand, signal):
                        self._bar(stand, signal, ending, moment)
                if stand.state is State.PENDING and ending.reason is None:
                    self._release(stand, ending, moment)
                elif stand.state is State.PENDING:
                    fire_ms = ending.fire_ms
                    self._settle(stand, moment, State.WITHHELD, fire_ms, fire_ms, ending.reason, None, ending.why)

    def _heard(self, stand: Stand, number: int) -> int:
        asked = stand.asked
        needed = NEEDED if asked.instant else streams(asked.rule, asked.review)
        return self.page.partition.heard(needed)[number]

    def _release(self, stand: Stand, ending: Deadline, moment: Moment) -> None:
        """Unless a newer one is out. Older ones that wait are superseded; what was said of later takes it back."""
        latest, rev_id, fire_ms = stand.asked.rule.emit == "latest", stand.edit.event.rev_id, ending.fire_ms
        head = self._newest_out()
        if latest and head is not None and head.edit.event.rev_id > rev_id:
            by = head.edit.event.rev_id
            self._settle(stand, moment, State.SUPERSEDED, fire_ms, fire_ms, None, None, (), by)
            return
        self._settle(stand, moment, State.RELEASED, fire_ms, fire_ms, None, None, ending.why)
        stand.fire_ms, stand.under = fire_ms, (stand.asked.rule, self._grace_ms())
        insort(self._out, stand, key=_revision)
        for older in self._pending() if latest else ():
            if older.edit.event.rev_id < rev_id:
                own_ms = self._deadline(older).fire_ms
                self._settle(older, moment, State.SUPERSEDED, own_ms, fire_ms, None, None, (), rev_id)
        for signal in stand.heard:
            if stand.state is State.RELEASED and signal.kind in BARS and signal.at_ms >= fire_ms:
                self._take_back(stand, signal, moment)

    # What it follows from.

    def _newest_out(self) -> Stand | None:
        """The newest revision that is before readers."""
        while self._out and self._out[-1].state is not State.RELEASED:
            self._out.pop()
        return self._out[-1] if self._out else None

    def _grace_ms(self) -> int:
        return self._policies.grace_ms if self._policies else 0

    def _deadline(self, stand: Stand) -> Deadline:
        """Of the edit by itself, whatever it stands on."""
        if stand.asked.instant:
            return Deadline(stand.edit.start_ms)
        grace_ms = self._grace_ms()
        found = deadline(self.page, stand.edit, stand.asked, stand.heard, self._known, grace_ms)
        if stand.floor_ms + grace_ms > found.fire_ms:
            cleared = Signal(kind=SignalKind.TAINT, event_id=stand.edit.event_id, at_ms=stand.floor_ms)
            found = Deadline(stand.floor_ms + grace_ms, found.reason, (*found.why, cleared))
        return found

    def _ending(self, stand: Stand) -> Deadline:
        """How it ends if nothing more is said."""
        found, rule = self._deadline(stand), stand.asked.rule
        if stand.asked.instant:
            return found
        gaps = [gap for place, gap in self.page.partition.gaps if place <= self._place]
        needed = streams(rule, stand.asked.review)
        gap = in_gap(gaps, needed, stand.edit.start_ms, found.fire_ms) if rule.stall == "closed" else None
        if gap is not None and found.reason is None:
            found = Deadline(found.fire_ms, Bar.COVERAGE_GAP, (*found.why, gap))
        root = self._root(stand)
        if root is None or rule.plain:
            return found
        last_ms = self._last_ms(stand)
        taint = self._signal(SignalKind.TAINT, root.edit, root.edit.start_ms, by=root.edit.event.rev_id)
        return Deadline(last_ms, found.reason or Bar.TAINTED, (*found.why, taint))

    def _tainted(self, stand: Stand) -> bool:
        if stand.asked.rule.plain or stand.asked.instant:
            return False
        return self._root(stand) is not None

    def _last_ms(self, stand: Stand) -> int:
        """When a tainted edit waits no longer: at the end of the longest hold."""
        longest_ms = stand.edit.start_ms + stand.asked.rule.max_hold_ms + self._grace_ms()
        return max(self._deadline(stand).fire_ms, longest_ms)

    def _root(self, stand: Stand) -> Stand | None:
        """The barred edit that this one stands on.

        What bars counts if it happened before this one's fire time; what clears, before its longest hold ended.
        """
        fire_ms, last_ms = self._deadline(stand).fire_ms, self._last_ms(stand)
        path = [stand.edit]
        for below in self._line(stand):
            bars = [s for s in self._barring(below) if s.at_ms < fire_ms]
            if below.state is State.RELEASED or (below.state is State.RETRACTED and not bars):
                return None
            if not any(s.at_ms < last_ms and self._removed(below.edit, s, path) for s in below.heard):
                # What never was out under the policy, as it came before that or while it was gone, is kept back too.
                kept_back = below.state in {State.WITHHELD, State.RETRACTED, None}
                against = [s for s in bars if s.kind in TEXT and kept_back]
                if self._held(below) or not all(self._lifted(below, bar, last_ms) for bar in against):
                    return below
            path.append(below.edit)
        return None

    @staticmethod
    def _barring(below: Stand) -> list[Signal]:
        """A block bars what waits; of what was out, or withheld already, it says nothing."""
        blocked = below.state is State.WITHHELD and below.reason is Bar.EDITOR_BLOCKED
        kinds = BARS.keys() if blocked else BARS.keys() - {SignalKind.BLOCK}
        return [s for s in below.heard if s.kind in kinds and not s.by_self]

    def _held(self, below: Stand) -> bool:
        """Held, or kept back at the end, for what it is itself: its risk, no review, a war."""
        if below.state is State.PENDING:
            return below.asked.scored and self._deadline(below).reason is Bar.RISK
        return below.state is State.WITHHELD and below.reason in {Bar.RISK, Bar.UNREVIEWED, Bar.EDIT_WAR}

    def _line(self, stand: Stand) -> Iterator[Stand]:
        at, seen = self.stands.index(stand), {stand.edit.event.rev_id}
        while at >= 0:
            restored = self.stands[at].edit.restores
            # What it has passed already is passed over: an epoch of it, or what restores it.
            restored = 0 if restored in seen else restored
            at = next((n for n in range(at - 1, -1, -1) if self._leads(n, restored, seen)), -1)
            if at >= 0:
                seen.add(self.stands[at].edit.event.rev_id)
                yield self.stands[at]

    def _leads(self, number: int, restored: int, seen: set[int]) -> bool:
        rev_id = self.stands[number].edit.event.rev_id
        return rev_id not in seen and restored in {0, rev_id}

    @staticmethod
    def _removed(barred: Edit, bar: Signal, path: list[Edit]) -> bool:
        """Whether the text of those above is without it: one of them undid it."""
        if bar.by_self:
            return False
        if bar.kind in REVERTS:
            return any(edit.event.rev_id == bar.by_rev_id for edit in path)
        # The tag follows the edit that reverts: one of those made before it, with another text.
        return bar.kind is SignalKind.REVERTED_TAG and any(
            edit.start_ms <= bar.at_ms and edit.event.rev_sha1 != barred.event.rev_sha1 for edit in path
        )

    def _lifted(self, below: Stand, bar: Signal, last_ms: int) -> bool:
        """Whether what barred it was undone. A tag stays though what it tells of was."""
        if bar.kind is SignalKind.HIDE:
            again = self.page.epochs(below.edit.event.rev_id)
            shown = [e.epoch for e in again if e.place <= self._known and e.start_ms < last_ms]
            return max(shown, default=0) > below.edit.epoch
        reverts = [s for s in below.heard if s.kind in REVERTS and not s.by_self]
        told = [bar] if bar.kind in REVERTS else reverts if bar.kind is SignalKind.REVERTED_TAG else []
        return bool(told) and all(self._undone(revert, last_ms) for revert in told)

    def _undone(self, revert: Signal, last_ms: int) -> bool:
        undoer = next((s for s in reversed(self.stands) if s.edit.event.rev_id == revert.by_rev_id), None)
        return undoer is not None and any(s.kind in REVERTS and s.at_ms < last_ms for s in undoer.heard)

    @staticmethod
    def _beside(stand: Stand, heard: list[Signal]) -> Iterator[Signal]:
        """What other edits say; of wars that of its own rule."""
        war = stand.asked.rule.war
        for kind in BESIDE:
            for s in heard:
                if s.kind is kind and (kind is SignalKind.OTHER_EDITOR or (war and s.model == war.name)):
                    yield s._replace(model="")

    def _settle(
        self,
        stand: Stand,
        moment: Moment,
        state: State,
        fire_ms: int,
        at_ms: int,
        reason: Bar | None,
        signal: Signal | None,
        why: tuple[Signal, ...],
        by: int | None = None,
    ) -> None:
        stand.state, stand.reason = state, reason
        heard = [s for s in stand.heard if s.at_ms < at_ms]
        beside = list(self._beside(stand, heard if signal is None else stand.heard))
        if signal is not None:
            heard = [*stand.heard, signal]
            heard = heard[: heard.index(signal) + 1]
        heard = [s for s in heard if s.kind not in BESIDE]
        edit = stand.edit
        # A block, and what others did, concerns what waits, and takes nothing back.
        kinds = listened(stand.asked) - ({SignalKind.BLOCK, *BESIDE} if state is State.RETRACTED else set())
        self._say(stand, moment, Decision(
            policy=self.name,
            wiki=self.page.key[0],
            page_id=self.page.key[1],
            rev_id=edit.event.rev_id,
            epoch=edit.epoch,
            state=state,
            reason=None if state is State.SUPERSEDED else reason,
            event_id=edit.event_id,
            start_ms=edit.start_ms,
            hold_ms=stand.asked.hold_ms,
            fire_ms=fire_ms,
            decided_for_ms=at_ms,
            signals=tuple(s for s in (*beside, *why, *heard) if s.kind in kinds),
            superseded_by=by,
            rule=stand.asked.number,
            partial=edit.partial,
            protect=stand.asked.protect,
        ))  # fmt: skip
