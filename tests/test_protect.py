"""Protection on demand: which hold is learned, from whose cases."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from processors.protect import LEAST, UNKNOWN_MS, WINDOW, Choice, Learner, Stratum

ANON = Stratum("enwiki", "anon", ">150")
BOT = Stratum("enwiki", "bot", ">150")
NOW_MS = 10**9


def learn(learner: Learner, stratum: Stratum, after_ms: Iterable[int], from_ms: int = 0) -> Learner:
    """Edits a second apart, each undone after that time."""
    for number, after in enumerate(after_ms):
        learner.began(stratum, from_ms + 1000 * number)
        learner.undone(stratum, from_ms + 1000 * number, after)
    return learner


def test_while_cases_are_too_few_everywhere_the_hold_is_a_week_and_names_no_stratum():
    learner = learn(Learner(), ANON, range(1, LEAST))
    assert learner.choose(ANON, 0.98, NOW_MS) == Choice(UNKNOWN_MS, None, 0)


@pytest.mark.parametrize(("target", "hold_ms"), [(0.5, 51), (0.9, 91), (0.98, 99)])
def test_the_hold_is_the_time_that_the_next_edit_stays_below_with_the_wanted_probability(target, hold_ms):
    # Of 100 known times, the k-th lies above k of the 101 that there are with the next one.
    learner = learn(Learner(), ANON, range(1, 101))
    assert learner.choose(ANON, target, NOW_MS) == (hold_ms, Stratum("enwiki"), 100)


def test_an_edit_that_still_stands_counts_for_as_long_as_it_has_stood():
    times = [10] * 50 + [1000] * 50
    learner = learn(Learner(), ANON, times)
    assert learner.choose(ANON, 0.4, NOW_MS).hold_ms == 10
    learner = learn(Learner(), ANON, times)
    for _ in range(100):
        learner.began(ANON, NOW_MS - 100)
    # A quarter of 200 is undone at 10; of the 50 that were watched longer all are at 1000.
    assert learner.choose(ANON, 0.4, NOW_MS).hold_ms == 1000


def test_what_was_undone_before_the_last_300_is_forgotten():
    learner = learn(Learner(), ANON, [10_000] * WINDOW)
    learner = learn(learner, ANON, [10] * WINDOW, from_ms=10**7)
    assert learner.choose(ANON, 0.98, NOW_MS) == (10, Stratum("enwiki"), WINDOW)


def test_old_edits_whose_undoing_comes_late_do_not_enter_the_window_of_newer_ones():
    learner = learn(Learner(), ANON, [10] * WINDOW, from_ms=10**7)
    for at_ms in range(20):
        learner.undone(ANON, at_ms, 10**8)
    assert learner.choose(ANON, 0.98, NOW_MS).hold_ms == 10


def test_a_wiki_has_its_own_curve_and_one_with_too_few_cases_takes_that_of_all():
    learner = learn(Learner(), ANON, range(100, 200))
    learner = learn(learner, Stratum("dewiki", "anon", ">150"), range(101, 201))
    learner = learn(learner, Stratum("frwiki", "anon", ">150"), [5] * (LEAST - 1))
    assert learner.choose(ANON, 0.98, NOW_MS).stratum == Stratum("enwiki")
    assert learner.choose(Stratum("dewiki", "anon", ">150"), 0.98, NOW_MS).stratum == Stratum("dewiki")
    found = learner.choose(Stratum("frwiki", "anon", ">150"), 0.98, NOW_MS)
    assert (found.stratum, found.cases) == (Stratum(), 299)


def test_a_narrower_stratum_has_its_own_hold_only_where_the_wider_one_misses_beyond_chance():
    learner = learn(Learner(), ANON, list(range(1, 101)) * 2)
    alike = learn(learner, BOT, range(1, 101), from_ms=10**6)
    assert alike.choose(BOT, 0.9, NOW_MS).stratum == Stratum("enwiki")
    learner = learn(Learner(), ANON, list(range(1, 101)) * 2)
    slower = learn(learner, BOT, range(1001, 1101), from_ms=10**6)
    # Two thirds of all are fast: by the wiki's curve 1071 ms hold 90 % back, of the slow ones 70 %.
    assert slower.choose(BOT, 0.9, NOW_MS) == (1091, Stratum("enwiki", "bot"), 100)


def test_a_narrower_stratum_with_too_few_cases_takes_the_wider_hold_and_names_it():
    learner = learn(Learner(), ANON, range(1, 101))
    learner = learn(learner, BOT, [9000] * (LEAST - 1), from_ms=10**6)
    assert learner.choose(BOT, 0.4, NOW_MS).stratum != Stratum("enwiki", "bot")


@pytest.mark.parametrize("target", [0.0, -1.0, 0.991, 98.0])
def test_a_protection_that_300_cases_cannot_tell_is_refused(target):
    with pytest.raises(ValueError, match=r"at most 0\.99"):
        Learner().choose(ANON, target, NOW_MS)
