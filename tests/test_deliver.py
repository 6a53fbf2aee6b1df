"""The join of publish: what goes out, when, in which order, and what a retraction does to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.deliver import KEEP_MS, Emission, Erase, Release, Retract, content_came, content_went, decided, unsay
from schemas.decision import Decision
from schemas.delivery import Delivery, Head, Sent, decode_delivery, encode_delivery, unpack_sent
from schemas.reasons import Bar, State

POLICIES = ("live", "fast")
EMPTY = Delivery(wiki="enwiki", page_id=7)


def decision(rev: int, state: State, *, policy: str = "fast", epoch: int = 0) -> Decision:
    return Decision(
        policy=policy,
        wiki="enwiki",
        page_id=7,
        rev_id=rev,
        epoch=epoch,
        state=state,
        reason=Bar.REVERTED if state in {State.WITHHELD, State.RETRACTED} else None,
        event_id=f"event-{rev}-{epoch}",
        start_ms=rev,
        hold_ms=300_000,
        fire_ms=rev + 360_000,
        decided_for_ms=rev + 360_000,
    )


def come(page: Delivery, rev: int, *, offset: int | None = None, epoch: int = 0, at_ms: int = 0):
    return content_came(page, f"event-{rev}-{epoch}", rev, rev if offset is None else offset, at_ms, POLICIES)


def decide(page: Delivery, *decisions: Decision):
    return decided(page, decisions, 5, POLICIES)


def told(emissions: list[Emission]) -> list[tuple[str, int]]:
    return [("release" if isinstance(e, Release) else "retract", e.decision.rev_id) for e in emissions]


def test_a_release_waits_for_its_content():
    page, made = decide(EMPTY, decision(1, State.RELEASED))
    assert made == []
    page, made = come(page, 1, offset=40)
    assert told(made) == [("release", 1)]
    assert made[0].offset == 40


def test_content_waits_for_its_verdicts_and_is_forgotten_after_the_last():
    page, made = come(EMPTY, 1)
    assert made == []
    page, made = decide(page, decision(1, State.RELEASED, policy="live"))
    assert told(made) == [("release", 1)]
    assert page.held
    page, made = decide(page, decision(1, State.WITHHELD))
    assert made == []
    assert page.held == ()


def test_content_that_comes_after_every_verdict_is_not_kept():
    page, _ = decide(EMPTY, decision(1, State.WITHHELD, policy="live"), decision(1, State.WITHHELD))
    page, made = come(page, 1)
    assert made == []
    assert page.held == ()


def test_releases_of_a_page_keep_their_order_per_policy():
    page, _ = decide(EMPTY, decision(1, State.RELEASED), decision(2, State.RELEASED))
    page, made = come(page, 2)
    assert made == []
    page, made = come(page, 1)
    assert told(made) == [("release", 1), ("release", 2)]


def test_a_policy_that_waits_does_not_hold_back_another():
    page, _ = decide(EMPTY, decision(1, State.RELEASED))
    page, _ = come(page, 2)
    page, made = decide(page, decision(2, State.RELEASED, policy="live"), decision(2, State.RELEASED))
    assert told(made) == [("release", 2)]
    assert made[0].decision.policy == "live"


def test_a_retraction_that_overtakes_its_release_lets_neither_out():
    page, _ = decide(EMPTY, decision(1, State.RELEASED), decision(1, State.RETRACTED))
    page, made = come(page, 1)
    assert made == []


def test_a_retraction_removes_the_page_only_if_it_was_the_head():
    page, _ = come(EMPTY, 1)
    page, _ = come(page, 2)
    page, made = decide(page, decision(1, State.RELEASED), decision(2, State.RELEASED))
    assert [e.is_head for e in made] == [True, True]
    page, made = decide(page, decision(1, State.RETRACTED))
    assert made == [Retract(decision=decision(1, State.RETRACTED), decided_at_ms=5, was_head=False)]
    page, made = decide(page, decision(2, State.RETRACTED))
    assert [e.was_head for e in made] == [True]


def test_an_older_edit_that_comes_late_does_not_become_the_head():
    page, _ = come(EMPTY, 2)
    page, _ = decide(page, decision(2, State.RELEASED))
    page, _ = come(page, 1)
    page, made = decide(page, decision(1, State.RELEASED))
    assert [e.is_head for e in made] == [False]


def test_a_repeat_of_content_sends_nothing_again():
    page, _ = come(EMPTY, 1)
    page, _ = decide(page, decision(1, State.RELEASED))
    page, made = come(page, 1, offset=99)
    assert made == []


def test_a_release_whose_content_was_erased_waits_for_what_comes_in_its_place():
    page, _ = come(EMPTY, 1, offset=40)
    page, _ = come(page, 2)
    page = decode_delivery(encode_delivery(content_went(page, 1)))
    page, made = decide(page, decision(1, State.RELEASED), decision(2, State.RELEASED))
    assert made == []
    page, made = come(page, 1, offset=50)
    assert [(e.decision.rev_id, e.offset) for e in made] == [(1, 50), (2, 2)]
    assert content_went(page, 7) is page


def out(*revs: int, at_ms: int = 7_000) -> Delivery:
    """The page, after these went out under both policies."""
    page = EMPTY
    for rev in revs:
        page, _ = come(page, rev, at_ms=at_ms)
        page, _ = decided(page, [decision(rev, State.RELEASED, policy=p) for p in POLICIES], at_ms, POLICIES)
    return decode_delivery(encode_delivery(page))


def test_what_went_out_of_a_hidden_revision_is_erased_under_each_policy_also_where_it_was_taken_back_before():
    page, _ = decide(out(1, 2), decision(1, State.RETRACTED))
    page, erased = unsay(page, 1, 9_000, wholly=True)
    assert [(e.policy, e.sent.rev_id, e.sent.retracted, e.wholly, e.on_page) for e in erased] == [
        ("fast", 1, True, True, False),
        ("live", 1, False, True, False),
    ]
    assert [s.rev_id for s in unpack_sent(page.sent["fast"])] == [2]
    assert unsay(page, 1, 9_000, wholly=True) == (page, [])
    page, erased = unsay(page, 2, 9_000, wholly=True)
    assert [(e.policy, e.on_page) for e in erased] == [("fast", True), ("live", True)]


def test_of_a_page_that_was_hidden_everything_goes():
    _, erased = unsay(out(1, 2, 3), 0, 9_000, wholly=True)
    assert [(e.sent.rev_id, e.on_page) for e in erased if e.policy == "fast"] == [(1, False), (2, False), (3, True)]


def test_what_the_page_shows_is_erased_also_when_its_topic_keeps_it_no_more():
    page = Delivery(wiki="enwiki", page_id=7, heads={"fast": Head(rev_id=5, epoch=0)})
    _, erased = unsay(page, 5, 9_000, wholly=True)
    assert erased == [Erase(policy="fast", sent=Sent(rev_id=5, epoch=0, at_ms=0), wholly=True, on_page=True)]
    assert unsay(page, 4, 9_000, wholly=True) == (page, [])


def test_an_edit_whose_parent_was_hidden_stays_and_can_be_found_where_it_is_said_anew():
    page, _ = decide(out(1), decision(1, State.RETRACTED, policy="live"))
    page, erased = unsay(page, 1, 9_000, wholly=False)
    # What was taken back is not put on the page again.
    assert [(e.policy, e.sent.at_ms, e.wholly, e.on_page) for e in erased] == [
        ("fast", 7_000, False, True),
        ("live", 7_000, False, False),
    ]
    page, erased = unsay(decode_delivery(encode_delivery(page)), 1, 11_000, wholly=True)
    assert [e.sent.at_ms for e in erased] == [9_000, 9_000]


def test_what_went_out_is_forgotten_once_its_topic_keeps_it_no_more():
    page = out(1)
    page, _ = come(page, 2, at_ms=8_000 + KEEP_MS)
    page, _ = decided(page, [decision(2, State.RELEASED)], 8_000 + KEEP_MS, POLICIES)
    assert [s.rev_id for s in unpack_sent(page.sent["fast"])] == [2]
    assert [s.rev_id for s in unpack_sent(page.sent["live"])] == [1]


def test_a_state_from_before_releases_were_remembered_is_read():
    old = encode_delivery(EMPTY).replace(b'"sent":{},', b"")
    assert b"sent" not in old
    assert decode_delivery(old) == EMPTY


def test_an_undeleted_edit_waits_for_the_content_of_its_own_event():
    page, _ = come(EMPTY, 1)
    page, _ = come(page, 1, epoch=1, offset=50)
    page, _ = decide(page, decision(1, State.WITHHELD, policy="live"), decision(1, State.WITHHELD))
    page, made = decide(page, decision(1, State.RELEASED, epoch=1))
    assert [e.offset for e in made] == [50]


def test_a_policy_without_a_topic_is_passed_over():
    page, made = decide(EMPTY, decision(1, State.RELEASED, policy="gone"))
    assert (page, made) == (EMPTY, [])


def test_content_whose_verdicts_never_come_is_forgotten_in_the_end():
    page, _ = come(EMPTY, 1, at_ms=0)
    page, _ = come(page, 2, at_ms=KEEP_MS)
    assert [held.event_id for held in page.held] == ["event-2-0"]


def test_what_waits_survives_its_codec():
    page, _ = decide(EMPTY, decision(1, State.RELEASED), decision(2, State.RELEASED, policy="live"))
    page, _ = come(page, 2)
    page, _ = come(page, 3)
    assert decode_delivery(encode_delivery(page)) == page


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_however_content_and_decisions_interleave_the_view_is_the_same(data: st.DataObject):
    revs = range(1, 7)
    verdicts: list[Decision] = []
    for rev in revs:
        for policy in POLICIES:
            end = data.draw(st.sampled_from([State.RELEASED, State.WITHHELD, State.RETRACTED]))
            first = State.RELEASED if end is State.RETRACTED else end
            verdicts.append(decision(rev, first, policy=policy))
            if end is State.RETRACTED:
                verdicts.append(decision(rev, end, policy=policy))
    contents = data.draw(st.permutations(revs))
    turns = data.draw(st.permutations(["content"] * len(contents) + ["verdict"] * len(verdicts)))
    page, emissions, given_verdicts, given_contents = EMPTY, [], iter(verdicts), iter(contents)
    for turn in turns:
        page, made = come(page, next(given_contents)) if turn == "content" else decide(page, next(given_verdicts))
        page = decode_delivery(encode_delivery(page))
        emissions += made
    for policy in POLICIES:
        mine = [v for v in verdicts if v.policy == policy]
        out = [e for e in emissions if e.decision.policy == policy]
        released = [e.decision.rev_id for e in out if isinstance(e, Release)]
        retracted = [e.decision.rev_id for e in out if isinstance(e, Retract)]
        assert released == sorted(released)
        assert set(retracted) <= set(released)
        ends = {v.rev_id: v.state for v in mine}
        assert set(released) - set(retracted) == {rev for rev, state in ends.items() if state is State.RELEASED}
        assert not set(released) & {rev for rev, state in ends.items() if state is State.WITHHELD}
    assert page.queue == ()
    assert page.held == ()
