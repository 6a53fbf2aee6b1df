"""Protection on demand: which hold is learned, from whose cases."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log
from statistics import NormalDist

import pytest

from processors.cohorts import DAY_MS, WINDOW
from processors.protect import LEAST, UNKNOWN_MS, Learner
from schemas.learned import Choice, Stratum
from schemas.lessons import Lesson, Seed, decode_cohorts, decode_seed, encode_cohorts, encode_seed
from schemas.log import decode_control, encode_learned

ANON = Stratum("enwiki", "anon", ">150")
BOT = Stratum("enwiki", "bot", ">150")
MINUTE_MS = 60_000
NOW_MS = 30 * DAY_MS


def learn(learner: Learner, stratum: Stratum, after_min: Iterable[float], day: int = 0) -> Learner:
    """Edits a second apart on that day, each undone after so many minutes."""
    for number, after in enumerate(after_min):
        learner.began(stratum, day * DAY_MS + 1000 * number)
        learner.undone(stratum, day * DAY_MS + 1000 * number, round(after * MINUTE_MS))
    return learner


def near(minutes: float) -> object:
    """Times are known in steps of 2 %, and a hold lasts to the end of its step."""
    return pytest.approx(minutes * 1.02 * MINUTE_MS, rel=0.02)


def test_while_cases_are_too_few_everywhere_the_hold_is_a_week_and_names_no_stratum():
    learner = learn(Learner(), ANON, range(1, LEAST))
    assert learner.choose(ANON, 0.98, NOW_MS) == Choice(UNKNOWN_MS, None, 0)


@pytest.mark.parametrize(("target", "minutes"), [(0.5, 51), (0.9, 91), (0.98, 99)])
def test_the_hold_is_the_time_that_the_next_edit_stays_below_with_the_wanted_probability(target, minutes):
    # Of 100 known times, the k-th lies above k of the 101 that there are with the next one.
    learner = learn(Learner(), ANON, range(1, 101))
    assert learner.choose(ANON, target, NOW_MS) == (near(minutes), Stratum("enwiki"), 100)


def test_a_quantile_that_few_cases_lie_beyond_is_that_of_a_lognormal_tail_and_one_case_moves_it_little():
    normal = NormalDist(mu=log(60), sigma=1.5)
    times = [exp(normal.inv_cdf((n + 0.5) / 300)) for n in range(300)]
    learner = learn(Learner(), ANON, times)
    wanted = exp(normal.inv_cdf(0.98 * 301 / 300))
    hold_ms = learner.choose(ANON, 0.98, NOW_MS).hold_ms
    assert hold_ms == pytest.approx(wanted * MINUTE_MS, rel=0.05)
    # The sixth slowest, beyond which the five lie that a target of 98 % lets through, is as slow as the fifth.
    times[294] = times[295]
    moved_ms = learn(Learner(), ANON, times).choose(ANON, 0.98, NOW_MS).hold_ms
    assert abs(moved_ms / hold_ms - 1) < 0.02


def test_an_edit_that_still_stands_counts_for_as_long_as_it_has_stood():
    times = [10] * 50 + [1000] * 50
    learner = learn(Learner(), ANON, times)
    assert learner.choose(ANON, 0.4, NOW_MS).hold_ms == near(10)
    learner = learn(Learner(), ANON, times)
    # Made until ten hours before the 48 in which an undoing may be undone.
    for number in range(100):
        learner.began(ANON, 27 * DAY_MS + number)
    # A quarter of 200 is undone at 10; of the 50 that were watched longer all are at 1000.
    assert learner.choose(ANON, 0.4, NOW_MS + 10 * 60 * MINUTE_MS).hold_ms == near(1000)


def test_what_was_undone_before_the_last_300_is_forgotten_once_they_are_known():
    learner = learn(Learner(), ANON, [5000] * WINDOW)
    learner = learn(learner, ANON, [10] * WINDOW, day=50)
    assert learner.choose(ANON, 0.98, 70 * DAY_MS).hold_ms == near(5000)
    learner.began(ANON, 70 * DAY_MS)
    assert learner.choose(ANON, 0.97, 71 * DAY_MS) == (near(10), Stratum("enwiki"), WINDOW)


def test_a_busy_day_does_not_push_out_what_alone_was_watched_for_long_enough():
    learner = learn(Learner(), ANON, [2000] * WINDOW)
    for day in range(100, 107):
        learn(learner, ANON, [1] * 1000, day)
    # Of the new ones nobody knows yet how many stand for a day and are undone then.
    choice = learner.choose(ANON, 0.98, 107 * DAY_MS)
    assert (choice.stratum, choice.hold_ms) == (Stratum("enwiki"), near(2000))


def test_edits_that_were_not_watched_for_a_week_have_no_curve_however_many_were_undone():
    learner = learn(Learner(), ANON, [1] * 1000)
    week_and_stands = (1 + 7 + 2) * DAY_MS
    assert learner.choose(ANON, 0.98, week_and_stands - 1).stratum is None
    learner = learn(Learner(), ANON, [1] * 1000)
    assert learner.choose(ANON, 0.98, week_and_stands) == (near(1), Stratum("enwiki"), 1000)


def test_old_edits_whose_undoing_comes_late_do_not_enter_the_window_of_newer_ones():
    learner = learn(Learner(), ANON, [10] * WINDOW, day=100)
    learner.began(ANON, 130 * DAY_MS)
    for at_ms in range(20):
        learner.began(ANON, at_ms)
        learner.undone(ANON, at_ms, 10**8)
    assert learner.choose(ANON, 0.98, 140 * DAY_MS).hold_ms == near(10)


def test_an_undoing_that_did_not_stand_is_taken_back():
    learner = learn(Learner(), ANON, [10] * LEAST)
    learner.hear(Lesson(ANON, 0))
    learner.hear(Lesson(ANON, 0, 9000 * MINUTE_MS))
    assert learner.choose(ANON, 0.985, NOW_MS).hold_ms == near(9000)
    learner.hear(Lesson(ANON, 0, 9000 * MINUTE_MS, stands=True))
    assert learner.choose(ANON, 0.985, NOW_MS) == (near(10), Stratum("enwiki"), LEAST)


def test_a_wiki_has_its_own_curve_and_one_with_too_few_cases_takes_that_of_all():
    learner = learn(Learner(), ANON, range(100, 200))
    learner = learn(learner, Stratum("dewiki", "anon", ">150"), range(101, 201))
    learner = learn(learner, Stratum("frwiki", "anon", ">150"), [5] * (LEAST - 1))
    assert learner.choose(ANON, 0.98, NOW_MS).stratum == Stratum("enwiki")
    assert learner.choose(Stratum("dewiki", "anon", ">150"), 0.98, NOW_MS).stratum == Stratum("dewiki")
    found = learner.choose(Stratum("frwiki", "anon", ">150"), 0.98, NOW_MS)
    assert (found.stratum, found.cases) == (Stratum(), 299)


def slow_bots() -> Learner:
    learner = learn(Learner(), ANON, list(range(1, 101)) * 2)
    return learn(learner, BOT, range(1001, 2001, 10), day=1)


def test_a_narrower_stratum_has_its_own_hold_only_where_the_wider_one_misses_beyond_chance():
    learner = learn(Learner(), ANON, list(range(1, 101)) * 2)
    alike = learn(learner, BOT, range(1, 101), day=1)
    assert alike.choose(BOT, 0.9, NOW_MS).stratum == Stratum("enwiki")
    # Two thirds of all are fast: by the wiki's curve 1701 minutes hold 90 % back, of the slow ones 71 %.
    assert slow_bots().choose(BOT, 0.9, NOW_MS) == (near(1901), Stratum("enwiki", "bot"), 100)


def test_a_narrower_stratum_with_too_few_cases_takes_the_wider_hold_and_names_it():
    learner = learn(Learner(), ANON, range(1, 101))
    learner = learn(learner, BOT, [9000] * (LEAST - 1), day=1)
    assert learner.choose(BOT, 0.4, NOW_MS).stratum != Stratum("enwiki", "bot")


@pytest.mark.parametrize("target", [0.0, -1.0, 0.991, 98.0])
def test_a_protection_that_300_cases_cannot_tell_is_refused(target):
    with pytest.raises(ValueError, match=r"at most 0\.99"):
        Learner().choose(ANON, target, NOW_MS)


def test_the_table_gives_every_stratum_what_would_be_chosen_for_it_also_after_it_was_in_the_log():
    learner = slow_bots()
    table = learner.table((0.5, 0.9), NOW_MS)
    assert decode_control(encode_learned(table)) == table
    elsewhere = Stratum("dewiki", "anon", "<1")
    for stratum in (ANON, BOT, Stratum("enwiki", "bot"), Stratum("enwiki", "new", "<1"), elsewhere):
        for protect in table.protects(stratum, (0.5, 0.9)):
            choice = learner.choose(stratum, protect.target, NOW_MS)
            assert (protect.hold_ms, protect.curve, protect.cases) == choice
    # What an edit takes from its wiki has no row.
    alike = learn(learn(Learner(), ANON, range(1, 101)), BOT, range(1, 101), day=1)
    assert {stratum for stratum, _ in alike.table((0.9,), NOW_MS).rows} == {Stratum(), Stratum("enwiki")}


def test_what_was_counted_outlives_the_process_in_records_and_in_a_seed():
    learner = slow_bots()
    again = Learner(decode_cohorts(encode_cohorts(*each)) for each in learner.take_changed())
    assert again.table((0.9,), NOW_MS) == learner.table((0.9,), NOW_MS)
    assert list(learner.take_changed()) == []
    seed = decode_seed(encode_seed(Seed(until_ms=NOW_MS, windows=list(learner.windows))))
    assert seed.until_ms == NOW_MS
    seeded = Learner(seed.windows)
    assert seeded.table((0.9,), NOW_MS) == learner.table((0.9,), NOW_MS)
