"""The gate's rules, one page at a time. Times are seconds after EPOCH; windows in drawings are in seconds too."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.shard import Shard, Unreadable, rebuilt
from schemas.decision import Decision, decode_decisions, encode_decisions
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Policies,
    Policy,
    Tick,
    encode_policies,
    encode_tick,
)
from schemas.page import page_key
from schemas.page_record import decode_page, encode_page
from schemas.reasons import Bar, SetAside, SignalKind, State

EPOCH = 1_800_000_000_000
VISIBLE = {"is_content_visible": True, "is_editor_visible": True, "is_comment_visible": True}


def sha(name: str) -> str:
    return name.rjust(31, "0")


class Line:
    """A shard fed by hand: records go in, decisions come out as (rev, policy, state) in order."""

    def __init__(self, *holds: tuple[str, float], grace: float = 60, horizon: float = 30 * 86_400) -> None:
        self.shard = Shard()
        self.beside: dict[bytes, bytes] = {}
        self.decisions: list[Decision] = []
        self.serial = 0
        self.policies(*holds, grace=grace, horizon=horizon)

    def policies(self, *holds: tuple[str, float], grace: float = 60, horizon: float = 30 * 86_400) -> None:
        rules = Policies(
            policies=tuple(Policy(name=name, hold_seconds=hold) for name, hold in holds),
            grace_seconds=grace,
            horizon_seconds=horizon,
        )
        self._apply(KIND_CONTROL, encode_policies(rules))

    def tick(self, at: float, **late: float) -> list[tuple[int, str, str]]:
        """Everything is heard until `at`, except the streams named in `late`."""
        self.serial += 1
        heard = dict.fromkeys((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE), at)
        heard |= {{"tags": TAGS_CHANGE, "visibility": VISIBILITY_CHANGE}[name]: t for name, t in late.items()}
        heard_ms = {stream: EPOCH + round(t * 1000) for stream, t in heard.items()}
        return self._apply(KIND_TICK, encode_tick(Tick(number=self.serial, heard_ms=heard_ms, cursor=())))

    def change(self, kind: str, rev: int, at: float, **more: Any) -> list[tuple[int, str, str]]:
        page = more.pop("page", 7)
        prior = more.pop("prior", None)
        user = more.pop("user", "Ada")
        meta_at = more.pop("meta_at", at)
        performer = more.pop("performer", {"user_text": "Ada"})
        revision = {
            "rev_id": rev,
            "rev_dt": rfc3339(EPOCH + round(at * 1000)),
            "rev_sha1": more.pop("sha1", sha(f"r{rev}")),
            **({"editor": {"user_text": user}} if user else {}),
            **VISIBLE,
            **more,
        }
        doc = {
            "$schema": "/mediawiki/page/change/1.2.0",
            "page_change_kind": kind,
            "dt": rfc3339(EPOCH + round(at * 1000)),
            "wiki_id": "enwiki",
            "page": {"page_id": page, "page_title": "Loch_Ness", "namespace_id": 0},
            "revision": revision,
            **({"performer": performer} if performer else {}),
            **({"prior_state": {"revision": prior}} if prior else {}),
        }
        return self.event(PAGE_CHANGE, doc, meta_at)

    def edit(self, rev: int, at: float, **more: Any) -> list[tuple[int, str, str]]:
        return self.change("edit", rev, at, **more)

    def tags(self, rev: int, at: float, *tags: str) -> list[tuple[int, str, str]]:
        doc = {"database": "enwiki", "page_id": 7, "rev_id": rev, "tags": list(tags), "prior_state": {"tags": []}}
        return self.event(TAGS_CHANGE, doc, at)

    def visibility(self, rev: int, at: float, *, now: bool = False, before: bool = True) -> list[tuple[int, str, str]]:
        def shown(text: bool) -> dict[str, bool]:
            return {"text": text, "user": True, "comment": True}

        doc = {
            "database": "enwiki",
            "page_id": 7,
            "rev_id": rev,
            "visibility": shown(now),
            "prior_state": {"visibility": shown(before)},
        }
        return self.event(VISIBILITY_CHANGE, doc, at)

    def event(self, stream: str, doc: dict[str, Any], at: float) -> list[tuple[int, str, str]]:
        self.serial += 1
        meta = {
            "id": f"event-{self.serial}",
            "stream": stream,
            "domain": "en.wikipedia.org",
            "dt": rfc3339(EPOCH + round(at * 1000)),
        }
        return self._apply(KIND_EVENT, orjson.dumps({"meta": meta} | doc))

    def state(self) -> dict[bytes, bytes]:
        """What the state topic holds, by key."""
        self.beside |= {key: value for key, value in self.shard.beside.items() if value is not None}
        for key, value in self.shard.beside.items():
            if value is None:
                self.beside.pop(key, None)
        self.shard.flush(self.shard.changed())
        store = self.shard._store
        return {page_key(*key): store.get(key) or b"" for key in sorted(store.every())} | self.beside

    def pages(self) -> list[str]:
        return [key.decode() for key in self.state() if not key.startswith(b"~")]

    def _apply(self, kind: bytes, value: bytes) -> list[tuple[int, str, str]]:
        made = [decision for group in self.shard.apply(kind, value) for decision in group.decisions]
        self.decisions += made
        return [(d.rev_id, d.policy, d.state.value) for d in made]


def test_an_edit_is_released_by_the_first_tick_that_reaches_its_deadline_plus_grace():
    #  0 ---- edit      300 ---- deadline      360 ---- fire time with 60 s grace
    line = Line(("fast", 300))
    assert line.edit(1, at=0) == []
    assert line.tick(359.999) == []
    assert line.tick(360) == [(1, "fast", "released")]
    assert line.tick(10_000) == []


def test_a_hold_of_zero_releases_what_it_observes_without_tick_or_grace():
    line = Line(("live", 0), ("fast", 300))
    assert line.edit(1, at=0) == [(1, "live", "released")]


def test_nothing_is_released_while_one_required_stream_was_not_heard():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    assert line.tick(1000, tags=359) == []
    assert line.tick(1000, visibility=359) == []
    assert line.tick(1000) == [(1, "fast", "released")]


def test_no_tick_no_release_however_late_the_events_are():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    assert line.edit(2, at=100_000, page=8) == []


def test_an_identity_revert_by_another_withholds_the_edits_between_that_have_other_text():
    line = Line(("fast", 300))
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user="Vandal")
    line.edit(3, at=20, user="Vandal")
    made = line.edit(4, at=30, sha1=sha("good"))
    assert made == [(2, "fast", "withheld"), (3, "fast", "withheld")]
    assert line.tick(1000) == [(1, "fast", "released"), (4, "fast", "released")]
    assert {d.reason for d in line.decisions if d.state is State.WITHHELD} == {Bar.REVERTED}


def test_a_revert_of_what_is_out_retracts_it():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user="Vandal")
    line.tick(400)
    assert line.edit(3, at=500, sha1=sha("good")) == [
        (2, "live", "retracted"),
        (3, "live", "released"),
        (2, "fast", "retracted"),
    ]


def test_the_first_edit_seen_of_a_page_finds_the_text_it_restores_in_its_prior_state():
    line = Line(("fast", 300))
    line.edit(2, at=0, user="Vandal", prior={"rev_id": 1, "rev_sha1": sha("good")})
    assert line.edit(3, at=10, sha1=sha("good")) == [(2, "fast", "withheld")]


def test_an_edit_that_keeps_its_parents_text_reverts_nothing():
    line = Line(("fast", 300))
    line.edit(1, at=0, sha1=sha("good"))
    assert line.change("move", 2, at=10, sha1=sha("good")) == []


def test_a_restored_text_more_than_fifteen_revisions_back_is_no_identity_revert():
    #  rev 1 is restored by the edit after `between` others; the ring holds sixteen
    for between, reverted in ((15, 15), (16, 0)):
        line = Line(("fast", 300))
        line.edit(1, at=0, sha1=sha("good"))
        for rev in range(2, 2 + between):
            line.edit(rev, at=rev, user="Vandal")
        assert len(line.edit(100, at=200, sha1=sha("good"))) == reverted


def test_an_edit_whose_own_author_undoes_it_is_superseded_and_never_counted_as_damage():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user="Bob")
    assert line.edit(3, at=20, user="Bob", sha1=sha("good")) == [(3, "live", "released"), (2, "fast", "superseded")]
    assert line.decisions[-1].superseded_by == 3
    assert line.decisions[-1].reason is None


def test_the_reverted_tag_that_follows_a_self_revert_retracts_nothing():
    line = Line(("live", 0))
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user="Bob")
    line.edit(3, at=20, user="Bob", sha1=sha("good"))
    assert line.tags(2, 30, "mw-reverted") == []


def test_two_unknown_editors_are_never_taken_for_the_same_one():
    line = Line(("fast", 300))
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user=None)
    assert line.edit(3, at=20, user=None, sha1=sha("good")) == [(2, "fast", "withheld")]


def test_a_declared_revert_withholds_the_range_it_names():
    line = Line(("fast", 300))
    for rev in (1, 2, 3):
        line.edit(rev, at=rev)
    revert = {"method": "undo", "is_exact": False, "rev_reverted_oldest_id": 2, "rev_reverted_newest_id": 3}
    assert line.edit(4, at=10, user="Eve", revert=revert) == [(2, "fast", "withheld"), (3, "fast", "withheld")]


def test_the_reverted_tag_withholds_while_it_waits_and_retracts_what_is_out():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0)
    assert line.tags(1, 20, "mw-undo") == []
    assert line.tags(1, 30, "mw-reverted") == [(1, "live", "retracted"), (1, "fast", "withheld")]


def test_a_deletion_takes_every_edit_of_the_page():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0)
    line.edit(2, at=10)
    line.edit(3, at=10, page=8)
    assert line.change("delete", 2, at=20) == [
        (1, "live", "retracted"),
        (2, "live", "retracted"),
        (1, "fast", "withheld"),
        (2, "fast", "withheld"),
    ]
    assert {d.reason for d in line.decisions if d.reason} == {Bar.PAGE_DELETED}


def test_a_suppressed_deletion_says_so():
    line = Line(("live", 0))
    line.edit(1, at=0)
    hidden = dict.fromkeys(VISIBLE, False)
    line.change("delete", 1, at=20, performer=None, user=None, **hidden)
    assert line.decisions[-1].reason is Bar.SUPPRESSED


def test_an_undeletion_opens_a_new_epoch_with_a_full_hold():
    #  0 edit   20 delete   100 undelete   460 fire time of epoch 1
    line = Line(("fast", 300))
    line.edit(1, at=0)
    line.change("delete", 1, at=20)
    assert line.change("undelete", 1, at=0, meta_at=100) == []
    assert line.tick(459) == []
    assert line.tick(460) == [(1, "fast", "released")]
    assert line.decisions[-1].epoch == 1


def test_revisions_that_come_back_to_a_page_that_stood_merge_histories_and_open_no_epoch():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0)
    for _ in range(2):
        assert line.change("undelete", 1, at=0, meta_at=100) == []
    assert line.tick(460) == [(1, "fast", "released")]
    assert [(d.epoch, d.partial) for d in line.decisions] == [(0, False), (0, True)]
    line.edit(2, at=500, prior={"rev_id": 1, "rev_sha1": sha("r1")})
    assert line.decisions[-1].partial


def test_an_undeleted_page_that_was_never_seen_begins_in_its_second_epoch():
    line = Line(("live", 0))
    line.change("undelete", 1, at=0)
    assert line.decisions[-1].epoch == 1


def test_what_stays_hidden_says_nothing_new():
    line = Line(("live", 0))
    line.edit(1, at=0)
    assert line.visibility(1, 10, now=False, before=False) == []


def test_hiding_any_part_withholds_and_retracts():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0)
    assert line.visibility(1, 10) == [(1, "live", "retracted"), (1, "fast", "withheld")]
    assert {d.reason for d in line.decisions if d.reason} == {Bar.SUPPRESSED}
    # Shown again it is another epoch.
    assert line.visibility(1, 20, now=True, before=False) == [(1, "live", "released")]
    assert line.decisions[-1].epoch == 1


def test_a_signal_that_comes_before_its_edit_waits_for_it():
    line = Line(("live", 0), ("fast", 300))
    assert line.visibility(1, 5) == []
    assert line.edit(1, at=0) == [(1, "live", "withheld"), (1, "fast", "withheld")]


def test_a_signal_that_meets_no_edit_within_ten_minutes_is_forgotten():
    line = Line(("fast", 300))
    line.visibility(1, 0)
    assert line.pages() == ["enwiki:7"]
    line.tick(600)
    assert line.pages() == []


def test_what_was_due_before_a_signal_goes_out_first_and_is_taken_back_after_it():
    #  0 edit   360 fire time   361 hidden; the tick that would have released it comes later
    line = Line(("fast", 300))
    line.edit(1, at=0)
    assert line.visibility(1, 361) == []
    assert line.tick(360) == [(1, "fast", "released"), (1, "fast", "retracted")]
    assert line.tick(1000) == []


def test_what_a_late_signal_names_does_not_go_out_before_an_older_edit_that_is_due_too():
    #  0 edit 1   1 edit 2   361 fire time of both   362 edit 2 is hidden, before the tick that lets them go
    line = Line(("fast", 300))
    line.edit(1, at=0)
    line.edit(2, at=1)
    assert line.visibility(2, 362) == []
    released = [(1, "fast", "released"), (2, "fast", "released")]
    assert line.tick(400) == [*released, (2, "fast", "retracted")]


def test_a_signal_of_the_last_moment_before_the_fire_time_withholds():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    assert line.visibility(1, 359.999) == [(1, "fast", "withheld")]


def test_a_signal_of_the_very_fire_time_comes_after_the_release():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    assert line.visibility(1, 360) == []
    assert line.tick(360) == [(1, "fast", "released"), (1, "fast", "retracted")]


def test_a_signal_of_before_the_fire_time_that_is_read_after_its_tick_retracts():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    line.tick(360)
    assert line.visibility(1, 350) == [(1, "fast", "retracted")]


def test_a_repeat_of_an_edit_or_a_signal_changes_nothing():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0)
    assert line.edit(1, at=0) == []
    line.tags(1, 5, "mw-reverted")
    before = line.state()
    line.serial -= 1
    assert line.tags(1, 5, "mw-reverted") == []
    assert line.state() == before


def test_the_hold_of_an_import_starts_when_the_public_could_see_it():
    line = Line(("fast", 300))
    line.edit(1, at=-5000, meta_at=0)
    assert line.tick(359) == []
    assert line.tick(360) == [(1, "fast", "released")]


def test_beyond_the_horizon_nothing_is_retracted_and_the_page_is_forgotten():
    line = Line(("live", 0), horizon=1000)
    line.edit(1, at=0)
    assert line.visibility(1, 1001) == []
    line.tick(1001)
    assert line.pages() == []


def test_a_due_time_of_a_page_that_is_forgotten_by_then_is_passed_over():
    #  the hiding would wait until 600, but its edit comes and the page is forgotten at 100
    line = Line(("live", 0), horizon=100)
    line.visibility(1, 0)
    line.edit(1, at=0)
    line.tick(100)
    assert line.pages() == []
    assert line.tick(600) == []


def test_other_policies_apply_to_what_is_pending_and_leave_alone_what_is_out():
    line = Line(("fast", 300), ("standard", 3600))
    line.edit(1, at=0)
    line.tick(400)
    line.policies(("fast", 300), ("standard", 100), ("careful", 1000))
    assert line.tick(401) == [(1, "standard", "released")]
    assert line.tick(1060) == [(1, "careful", "released")]


def test_a_hold_of_0_that_comes_into_force_lets_out_what_waits_at_the_next_tick_without_grace():
    line = Line(("a", 600), ("b", 600))
    line.edit(1, at=0)
    line.edit(2, at=100, page=8)
    line.edit(3, at=100, page=9)
    line.policies(("a", 0), ("b", 600), ("new", 0))
    assert line.change("delete", 3, at=101, page=9) == [
        (3, policy, "withheld") for policy in ("a", "b", "new")
    ]  # fmt: skip
    assert line.tick(99) == [(1, "a", "released"), (1, "new", "released")]
    assert line.tick(100) == [(2, "a", "released"), (2, "new", "released")]
    assert {d.fire_ms - d.start_ms for d in line.decisions if d.state is State.RELEASED} == {0}


BOTH = (("fast", 300), ("slow", 600))


def test_while_a_policy_is_gone_nothing_is_decided_under_it_and_what_waited_is_judged_by_all_that_was_said_meanwhile():
    line = Line(*BOTH)
    line.edit(1, at=0)
    line.edit(2, at=0, page=8)
    line.policies(BOTH[0])
    assert line.tags(1, 100, "mw-reverted") == [(1, "fast", "withheld")]
    assert line.tick(1000) == [(2, "fast", "released")]
    line.policies(*BOTH)
    assert line.tick(1001) == [(1, "slow", "withheld"), (2, "slow", "released")]
    assert line.decisions[-2].decided_for_ms == EPOCH + 100_000


def test_what_waits_when_a_policy_comes_back_waits_under_it_too():
    line = Line(*BOTH)
    line.edit(1, at=0)
    line.policies(BOTH[0])
    line.edit(2, at=200)
    line.tick(360)
    line.policies(*BOTH)
    line.tick(560)
    assert line.tick(860) == [(1, "slow", "released"), (2, "slow", "released")]


def test_what_is_made_up_for_is_so_once_though_its_page_was_written_before_that():
    line = Line(*BOTH)
    line.edit(1, at=0)
    line.tick(700)
    line.policies(BOTH[0])
    line.tags(1, 800, "mw-reverted")
    line.policies(*BOTH)
    line.shard.flush(line.shard.changed())
    assert line.tick(700) == [(1, "slow", "retracted")]
    line.policies(BOTH[0])
    line.policies(*BOTH)
    assert line.tick(900) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_out_under_a_policy_and_barred_while_that_was_gone_is_taken_back_when_it_returns(restarts):
    line = Line(*BOTH)
    line.edit(1, at=0)
    line.edit(2, at=10, page=8)
    line.edit(3, at=20, page=9)
    line.tick(700)
    line.policies(BOTH[0])
    line.tags(1, 800, "mw-reverted")
    line.change("delete", 2, at=790, page=8)
    line.policies(*BOTH)
    if restarts:
        line.shard = rebuilt(line.state().items())
    assert line.tick(700) == [(1, "slow", "retracted"), (2, "slow", "retracted")]
    assert line.decisions[-1].fire_ms == EPOCH + 670_000
    line.shard = rebuilt(line.state().items())
    assert line.tick(5000) == []


def test_what_a_policy_that_came_and_went_holds_is_known_also_of_pages_that_nothing_was_said_of_meanwhile():
    line = Line(BOTH[0])
    line.edit(1, at=0)
    line.state()
    line.policies(*BOTH)
    line.policies(BOTH[0])
    line.shard = rebuilt(line.state().items())
    assert line.tick(400) == [(1, "fast", "released")]
    line.policies(*BOTH)
    assert line.tick(700) == [(1, "slow", "released")]


def test_what_a_tick_withholds_is_not_decided_again_after_a_restart():
    # Deleted after the fire time of the first hold; the second one's is reached by the tick.
    line = Line(("a", 50))
    line.edit(1, at=0)
    line.change("delete", 1, at=127)
    line.policies(("a", 0))
    line.shard = rebuilt(line.state().items())
    assert line.tick(97) == [(1, "a", "withheld")]
    line.shard = rebuilt(line.state().items())
    assert line.tick(10_000) == []


def test_edits_of_one_page_leave_in_the_order_of_their_fire_times():
    line = Line(("fast", 300))
    for rev, at in ((1, 0), (2, 5), (3, 5)):
        line.edit(rev, at=at)
    assert [rev for rev, _, _ in line.tick(10_000)] == [1, 2, 3]


def test_every_decision_carries_its_proof():
    line = Line(("fast", 300))
    line.edit(1, at=0, sha1=sha("good"))
    line.edit(2, at=10, user="Vandal")
    line.edit(3, at=20, sha1=sha("good"))
    (withheld,) = line.decisions
    assert withheld.event_id == "event-2"
    assert (withheld.start_ms, withheld.hold_ms, withheld.fire_ms) == (EPOCH + 10_000, 300_000, EPOCH + 370_000)
    assert withheld.decided_for_ms == EPOCH + 20_000
    (signal,) = withheld.signals
    assert (signal.kind, signal.event_id, signal.by_rev_id) == (SignalKind.IDENTITY_REVERT, "event-3", 3)
    assert SignalKind.HIDE in withheld.absent
    assert SignalKind.IDENTITY_REVERT not in withheld.absent


def test_decisions_and_page_states_survive_their_codecs():
    line = Line(("live", 0), ("fast", 300))
    line.edit(1, at=0, prior={"rev_id": 0, "rev_sha1": sha("good")})
    line.edit(2, at=0, sha1=sha("good"))
    line.visibility(9, 5)
    assert decode_decisions(encode_decisions(line.decisions)) == line.decisions
    (page,) = line.shard.hot.values()
    assert encode_page(decode_page(encode_page(page))) == encode_page(page)


def test_edits_that_lie_still_are_not_looked_into_until_something_is_heard_of_them():
    line = Line(("fast", 300))
    for rev in (1, 2, 3):
        line.edit(rev, at=rev * 1000)
        line.tick(rev * 1000 + 360)
    line.edit(4, at=4000)
    line.shard = rebuilt(line.state().items())
    page = line.shard.page(("enwiki", 7))
    assert page is not None
    assert line.edit(5, at=4010) == []
    assert line.tick(4400) == [(4, "fast", "released"), (5, "fast", "released")]
    assert page.still is not None
    assert (page.still.count, page.count, [edit.rev_id for edit in page.recent]) == (3, 5, [4, 5])
    before = encode_page(page).split(b"\n")
    assert (page.still.count, page.recent) == (5, [])
    made = line.edit(6, at=4500, sha1=sha("r2"), user="Patroller")
    assert made == [(3, "fast", "retracted"), (4, "fast", "retracted"), (5, "fast", "retracted")]
    assert (page.still, [edit.rev_id for edit in page.edits]) == (None, [1, 2, 3, 4, 5, 6])
    after = encode_page(page).split(b"\n")
    assert [one == other for one, other in zip(before, after, strict=False)] == [False, True, True, False, False, False]
    assert [d.event_id for d in line.decisions[-3:]] == [f"event-{n}" for n in (5, 7, 8)]


@pytest.mark.parametrize("text", ["", "a,b", 'a"b', "a\\b", "a\nb", "ü", None])
def test_a_page_survives_its_codec_whatever_stands_for_a_sha1(text):
    line = Line(("fast", 300))
    line.edit(1, at=0, sha1=text, user='A "quoted", name\n')
    line.edit(2, at=1000)
    line.tick(2000)
    state = {key: value for key, value in line.state().items() if key == page_key("enwiki", 7)}
    page = decode_page(state[page_key("enwiki", 7)])
    assert encode_page(page) == state[page_key("enwiki", 7)]
    assert (page.ring[1], [edit.sha1 for edit in page.edits]) == (text, [text, sha("r2")])


def test_pages_on_which_something_waits_stay_in_use_before_others():
    line = Line(("fast", 300))
    line.shard.hot_pages = 2
    line.edit(1, at=3000, page=1)
    line.edit(2, at=3010, page=2)
    line.edit(3, at=1000, page=3)
    assert line.tick(1400) == [(3, "fast", "released")]
    line.shard.flush(line.shard.changed())
    assert {page_id for _, page_id in line.shard.hot} == {1, 2}
    line.edit(4, at=3020, page=4)
    line.shard.flush(line.shard.changed())
    assert {page_id for _, page_id in line.shard.hot} == {2, 4}
    assert line.tick(4000) == [(1, "fast", "released"), (2, "fast", "released"), (4, "fast", "released")]


def test_a_shard_rebuilt_from_its_state_decides_like_the_one_that_went_on():
    def feed(line: Line, start: int) -> list[tuple[int, str, str]]:
        made = []
        for rev in range(start, start + 20):
            made += line.edit(rev, at=rev * 10, page=rev % 3, sha1=sha(str(rev % 4)), user=f"u{rev % 2}")
            made += line.tick(rev * 10)
        return made

    one, other = Line(("live", 0), ("fast", 30)), Line(("live", 0), ("fast", 30))
    assert feed(one, 0) == feed(other, 0)
    other.shard = rebuilt(reversed(other.state().items()))
    assert feed(one, 20) == feed(other, 20)
    assert one.decisions == other.decisions


def test_signals_without_a_page_id_and_canaries_pass_without_effect():
    line = Line(("live", 0))
    log = {"wiki": "enwiki", "type": "log", "title": "Loch Ness", "log_type": "patrol", "log_action": "patrol"}
    assert line.event("mediawiki.recentchange", log, 0) == []
    assert line.pages() == []


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (KIND_EVENT, b"{", SetAside.NOT_JSON),
        (KIND_EVENT, b"{}", SetAside.MISSING_FIELD),
        (KIND_TICK, b"{}", SetAside.WRONG_RECORD),
        (KIND_CONTROL, b'{"kind": "weather"}', SetAside.WRONG_RECORD),
        (None, b"{}", SetAside.WRONG_RECORD),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_with_its_reason_and_changes_nothing(kind, value, reason):
    line = Line(("fast", 300))
    line.edit(1, at=0)
    before = line.state()
    with pytest.raises(Unreadable) as refusal:
        line.shard.apply(kind, value)
    assert refusal.value.reason is reason
    assert line.state() == before


def test_a_page_that_was_in_use_when_policies_came_is_due_as_they_say_also_once_it_is_not_in_use_any_more():
    line = Line(("a", 600))
    line.edit(1, at=0)
    line.state()
    line.shard.hot_pages = 0
    line.policies(("a", 100))
    line.state()
    assert line.tick(160) == [(1, "a", "released")]
