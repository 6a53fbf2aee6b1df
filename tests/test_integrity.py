"""The eight promises about the window, each by its name. Where real histories are needed, on real histories.

The first one, protection on demand, is held in `test_protect.py` and `test_realised.py`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from conftest import shared_data
from histories import (
    EDITORS,
    LEARNING,
    SETS,
    SHORT,
    Changing,
    Entry,
    History,
    Writer,
    by_page,
    disagreements,
    fates_of,
    misplaced,
    objections,
    policy,
    run,
    shard_of,
)
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from test_gate import EPOCH
from test_rules import Ruled

from processors import curve, whatif
from processors.prove import derive
from processors.shard import Shard, rebuilt
from schemas.decision import Decision, encode_decision
from schemas.event import TAGS_CHANGE
from schemas.learned import Choice, Learned, Stratum
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Policies,
    Policy,
    decode_control,
    encode_learned,
    encode_policies,
)  # fmt: skip
from schemas.page import When, page_key
from schemas.page_record import encode_page
from schemas.policy_file import read_policy_file
from schemas.reasons import Bar, State
from streams.histories import read_history

PRESETS = Path(__file__).parents[1] / "deploy" / "policies"
DAY = 'name = "day"\n[[rule]]\nhold = "24h"\nrestore = "instant"\n'
HOUR = 'name = "hour"\n[[rule]]\nhold = "1h"\nrestore = "instant"\n'
SURE = read_policy_file('name = "sure"\n[[rule]]\nprotect = 0.98\nuntil_learned = 90\nmax_hold = 900\n')
KNOWN = Learned(at_ms=0, rows={(Stratum("enwiki"), 0.98): Choice(150_000, Stratum("enwiki"), 300)})
SMALL, STEPS = 30, 20


def hold(judge: type[History], *, histories: int = SMALL, random_state: int | None = None, steps: int = STEPS) -> None:
    """Judge so many random histories; without a random state always the same."""
    chosen = settings(
        max_examples=histories, stateful_step_count=steps, deadline=None, derandomize=random_state is None,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    if random_state is not None:
        judge = seed(random_state)(type(judge.__name__, (judge,), {}))
    run_state_machine_as_test(judge, settings=chosen)


# 3 and 5 on random histories: what stands at the end is what the oracle says, decision by decision; and as the oracle
# lets nothing go out while its line has an unresolved bar, neither has the gate.


class AsTheOracleSays(Changing):
    def judge(self, log: list[Entry]) -> None:
        expected = fates_of(log, self.rules)
        assert disagreements(expected, run(shard_of(self.rules), log)) == []
        assert misplaced(expected, log, self.rules) == []


class ProvenByItself(Changing):
    def judge(self, log: list[Entry]) -> None:
        shard = shard_of(self.rules)
        for entry in log:
            for d in run(shard, [entry]):
                in_force = shard.rules.source
                assert derive(d, in_force) == (d.state, d.reason, d.decided_for_ms), d


def alone(entry: Entry, name: str) -> Entry:
    """As a log says it in which there is only this policy."""
    control = decode_control(entry.value) if entry.kind == KIND_CONTROL else None
    if not isinstance(control, Policies):
        return entry
    mine = tuple(each for each in control.policies if each.name == name)
    return entry._replace(value=encode_policies(replace(control, policies=mine)))


class AloneAsBesideOthers(Changing):
    def judge(self, log: list[Entry]) -> None:
        together = run(shard_of(self.rules), log)
        # What is back in force holds what waits under the others.
        for each in (each for each in self.rules.policies if each.name not in self.went):
            rules = replace(self.rules, policies=(each,))
            mine = by_page(d for d in together if d.policy == each.name)
            assert by_page(run(shard_of(rules), [alone(entry, each.name) for entry in log])) == mine


class Replayed(Changing):
    """The same log with pages in other places between two ticks, repeats, restarts and several workers."""

    chooser = Random(0)

    @initialize(state=st.integers(0, 2**16))
    def choose(self, state: int) -> None:
        self.chooser = Random(state)

    def judge(self, log: list[Entry]) -> None:
        # One policy learns its hold, and a table comes in the middle, for what is observed after it.
        self.rules = replace(self.rules, policies=(*self.rules.policies, SURE))
        log = [*log[: len(log) // 2], Entry(KIND_CONTROL, encode_learned(KNOWN), 0), *log[len(log) // 2 :]]
        expected = by_page(run(shard_of(self.rules), log))
        assert by_page(self.restarted(log)) == expected
        workers = [run(shard_of(self.rules), [e for e in log if e.page in (0, page)]) for page in (1, 2, 3)]
        assert by_page([d for each in workers for d in each]) == expected

    def restarted(self, log: list[Entry]) -> list[Decision]:
        topic, made = StateTopic(shard_of(self.rules)), list[Decision]()
        for span in spans(log):
            made += run(topic.shard, self.shuffled(span))
            topic.write()
            if (chance := self.chooser.random()) < 0.3:
                topic.restart(looks=chance >= 0.2)
        return made

    def shuffled(self, span: list[Entry]) -> list[Entry]:
        """Each page in its order, pages in any, many events twice."""
        pages = sorted({entry.page for entry in span}, key=lambda page: self.chooser.random())
        ordered = [entry for page in pages for entry in span if entry.page == page]
        return [entry for entry in ordered for _ in range(self.chooser.randint(1, 2))]


class StateTopic:
    """A shard with what it wrote, from which it comes back."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._state: dict[bytes, bytes | None] = {}
        self._whens: dict[bytes, When] = {}

    def write(self) -> None:
        rows = self.shard.changed()
        self._state |= {page_key(*key): None if row is None else row.value for key, row in rows.items()}
        self._whens |= {page_key(*key): row.when for key, row in rows.items() if row is not None}
        self._state |= self.shard.beside
        self.shard.flush(rows)

    def restart(self, *, looks: bool) -> None:
        """looks: into each page."""
        kept = [(key, value) for key, value in self._state.items() if value is not None]
        self.shard = rebuilt(kept, whens=None if looks else self._whens)


def spans(log: Sequence[Entry]) -> Iterator[list[Entry]]:
    """What lies between two records that concern every page."""
    span: list[Entry] = []
    for entry in log:
        if entry.page == 0:
            yield from ([span] if span else [])
            yield [entry]
            span = []
        else:
            span.append(entry)


JUDGES = pytest.mark.parametrize("judge", [AsTheOracleSays, ProvenByItself, AloneAsBesideOthers, Replayed])


@JUDGES
def test_random_histories(judge):
    hold(judge)


@pytest.mark.soak
@pytest.mark.parametrize("random_state", range(1, 6))
@JUDGES
def test_ten_thousand_random_histories(judge, random_state):
    hold(judge, histories=2000, random_state=random_state)


@pytest.mark.soak
@JUDGES
def test_long_random_histories(judge):
    hold(judge, histories=200, random_state=1, steps=100)


# Histories in which gate and oracle once differed, as Hypothesis made them small: name → (set of policies, steps).
FOUND: dict[str, tuple[int, Sequence[tuple[str, dict[str, Any]]]]] = {
    "a tag that comes after the fire time resolves a taint": (3, [
        ("block_its_editor", {"page": 1, "user": "u0"}),
        ("tag", {"page": 1, "back": 0, "ago": 0}),
        ("approve_and_take_back", {"after": 5}),
        ("move", {"page": 1, "redirect": False, "user": "u0"}),
        ("approve_and_take_back", {"after": 40}),
        ("tag", {"page": 1, "back": 1, "ago": 0}),
    ]),
    "what goes with its page is no root": (3, [
        ("crowd", {"page": 1, "after": 60}),
        ("delete", {"page": 1, "undelete": False, "after": 1}),
    ]),
    "an edit made before a revision was shown again is no review of it": (1, [
        ("hide_and_show_again", {"page": 3, "after": 5}),
        ("edit", {"page": 3, "text": 0, "user": "u1", "after": 0, "ago": 15}),
    ]),
    "a taint names the epoch that is barred": (1, [
        ("block", {"page": 1, "user": "u0", "ago": 0}),
        ("hide_and_show_again", {"page": 1, "after": 5}),
    ]),
    "a block counts in a line only where it found the edit waiting": (4, [
        ("edit", {"page": 3, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("tick", {"after": 100, "behind": 0}),
        ("block", {"page": 3, "user": "u0", "ago": 0}),
        ("edit", {"page": 3, "text": 1, "user": "u1", "after": 0, "ago": 0}),
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 60, "ago": 0}),
        ("hide_or_show", {"page": 3, "back": 1, "ago": 0, "shows": False}),
    ]),
    "a release leaves nothing behind a revision that was shown again": (4, [
        ("block", {"page": 1, "user": "u0", "ago": 0}),
        ("hide_and_show_again", {"page": 1, "after": 5}),
        ("score_and_look", {"after": 5, "score": 0.9}),
    ]),
    "what cleared a line late under one policy puts nothing off under another": (2, [
        ("edit", {"page": 3, "text": 0, "user": "u1", "after": 0, "ago": 0}),
        ("edit", {"page": 3, "text": 0, "user": "u2", "after": 16, "ago": 0}),
        ("block_its_editor", {"page": 3, "user": "u0"}),
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 5, "ago": 0}),
        ("declare_a_revert", {"page": 3, "back": 2, "user": "u0"}),
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 53, "ago": 0}),
        ("declare_a_revert", {"page": 3, "back": 0, "user": "u1"}),
    ]),
    "a war of two reverts is none where three make one": (4, [
        ("vandalize_and_revert", {"page": 3, "user": "u0", "after": 5}),
        ("edit", {"page": 3, "text": 1, "user": "u0", "after": 5, "ago": 0}),
        ("declare_a_revert", {"page": 3, "back": 0, "user": "u1"}),
        ("edit", {"page": 3, "text": 2, "user": "u0", "after": 20, "ago": 0}),
    ]),
    "a tag that comes after the longest hold clears nothing": (3, [
        ("edit", {"page": 1, "text": 0, "user": "u3", "after": 58, "ago": 0}),
        ("edit", {"page": 1, "text": 1, "user": "u3", "after": 26, "ago": 0}),
        ("tick", {"after": 310, "behind": 0}),
        ("edit", {"page": 2, "text": 1, "user": "u3", "after": 200, "ago": 0}),
        ("tag", {"page": 1, "back": 1, "ago": 0}),
    ]),
    "a tag clears those above what was held for want of a review": (3, [
        ("edit", {"page": 1, "text": 0, "user": "u3", "after": 58, "ago": 0}),
        ("edit", {"page": 1, "text": 1, "user": "u3", "after": 26, "ago": 0}),
        ("tick", {"after": 310, "behind": 0}),
        ("tag", {"page": 1, "back": 1, "ago": 0}),
    ]),
    "what a bar takes back at its very release taints what stands on it, also after a restart": (5, [
        ("edit", {"page": 2, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("change_the_holds", {"hold": 20}),
        ("edit", {"page": 2, "text": 1, "user": "u0", "after": 10, "ago": 0}),
        ("edit", {"page": 1, "text": 0, "user": "u0", "after": 80, "ago": 0}),
        ("tag", {"page": 2, "back": 0, "ago": 0}),
        ("change_the_holds", {"hold": 20}),
        ("edit", {"page": 2, "text": 2, "user": "u0", "after": 1, "ago": 0}),
    ]),
    "a block is heard by the epoch that there is": (1, [
        ("block_its_editor", {"page": 1, "user": "u0"}),
        ("block_its_editor", {"page": 1, "user": "u0"}),
        ("hide_or_show", {"page": 1, "back": 0, "ago": 0, "shows": False}),
        ("hide_or_show", {"page": 1, "back": 0, "ago": 0, "shows": True}),
    ]),
    "a block is told edit by edit in the order of revisions": (4, [
        ("edit", {"page": 2, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 210, "ago": 0}),
        ("hide_or_show", {"page": 2, "back": 0, "ago": 0, "shows": False}),
        ("edit", {"page": 2, "text": 1, "user": "u0", "after": 53, "ago": 0}),
        ("tick", {"after": 300, "behind": 0}),
        ("hide_or_show", {"page": 2, "back": 1, "ago": 0, "shows": True}),
        ("block", {"page": 2, "user": "u0", "ago": 0}),
    ]),
    "a retraction counts its horizon under the policies in force": (5, [
        ("edit", {"page": 3, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("tick", {"after": 515, "behind": 0}),
        ("change_the_holds", {"hold": 400}),
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 90, "ago": 0}),
        ("delete", {"page": 3, "undelete": False, "after": 1}),
    ]),
    "an edit that is forgotten is not undone": (1, [
        ("edit", {"page": 2, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("months_go_by", {}),
        ("declare_a_revert", {"page": 2, "back": 0, "user": "u2"}),
        ("vandalize_and_revert", {"page": 2, "user": "u2", "after": 9}),
        ("vandalize_and_revert", {"page": 2, "user": "u1", "after": 18}),
        ("vandalize_and_revert", {"page": 2, "user": "u0", "after": 18}),
    ]),
    "a protection waits for a page that is forgotten": (5, [
        ("edit", {"page": 2, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("months_go_by", {}),
        ("protect", {"page": 2, "on": True}),
    ]),
    "a line that comes to a revision that it has passed goes on to the one before": (3, [
        ("block_its_editor", {"page": 1, "user": "u1"}),
        ("move", {"page": 1, "user": "u2", "redirect": False}),
        ("hide_or_show", {"page": 1, "back": 0, "ago": 0, "shows": False}),
        ("move", {"page": 1, "user": "u0", "redirect": False}),
        ("hide_or_show", {"page": 1, "back": 1, "ago": 0, "shows": True}),
        ("tick", {"after": 100, "behind": 0}),
    ]),
    "policies that are in force again retract as they released": (1, [
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 0, "ago": 0}),
        ("edit", {"page": 1, "text": 1, "user": "u1", "after": 0, "ago": 0}),
        ("tick", {"after": 900, "behind": 0}),
        ("change_the_holds", {"hold": 0}),
        ("edit", {"page": 1, "text": 0, "user": "u1", "after": 0, "ago": 0}),
        ("change_the_holds", {"hold": None}),
        ("delete", {"page": 1, "undelete": False, "after": 1}),
    ]),
    "topics are known for a page whose edits are all forgotten": (5, [
        ("put_off_behind_a_bar", {"page": 1}),
        ("months_go_by", {}),
        ("topics", {"page": 1, "living": True}),
        ("put_off_behind_a_bar", {"page": 1}),
    ]),
    "a protection is forgotten with its page": (5, [
        ("edit", {"page": 1, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("protect", {"page": 1, "on": True}),
        ("months_go_by", {}),
        ("edit", {"page": 1, "text": 1, "user": "u0", "after": 0, "ago": 0}),
    ]),
    "a bar that came too late for a hold is in time for a hold of 0": (0, [
        ("edit", {"page": 1, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("edit", {"page": 2, "text": 0, "user": "u0", "after": 200, "ago": 0}),
        ("tag", {"page": 1, "back": 0, "ago": 0}),
        ("change_the_holds", {"hold": 0}),
    ]),
    "what came too late for a hold is told when a newer edit takes its place": (0, [
        ("edit", {"page": 1, "text": 0, "user": "u0", "after": 0, "ago": 0}),
        ("edit", {"page": 2, "text": 0, "user": "u0", "after": 200, "ago": 0}),
        ("tag", {"page": 1, "back": 0, "ago": 0}),
        ("change_the_holds", {"hold": 0}),
        ("edit", {"page": 1, "text": 1, "user": "u0", "after": 5, "ago": 0}),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_history_in_which_gate_and_oracle_differed_is_decided_as_the_oracle_says(name):
    number, steps = FOUND[name]
    for judge in (AsTheOracleSays, AloneAsBesideOthers):
        machine = judge()
        machine.rules = Changing.sets[number]
        for step, given in steps:
            if hasattr(machine, step):
                getattr(machine, step)(**given)
        machine.teardown()


def test_what_waited_for_the_first_edit_of_a_page_leaves_that_edit_known_as_the_parent_of_the_next():
    writer = Writer()
    writer.tick(0)
    writer.action(3, "protect", "protect", 0, params={})
    writer.change("edit", 3, 1, "t1", "u0")
    writer.change("edit", 3, 2, "t2", "u1", rev_parent_id=1)
    assert objections(writer.log, SHORT, run(shard_of(SHORT), writer.log)) == []


def test_policies_that_become_alike_stay_apart_for_an_edit_that_stood_on_a_barred_one_too_long_under_one_of_them():
    def rules(*holds: int) -> Policies:
        made = zip(("short", "long"), holds, strict=True)
        return Policies(policies=tuple(policy(name, f"hold = {hold}\nmax_hold = 9000") for name, hold in made))

    writer = Writer()
    writer.change("edit", 3, 1, "t1", "u0")
    writer.visibility(3, 1, 0)
    writer.change("edit", 3, 2, "t2", "u1", rev_parent_id=1)
    writer.wait(200)
    writer.visibility(3, 1, 0, shows=True)
    writer.control(encode_policies(rules(20, 20)))
    writer.end()
    assert objections(writer.log, rules(30, 3000), run(shard_of(rules(30, 3000)), writer.log)) == []


def test_a_retraction_says_when_its_edit_went_out_whatever_was_learned_since_its_policy_came():
    first = Policies(policies=(Policy(name="w", hold_seconds=900),))
    sure = replace(first, policies=(*first.policies, SURE))
    writer = Writer()
    writer.change("edit", 3, 1, "t1", "u0")
    writer.control(encode_policies(sure))
    writer.control(encode_learned(KNOWN))
    writer.wait(200)
    writer.tick(0)
    writer.control(encode_policies(replace(sure, policies=(*sure.policies, Policy(name="x")))))
    writer.visibility(3, 1, 0)
    made = run(shard_of(first), writer.log)
    assert [(d.state, d.fire_ms - EPOCH) for d in made if d.policy == "sure"] == [
        (State.RELEASED, 150_000),
        (State.RETRACTED, 150_000),
    ]
    assert objections(writer.log, first, made) == []


def test_policies_that_are_in_force_already_choose_no_other_holds_for_what_waits():
    first = Policies(policies=(Policy(name="w", hold_seconds=900),))
    sure = replace(first, policies=(*first.policies, SURE))
    writer = Writer()
    writer.change("edit", 3, 1, "t1", "u0")
    for control in (encode_policies(sure), encode_learned(KNOWN), encode_policies(sure)):
        writer.control(control)
    writer.end()
    made = run(shard_of(first), writer.log)
    assert [d.hold_ms for d in made if d.policy == "sure"] == [90_000]
    assert objections(writer.log, first, made) == []


def test_policies_that_return_with_another_table_of_holds_have_it_after_a_restart_too():
    """It comes while the edit waits, so the hold is chosen from the table that was there when it came."""
    first = Policies(policies=(Policy(name="w", hold_seconds=900),), grace_seconds=10)
    both = replace(first, policies=(*first.policies, LEARNING.policies[1]))
    table = Learned(at_ms=EPOCH, rows={(Stratum(), 0.9): Choice(10_000, Stratum(), 300)})
    writer = Writer()
    writer.change("edit", 3, 1, "t1", "u0")
    writer.control(encode_policies(both))
    writer.about(TAGS_CHANGE, 3, 2, 0, tags=["mw-reverted"], prior_state={"tags": []})  # its page is written under both
    for control in (encode_learned(table), encode_policies(first), encode_policies(both)):
        writer.control(control)
    writer.wait(25)
    writer.tick(0)
    for restarts in (False, True):
        topic, made = StateTopic(shard_of(first)), list[Decision]()
        for entry in writer.log:
            made += run(topic.shard, [entry])
            topic.write()
            if restarts:
                topic.restart(looks=False)
        assert [(d.policy, d.hold_ms) for d in made] == [("most", 10_000)]


def test_a_longer_horizon_takes_back_at_the_next_tick_what_the_shorter_one_left_out():
    for made in (Policy(name="p", hold_seconds=10), policy("p", "hold = 10\nhorizon = 100")):
        short = Policies(policies=(made,), grace_seconds=10, horizon_seconds=100)
        writer = Writer()
        writer.change("edit", 3, 1, "t1", "u0")
        writer.wait(20)
        writer.tick(0)
        writer.wait(110)
        writer.visibility(3, 1, 0)
        long = replace(made, rules=tuple(replace(rule, horizon_seconds=1000) for rule in made.rules))
        writer.control(encode_policies(replace(short, policies=(long,), horizon_seconds=1000)))
        before = run(shard_of(short), writer.log)
        writer.tick(0)
        decisions = run(shard_of(short), writer.log)
        assert [d.state for d in decisions[len(before) :]] == [State.RETRACTED]
        assert objections(writer.log, short, decisions) == []


def test_a_tick_that_goes_back_takes_nothing_back_over_a_restart_either():
    for state in range(6):
        machine = Replayed()
        machine.choose(state)
        machine.rules = Changing.sets[0]
        machine.declare_a_revert(page=1, back=0, user="u0")
        machine.block_its_editor(page=2, user="u0")
        machine.hide_and_show_again(page=1, after=5)
        machine.hide_or_show(page=1, back=0, ago=0, shows=False)
        machine.change_the_holds(hold=0)
        machine.tick(after=1, behind=20)
        machine.approve_and_take_back(after=5)
        machine.teardown()


# 2. The ledger equals a recomputation from the raw histories.


@cache
def pages_in(name: str) -> dict[str, list[curve.Revision]]:
    return curve.pages(read_history(shared_data() / "histories" / f"{name}_sha1.csv.gz"))


@pytest.mark.parametrize("name", ["enwiki", "wikidata"])
def test_the_ledger_equals_a_recomputation_from_the_raw_histories(name):
    rules = Policies(policies=tuple(Policy(name=f"w{hold}", hold_seconds=hold) for hold in (300, 3600, 86_400)))
    found: list[Decision] = []
    truth: dict[whatif.EditKey, curve.Edit] = {}
    for page_id, history in enumerate(pages_in(name).values(), start=1):
        found += whatif.over_history(history, page_id, rules)
        truth |= {("history", page_id, e.revision.rev_id, 0): e for e in curve.judged(history)}
    last_ms = {key[1]: e.revision.at_ms for key, e in truth.items()}
    for rule, outcome in zip(rules.policies, whatif.outcomes(found, rules, truth), strict=True):
        delay_s = rule.hold_seconds + 60
        # From the rows: what is not reverted within hold and grace goes out; what another reverts later is taken back.
        after = {key: e.seconds_to_revert for key, e in truth.items()}
        out = {key for key, s in after.items() if s is None or s >= delay_s}
        superseded = {key for key, d in outcome.ends.items() if d.state is State.SUPERSEDED and not d.signals}
        assert set(outcome.out) == out - superseded
        assert outcome.bad_out == sum(truth[key].bad for key in out - superseded)
        assert set(outcome.delays_s.values()) == {delay_s}
        # How long each bad edit that was out was to be read: until another reverted it, if not for ever.
        horizon_s = 30 * 86_400
        exposed = {key: exposed_s(outcome.out[key], outcome.ends[key]) for key in outcome.out if truth[key].bad}
        known = {key: truth[key].seconds_to_revert - delay_s for key in exposed}
        assert exposed == {key: s if s <= horizon_s else None for key, s in known.items()}
        lags = Counter(round(s) for s in known.values() if s <= horizon_s)
        assert not lags - Counter(round(lag) for lag in outcome.lags_s)
        assert last_ms


def exposed_s(out_ms: int, end: Decision) -> float | None:
    return (end.decided_for_ms - out_ms) / 1000 if end.state is State.RETRACTED else None


# 3. Retraction that really removes.


def test_a_retraction_is_decided_by_the_very_record_that_brings_its_signal_and_waits_for_no_tick():
    writer, taken_back = Writer(), 0
    shard = shard_of(SHORT)
    for n in range(200):
        page = n % 3 + 1
        writer.change("edit", page, 1000 + n, f"t{n}", "u1")
        writer.wait(100)
        writer.tick(0)
        if n % 4 == 3:
            writer.visibility(page, 1000 + n - 3 * (n % 8 == 7), 0)
    for entry in writer.log:
        made = run(shard, [entry])
        for d in made if entry.kind == KIND_EVENT else ():
            if d.state is State.RETRACTED:
                assert d.signals[-1].event_id == json.loads(entry.value)["meta"]["id"]
                taken_back += 1
        # What was out at a tick is not taken back by a later tick.
        assert entry.kind != KIND_TICK or not any(d.state is State.RETRACTED for d in made)
    assert taken_back > 70


def test_what_is_suppressed_is_in_no_decision_and_no_state_of_the_gate(caplog):
    writer = Writer()
    EDITORS["Secret Name 4711"] = {"user_id": 9}
    try:
        writer.change("edit", 3, 1, "t1", "Secret Name 4711", comment="secret comment 4711")
        writer.change("edit", 3, 2, "t2", "u1", prior={"revision": {"rev_id": 1, "rev_sha1": "0", "comment": "4711"}})
        writer.tick(0)
        writer.visibility(3, 1, 0)
        writer.action(3, "block", "block", 0, params={}, title="User:Secret Name 4711")
        writer.end()
    finally:
        del EDITORS["Secret Name 4711"]
    shard = shard_of(SETS[1])
    kept = [encode_decision(d) for d in run(shard, writer.log[:-1])]
    kept += [row.value for row in shard.changed().values() if row is not None]
    kept += [value for key, value in shard.beside.items() if value is not None and not key.startswith(b"~wait")]
    kept += [encode_decision(d) for d in run(shard, writer.log[-1:])]
    kept.append(caplog.text.encode())
    assert len(kept) > 5
    assert not any(b"4711" in each for each in kept)


# 4. Live = replay on a real Kafka is `test_replay.py`.

# 5. Taint through partial repair.


def covered(history: Sequence[curve.Revision]) -> int:
    """How many bad edits have an edit of somebody else on top of them before they are undone."""
    places: dict[int, list[int]] = defaultdict(list)
    for at, revision in enumerate(history):
        places[revision.at_ms].append(at)
    count = 0
    for at, edit in enumerate(curve.judged(history)):
        if edit.bad and edit.seconds_to_revert is not None:
            undone_ms = edit.revision.at_ms + round(edit.seconds_to_revert * 1000)
            end = next(i for i in places[undone_ms] if i > at)
            count += any(other.user != edit.revision.user for other in history[at + 1 : end])
    return count


def check_taint(histories: Sequence[Sequence[curve.Revision]], least_released: int) -> None:
    rules = Policies(policies=(read_policy_file(HOUR),))
    waited = released = 0
    for page_id, history in enumerate(histories, start=1):
        bad = {e.revision.rev_id for e in curve.judged(history) if e.bad}
        made = list(whatif.over_history(history, page_id, rules))
        assert_clean(made, history)
        good = [d for d in made if d.state is State.RELEASED and d.rev_id not in bad]
        released += len(good)
        waited += sum(any(s.kind == "taint" for s in d.signals) for d in good)
        waited += sum(d.reason is Bar.TAINTED and d.rev_id not in bad for d in made)
    assert released > least_released
    assert waited < released / 100, (waited, released)


def assert_clean(decisions: Sequence[Decision], history: Sequence[curve.Revision]) -> None:
    """Nothing goes out on top of what is barred by then, unless what undid that lies between, or the text is older."""
    order = {revision.rev_id: at for at, revision in enumerate(history)}
    barred: dict[int, Decision] = {}
    released: set[int] = set()
    undone = {d.rev_id for d in decisions if d.reason is Bar.REVERTED or d.state is State.SUPERSEDED}
    for d in decisions:
        if d.state is State.RELEASED:
            path = {d.rev_id}
            for revision in reversed(history[: order[d.rev_id]]):
                if (revision.sha1 and revision.sha1 == history[order[d.rev_id]].sha1) or revision.rev_id in released:
                    break
                bar = barred.get(revision.rev_id)
                if bar is not None and bar.decided_for_ms < d.decided_for_ms:
                    named = {signal.by_rev_id for signal in bar.signals}
                    assert named & (path | undone) or brings_back(path, history, order, revision.rev_id), (d, bar)
                path.add(revision.rev_id)
            released.add(d.rev_id)
        elif d.reason is Bar.REVERTED:
            barred[d.rev_id] = d
            released.discard(d.rev_id)


def brings_back(path: set[int], history: Sequence[curve.Revision], order: dict[int, int], rev_id: int) -> bool:
    """A text that another one on the way brought back ends the line, too."""
    before = {revision.sha1 for revision in history[max(0, order[rev_id] - 16) : order[rev_id]] if revision.sha1}
    return any(history[order[each]].sha1 in before for each in path)


def test_no_release_stands_on_what_was_hidden_before_its_policy_came_or_since():
    """What is hidden is undone by nothing but an edit that goes back to a text before it."""
    first, late = Policy(name="first", hold_seconds=100), policy("late", "hold = 60\nmax_hold = 9000")
    released = waited = 0
    for state in range(60):
        chooser, writer = Random(state), Writer()
        hidden: dict[int, int] = {}
        texts, under = ["t0"], [0]
        for rev in range(1, 31):
            writer.wait(chooser.randint(5, 60))
            texts.append(texts[max(0, rev - 4)] if chooser.random() < 0.3 else f"t{rev}")
            under.append(next((at for at in range(rev - 1, 0, -1) if texts[at] == texts[rev]), rev - 1))
            writer.change("edit", 3, rev, texts[rev], f"u{chooser.randint(0, 2)}", rev_parent_id=rev - 1)
            target = rev - chooser.randint(0, 3)
            if chooser.random() < 0.08 and target > 0:
                writer.visibility(3, target, 0)
                hidden.setdefault(target, EPOCH + writer.at * 1000)
            writer.tick(chooser.choice([0, 30]))
            if rev == 12:
                writer.control(encode_policies(Policies(policies=(first, late), grace_seconds=10)))
        writer.end()
        out: set[int] = set()
        for d in run(shard_of(Policies(policies=(first,), grace_seconds=10)), writer.log):
            if d.policy == "late" and d.state is State.RELEASED:
                below = under[d.rev_id]
                while below and below not in out:
                    assert hidden.get(below, d.fire_ms) >= d.fire_ms, (state, d)
                    below = under[below]
                out.add(d.rev_id)
                released += 1
            elif d.policy == "late":
                out.discard(d.rev_id)
                waited += d.reason is Bar.TAINTED and d.signals[0].by_rev_id < 12
    assert released > 100, (released, waited)
    assert waited > 50


def test_taint_through_partial_repair_on_the_real_cases_and_few_good_edits_wait_for_it():
    histories = [history[:1200] for history in pages_in("wikidata").values()]
    check_taint(histories, least_released=3000)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "cases"), [("enwiki", 422), ("wikidata", 33)])
def test_taint_through_partial_repair_on_every_real_case(name, cases):
    histories = list(pages_in(name).values())
    assert sum(map(covered, histories)) == cases
    check_taint(histories, least_released=6000)


def check_history(history: Sequence[curve.Revision], page_id: int, rules: Policies) -> None:
    """The oracle's opinion of what the gate made of a real history."""
    log = [Entry(kind, value, 0) for _, kind, value in whatif.history_log(history, page_id, rules)]
    assert objections(log, rules, run(shard_of(rules), log)) == []


REAL = Policies(policies=(read_policy_file(HOUR), Policy(name="w300", hold_seconds=300)))


def test_real_histories_are_decided_as_the_oracle_says():
    for page_id, history in enumerate(pages_in("wikidata").values(), start=1):
        check_history(history[:400], page_id, REAL)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["enwiki", "wikidata"])
def test_whole_real_histories_are_decided_as_the_oracle_says(name):
    for page_id, history in enumerate(pages_in(name).values(), start=1):
        check_history(history, page_id, REAL)


# 6. Fail closed, with coverage stated.


@pytest.mark.parametrize("deaf", ["page", "tags", "visibility", "recent", "risk"])
def test_no_release_in_a_span_in_which_a_stream_could_not_be_heard_and_all_after_it_once(deaf):
    knobs = {
        "recent": 'require = "patrolled"\nwait = 10\nelse = "release"',
        "risk": 'risk = { model = "revertrisk-language-agnostic", max = 0.9 }',
    }
    line = Ruled("hold = 300\n" + knobs.get(deaf, ""), wiki="frwiki")
    for n in range(1, 40):
        line.edit(n, at=n * 100, page=n)
        # Deaf for longer than twice the window.
        line.heard(n * 100, **({deaf: 1000} if 1000 < n * 100 <= 3000 else {}))
        heard = 1000 if 1000 < n * 100 <= 3000 else n * 100
        assert all(d.fire_ms <= EPOCH + heard * 1000 for d in line.decisions)
    line.heard(20_000)
    assert Counter(d.state.value for d in line.decisions) == {"released": 39}
    assert len({d.rev_id for d in line.decisions}) == 39


def test_a_wiki_that_cannot_patrol_never_waits_for_patrol():
    line = Ruled('hold = 50\nrequire = "patrolled"\nwait = "2d"')  # enwiki
    line.edit(1, at=0)
    assert line.heard(60, recent=-1) == [(1, "released")]


def test_each_decision_lists_what_was_heard_and_what_was_listened_for_and_not_heard():
    line = Ruled('hold = 50\nrequire = "patrolled"\nwait = 100\nelse = "release"', wiki="frwiki")
    line.edit(1, at=0)
    line.log("patrol", "patrol", 10, params={"curid": 1})
    line.edit(2, at=0, page=8)
    line.heard(200)
    first, second = (orjson.loads(encode_decision(d)) for d in line.decisions)
    assert [s["kind"] for s in first["signals"]] == ["patrol"]
    assert "patrol" in second["absent"]
    for doc in (first, second):
        assert {*doc["absent"], *(s["kind"] for s in doc["signals"])} == set(doc["listened"])


# 7. Proof and what-if.


class WhatIf(History):
    def judge(self, log: list[Entry]) -> None:
        real = [encode_decision(d) for d in run(shard_of(self.rules), log)]
        # A log of another policy: its own control records are left out.
        records = [(0, e.kind, e.value) for e in log]
        mixed = [(0, KIND_CONTROL, encode_policies(SHORT)), *records]
        assert [encode_decision(d) for d in whatif.over_log(mixed, self.rules)] == real


def test_what_if_equals_a_real_replay_under_that_policy():
    hold(WhatIf)


# 8. Freshness credit.


def test_restoring_edits_have_no_delay_on_real_histories():
    rules = Policies(policies=(read_policy_file(DAY),))
    restoring = 0
    for page_id, history in enumerate(pages_in("wikidata").values(), start=1):
        texts = {r.rev_id: r.sha1 for r in history[:1500]}
        head, head_out = 0, 0
        for d in whatif.over_history(history[:1500], page_id, rules):
            if d.state is State.RELEASED:
                known = head_out > d.start_ms - 30 * 86_400_000  # what is older than the horizon is forgotten
                if head and known and texts[head] == texts[d.rev_id] != "" and head < d.rev_id:
                    assert d.decided_for_ms == d.start_ms or d.start_ms < head_out
                    restoring += d.decided_for_ms == d.start_ms
                head, head_out = d.rev_id, d.decided_for_ms
            elif d.state is State.RETRACTED and d.rev_id == head:
                head = 0
    assert restoring > 20


def test_the_archive_preset_keeps_back_99_9_percent_of_the_bad_edits_and_states_its_delay():
    history = max(pages_in("enwiki").values(), key=len)
    last = history[-len(history) * 3 // 10 :]
    rules = Policies(policies=(read_policy_file((PRESETS / "archive.toml").read_text()),))
    truth = {("history", 1, e.revision.rev_id, 0): e for e in curve.judged(last)}
    (outcome,) = whatif.outcomes(whatif.over_history(last, 1, rules), rules, truth)
    assert outcome.known_bad > 1000
    assert (outcome.protection or 0) >= 0.999
    assert whatif.table([outcome]).splitlines()[1].endswith("7 d      7 d")


def test_fifty_policies_cost_less_than_twice_the_memory_of_one():
    def bytes_of(count: int) -> int:
        named = tuple(Policy(name=f"p{n}", hold_seconds=60 * (n % 5 + 1)) for n in range(count))
        shard, writer = shard_of(Policies(policies=named)), Writer()
        for n in range(400):
            writer.change("edit", n % 3 + 1, n + 1, f"t{n % 6}", "u1")
        run(shard, writer.log)
        edits = [edit for page in shard.hot.values() for edit in page.edits]
        parts = [part for edit in edits for part in (edit, edit.event_id, edit.sha1)]
        parts += {id(edit.states): edit.states for edit in edits}.values()
        return sum(map(sys.getsizeof, parts)) + sum(len(encode_page(page)) for page in shard.hot.values())

    assert bytes_of(50) < 2 * bytes_of(1)
