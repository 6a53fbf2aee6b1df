"""What it costs: policies with the same rules are decided once, and one busy page is no harder than many quiet ones."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from histories import (
    FULL,
    RISK,
    SETS,
    SHORT,
    Entry,
    Writer,
    by_page,
    held,
    policies,
    policy,
    random_log,
    run,
    shard_of,
)  # fmt: skip
from peers import history

from processors import fire, lineage
from processors.shard import Shard
from processors.waits import MOST_EDITS
from schemas.decision import Decision, decode_decisions
from schemas.event import TAGS_CHANGE
from schemas.log import KIND_CONTROL, Policies, Policy, encode_policies
from schemas.policy import Match, Rule


def ended(random_state: int) -> list[Entry]:
    """A log, and after it enough time for everything."""
    writer = Writer(random_log(random_state))
    writer.end()
    return writer.log


def named(*names: str) -> Policies:
    """By the first letter: `a` holds a minute, `b` ten."""
    return Policies(policies=tuple(Policy(name=name, hold_seconds={"a": 60, "b": 600}[name[0]]) for name in names))


def under(decisions: list[Decision], name: str) -> dict[int, list[bytes]]:
    return by_page([d._replace(policy="it") for d in decisions if d.policy == name])


@pytest.mark.parametrize("seed", range(8))
def test_policies_with_the_same_rules_decide_as_each_would_alone_also_where_one_of_them_comes_later(seed):
    log = ended(seed)
    at = len(log) // 3

    def through(first: Policies, then: Policies) -> list[Decision]:
        shard = shard_of(first)
        made = run(shard, log[:at])
        shard.apply(KIND_CONTROL, encode_policies(then))
        made += run(shard, log[at:])
        assert shard.pending == 0
        return made

    together = through(named("a1", "b1", "a2"), named("a1", "b2", "a2", "a3", "b1"))
    for name in ("a1", "a2", "b1"):
        assert under(together, name) == under(through(named(name), named(name)), name)
    for name in ("a3", "b2"):
        other = name[0] + "9"
        assert under(together, name) == under(through(named("a9", "b9"), named("a9", "b9", name, other)), name)


def customer(name: str, wiki: str, hold: int) -> Policy:
    """Ten minutes on a wiki of its own, another hold on all others."""
    rules = (Rule(match=Match(wiki=(wiki,)), hold_seconds=600), Rule(hold_seconds=hold))
    return Policy(name=name, rules=rules)


CUSTOMERS = Policies(
    policies=(
        customer("german", "dewiki", 60),
        customer("english", "enwiki", 60),
        customer("french", "frwiki", 60),
        customer("slow", "frwiki", 300),
    )
)


@pytest.mark.parametrize("seed", range(4))
def test_policies_that_differ_on_other_wikis_decide_as_each_would_alone_also_where_their_holds_change(seed):
    log = ended(seed)
    at = len(log) // 2
    later = replace(CUSTOMERS, policies=tuple(held(each, 30) for each in CUSTOMERS.policies[::-1]))

    def through(names: set[str]) -> list[Decision]:
        first, then = (replace(r, policies=tuple(p for p in r.policies if p.name in names)) for r in (CUSTOMERS, later))
        shard = shard_of(first)
        made = run(shard, log[:at])
        shard.flush(shard.changed())
        shard.hot.clear()
        shard.apply(KIND_CONTROL, encode_policies(then))
        made += run(shard, log[at:])
        assert shard.pending == 0
        return made

    names = {each.name for each in CUSTOMERS.policies}
    together = through(names)
    assert {d.rule for d in together if (d.policy, d.wiki) == ("english", "enwiki")} == {0}
    for name in names:
        assert under(together, name) == under(through({name}), name)


def test_customers_with_rules_for_wikis_of_their_own_cost_on_others_what_their_common_rules_cost():
    def of(count: int) -> Policies:
        return Policies(policies=tuple(customer(f"c{n}", f"w{n}wiki", (60, 300)[n % 2]) for n in range(count)))

    # Calls of the first: 807,431 where each went its own way.
    assert calls(of(40), 400) < 1.5 * calls(of(2), 400)


def test_a_record_has_the_decisions_of_policies_that_share_rules_policy_by_policy_as_it_says_itself():
    shard = shard_of(named("a1", "b1", "a2"))
    for kind, value, _ in ended(1):
        for group in shard.apply(kind, value):
            assert decode_decisions(group.value) == list(group.decisions)
            places = [("a1", "b1", "a2").index(d.policy) for d in group.decisions]
            assert places == sorted(places)


def calls(rules: Policies, count: int, *, barred: bool = False) -> int:
    """Python calls that it takes to decide over `count` edits of one page, twenty of them a second.

    barred: the first of them is hidden, so that all others stand on it.
    """
    writer, chooser = Writer(), random.Random(5)
    writer.control(encode_policies(rules))
    if barred:
        writer.change("edit", 7, 5, "bad", "u1")
        writer.visibility(7, 5, 0)
    for n in range(count):
        text, user = f"t{n if chooser.random() < 0.9 else n - 2}", f"u{chooser.randrange(9)}"
        writer.change("edit", 7, 10 + n, text, user)
        if n % 20 == 19:
            writer.wait(1)
            writer.tick(0)
    writer.end()
    return calls_of(writer.log)


def calls_of(log: Sequence[Entry]) -> int:
    shard, found = Shard(), 0

    def count_them(frame: object, event: str, argument: object) -> None:
        nonlocal found
        found += event == "call"

    sys.setprofile(count_them)
    try:
        for kind, value, _ in log:
            shard.apply(kind, value)
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("rules", SETS)
def test_many_edits_of_one_page_cost_no_more_each_than_few(rules):
    few, many = calls(rules, 150), calls(rules, 4 * 150)
    assert many < 5 * few


def test_each_edit_of_a_page_at_war_touches_what_changes_and_not_all_that_wait():
    # Calls per edit: 1,340, 2,640 and 5,320 where each arrival looked at all that wait.
    per_edit = [calls(FULL, count) / count for count in (100, 200, 400)]
    assert max(per_edit) < 1.2 * min(per_edit)


def test_each_edit_that_stands_on_a_barred_one_finds_it_without_walking_past_all_between():
    # Calls per edit: 567 and 4,820 where a walk was kept only past edits that nothing was said of.
    few, many = calls(FULL, 100, barred=True), calls(FULL, 400, barred=True)
    assert many < 5 * few


def test_hiding_each_edit_of_a_page_on_which_many_are_overdue_costs_no_more_than_their_square():
    risky = policies(policy("risky", f'hold = 5\nmax_hold = 300\nrisk = {{ model = "{RISK}", max = 0.5 }}'))

    def hidden(count: int) -> int:
        writer = Writer()
        writer.control(encode_policies(risky))
        for n in range(count):
            writer.change("edit", 7, 10 + n, f"t{n}", "u1")
        writer.wait(60)
        for n in range(count):
            writer.visibility(7, 10 + n, 0)
        writer.end()
        return calls_of(writer.log)

    # 88 times as many where a hiding was looked for among what those above had undone.
    few, many = hidden(20), hidden(80)
    assert many < 16 * few


def busy(random_state: int, count: int = 60) -> list[Entry]:
    """One page, on which much is undone by its text, by a name or by a tag, some is hidden, and some comes late."""
    chooser, writer = random.Random(random_state), Writer()
    for n in range(count):
        writer.wait(chooser.choice((0, 1, 9, 70)))
        text = n if chooser.random() < 0.8 else n - 2
        named = {"revert": {"rev_reverted_oldest_id": 8 + n}} if chooser.random() < 0.15 else {}
        ago = chooser.choice((0, 0, 0, 30))
        writer.change("edit", 7, 10 + n, f"t{text}", f"u{chooser.randrange(4)}", ago=ago, **named)
        if chooser.random() < 0.2:
            tags = {"tags": ["mw-reverted"], "prior_state": {"tags": []}}
            writer.about(TAGS_CHANGE, 7, 10 + n - chooser.randrange(4), 0, **tags)
        if chooser.random() < 0.1:
            writer.visibility(7, 10 + n, 0)
        if n % 5 == 4:
            writer.tick(chooser.choice((0, 20)))
    writer.end()
    return writer.log


@pytest.mark.parametrize("rules", SETS[1:])
def test_what_is_kept_of_lines_and_times_says_what_walking_all_edits_of_the_page_says(rules, monkeypatch):
    root, quiet, kept = fire.root, fire._quiet, 0

    def walked(page, edit, *asked):
        nonlocal kept
        found = root(page, edit, *asked)
        kept += not page.lines.again
        assert found is lineage._root_of_one_of_many(page, edit, *asked)
        return found

    def counted(page, edit, hold_ms, last_ms, grace_ms):
        times = fire.times_of(page)
        last = fire._last_of(page, edit, hold_ms, last_ms, grace_ms)
        assert edit in times.late or times.last_before_pause(edit, hold_ms, grace_ms, last_ms) is last
        return quiet(page, edit, hold_ms, last_ms, grace_ms)

    monkeypatch.setattr(fire, "root", walked)
    monkeypatch.setattr(fire, "_quiet", counted)
    for seed in range(3):
        run(shard_of(rules), busy(seed))
    assert kept > 100


def test_a_page_of_very_many_revisions_keeps_what_waits_and_a_bounded_rest():
    shard = shard_of(Policies(policies=(Policy(name="live"),)))
    writer = Writer()
    for n in range(MOST_EDITS + 1500):
        writer.change("edit", 7, 10 + n, f"t{n}", "u")
        if n % 500 == 0:
            writer.wait(3)
            writer.tick(0)
    run(shard, writer.log)
    assert len(shard.hot["enwiki", 7].edits) <= MOST_EDITS + 500


def test_a_shard_remembers_no_more_due_times_than_its_pages_in_use_need(monkeypatch):
    monkeypatch.setattr("processors.shard._SPARE_DUE", 100)
    shard = Shard(hot_pages=10)
    shard.apply(KIND_CONTROL, encode_policies(SHORT))
    decided: list[Decision] = []
    plain = shard_of(SHORT)
    expected: list[Decision] = []
    for n, (kind, value) in enumerate(history(1500)):
        decided += [d for group in shard.apply(kind, value) for d in group.decisions]
        expected += [d for group in plain.apply(kind, value) for d in group.decisions]
        if n % 50 == 0:
            shard.flush(shard.changed())
            assert len(shard._due) <= 100 + 2 * 10
    assert by_page(decided) == by_page(expected)
