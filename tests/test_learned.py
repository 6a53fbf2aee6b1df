"""A hold that is learned, in the gate: which one an edit gets, what it says of it, and what is learned from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_gate import EPOCH, Line, sha
from test_protect import learn

from processors import whatif
from processors.curve import Revision
from processors.protect import Learner
from processors.prove import derive
from processors.shard import Unreadable, rebuilt
from schemas.decision import Decision, decode_decisions, encode_decision, encode_decisions
from schemas.learned import Choice, Learned, Protect, Stratum
from schemas.lessons import Lesson, Seed, decode_lessons, encode_lessons
from schemas.log import KIND_CONTROL, KIND_EVENT, KIND_TICK, Gap, Policies, encode_gap, encode_learned, encode_policies
from schemas.policy_file import read_policy_file
from streams.why import chosen as said_of

HEAD = 'name = "sure"\n[[rule]]\nprotect = 0.98\n'
DAY = 86_400.0
WIKI, ALL = Stratum("enwiki"), Stratum()
ANON = Stratum("enwiki", "anon", "<1")


def policies(*texts: str) -> Policies:
    return Policies(policies=tuple(read_policy_file(text) for text in texts or (HEAD,)))


def table(at: float, **holds: float) -> Learned:
    """The hold in seconds of all wikis, of enwiki, of its anonymous editors on quiet pages."""
    strata = {"all": ALL, "wiki": WIKI, "anon": ANON}
    return Learned(
        at_ms=round(at * 1000),
        rows={(strata[name], 0.98): Choice(round(hold * 1000), strata[name], 300) for name, hold in holds.items()},
    )


class Sure(Line):
    """A line under a policy that learns its holds. The log is heard from 40 days before, so activity is known."""

    def __init__(self, rules: Policies | None = None, learned: Learned | None = None) -> None:
        super().__init__()
        self.shard._teaches = True
        if learned is not None:
            self.learn(learned)
        self.rule(rules or policies())
        self.tick(-40 * DAY)

    def rule(self, rules: Policies) -> None:
        self.rules = rules
        self._apply(KIND_CONTROL, encode_policies(rules))

    def learn(self, learned: Learned) -> None:
        self._apply(KIND_CONTROL, encode_learned(learned))

    def restart(self) -> None:
        """Go on from what the state topic holds alone."""
        self.shard = rebuilt(self.state().items(), teaches=True)

    def chosen(self, rev: int) -> tuple[float, Protect]:
        """The hold in seconds of a revision that was decided, and why."""
        decision = next(d for d in self.decisions if d.rev_id == rev)
        assert decision.protect is not None
        return decision.hold_ms / 1000, decision.protect


def test_an_edit_gets_the_hold_of_its_own_stratum_else_of_its_wiki_else_of_all_and_the_decision_names_it():
    for learned, hold, curve, whose in (
        (table(0, all=100, wiki=200, anon=300), 300, ANON, "own"),
        (table(0, all=100, wiki=200), 200, WIKI, "wiki"),
        (table(0, all=100), 100, ALL, "all"),
    ):
        line = Sure(learned=learned)
        line.edit(1, at=0)
        assert line.tick(hold + 59) == []
        assert line.tick(hold + 60) == [(1, "sure", "released")]
        assert line.chosen(1) == (hold, Protect(0.98, ANON, curve, 300, hold * 1000))
        assert line.chosen(1)[1].whose == whose


def test_until_something_is_learned_the_rule_says_how_long_and_the_decision_that_nothing_is_known():
    line = Sure()
    line.edit(1, at=0)
    line.tick(7 * DAY + 60)
    assert line.chosen(1) == (7 * DAY, Protect(0.98, ANON, None, 0, None))
    line = Sure(policies(HEAD + 'until_learned = "2d"\n'), table(0))
    line.edit(1, at=0)
    line.tick(2 * DAY + 60)
    assert line.chosen(1)[0] == 2 * DAY


def test_a_learned_hold_stays_within_the_bounds_of_its_rule_and_a_creation_waits_twice_as_long():
    rules = policies(HEAD + 'min_hold = "10m"\nmax_hold = "1h"\nuntil_learned = "30m"\n')
    for learned, hold in ((60, 600), (7200, 3600), (1800, 1800)):
        line = Sure(rules, table(0, wiki=learned))
        line.edit(1, at=0)
        line.tick(2 * DAY)
        assert (line.chosen(1)[0], line.chosen(1)[1].hold_ms) == (hold, learned * 1000)
    line = Sure(rules, table(0, wiki=900))
    line.change("create", 1, at=0)
    line.tick(2 * DAY)
    assert line.chosen(1)[0] == 1800
    line = Sure(rules, table(0, wiki=1801))
    line.change("create", 1, at=0)
    line.tick(2 * DAY)
    assert line.chosen(1)[0] == 3600


def test_an_edit_keeps_the_hold_that_was_known_before_it_whatever_is_learned_while_it_waits():
    line = Sure(learned=table(0, wiki=100))
    line.edit(1, at=0)
    line.learn(table(10, wiki=1000))
    line.edit(2, at=20, page=8)
    assert line.tick(160) == [(1, "sure", "released")]
    assert line.tick(1079) == []
    assert line.tick(1080) == [(2, "sure", "released")]


def test_a_policy_that_begins_to_ask_holds_what_waits_by_the_table_with_which_it_came():
    line = Sure(policies('name = "sure"\n[[rule]]\nhold = "1d"\n'), table(0, wiki=100))
    line.edit(1, at=0)
    line.rule(policies())
    line.learn(table(10, wiki=5000))
    line.restart()
    assert line.tick(160) == [(1, "sure", "released")]
    assert line.chosen(1)[1] == Protect(0.98, Stratum("enwiki", "anon"), WIKI, 300, 100_000)


def test_a_gap_and_other_policies_leave_the_chosen_hold_as_it_is():
    line = Sure(learned=table(0, wiki=100))
    line.edit(1, at=0)
    line.learn(table(10, wiki=5000))
    line._apply(KIND_CONTROL, encode_gap(Gap(from_ms=EPOCH - 10**9, to_ms=EPOCH - 10**8)))
    line.rule(replace(policies(), horizon_seconds=DAY))
    assert line.tick(160) == [(1, "sure", "released")]


@pytest.mark.parametrize(
    ("edits", "activity"), [(0, "<1"), (1, "1-5"), (4, "1-5"), (5, "5-30"), (30, "30-150"), (151, ">150")]
)
def test_how_active_a_page_is_is_the_number_of_its_edits_within_30_days_also_after_a_restart(edits, activity):
    line = Sure(policies(HEAD + 'horizon = "1d"\nmax_hold = "8d"\n'), table(0, wiki=100))
    line.edit(1, at=-30 * DAY)  # just too old
    for number in range(edits):
        line.edit(2 + number, at=-29 * DAY + number)
    line.tick(-1)
    line.restart()
    line.edit(1000, at=0)
    line.tick(200)
    assert line.chosen(1000)[1].stratum == Stratum("enwiki", "anon", activity)


def test_how_active_a_page_is_is_not_known_before_the_log_was_heard_for_30_days():
    line = Sure(learned=table(0, wiki=100, anon=200))
    line.edit(1, at=-10 * DAY - 1)
    line.edit(2, at=-10 * DAY, page=8)
    line.tick(0)
    assert line.chosen(1) == (100, Protect(0.98, Stratum("enwiki", "anon"), WIKI, 300, 100_000))
    assert line.chosen(2)[1].stratum == ANON


def test_restarts_anywhere_change_no_decision():
    def run(restarts: bool) -> list[Decision]:
        line = Sure()
        steps = [
            lambda: line.learn(table(0, wiki=100)),
            lambda: line.edit(1, at=0),
            lambda: line.edit(2, at=10, user="Vandal"),
            lambda: line.learn(table(1, wiki=900, anon=50)),
            lambda: line.edit(3, at=20, sha1=sha("r1"), user="Bob"),
            lambda: line.rule(policies(HEAD.replace("0.98", "0.9") + 'until_learned = "1h"\n')),
            lambda: line.edit(4, at=30, page=8),
            lambda: line.tick(90),
            lambda: line.rule(policies()),
            lambda: line.edit(5, at=100, page=8),
            lambda: line.tick(8 * DAY),
        ]
        for step in steps:
            step()
            if restarts:
                line.restart()
        return line.decisions

    expected = run(False)
    assert len(expected) >= 5
    assert [encode_decisions([d]) for d in run(True)] == [encode_decisions([d]) for d in expected]


def test_the_proof_leads_to_the_hold_and_a_hold_that_does_not_follow_is_no_proof():
    line = Sure(learned=table(0, wiki=100))
    line.edit(1, at=0)
    line.tick(160)
    decision = decode_decisions(encode_decisions(line.decisions))[0]
    assert decision == line.decisions[0]
    told = (decision.state, decision.reason, decision.decided_for_ms)
    assert derive(decision, line.rules) == told
    assert decision.protect is not None
    assert derive(decision._replace(protect=decision.protect._replace(hold_ms=99_000)), line.rules) is None
    assert derive(decision._replace(protect=None), line.rules) is None
    assert derive(decision._replace(protect=decision.protect._replace(target=0.9)), line.rules) is None


def test_a_fixed_hold_says_nothing_of_learning():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    line.tick(360)
    assert b"protect" not in encode_decisions(line.decisions)


def test_why_says_whose_cases_they_are_and_that_the_stratum_is_a_wider_one():
    own = Protect(0.98, ANON, ANON, 300, 3_600_000)
    assert said_of(
        own
    ) == "hold to keep 98 % of the bad edits of enwiki × anon × <1 away: 60 min by 300 cases of " + str(ANON)
    assert "cases of enwiki, a wider stratum" in said_of(own._replace(curve=WIKI))
    assert "too few cases are known anywhere" in said_of(Protect(0.98, ANON, None, 0, None))


WRONG = [
    b'{"kind":"learned"}',
    b'{"kind":"learned","at_ms":1,"rows":[[["enwiki","",""],0.98,0,300,["enwiki","",""]]]}',
    b'{"kind":"learned","at_ms":1,"rows":[[["enwiki","",""],1.5,1000,300,["enwiki","",""]]]}',
    b'{"kind":"learned","at_ms":1,"rows":[[["enwiki","",""],0.98,1000,300,["dewiki","",""]]]}',
]


@pytest.mark.parametrize("value", WRONG)
def test_a_table_that_cannot_be_is_set_aside_and_the_last_one_stays_in_force(value):
    line = Sure(learned=table(0, wiki=100))
    with pytest.raises(Unreadable):
        line.shard.apply(KIND_CONTROL, value)
    line.edit(1, at=0)
    assert line.tick(160) == [(1, "sure", "released")]


# What is learned from.


def lessons(line: Sure) -> list[Lesson]:
    found = decode_lessons(encode_lessons(line.shard.lessons))
    line.shard.lessons.clear()
    return found


def test_an_edit_and_its_undoing_by_another_are_said_when_they_are_heard():
    line = Sure()
    line.edit(1, at=0)
    line.edit(2, at=10, user="Vandal")
    lessons(line)
    line.edit(3, at=70, sha1=sha("r1"), user="Bob")
    third, second = Stratum("enwiki", "anon", "1-5"), Stratum("enwiki", "anon", "1-5")
    assert lessons(line) == [Lesson(third, EPOCH + 70_000), Lesson(second, EPOCH + 10_000, 60_000)]
    line.edit(3, at=70, sha1=sha("r1"), user="Bob")
    line.tags(2, 80, "mw-reverted")
    assert lessons(line) == []


def test_undoing_ones_own_edit_teaches_nothing_of_it():
    line = Sure()
    line.edit(1, at=0)
    line.edit(2, at=10, user="Bob")
    line.edit(3, at=70, sha1=sha("r1"), user="Bob")
    assert [lesson.after_ms for lesson in lessons(line)] == [None, None, None]


@pytest.mark.parametrize(("undone_at", "stands"), [(70 + 2 * DAY, True), (71 + 2 * DAY, False)])
def test_a_revert_that_is_undone_within_48_hours_is_taken_back(undone_at, stands):
    line = Sure()
    line.edit(1, at=0)
    line.edit(2, at=10, user="Eve")
    line.edit(3, at=70, sha1=sha("r1"), user="Bob")
    line.restart()
    lessons(line)
    line.edit(4, at=undone_at, sha1=sha("r2"), user="Ann")
    said = [(lesson.at_ms, lesson.after_ms, lesson.stands) for lesson in lessons(line)[1:]]
    undone = (EPOCH + 70_000, round((undone_at - 70) * 1000), False)
    assert said == ([undone, (EPOCH + 10_000, 60_000, True)] if stands else [undone])


def test_a_tag_that_comes_before_its_edit_or_alone_teaches_too():
    line = Sure()
    line.edit(1, at=0)
    line.tags(2, 20, "mw-reverted")
    line.edit(2, at=10, user="Vandal")
    line.tags(1, 30, "mw-reverted")
    assert [(lesson.at_ms - EPOCH, lesson.after_ms) for lesson in lessons(line)] == [
        (0, None), (10_000, None), (10_000, 10_000), (0, 30_000),
    ]  # fmt: skip


def test_nothing_is_said_where_no_policy_asks_for_protection():
    line = Sure(policies('name = "sure"\n[[rule]]\nhold = "1d"\n'))
    line.edit(1, at=0)
    line.edit(2, at=10, user="Vandal")
    line.edit(3, at=70, sha1=sha("r1"), user="Bob")
    assert lessons(line) == []


# What-if.


def undone_hourly(page: str, count: int, after_s: int = 600) -> list[Revision]:
    """An edit each hour that another undoes after ten minutes."""
    made = [Revision(page=page, rev_id=1, at_ms=EPOCH, user="good", kind="registered", sha1="a")]
    for number in range(1, count + 1):
        at_ms, rev = EPOCH + number * 3_600_000, 2 * number
        made.append(Revision(page=page, rev_id=rev, at_ms=at_ms, user="vandal", kind="anon", sha1=f"v{rev}"))
        back = Revision(
            page=page, rev_id=rev + 1, at_ms=at_ms + after_s * 1000, user="good", kind="registered", sha1="a"
        )
        made.append(back)
    return made


def test_what_if_learns_from_the_log_as_it_goes_whatever_the_order_of_its_partitions():
    rules = policies(HEAD + 'emit = "each"\n')
    logs = [list(whatif.history_log(undone_hourly(f"P{page}", 300), page, rules)) for page in (1, 2)]
    decisions = list(whatif.over_log([record for log in logs for record in log], rules))
    mixed = [record for pair in zip(*logs, strict=True) for record in pair]
    assert sorted(map(encode_decision, whatif.over_log(mixed, rules))) == sorted(map(encode_decision, decisions))
    holds = {d.rev_id: d.hold_ms for d in decisions}
    # A day that was watched for a week, less the two days in which an undoing may be undone.
    known = (1 + 7 + 2) * 24
    assert holds[2 * (known - 48) + 1] == 7 * DAY * 1000
    assert holds[2 * (known + 48) + 1] == pytest.approx(600_000, rel=0.03)


def test_what_if_begins_with_a_seed():
    rules = policies()
    seed = Seed(until_ms=EPOCH - 1, windows=list(learn(Learner(), Stratum("history", "anon", ""), [10] * 200).windows))
    log = list(whatif.history_log(undone_hourly("P", 0), 1, rules))[2:]
    # No tick comes before the edit: of how long ago the seed is, nothing is heard yet.
    assert [kind for _, kind, _ in log] == [KIND_EVENT, KIND_TICK]
    (decision,) = whatif.over_log(log, rules, seed)
    assert decision.hold_ms == pytest.approx(600_000, rel=0.03)
    assert decision.protect is not None
    assert (decision.protect.curve, decision.protect.cases) == (Stratum("history"), 200)
