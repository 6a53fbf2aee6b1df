"""The knobs of policy files, one at a time, and input that nobody should send. Times are seconds after EPOCH."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from test_gate import EPOCH, Line, sha

from processors.prove import derive
from processors.shard import Unreadable, rebuilt
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, TOPIC_PREDICTION, VISIBILITY_CHANGE, rfc3339
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Gap,
    Policies,
    Policy,
    Tick,
    encode_gap,
    encode_policies,
    encode_tick,
)
from schemas.policy_file import read_policy_file
from schemas.reasons import Bar

RISK = "mediawiki.page_revert_risk_prediction_change.v1"
Made = list[tuple[int, str, str]]


class Ruled(Line):
    """A line under one policy file, called p, with rules as text; grace is 10 s."""

    def __init__(self, *rules: str, wiki: str = "enwiki") -> None:
        super().__init__()
        self.wiki = wiki
        if rules:
            self.rules(*rules)

    def rules(self, *rules: str) -> None:
        text = 'name = "p"\n' + "".join(f"[[rule]]\n{rule}\n" for rule in rules)
        self._apply(KIND_CONTROL, encode_policies(Policies(policies=(read_policy_file(text),), grace_seconds=10)))

    def named(self, **rules: str) -> None:
        """Policies of one rule each."""
        made = tuple(read_policy_file(f'name = "{name}"\n[[rule]]\n{rule}\n') for name, rule in rules.items())
        self._apply(KIND_CONTROL, encode_policies(Policies(policies=made, grace_seconds=10)))

    def event(self, stream: str, doc: dict[str, Any], at: float) -> Made:
        for name in ("wiki_id", "database", "wiki"):
            if name in doc:
                doc[name] = self.wiki
        return super().event(stream, doc, at)

    def heard(self, at: float, **late: float) -> list[tuple[int, str]]:
        self.serial += 1
        names = {"recent": RECENT_CHANGE, "risk": RISK, "tags": TAGS_CHANGE, "visibility": VISIBILITY_CHANGE}
        names["page"] = PAGE_CHANGE
        streams = dict.fromkeys(names.values(), at) | {names[name]: t for name, t in late.items()}
        heard_ms = {stream: EPOCH + round(t * 1000) for stream, t in streams.items()}
        made = self._apply(KIND_TICK, encode_tick(Tick(number=self.serial, heard_ms=heard_ms, cursor=())))
        return [(rev, state) for rev, _, state in made]

    def log(self, kind: str, action: str, at: float, *, title: str = "Loch Ness", params: Any = None) -> Made:
        doc = {"wiki": "", "type": "log", "title": title, "log_type": kind, "log_action": action, "log_params": params}
        return self.event(RECENT_CHANGE, doc, at)

    def score(self, rev: int, score: float, at: float) -> Made:
        doc = {
            "wiki_id": "",
            "page": {"page_id": 7},
            "revision": {"rev_id": rev},
            "predicted_classification": {
                "model_name": "revertrisk-language-agnostic", "model_version": "3", "predictions": [],
                "probabilities": {"true": score, "false": 1 - score},
            },
        }  # fmt: skip
        return self.event(RISK, doc, at)

    def reason(self) -> Bar | None:
        return self.decisions[-1].reason


def test_the_first_rule_that_matches_decides_and_the_last_is_for_all_others():
    line = Ruled('match = { editor_class = ["bot"] }\nhold = 20', "match = { ns = [2] }\nhold = 0", "hold = 100")
    line.edit(1, at=0, editor={"user_text": "RigBot", "is_bot": True})
    line.edit(2, at=0, page=8)
    assert line.heard(30) == [(1, "released")]
    assert line.heard(110) == [(2, "released")]
    assert [d.rule for d in line.decisions] == [0, 2]


def test_trusted_editors_wait_a_share_of_the_hold():
    line = Ruled("hold = 100\ntrust = { trusted = 0.5 }")
    line.edit(1, at=0, editor={"user_text": "Ada", "user_id": 1, "groups": ["sysop"]})
    old = {"user_text": "Bo", "user_id": 2, "edit_count": 500, "registration_dt": "2026-01-01T00:00:00Z"}
    line.edit(2, at=0, page=8, editor=old)
    line.edit(3, at=0, page=9, editor=old | {"edit_count": 499})
    assert line.heard(60) == [(1, "released"), (2, "released")]
    assert line.heard(110) == [(3, "released")]


def test_a_page_is_created_on_twice_the_hold_and_so_is_a_draft_that_becomes_an_article():
    line = Ruled("hold = 100")
    line.change("create", 1, at=0)
    assert line.heard(209) == []
    assert line.heard(210) == [(1, "released")]


def test_a_quiet_clock_counts_from_the_last_edit_but_not_beyond_the_longest_hold():
    #  0 edit   90, 180, … edits: never quiet for 100     360 = 350 + grace
    line = Ruled('hold = 100\nclock = "quiet"\nmax_hold = 350')
    for n in range(10):
        line.edit(n + 1, at=90 * n, user=f"u{n}")
    assert line.heard(359) == []
    assert line.heard(360) == [(1, "released")]
    assert {s.kind for s in line.decisions[0].signals} == {"later_edit"}


def test_a_page_at_war_must_be_quiet_first_and_what_never_is_is_withheld():
    #  a and b revert each other every 50 s; from the third revert on (150) nothing fires before it is quiet for 100
    for max_hold, ends in ((2000, "released"), (400, "withheld")):
        line = Ruled(f"hold = 100\nmax_hold = {max_hold}\nwar = {{ n = 2, hours = 1 }}")
        line.edit(1, at=0, user="a", sha1=sha("a"))
        line.edit(2, at=50, user="b", sha1=sha("b"))
        line.edit(3, at=100, user="a", sha1=sha("a"))
        line.edit(4, at=150, user="b", sha1=sha("b"))
        for n in range(5, 15):
            line.edit(n, at=150 + 50 * (n - 4), user="c")
        assert line.heard(560) == [(1, "released"), *([(4, "withheld")] if ends == "withheld" else [])]
        line.heard(2000)
        last = {d.rev_id: d for d in line.decisions}[4]
        assert last.state.value in {ends, "superseded"}
        assert last.reason is (Bar.EDIT_WAR if ends == "withheld" else None)


@pytest.mark.parametrize(("score", "ends"), [(0.94, (1, "released")), (0.96, (1, "withheld"))])
def test_a_score_above_the_limit_withholds_when_the_longest_hold_ends(score, ends):
    line = Ruled('hold = 50\nmax_hold = 200\nrisk = { model = "revertrisk-language-agnostic", max = 0.95 }')
    line.edit(1, at=0)
    line.score(1, score, at=2)
    early = line.heard(60)
    assert early + line.heard(210) == [ends]
    assert early == ([ends] if score < 0.95 else [])
    assert line.reason() is (Bar.RISK if score > 0.95 else None)
    assert [s.model for s in line.decisions[-1].signals] == ["revertrisk-language-agnostic/3"]


def test_a_risky_edit_that_somebody_looked_at_goes_out_and_what_stands_on_one_waits():
    line = Ruled(
        'hold = 50\nmax_hold = 900\nrisk = { model = "revertrisk-language-agnostic", max = 0.5 }', wiki="frwiki"
    )
    line.edit(1, at=0)
    line.score(1, 0.9, at=2)
    line.edit(2, at=5, user="Bo")
    line.score(2, 0.1, at=6)
    assert line.heard(100) == []
    line.log("patrol", "patrol", 150, params={"curid": "1"})
    assert line.heard(160) == [(1, "released"), (2, "released")]


def test_a_missing_score_is_waited_for_30_s_and_then_counts_as_the_rule_says():
    risk = 'risk = { model = "revertrisk-language-agnostic", fpr = 0.15, over = "extend 100", treat_as = '
    for treat, fires in (('"under" }', 40), ('"over" }', 140)):
        line = Ruled("hold = 5\n" + risk + treat)
        line.edit(1, at=0)
        assert line.heard(fires - 1) == []
        assert line.heard(fires) == [(1, "released")]


def test_scores_of_bots_say_nothing():
    line = Ruled('hold = 5\nrisk = { model = "revertrisk-language-agnostic", max = 0.1 }')
    line.edit(1, at=0, editor={"user_text": "RigBot", "is_bot": True})
    line.score(1, 0.9, at=1)
    assert line.heard(15) == [(1, "released")]


@pytest.mark.parametrize(("otherwise", "end"), [("release", "released"), ("withhold", "withheld")])
def test_a_review_is_waited_for_and_its_absence_decides_as_the_rule_says(otherwise, end):
    line = Ruled(f'hold = 50\nrequire = "approved"\nwait = 300\nelse = "{otherwise}"', wiki="dewiki")
    line.edit(1, at=0)
    line.edit(2, at=0, page=8)
    line.log("review", "approve", 100, params=[1, 0, ""])
    assert line.heard(109) == []
    assert line.heard(110) == [(1, "released")]
    assert line.heard(310) == [(2, end)]


def test_an_approval_that_is_taken_back_is_none():
    line = Ruled('hold = 50\nrequire = "approved"\nwait = 300', wiki="dewiki")
    line.edit(1, at=0)
    line.log("review", "approve", 20, params=[1, 0, ""])
    line.log("review", "unapprove", 30, params=[1, 0, ""])
    assert line.heard(310) == [(1, "withheld")]
    assert line.reason() is Bar.UNREVIEWED


def test_a_log_action_that_comes_before_its_page_is_kept_for_ten_minutes_also_over_a_restart():
    line = Ruled('hold = 50\nrequire = "patrolled"\nwait = 2000', wiki="frwiki")
    line.log("patrol", "patrol", 10, params={"curid": 1})
    state = line.state()
    assert any(key.startswith(b"~wait:") for key in state)
    line.shard = rebuilt(state.items())
    line.edit(1, at=5)
    assert line.heard(65) == [(1, "released")]
    line.log("patrol", "patrol", 70, params={"curid": 9}, title="Elsewhere")
    line.heard(700)
    assert not any(key.startswith(b"~wait:") for key in line.state())


@pytest.mark.parametrize("restarts", [False, True])
def test_what_waits_for_an_edit_is_told_in_the_order_in_which_it_came_also_after_a_restart(restarts):
    line = Ruled("hold = 50")
    line.serial = 8
    for _ in range(2):
        line.log("block", "block", 10, title="User:ann", params={})
    if restarts:
        line.shard = rebuilt(line.state().items())
    assert line.edit(1, at=5, user="ann") == [(1, "p", "withheld")]
    assert [s.event_id for s in line.decisions[-1].signals] == ["event-9"]  # not "event-10"


def marked(rev: int, **more: Any) -> dict[str, Any]:
    """An edit as recent changes have it."""
    return {"wiki": "", "type": "edit", "title": "Loch Ness", "revision": {"old": 1, "new": rev}, **more}


@pytest.mark.parametrize(
    ("more", "ends"),
    [({"patrolled": True}, "released"), ({"patrolled": False}, "withheld"), ({}, "withheld"),
     ({"type": "new", "patrolled": True}, "released"), ({"type": "categorize", "patrolled": True}, "withheld")],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_an_edit_that_was_patrolled_when_it_was_made_is_patrolled_whichever_stream_comes_first(more, ends, first):
    line = Ruled('hold = 50\nrequire = "patrolled"\nwait = 100', wiki="frwiki")
    if first:
        line.event(RECENT_CHANGE, marked(1, **more), 1)
        line.shard = rebuilt(line.state().items())
    line.edit(1, at=0)
    if not first:
        line.event(RECENT_CHANGE, marked(1, **more), 1)
    assert line.heard(60) == ([(1, "released")] if ends == "released" else [])
    assert line.heard(110) == ([(1, "withheld")] if ends == "withheld" else [])
    assert [s.kind for s in line.decisions[-1].signals] == (["patrol"] if ends == "released" else [])


def merge(title: str, into: str) -> bytes:
    meta = {"id": "merge-1", "stream": RECENT_CHANGE, "domain": "en.wikipedia.org", "dt": rfc3339(EPOCH + 10_000)}
    doc = {"meta": meta, "wiki": "enwiki", "type": "log", "title": title, "log_type": "merge", "log_action": "merge"}
    return orjson.dumps(doc | {"log_params": {"dest": into, "mergepoint": "20260101000000"}})


@pytest.mark.parametrize("titles", [("Loch Ness", "Elsewhere"), ("Elsewhere", "Loch Ness")])
def test_after_a_history_merge_decisions_say_partial_until_sixteen_more_revisions_were_met(titles):
    line = Ruled('hold = 50\nrisk = { model = "revertrisk-language-agnostic", max = 0.9 }')
    line.edit(1, at=0)
    line._apply(KIND_EVENT, merge(*titles))
    line.shard = rebuilt(line.state().items())
    for n in range(2, 20):
        if n == 10:
            line._apply(KIND_EVENT, merge(*titles))  # a repeat says nothing new
        line.edit(n, at=10 + n, prior={"rev_id": n - 1, "rev_sha1": sha(f"r{n - 1}")})
    line.heard(1000)
    partial = {d.rev_id: d.partial for d in line.decisions}
    assert [rev for rev, known_in_part in sorted(partial.items()) if known_in_part] == list(range(1, 18))
    assert {d.rev_id for d in line.decisions} == set(range(1, 20))


def test_a_merge_of_pages_that_nobody_knows_is_not_kept_waiting():
    line = Ruled('hold = 50\nrequire = "patrolled"\nwait = 100', wiki="frwiki")
    line._apply(KIND_EVENT, merge("Nowhere", "Elsewhere"))
    assert not any(key.startswith(b"~wait:") for key in line.state())


def test_a_block_bars_what_its_editor_made_before_it_whichever_is_heard_first():
    line = Ruled("hold = 50")
    line.edit(1, at=0, user="Vandal")
    assert line.log("block", "block", 20, title="User:Vandal", params={}) == [(1, "p", "withheld")]
    assert line.reason() is Bar.EDITOR_BLOCKED
    assert line.edit(2, at=15, page=8, user="Vandal") == [(2, "p", "withheld")]
    assert line.edit(3, at=25, page=8, user="Vandal") == []
    assert line.edit(4, at=15, page=9, user="Ada") == []


def test_a_protected_page_can_have_a_rule_of_its_own():
    line = Ruled('match = { page_flags = ["protected"] }\nhold = 300', "hold = 50")
    line.edit(1, at=0)
    line.log("protect", "protect", 10, params={})
    line.edit(2, at=20)
    assert line.heard(100) == [(1, "released")]
    assert line.heard(330) == [(2, "released")]


def test_ten_editors_within_an_hour_are_breaking_news():
    line = Ruled('match = { page_flags = ["breaking"] }\nhold = 5', "hold = 5000")
    for n in range(1, 11):
        line.edit(n, at=n, user=f"u{n}")
    assert line.heard(25) == [(10, "released"), *((n, "superseded") for n in range(1, 10))]


def test_topics_that_come_after_the_edit_move_it_under_their_rule():
    line = Ruled('match = { topic = ["Culture.Biography.*"] }\nhold = 200', "hold = 50")
    line.edit(1, at=0)
    doc = {"wiki_id": "", "page": {"page_id": 7}, "revision": {"rev_id": 1},
           "predicted_classification": {"model_name": "outlink", "predictions": [],
                                        "probabilities": {"Culture.Biography.Women": 0.9, "STEM": 0.1}}}  # fmt: skip
    line.event("mediawiki.page_outlink_topic_prediction_change.v1", doc, 3)
    assert line.heard(100) == []
    assert line.heard(210) == [(1, "released")]


@pytest.mark.parametrize(("waited", "known"), [(599, True), (600, False)])
def test_topics_and_protection_that_come_before_their_page_are_known_when_its_first_edit_comes_also_over_a_restart(
    waited, known
):
    #  topics, protection ── 599 or 600 s ── the first edit of the page: under a rule of 0 it goes out at once, or waits
    topics = "mediawiki.page_outlink_topic_prediction_change.v1"
    found = {"predictions": [], "probabilities": {"Culture.Biography": 0.8}, "model_name": "m", "model_version": "1"}
    rules = 'match = { topic = ["Culture.*"], page_flags = ["protected"] }\nhold = 50', "hold = 0"
    line = Ruled(*rules)
    doc = {"wiki_id": "", "page": {"page_id": 7}, "revision": {"rev_id": 1}, "predicted_classification": found}
    line.event(topics, doc, at=0)
    line.log("protect", "unprotect", at=-3)
    line.log("protect", "protect", at=0)
    line.log("protect", "protect", at=0, title="Another")
    line.heard(waited)
    line.shard = rebuilt(line.state().items())
    assert line.edit(1, at=waited + 1) == ([] if known else [(1, "p", "released")])
    assert line.heard(waited + 61) == ([(1, "released")] if known else [])
    # What found its page waits no more, nor what waited for too long.
    assert not any(key.startswith(b"~wait:") for key in line.state())


def test_what_brings_back_the_text_that_is_out_goes_out_at_once_and_says_so():
    line = Ruled('hold = 50\nrestore = "instant"')
    line.edit(1, at=0, sha1=sha("good"))
    line.heard(60)
    line.edit(2, at=70, user="Vandal")
    assert line.edit(3, at=80, sha1=sha("good")) == [(2, "p", "withheld"), (3, "p", "released")]
    assert [s.kind for s in line.decisions[-1].signals] == ["restores"]
    assert line.change("move", 4, at=90, sha1=sha("good")) == [(4, "p", "released")]


def test_a_null_edit_on_what_still_waits_is_not_a_way_around_the_hold():
    line = Ruled('hold = 50\nrestore = "instant"')
    line.edit(1, at=0, sha1=sha("new"))
    assert line.change("move", 2, at=10, sha1=sha("new")) == []


def test_an_edit_on_top_of_a_barred_one_waits_until_that_is_undone_or_the_longest_hold_ends():
    line = Ruled("hold = 50\nmax_hold = 500")
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user="Vandal")
    line.visibility(2, 20)
    line.edit(3, at=30, user="Bo")
    assert line.heard(100) == [(1, "released")]
    assert line.heard(540) == [(3, "withheld")]
    assert line.reason() is Bar.TAINTED


def test_each_edit_goes_out_where_the_rule_says_each():
    for emit, ends in (("latest", [(2, "released"), (1, "superseded")]), ("each", [(2, "released"), (1, "released")])):
        line = Ruled(f'match = {{ editor_class = ["bot"] }}\nhold = 5\nemit = "{emit}"', f'hold = 50\nemit = "{emit}"')
        line.edit(1, at=0)
        line.edit(2, at=1, editor={"user_text": "RigBot", "is_bot": True})
        assert line.heard(16) + line.heard(60) == ends


def test_a_hiding_that_ends_opens_a_new_epoch_with_a_full_hold():
    line = Ruled("hold = 50")
    line.edit(1, at=0)
    line.visibility(1, 10)
    line.visibility(1, 100, now=True, before=False)
    assert line.heard(159) == []
    assert line.heard(160) == [(1, "released")]
    assert line.decisions[-1].epoch == 1


def test_what_fell_into_a_span_that_nobody_heard_is_withheld():
    line = Ruled("hold = 50")
    line.edit(1, at=0)
    line.edit(2, at=200, page=8)
    line._apply(KIND_CONTROL, encode_gap(Gap(from_ms=EPOCH + 20_000, to_ms=EPOCH + 90_000)))
    line.shard = rebuilt(line.state().items())
    assert line.heard(300) == [(1, "withheld"), (2, "released")]
    assert line.decisions[-2].reason is Bar.COVERAGE_GAP


def test_a_window_in_the_short_form_withholds_what_fell_into_such_a_span_too_and_its_proof_says_so():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0)
    line.edit(2, at=50)
    line.edit(3, at=500, page=9)
    line.edit(4, at=60, page=10)
    gap = Gap(from_ms=EPOCH + 100_000, to_ms=EPOCH + 450_000, stream=TAGS_CHANGE)
    for _ in range(2):
        line._apply(KIND_CONTROL, encode_gap(gap))
    line.edit(5, at=70, page=10, sha1=sha("clean"), user="Bo")
    assert (2, "fast", "withheld") in line.visibility(2, 200)
    assert line.tick(2000) == [(1, "fast", "withheld"), (4, "fast", "withheld"), (5, "fast", "withheld"),
                               (3, "fast", "released")]  # fmt: skip
    mine = [d for d in line.decisions if d.reason is Bar.COVERAGE_GAP]
    assert [(d.rev_id, d.decided_for_ms, [s.kind for s in d.signals]) for d in mine] == [
        (rev, EPOCH + (at + 360) * 1000, ["coverage_gap"]) for rev, at in ((1, 0), (4, 60), (5, 70))
    ]
    assert all(derive(d, line.shard.rules.source) == (d.state, d.reason, d.decided_for_ms) for d in mine)


@pytest.mark.parametrize(
    ("stream", "rule", "ends"),
    [
        (PAGE_CHANGE, "hold = 50", "withheld"),
        (RECENT_CHANGE, "hold = 50", "released"),
        (RECENT_CHANGE, 'hold = 50\nrequire = "patrolled"\nwait = 60\nelse = "release"', "withheld"),
        (PAGE_CHANGE, 'hold = 50\nstall = "open"', "released"),
        (RISK, "hold = 50", "released"),
    ],
)
def test_a_span_lost_on_one_stream_concerns_the_rules_that_need_it(stream, rule, ends):
    line = Ruled(rule, wiki="frwiki")
    line.edit(1, at=0)
    line._apply(KIND_CONTROL, encode_gap(Gap(from_ms=EPOCH + 20_000, to_ms=EPOCH + 30_000, stream=stream)))
    assert line.heard(300) == [(1, ends)]


def test_two_spans_that_begin_together_are_both_remembered_and_old_ones_are_forgotten():
    line = Ruled("hold = 50")
    for to_ms in (90_000, 10_000):
        line._apply(KIND_CONTROL, encode_gap(Gap(from_ms=EPOCH + 5000, to_ms=EPOCH + to_ms)))
    line.shard = rebuilt(line.state().items())
    line.edit(1, at=60)
    assert line.heard(300) == [(1, "withheld")]
    line.heard(130 * 86_400)
    line._apply(KIND_CONTROL, encode_gap(Gap(from_ms=EPOCH, to_ms=EPOCH + 1)))
    assert len([key for key in line.state() if key.startswith(b"~gap:")]) == 1


@pytest.mark.parametrize(("stall", "made"), [("closed", []), ("open", [(1, "released")])])
def test_a_stalled_stream_stops_a_closed_rule_and_not_an_open_one(stall, made):
    line = Ruled(f'hold = 50\nstall = "{stall}"')
    line.edit(1, at=0)
    assert line.heard(100, tags=10) == made


def test_a_rule_that_needs_patrols_waits_until_they_are_heard():
    line = Ruled('hold = 50\nrequire = "patrolled"\nwait = 60\nelse = "release"', wiki="frwiki")
    line.edit(1, at=0)
    assert line.heard(500, recent=20) == []
    assert line.heard(500) == [(1, "released")]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_retraction_tells_of_its_release_what_the_release_told(restarted):
    #  0 edit 1   50 edit 2: quiet for 100 at 150   160 both are out   165 edit 3 restores 2: out at once
    quiet = 'hold = 100\nclock = "quiet"\nrestore = "instant"\nemit = "each"\nhorizon = 300'
    line = Ruled('match = { topic = ["STEM"] }\nhold = 20', quiet)
    line.edit(1, at=0)
    line.edit(2, at=50)
    line.heard(160)
    line.edit(3, at=165, sha1=sha("r2"))
    line.edit(4, at=170)  # quiet for 100 would be later now
    topics = {"model_name": "outlink", "model_version": "1", "predictions": [], "probabilities": {"STEM": 0.9}}
    about = {"wiki_id": "", "page": {"page_id": 7}, "revision": {"rev_id": 4}, "predicted_classification": topics}
    line.event(TOPIC_PREDICTION, about, 171)
    if restarted:
        line.shard = rebuilt(line.state().items())
    told = {d.rev_id: (d.fire_ms, d.hold_ms, d.rule) for d in line.decisions}
    assert told == {
        1: (EPOCH + 160_000, 100_000, 1), 2: (EPOCH + 160_000, 100_000, 1), 3: (EPOCH + 165_000, 100_000, 1)
    }  # fmt: skip
    for rev, at, state in ((1, 460, ["retracted"]), (3, 465, ["retracted"]), (2, 461, [])):
        assert [made[2] for made in line.tags(rev, at, "mw-reverted")] == state
    for d in line.decisions[3:]:
        assert (d.fire_ms, d.hold_ms, d.rule) == told[d.rev_id]


def test_what_is_shown_again_is_held_by_the_rule_that_matches_then():
    # Ten editors within an hour are breaking news; hours later the page is none.
    line = Ruled('match = { page_flags = ["breaking"] }\nhold = 500', "hold = 100")
    for n in range(10):
        line.edit(n + 1, at=n, user=f"u{n}")
    line.visibility(10, 20)
    line.visibility(10, 9000, now=True, before=False)
    line.heard(9109)
    assert (10, 1) not in {(d.rev_id, d.epoch) for d in line.decisions}
    assert line.heard(9110) == [(10, "released")]


def test_after_other_policies_came_into_force_a_retraction_is_told_by_these():
    line = Ruled('hold = 50\nrestore = "instant"\nhorizon = 100')
    line.edit(1, at=0)
    line.heard(60)
    line.edit(2, at=70, sha1=sha("r1"))
    line.rules('hold = 500\nrestore = "instant"\nhorizon = 100')
    for rev in (1, 2):
        line.tags(rev, 600, "mw-reverted")
    assert [(d.rev_id, d.state.value, (d.fire_ms - EPOCH) // 1000, d.hold_ms // 1000) for d in line.decisions] == [
        (1, "released", 60, 50), (2, "released", 70, 50), (1, "retracted", 510, 500), (2, "retracted", 580, 500),
    ]  # fmt: skip


def test_a_protection_that_is_heard_before_the_first_edit_of_its_page_holds_that_edit():
    line = Ruled('match = { page_flags = ["protected"] }\nhold = 100', "hold = 0")
    line.log("protect", "protect", 0, params={})
    assert line.edit(1, at=5) == []
    assert line.heard(115) == [(1, "released")]


def test_topics_that_come_before_anything_else_of_their_page_hold_its_first_edit():
    line = Ruled('match = { topic = ["STEM"] }\nhold = 500', "hold = 100")
    topics = {"model_name": "outlink", "model_version": "1", "predictions": [], "probabilities": {"STEM": 0.9}}
    about = {"wiki_id": "", "page": {"page_id": 7}, "revision": {"rev_id": 1}, "predicted_classification": topics}
    line.event(TOPIC_PREDICTION, about, 0)
    line.heard(599)
    line.edit(1, at=599)
    assert line.heard(1108) == []
    assert line.heard(1109) == [(1, "released")]
    # They wait for ten minutes.
    line.event(TOPIC_PREDICTION, about | {"page": {"page_id": 8}}, 0)
    line.heard(1200)
    line.edit(9, at=1200, page=8)
    assert line.heard(1310) == [(9, "released")]


def test_a_newer_release_takes_the_place_of_all_before_it_also_behind_an_old_one_that_was_shown_again():
    #  2 stands on 1, which is hidden; 1 is shown again and goes out under p, not under week; then 3 does
    line = Ruled("hold = 40")
    texts = [f'name = "{name}"\n[[rule]]\nhold = {hold}\n' for name, hold in (("p", 40), ("week", 604_800))]
    both = Policies(policies=tuple(map(read_policy_file, texts)), grace_seconds=10)
    line.shard.apply(KIND_CONTROL, encode_policies(both))
    line.log("block", "block", 0, title="User:Ada", params={})
    line.edit(1, at=0, user="Ada")
    line.visibility(1, 0)
    line.edit(2, at=0, user="Bo")
    line.visibility(1, 5, now=True, before=False)
    line.edit(3, at=5, user="Cy")
    line.heard(55)
    assert [(d.rev_id, d.epoch, d.state.value) for d in line.decisions if d.policy == "p"] == [
        (1, 0, "withheld"), (1, 1, "released"), (3, 0, "released"), (2, 0, "superseded"),
    ]  # fmt: skip


def test_a_rule_that_holds_nothing_lets_out_at_the_next_tick_what_waited_under_the_rule_before():
    line = Ruled('hold = 100\nclock = "quiet"')
    line.edit(1, at=0)
    line.rules('hold = 0\nclock = "quiet"')
    assert line.heard(-1) == []
    assert line.heard(0, risk=-1, recent=-1) == [(1, "released")]


def test_a_change_of_policy_applies_to_what_waits_from_its_own_start():
    line = Ruled("hold = 500")
    line.edit(1, at=0)
    line.heard(100)
    line.rules("hold = 50")
    assert line.heard(101) == [(1, "released")]
    assert line.decisions[-1].decided_for_ms == EPOCH + 60_000


def test_an_edit_whose_parent_was_never_seen_says_so():
    line = Ruled("hold = 50")
    line.edit(5, at=0, rev_parent_id=4)
    line.edit(6, at=1, rev_parent_id=5)
    line.heard(100)
    assert [(d.rev_id, d.partial) for d in line.decisions] == [(5, True), (6, False)]


# What nobody should send.


def test_a_wiki_that_nobody_knows_is_held_like_any_other():
    line = Ruled(
        'hold = 50\nrequire = "patrolled"\nrisk = { model = "revertrisk-multilingual", max = 0.9 }', wiki="xyzwiki"
    )
    line.edit(1, at=0)
    assert line.heard(100) == []  # the model's other stream was not heard
    scores = "mediawiki.page_revert_risk_multilingual_prediction_change.v1"
    heard = dict.fromkeys((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, scores), EPOCH + 100_000)
    made = line._apply(KIND_TICK, encode_tick(Tick(number=99, heard_ms=heard, cursor=())))
    assert made == [(1, "p", "released")]


def test_an_event_of_a_stream_of_scores_that_cannot_be_read_is_refused():
    line = Ruled("hold = 50")
    with pytest.raises(Unreadable):
        line.event(RISK, {"wiki_id": "", "page": {}, "revision": {}, "predicted_classification": {}}, 0)


def test_a_revision_that_was_shown_again_hears_of_another_editor_like_any_that_waits():
    line = Ruled('hold = 50\nrequire = "other_editor"\nwait = 600\nelse = "withhold"')
    line.edit(1, at=0, user="a")
    line.edit(2, at=1, user="b")
    line.visibility(2, 2)
    line.visibility(2, 3, now=True, before=False)
    line.edit(3, at=5, user="c")
    line.heard(70)
    assert (2, "released") in [(d.rev_id, d.state.value) for d in line.decisions if d.epoch]


def test_what_a_release_of_the_same_tick_puts_off_is_superseded_by_the_next_one_though_a_block_was_heard_by_then():
    line = Ruled("hold = 50\nmax_hold = 900")
    line.edit(1, at=0, user="Vandal")
    line.edit(2, at=100, user="Vandal")
    line.edit(3, at=105, user="Bo", revert={"rev_reverted_oldest_id": 1})
    line.log("block", "block", 170, title="User:Vandal", params={})
    # 60: 1 goes out, and is taken back by 3; so 2 waits on; 165: 3 goes out.
    assert line.heard(200) == [(1, "released"), (1, "retracted"), (3, "released"), (2, "superseded")]


def test_a_block_that_waits_for_edits_concerns_those_that_come_and_not_what_was_shown_again_since():
    line = Ruled("hold = 50")
    line.edit(1, at=10, user="Vandal")
    line.log("block", "block", 20, title="User:Vandal", params={})
    line.visibility(1, 20)
    line.visibility(1, 15, now=True, before=False)
    assert line.edit(2, at=12, user="Vandal") == [(2, "p", "withheld")]
    assert line.heard(100) == [(1, "released")]


def test_an_older_revision_goes_nowhere_while_a_newer_one_is_out_however_many_came_since():
    line = Ruled("hold = 0")
    line.edit(1000, at=0)
    made = [line.edit(rev, at=rev) for rev in range(1, 301)]
    assert made == [[(rev, "p", "superseded")] for rev in range(1, 301)]
    assert {d.superseded_by for d in line.decisions[1:]} == {1000}
    line.visibility(1000, 301)
    assert line.edit(301, at=302) == [(301, "p", "released")]


def test_what_a_late_tag_clears_goes_out_at_the_next_tick_if_its_own_fire_time_is_past():
    line = Ruled("hold = 50\nmax_hold = 900")
    line.edit(1, at=0, user="Vandal")
    line.log("block", "block", 1, title="User:Vandal", params={})
    line.edit(2, at=10, user="Bo")
    assert line.heard(100) == []
    line.tags(1, 60, "mw-reverted")
    assert line.heard(101) == [(2, "released")]
    assert line.decisions[-1].decided_for_ms == EPOCH + 70_000


def test_an_edit_that_comes_under_a_rule_of_0_goes_out_at_the_next_tick_though_time_has_not_moved():
    line = Ruled('match = { topic = ["Culture.*"] }\nhold = 200', "hold = 0")
    found = {"predictions": [], "model_name": "m", "model_version": "1"}
    doc = {"wiki_id": "", "page": {"page_id": 7}, "revision": {"rev_id": 1}}
    line.event(TOPIC_PREDICTION, doc | {"predicted_classification": found | {"probabilities": {"Culture.A": 1.0}}}, 0)
    line.edit(1, at=0)
    assert line.heard(10) == []
    line.event(TOPIC_PREDICTION, doc | {"predicted_classification": found | {"probabilities": {"STEM": 1.0}}}, 0)
    assert line.heard(10) == [(1, "released")]


def test_a_war_is_one_of_two_editors_however_many_reverts_ago_the_other_one_made_his():
    line = Ruled("hold = 50\nwar = { n = 3 }")
    line.edit(1, at=0, sha1=sha("good"))
    for n in range(20):
        line.edit(2 * n + 10, at=10 * n + 5, user=f"vandal{n}")
        line.edit(2 * n + 11, at=10 * n + 9, user="b" if n else "a", sha1=sha("good"))
    line.edit(100, at=300, user="c")
    line.heard(1000)
    assert "edit_war" in {signal.kind.value for d in line.decisions if d.rev_id == 100 for signal in d.signals}


def test_what_is_due_once_another_one_went_out_goes_out_at_the_same_tick():
    #  1, a creation, is due at 210, and hidden at 150; 2 is due at 111, so it goes out; 3, due at 310, stands on that
    line = Ruled("hold = 100\nmax_hold = 900")
    line.change("create", 1, 0)
    line.edit(2, at=1)
    line.edit(3, at=200)
    line.visibility(1, 150)
    assert line.heard(310) == [(2, "released"), (3, "released")]


def test_a_retraction_says_when_its_edit_went_out_also_after_another_policy_came_beside_its_own():
    rule = 'hold = 50\nrestore = "instant"'
    line = Ruled(rule)
    line.edit(1, at=0, sha1=sha("good"))
    line.heard(60)
    assert line.edit(2, at=100, sha1=sha("good")) == [(2, "p", "released")]
    mine = read_policy_file(f'name = "p"\n[[rule]]\n{rule}\n')
    both = Policies(policies=(mine, Policy(name="new", hold_seconds=5)), grace_seconds=10)
    line._apply(KIND_CONTROL, encode_policies(both))
    line.visibility(2, 170)
    assert [(d.state.value, d.fire_ms - EPOCH) for d in line.decisions if d.rev_id == 2] == [
        ("released", 100_000), ("retracted", 100_000),
    ]  # fmt: skip


@pytest.mark.parametrize("undone", [False, True])
def test_what_was_barred_before_a_policy_came_bars_those_above_it_under_that_policy_unless_it_was_undone(undone):
    #  10 bad    40 out under fast    50 barred, taken back    60 on top of it    62 late comes
    line = Ruled()
    line.named(fast="hold = 20")
    line.edit(1, at=0, user="a")
    line.edit(2, at=10, user="b")
    line.heard(45)
    line.tags(2, 50, "mw-reverted")
    line.edit(3, at=60, user="c", **({"sha1": sha("r1")} if undone else {}))
    line.named(fast="hold = 20", late="hold = 50\nmax_hold = 500")
    line.heard(300)
    line.heard(600)
    late = [(d.rev_id, d.state.value, d.reason) for d in line.decisions if d.policy == "late"]
    assert late == [(3, "released", None) if undone else (3, "withheld", Bar.TAINTED)]


def test_who_edited_after_an_edit_is_known_to_a_policy_that_comes_later_and_requires_another_editor():
    line = Ruled()
    line.named(fast="hold = 500")
    line.edit(1, at=0, user="a")
    line.edit(2, at=5, user="a")
    line.edit(3, at=10, user="b")
    line.named(fast="hold = 500", seen='hold = 30\nrequire = "other_editor"\nwait = 2000\nemit = "each"')
    assert line.heard(60) == [(1, "released"), (2, "released")]
    assert [s.by_rev_id for d in line.decisions for s in d.signals] == [3, 3]
    line.edit(4, at=70, user="a")
    assert line.heard(100) == [(3, "released")]


def test_who_edited_after_an_edit_is_known_to_a_rule_that_matches_since_topics_came():
    line = Ruled('match = { topic = ["STEM"] }\nhold = 30\nrequire = "other_editor"\nwait = 2000', "hold = 500")
    line.edit(1, at=0, user="a")
    line.edit(2, at=10, user="b")
    said = {"model_name": "outlink", "predictions": [], "probabilities": {"STEM": 0.9}}
    about = {"wiki_id": "", "page": {"page_id": 7}, "revision": {"rev_id": 1}, "predicted_classification": said}
    line.event(TOPIC_PREDICTION, about, 20)
    assert line.heard(60) == [(1, "released")]


def test_a_war_of_before_a_policy_is_known_to_it():
    #  a and b revert each other at 20 and 30; quiet for 100 from 100 on: 210 with grace
    line = Ruled()
    line.named(fast="hold = 900")
    for rev, user, text in ((1, "a", "a"), (2, "b", "b"), (3, "a", "a"), (4, "b", "b"), (5, "c", "c")):
        line.edit(rev, at=10 * rev - 10, user=user, sha1=sha(text))
    line.edit(6, at=100, user="d")
    line.named(fast="hold = 900", wars="hold = 100\nmax_hold = 2000\nwar = { n = 2, hours = 1 }")
    assert (5, "released") not in line.heard(200)
    assert (5, "released") in line.heard(210)


def test_a_revision_that_is_there_again_is_nobodys_edit():
    line = Ruled('hold = 30\nrequire = "other_editor"\nwait = 500')
    line.edit(1, at=0, user="a")
    line.change("undelete", 9, at=5, user="b")
    assert line.heard(100) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_block_finds_what_waited_before_any_full_rule_was_there(restarts):
    line = Ruled()
    line.policies(("fast", 500), grace=10)
    line.edit(1, at=0, user="Vandal")
    line.state()
    line.named(late="hold = 50")
    if restarts:
        line.shard = rebuilt(line.state().items())
    assert line.log("block", "block", 20, title="User:Vandal", params={}) == [(1, "late", "withheld")]


def test_a_war_that_outlasts_the_longest_hold_follows_from_its_proof_though_nobody_edited_since():
    line = Ruled("hold = 100\nmax_hold = 100\nwar = { n = 2, hours = 1 }")
    for rev, user, text in ((1, "a", "a"), (2, "b", "b"), (3, "a", "a"), (4, "b", "b")):
        line.edit(rev, at=10 * rev, user=user, sha1=sha(text))
    line.heard(200)
    (last,) = [d for d in line.decisions if d.reason is Bar.EDIT_WAR and d.rev_id == 4]
    assert derive(last, line.shard.rules.source) == (last.state, last.reason, last.decided_for_ms)


def test_a_page_that_was_looked_at_too_soon_is_due_still_once_it_is_not_in_use_any_more():
    line = Ruled()
    line.named(closed="hold = 90", open='hold = 900\nstall = "open"')
    line.shard.hot_pages = 0
    line.edit(1, at=0)
    for tags in (50, 60):
        line.state()
        assert line.heard(100, tags=tags) == []
    line.state()
    assert line.heard(100) == [(1, "released")]


def test_what_a_newer_edit_took_the_place_of_follows_from_its_proof_though_its_own_editor_had_undone_it():
    #  1 and 3 have the same text; the policy of hold 0 comes behind the self-revert, and 4 goes out at once
    line = Ruled()
    line.named(p="hold = 500")
    for rev, text in ((1, "a"), (2, "b"), (3, "a")):
        line.edit(rev, at=600 * rev, user="a", sha1=sha(text))
    line.named(p="hold = 500", now="hold = 0")
    line.edit(4, at=1900)
    (second,) = [d for d in line.decisions if d.policy == "now" and d.rev_id == 2]
    assert (second.superseded_by, [s.by_self for s in second.signals]) == (4, [True])
    assert derive(second, line.shard.rules.source) == (second.state, second.reason, second.decided_for_ms)
