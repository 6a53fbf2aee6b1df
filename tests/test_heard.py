"""Heard-until. Seconds are drawn; 30 s quiet, 60 s to be caught up, 1200 s to be deaf."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.heard import Heard, Limits
from schemas.event import PAGE_CHANGE, TAGS_CHANGE
from schemas.log import Position, Tick

LIMITS = Limits(quiet_ms=30_000, caught_up_ms=60_000, deaf_ms=1_200_000)
# A day of this world, so that nothing drawn is before the year 1970.
DAY_MS = 86_400_000
EDITS, CODFW_EDITS = f"eqiad.{PAGE_CHANGE}", f"codfw.{PAGE_CHANGE}"
TAGS = f"eqiad.{TAGS_CHANGE}"


def ms(seconds: float) -> int:
    return DAY_MS + round(seconds * 1000)


def until(heard: Heard, now: float, stream: str = PAGE_CHANGE, *, all_read: bool = True) -> float | None:
    """Seconds up to which the stream is heard."""
    at_ms = heard.until(ms(now), all_read=all_read).get(stream)
    return None if at_ms is None else (at_ms - DAY_MS) / 1000


def says(heard: Heard, topic: str, *times: float, late: float = 1.0) -> None:
    """The topic speaks at each time; it comes `late` seconds after."""
    for time in times:
        heard.message(topic, ms(time), ms(time + late))


def live(*topics: str, seconds: int = 61, once: str = "") -> Heard:
    """Connected at 0; each topic speaks every 10 s from 0 to `seconds`, and `once` says its only word at 2."""
    heard = Heard(LIMITS)
    heard.opened(ms(-1))
    if once:
        says(heard, once, 2)
    for time in range(0, seconds, 10):
        for topic in topics:
            says(heard, topic, time)
    return heard


def test_a_message_moves_its_stream_to_its_own_time_and_never_back() -> None:
    #  event: 10 ------ 25 ------ 24.9
    heard = Heard(LIMITS)
    heard.opened(ms(0))
    says(heard, EDITS, 10)
    assert until(heard, 11) == 10
    says(heard, EDITS, 25, 24.9)
    assert until(heard, 26) == 25


def test_a_message_from_the_future_moves_its_stream_no_further_than_now() -> None:
    #  now: 5       event: 3600
    heard = Heard(LIMITS)
    heard.opened(ms(0))
    heard.message(EDITS, ms(3600), ms(5))
    assert until(heard, 5) == 5


def test_a_stream_of_which_no_topic_ever_spoke_has_no_heard_until() -> None:
    heard = live(EDITS)
    heard.name(TAGS)
    assert until(heard, 70) == 60
    assert until(heard, 70, TAGS_CHANGE) is None


def test_a_stream_is_heard_until_the_minimum_of_its_datacentres() -> None:
    #  eqiad: 100 ----- 500        codfw: 90
    heard = Heard(LIMITS)
    heard.opened(ms(1000))
    says(heard, EDITS, 100, 500, late=1000)
    says(heard, CODFW_EDITS, 90, late=2000)
    assert until(heard, 2100) == 90


def test_caught_up_a_quiet_topic_is_heard_until_thirty_seconds_ago() -> None:
    #  0 opened --- young messages --- 60 caught up      tags spoke at 2 only
    heard = live(EDITS, seconds=121, once=TAGS)
    assert until(heard, 121) == 120
    assert until(heard, 121, TAGS_CHANGE) == 121 - 30


def test_it_takes_sixty_seconds_of_young_messages_to_be_caught_up() -> None:
    heard = live(EDITS, TAGS)
    assert not heard.caught_up(ms(58.9))
    assert heard.caught_up(ms(59))


def test_one_old_message_begins_the_sixty_seconds_anew() -> None:
    #  0 opened ---- 50: a message of 20 ---- 110 caught up
    heard = live(EDITS, seconds=50)
    says(heard, TAGS, 20, late=30)
    says(heard, EDITS, 60, 100)
    assert not heard.caught_up(ms(109))
    assert heard.caught_up(ms(111))


def test_a_message_just_younger_than_thirty_seconds_is_young() -> None:
    heard = live(EDITS, seconds=50)
    says(heard, TAGS, 20, late=29.9)
    says(heard, EDITS, 60)
    assert heard.caught_up(ms(62))


def test_with_no_message_for_sixty_seconds_nothing_moves() -> None:
    #  young messages until 61, then silence
    heard = live(EDITS)
    assert until(heard, 120) == 90
    assert until(heard, 200) == 90


def test_a_connection_on_which_nothing_came_is_not_caught_up() -> None:
    heard = live(EDITS)
    heard.closed()
    heard.opened(ms(62))
    assert not heard.caught_up(ms(130))
    says(heard, EDITS, 131)
    assert heard.caught_up(ms(132))


def test_while_disconnected_every_topic_stays_where_it_was() -> None:
    heard = live(EDITS, TAGS)
    assert until(heard, 100) == 70
    heard.closed()
    for now in (110, 5000):
        assert until(heard, now) == 70


def test_after_a_reconnection_topics_move_by_their_own_messages_until_caught_up_again() -> None:
    #  0 ---- 70 heard ---- 100 closed, 110 opened: a backlog of 72, 73 ---- 170 young
    heard = live(EDITS, TAGS)
    until(heard, 100)
    heard.closed()
    heard.opened(ms(110))
    says(heard, EDITS, 72, 73, late=40)
    assert until(heard, 115) == 73
    assert until(heard, 115, TAGS_CHANGE) == 70
    says(heard, EDITS, *range(113, 175, 5))
    assert until(heard, 176, TAGS_CHANGE) == 146


def test_a_connection_that_we_renew_at_once_stays_caught_up_once_a_message_came_on_it() -> None:
    #  0 ---- 62 caught up ---- 64 renewed, 65 opened ---- 66: a message
    heard = live(EDITS, TAGS)
    says(heard, EDITS, 62)
    assert heard.caught_up(ms(63))
    heard.closed(planned=True)
    assert not heard.caught_up(ms(64))
    heard.opened(ms(65))
    assert not heard.caught_up(ms(65))
    says(heard, EDITS, 65)
    assert until(heard, 100, TAGS_CHANGE) == 70


def test_a_renewal_that_took_as_long_as_silence_is_believed_is_a_cut() -> None:
    #  last message 61 ---- 62 renewed ---- 91 opened
    heard = live(EDITS, TAGS)
    heard.closed(planned=True)
    heard.opened(ms(91))
    says(heard, EDITS, 91)
    assert not heard.caught_up(ms(93))


def test_a_clock_that_was_set_forwards_does_not_make_silence_longer() -> None:
    #  61 last message ---- clock: 62 -> 102
    heard = live(EDITS, TAGS)
    assert until(heard, 62) == 60
    heard.stepped(ms(102))
    assert until(heard, 102) == 60
    # Messages of now are 40 s old by this clock: never young.
    says(heard, EDITS, *range(63, 200, 10), late=41)
    assert until(heard, 240, TAGS_CHANGE) == 60


def test_after_a_clock_was_set_right_again_sixty_seconds_of_young_messages_are_enough() -> None:
    heard = live(EDITS, TAGS)
    heard.stepped(ms(30))
    says(heard, EDITS, *range(30, 101, 10))
    assert heard.caught_up(ms(101))


def test_silence_moves_nothing_while_more_is_known_to_wait() -> None:
    heard = live(EDITS, seconds=121, once=TAGS)
    assert until(heard, 121, TAGS_CHANGE, all_read=False) == 2
    assert until(heard, 121, TAGS_CHANGE) == 91


def test_a_topic_silent_for_twenty_minutes_is_deaf_and_holds_its_stream_where_it_was() -> None:
    #  tags spoke at 2; 1202 the last moment at which silence is believed
    heard = live(EDITS, TAGS, seconds=9)
    says(heard, EDITS, *range(10, 1400, 10))
    assert until(heard, 1200, TAGS_CHANGE) == 1170
    assert until(heard, 1300, TAGS_CHANGE) == 1170
    assert until(heard, 1300) == 1390  # the other stream goes on


def test_a_message_from_the_future_does_not_keep_its_topic_from_being_deaf() -> None:
    heard = live(EDITS, seconds=9)
    heard.message(TAGS, ms(90_000), ms(2))
    says(heard, EDITS, *range(10, 1400, 10))
    assert until(heard, 1391, TAGS_CHANGE) == 2


def test_a_deaf_topic_hears_again_when_it_speaks() -> None:
    heard = live(EDITS, TAGS, seconds=9)
    says(heard, EDITS, *range(10, 1400, 10))
    says(heard, TAGS, 1390)
    assert until(heard, 1391, TAGS_CHANGE) == 1390


def test_one_deaf_datacentre_holds_the_stream_though_the_other_speaks() -> None:
    heard = live(EDITS, CODFW_EDITS, seconds=9)
    says(heard, EDITS, *range(10, 1400, 10))
    assert until(heard, 1150) == 1120
    assert until(heard, 1390) == 1120


def test_a_topic_that_never_spoke_holds_its_stream_back_while_a_backlog_is_read() -> None:
    #  now 10000: eqiad's backlog comes first, codfw's is still to come
    heard = Heard(LIMITS)
    heard.opened(ms(10_000))
    heard.name(EDITS)
    heard.name(CODFW_EDITS)
    says(heard, EDITS, 100, 5000, late=9000)
    assert until(heard, 14_000) is None
    says(heard, CODFW_EDITS, 90, late=13_950)
    assert until(heard, 14_100) == 90


def test_a_topic_that_never_spoke_does_not_hold_back_a_stream_that_is_caught_up() -> None:
    heard = live(EDITS)
    heard.name(CODFW_EDITS)
    assert until(heard, 50) is None
    assert until(heard, 62) == 60
    # Its first canary counts from then on, and takes nothing back.
    says(heard, CODFW_EDITS, 59, late=4)
    assert until(heard, 64) == 60


def test_a_world_in_the_past_moves_by_its_own_messages_alone() -> None:
    heard = Heard(LIMITS)
    heard.opened(ms(300_000))
    for time in range(0, 600, 30):
        heard.message(EDITS, ms(time), ms(300_000 + time))
    assert until(heard, 300_600) == 570


def tick(heard_at: float, *topics: tuple[str, int, float]) -> Tick:
    cursor = [Position(topic=topic, partition=0, next_offset=n, at_ms=ms(at)) for topic, n, at in topics]
    return Tick(number=7, heard_ms={PAGE_CHANGE: ms(heard_at)}, cursor=tuple(cursor))


def test_a_restart_takes_nothing_back() -> None:
    #  tick: heard until 200, though eqiad's last message is of 150
    heard = Heard.restored(LIMITS, tick(200, (EDITS, 5, 150)), ms(210))
    assert until(heard, 210) == 200
    heard.opened(ms(211))
    says(heard, EDITS, 160, late=60)
    assert until(heard, 221) == 200
    says(heard, EDITS, 201, late=30)
    assert until(heard, 232) == 201


def test_a_restart_does_not_make_a_deaf_topic_hear() -> None:
    heard = Heard.restored(LIMITS, tick(1170, (EDITS, 5, 1990), (CODFW_EDITS, 9, 0)), ms(2000))
    heard.opened(ms(2000))
    says(heard, EDITS, *range(2000, 2100, 10))
    assert heard.caught_up(ms(2095))
    assert until(heard, 2095) == 1170


def test_a_restart_keeps_who_never_spoke() -> None:
    heard = Heard.restored(LIMITS, tick(100, (EDITS, 5, 100), (CODFW_EDITS, -1, 0)), ms(3000))
    heard.opened(ms(3000))
    says(heard, EDITS, 500, late=2510)
    assert until(heard, 3011) == 100
    says(heard, EDITS, *range(3020, 3090, 10))
    assert until(heard, 3085) == 3080


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([EDITS, CODFW_EDITS, TAGS]), st.integers(-3000, 100)),
            st.sampled_from(["open", "close", "renew", "step", "restart", "look"]),
        ),
        max_size=60,
    )
)
def test_heard_until_never_goes_back_whatever_happens(steps: list[tuple[str, int] | str]) -> None:
    heard, now, last = Heard(LIMITS), 0, {}
    positions: dict[str, int] = {}
    for step in steps:
        now += 7
        if step == "open":
            heard.opened(ms(now))
        elif step == "close":
            heard.closed()
        elif step == "renew":
            heard.closed(planned=True)
        elif step == "step":
            heard.stepped(ms(now))
        elif step == "restart":
            cursor = [Position(topic=t, partition=0, next_offset=1, at_ms=at) for t, at in positions.items()]
            heard = Heard.restored(LIMITS, Tick(number=1, heard_ms=last, cursor=tuple(cursor)), ms(now))
        elif step != "look":
            topic, age = step
            heard.message(topic, ms(now + age), ms(now))
            positions[topic] = max(positions.get(topic, 0), min(ms(now + age), ms(now)))
        heard_ms = heard.until(ms(now))
        assert all(heard_ms[stream] >= at_ms for stream, at_ms in last.items())
        assert all(at_ms <= ms(now) for at_ms in heard_ms.values())
        last = heard_ms
