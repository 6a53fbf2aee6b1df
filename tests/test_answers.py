"""What an answer of the action API means, and when it is final."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import api_server
import orjson
import pytest
from conftest import shared_data
from hypothesis import given
from hypothesis import strategies as st

from processors import answers, patience
from processors.answers import Answers, ApiError, Found, NotAnAnswer, judge, read_answers
from processors.batcher import ALONE, Job
from processors.digest import sha1_base36, sha1_base36_from_hex
from processors.held import HeldTexts
from processors.patience import LEAST_FAILURES, PARENT_TRIES, WAITS_SECONDS, Patience, endure, hear
from schemas.content import Content, Text, decode_content, encode_content
from schemas.event import EDIT_KINDS, PAGE_CHANGE, PageChange, decode_event
from schemas.reasons import Answer

SOME = "'''Some''' text, ä and 𝄞"
RULES = Patience(replica_lag_seconds=60, give_up_seconds=900)


def api(*revisions: dict[str, Any], bad: tuple[int, ...] = ()) -> bytes:
    """An answer with these revisions on one page."""
    query: dict[str, Any] = {"pages": [{"pageid": 7, "revisions": list(revisions)}]} if revisions else {}
    if bad:
        query["badrevids"] = {str(rev_id): {"revid": rev_id, "missing": True} for rev_id in bad}
    return orjson.dumps({"batchcomplete": True, "query": query})


def revision(rev_id: int, text: str = SOME, **more: Any) -> dict[str, Any]:
    server = api_server.ApiServer()
    server.put(rev_id, text, **more)
    found: dict[str, Any] = server.revisions[rev_id]["revision"]
    return found


def found(rev_id: int, text: str = SOME, **more: Any) -> Found:
    return read_answers(api(revision(rev_id, text, **more)), [rev_id]).found[rev_id]


def edit(rev_id: int = 9, text: str = SOME, **more: Any) -> PageChange:
    change = decode_event(api_server.event(rev_id, text, at_ms=1_000_000, **more))
    assert isinstance(change, PageChange)
    return change


def answered(*texts: tuple[int, str], missing: tuple[int, ...] = ()) -> Answers:
    return Answers(found={rev_id: found(rev_id, text) for rev_id, text in texts}, missing=frozenset(missing))


def heard(job: Job, given: Answers, *, now: float = 0.0, age: float = 0.0) -> float | None:
    job.first_asked = 0.0 if job.first_asked is None else job.first_asked
    return hear(job, given, now=now, age_seconds=age, patience=RULES)


# Reading


def test_a_text_with_the_announced_sha1_is_the_answer_with_its_model_and_tags() -> None:
    text = judge(found(9, tags=["mw-undo", "b"], slot={"contentmodel": "javascript"}), sha1_base36(SOME))
    assert text == Text(
        rev_id=9,
        answer=Answer.TEXT,
        text=SOME,
        sha1=sha1_base36(SOME),
        model="javascript",
        tags=("b", "mw-undo"),
    )


def test_a_text_that_differs_from_the_event_or_from_the_apis_own_sha1_is_no_text() -> None:
    other = sha1_base36("other")
    from_event = judge(found(9), other)
    assert (from_event.answer, from_event.text, from_event.sha1) == (Answer.SHA1_MISMATCH, None, sha1_base36(SOME))
    own = found(9, slot={"sha1": hashlib.sha1(b"other").hexdigest()})
    assert judge(own, None).answer is Answer.SHA1_MISMATCH
    assert judge(own, sha1_base36(SOME)).answer is Answer.SHA1_MISMATCH


@pytest.mark.parametrize("digest", ["-1", "no hex", ""])
def test_what_is_no_digest_is_refused_and_never_looped_over(digest: str) -> None:
    with pytest.raises(ValueError, match=r"digest|invalid literal"):
        sha1_base36_from_hex(digest)


def test_a_hidden_text_is_an_answer_whatever_else_the_api_gives() -> None:
    server = api_server.ApiServer()
    server.put(9, SOME)
    server.hide(9)
    hidden = read_answers(api(server.revisions[9]["revision"]), [9]).found[9]
    assert judge(hidden, sha1_base36(SOME)).answer is Answer.HIDDEN
    assert found(9, slot={"texthidden": True}).text is None
    leaking = judge(found(9, slot={"texthidden": True}), sha1_base36(SOME))
    assert (leaking.answer, leaking.text) == (Answer.HIDDEN, None)


def test_a_text_above_two_mebibytes_is_too_large_by_its_size_or_its_bytes() -> None:
    limit = answers.MAX_TEXT_BYTES
    assert judge(found(9, "x" * limit), None).answer is Answer.TEXT
    assert judge(found(9, "x" * (limit + 1)), None).answer is Answer.TOO_LARGE
    assert judge(found(9, "ä" * limit, slot={"size": 5}), None).answer is Answer.TOO_LARGE
    assert judge(found(9, "x", slot={"size": limit + 1}), None).answer is Answer.TOO_LARGE


def test_a_revision_whose_text_the_api_cannot_load_is_unavailable() -> None:
    broken = revision(9)
    broken["slots"]["main"] = {"size": 3, "textmissing": True}
    assert judge(read_answers(api(broken), [9]).found[9], None).answer is Answer.UNAVAILABLE


def test_what_was_not_asked_for_is_left_out_and_what_was_cut_off_is_in_neither() -> None:
    got = read_answers(api(revision(9), revision(10), bad=(11, 12)), [9, 11, 13])
    assert set(got.found) == {9}
    assert got.missing == {11}


def test_an_error_of_the_api_keeps_its_code() -> None:
    with pytest.raises(ApiError) as caught:
        read_answers(b'{"error":{"code":"maxlag","info":"Waiting for db1: 7 seconds lagged","lag":7}}', [9])
    assert caught.value.code == "maxlag"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Our servers are under maintenance</body></html>",
        b'{"batchcomplete":true,"query":{"pages":[{"pag',
        b"[]",
        b"null",
        b"17",
        b'"query"',
        b"{}",
        b'{"error":"maxlag"}',
        b'{"query":[]}',
        b'{"query":{"pages":[7]}}',
        b'{"query":{"pages":[{"revisions":[{"revid":9}]}]}}',
        b'{"query":{"pages":[{"revisions":[{"revid":9,"slots":{"main":{"content":["no text"]}}}]}]}}',
        b'{"query":{"pages":[{"revisions":[{"revid":9,"slots":{"main":{"content":"x","sha1":"-5"}}}]}]}}',
        b'{"query":{"badrevids":{"x":{}}}}',
        b"[" * 100_000,
        b'{"query":{"pages":[{"revisions":[{"revid":9,"slots":{"main":{"content":"\\ud800"}}}]}]}}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        read_answers(body, [9])


@pytest.mark.parametrize("depth", [300, 1_000])
def test_an_answer_that_is_nested_deeper_than_python_goes_is_read(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    with pytest.raises(ApiError, match="…"):
        read_answers(b'{"error":{"code":%s,"info":%s}}' % (deep, deep), [9])
    main = b'{"main":{"contentmodel":%s,"content":"x"}}' % deep
    revision = b'{"revid":9,"roles":%s,"tags":[%s],"slots":%s}' % (deep, deep, main)
    answers = read_answers(b'{"query":{"pages":[{"revisions":[%s]}]}}' % revision, [9])
    assert (answers.found[9].text, answers.found[9].model, answers.found[9].tags) == ("x", "…", ("…",))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading(body: bytes) -> None:
    with pytest.raises((NotAnAnswer, ApiError)):
        read_answers(body, [9])


def test_the_parents_sha1_is_taken_from_the_event_only_of_a_revision_with_one_slot() -> None:
    change = edit(parent_id=8, prior_sha1="a" * 31)
    assert answers.announced_parent_sha1(change, found(8)) == "a" * 31
    assert answers.announced_parent_sha1(change, found(8, roles=["main", "mediainfo"])) is None
    assert answers.announced_parent_sha1(change, found(5)) is None


# Patience


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"visible": False}, Answer.NOT_ASKED),
        ({"size": answers.MAX_TEXT_BYTES + 1}, Answer.TOO_LARGE),
        ({"size": answers.MAX_TEXT_BYTES}, None),
        ({"rev_id": 0}, Answer.UNAVAILABLE),
        ({}, None),
    ],
)
def test_what_the_event_itself_answers_is_not_asked(given: dict[str, Any], answer: Answer | None) -> None:
    assert patience.answer_without_asking(edit(**given)) == answer


def test_a_revision_and_its_parent_come_in_one_answer() -> None:
    job = Job(event=edit(parent_id=8, prior_sha1=sha1_base36("old")), origin=None)
    assert job.wanted == (9, 8)
    assert heard(job, answered((9, SOME), (8, "old"))) is None
    assert job.revision is not None
    assert job.parent is not None
    assert (job.revision.text, job.parent.text) == (SOME, "old")


def test_an_unknown_revision_is_asked_again_after_1_2_5_15_and_60_s_until_no_replica_can_lag_that_far() -> None:
    job, age, waits = Job(event=edit(), origin=None), 0.0, []
    while (wait := heard(job, answered(missing=(9,)), age=age)) is not None:
        waits.append(wait)
        age += wait
    #  0 ── 1 ── 3 ── 8 ── 23 ── 60: the last wait is only as long as the lag can be
    assert waits == [1, 2, 5, 15, 37]
    assert job.revision is not None
    assert job.revision.answer is Answer.MISSING


def test_an_unknown_revision_of_an_old_event_is_missing_at_once_and_so_is_one_of_an_event_from_the_future() -> None:
    assert heard(Job(event=edit(), origin=None), answered(missing=(9,)), age=61) is None
    future = Job(event=edit(), origin=None)
    assert heard(future, answered(missing=(9,)), now=0, age=-1e9) == 1
    assert heard(future, answered(missing=(9,)), now=61, age=-1e9) is None


def test_a_missing_parent_is_believed_only_once_its_child_is_there() -> None:
    job = Job(event=edit(parent_id=8), origin=None)
    assert heard(job, answered(missing=(9, 8)), age=1) == 1
    assert job.wants_parent
    assert heard(job, answered((9, SOME), missing=(8,)), age=2) is None
    assert job.parent == Text(rev_id=8, answer=Answer.MISSING)


def test_a_sha1_that_differs_is_asked_once_more_and_then_final() -> None:
    job = Job(event=edit(), origin=None)
    assert heard(job, answered((9, "other"))) == WAITS_SECONDS[0]
    assert heard(job, answered((9, "other"))) is None
    assert job.revision is not None
    assert (job.revision.answer, job.revision.text) == (Answer.SHA1_MISMATCH, None)
    assert job.trouble == f"announced {sha1_base36(SOME)}, came {sha1_base36('other')}"


def test_a_sha1_that_differs_once_is_forgiven() -> None:
    job = Job(event=edit(), origin=None)
    assert heard(job, answered((9, "other"))) == WAITS_SECONDS[0]
    assert heard(job, answered((9, SOME))) is None
    assert job.revision is not None
    assert job.revision.answer is Answer.TEXT


def test_what_did_not_fit_into_the_answer_is_asked_with_the_next_request_in_smaller_company() -> None:
    job = Job(event=edit(parent_id=8), origin=None)
    assert heard(job, answered((9, SOME))) == 0
    assert job.wanted == (8,)
    assert job.level == 1
    assert heard(job, answered((8, "old"))) is None


def failed(job: Job, trouble: str = "x", *, may_be_cause: bool = True, away: bool = False, now: float) -> float | None:
    return endure(job, trouble, may_be_cause=may_be_cause, away=away, now=now, patience=RULES)


def test_after_giving_up_the_answer_is_unavailable() -> None:
    job = Job(event=edit(parent_id=8), origin=None, first_asked=0.0)
    assert None not in [failed(job, now=now) for now in (*range(1, LEAST_FAILURES - 1), 899)]
    assert failed(job, "HTTP 504", may_be_cause=False, now=900) is None
    assert job.revision == Text(rev_id=9, answer=Answer.UNAVAILABLE)
    assert job.parent == Text(rev_id=8, answer=Answer.UNAVAILABLE)
    assert job.trouble == "HTTP 504"


def test_nothing_is_given_up_on_for_what_no_source_answered() -> None:
    job = Job(event=edit(parent_id=8), origin=None, first_asked=0.0)
    assert [failed(job, away=True, now=now) for now in range(0, 9_000, 60)] == [0.0] * 150
    # Nor for waiting: only once requests for it failed while others were answered.
    assert None not in [failed(job, now=9_000) for _ in range(LEAST_FAILURES - 1)]
    assert (job.revision, failed(job, now=9_000)) == (None, None)


def test_what_fails_alone_is_parked_longer_each_time_and_asked_without_its_parent() -> None:
    job = Job(event=edit(parent_id=8), origin=None, first_asked=0.0, level=ALONE)
    assert job.wanted == (9, 8)
    waits = [failed(job, now=1) for _ in range(6)]
    assert waits == [1, 2, 5, 15, 60, 60]
    assert job.wanted == (9,)


def test_a_parent_that_fails_alone_does_not_hold_up_its_child() -> None:
    job = Job(event=edit(parent_id=8), origin=None, level=ALONE + PARENT_TRIES - 1)
    assert heard(job, answered((9, SOME))) == 0
    assert failed(job, now=1) is None
    assert job.revision is not None
    assert (job.revision.answer, job.parent) == (Answer.TEXT, Text(rev_id=8, answer=Answer.UNAVAILABLE))


# What is held


def test_the_texts_used_last_are_held_and_no_more_than_the_limit() -> None:
    held = HeldTexts(limit_bytes=40_000)
    for rev_id in range(1, 5):
        held.hold("enwiki", Text(rev_id=rev_id, answer=Answer.TEXT, text="x" * 10_000))
        held.get("enwiki", 1)
    assert [rev_id for rev_id in range(1, 5) if held.get("enwiki", rev_id)] == [1, 3, 4]
    assert held.size_bytes <= 40_000
    held.forget("enwiki", 1)
    assert held.get("enwiki", 1) is None
    assert held.get("dewiki", 3) is None
    for rev_id in (3, 4):
        held.forget("enwiki", rev_id)
    assert held.size_bytes == 0


def test_an_answer_that_there_is_no_text_is_not_held() -> None:
    held = HeldTexts()
    held.hold("enwiki", Text(rev_id=1, answer=Answer.MISSING))
    assert held.get("enwiki", 1) is None


# The record


def test_a_content_record_survives_its_codec_and_equal_answers_give_equal_bytes() -> None:
    revision_text = judge(found(9, tags=["b", "a"]), None)
    content = Content(
        wiki="enwiki",
        page_id=7,
        rev_id=9,
        event=api_server.event(9, SOME, at_ms=1_000_000),
        revision=revision_text,
        parent=Text(rev_id=8, answer=Answer.MISSING),
        source="https://en.wikipedia.org/w/api.php",
    )
    payload = encode_content(content)
    assert decode_content(payload) == content
    assert encode_content(decode_content(payload)) == payload


# The recording


def recorded(folder: Path, wiki: str) -> list[dict[str, Any]]:
    with gzip.open(folder / "api" / wiki / "revisions.ndjson.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def announced(folder: Path) -> list[PageChange]:
    with gzip.open(folder / "stream.sse.gz", "rb") as lines:
        payloads = [line[len(b"data: ") :] for line in lines if line.startswith(b"data: {")]
    changes = [decode_event(payload) for payload in payloads if PAGE_CHANGE.encode() in payload]
    return [each for each in changes if isinstance(each, PageChange) and each.kind in EDIT_KINDS]


def test_every_text_of_the_recording_has_the_sha1_that_its_event_and_its_childs_event_announce() -> None:
    folder = shared_data() / "recording"
    found_by: dict[tuple[str, int], Found] = {}
    for wiki in ("enwiki", "dewiki"):
        for row in recorded(folder, wiki):
            got = read_answers(api(row["revision"]), [row["revid"]])
            found_by[wiki, row["revid"]] = got.found[row["revid"]]
    verified = parents = 0
    for change in announced(folder):
        if (own := found_by.get((change.wiki, change.rev_id))) is not None and change.content_visible:
            assert judge(own, answers.announced_sha1(change)).answer is Answer.TEXT
            verified += 1
        if (parent := found_by.get((change.wiki, change.parent_id))) is not None:
            assert judge(parent, answers.announced_parent_sha1(change, parent)).answer is Answer.TEXT
            parents += 1
    print(f"{verified} revisions and {parents} parents verified")
    assert verified > 1000
    assert parents > 800


def test_the_recorded_answers_for_deleted_hidden_suppressed_and_unknown_revisions_are_told_apart() -> None:
    folder = shared_data() / "recording" / "api"
    told: dict[str, set[str]] = {}
    for path in folder.glob("*/samples.ndjson"):
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            if "prop=revisions" not in sample["path"] or "revid" not in sample:
                continue
            got = read_answers(sample["body"].encode(), [sample["revid"]])
            each = got.found.get(sample["revid"])
            answer = "missing" if each is None and got.missing else str(judge(each, None).answer) if each else "?"
            told.setdefault(sample["what"], set()).add(answer)
    assert told["deleted"] == told["unknown"] == {"missing"}
    assert told["text hidden"] == {"hidden"}
    # Where only user and comment are suppressed, the text stays readable.
    assert told["suppressed"] == {"hidden", "text"}
    assert told["ordinary"] == {"text"}
