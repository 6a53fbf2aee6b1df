"""When an answer is final, and how long to wait before asking again where it is not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from processors.answers import (
    MAX_TEXT_BYTES,
    Answers,
    announced_bytes,
    announced_parent_sha1,
    announced_sha1,
    announced_slots,
    judge,
)
from processors.batcher import ALONE, Job
from schemas.content import Html, Text
from schemas.event import PageChange
from schemas.reasons import Answer

# How long a revision that the API does not know yet, or cannot give, is left alone: the first wait, the second, …
WAITS_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
# Nothing is given up on before so many requests for it have failed, however long it waited for them: after an outage of
# an hour all have waited for long, and while a third of the requests fails, five in a row are no rarity.
LEAST_FAILURES = 10
# A parent that makes every request fail is asked for this often by itself.
PARENT_TRIES = 3
# A page that cannot be had is given up on after so many requests: the texts are what matters.
PAGE_TRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """replica_lag_seconds: age up to which an unknown revision may still arrive. give_up_seconds: since first asked."""

    replica_lag_seconds: float
    give_up_seconds: float


def answer_without_asking(event: PageChange) -> Answer | None:
    """What the event itself answers; None if the API has to be asked."""
    if not event.content_visible:
        return Answer.NOT_ASKED
    if announced_bytes(event) > MAX_TEXT_BYTES:
        return Answer.TOO_LARGE
    if event.rev_id <= 0:
        return Answer.UNAVAILABLE
    return None


def close(job: Job, revision: Answer, parent: Answer) -> None:
    """Give the job these answers where it has none yet."""
    if job.revision is None:
        job.revision = Text(rev_id=job.event.rev_id, answer=revision)
    if job.wants_parent:
        job.parent = Text(rev_id=job.event.parent_id, answer=parent)


def hear(job: Job, answers: Answers, *, now: float, age_seconds: float, patience: Patience) -> float | None:
    """Take an answer into the job.

    now: of the clock of `job.first_asked`. age_seconds: of the event, by wall clock.
    Returns None if the job has all it wants; else the seconds to wait before it is asked again, 0 for what did not
    fit into this answer.
    """
    job.asked += 1
    wait = _hear_revision(job, answers, now, age_seconds, patience)
    if job.wants_parent:
        found = answers.found.get(job.event.parent_id)
        if found is not None:
            job.parent = judge(found, announced_parent_sha1(job.event, found))
        elif job.revision is not None and job.event.parent_id in answers.missing:
            # Not before the revision is there: a replica that lags may lack both.
            job.parent = Text(rev_id=job.event.parent_id, answer=Answer.MISSING)
    if job.revision is not None and not job.wants_parent:
        return None
    job.retry = wait is not None
    if wait is None:
        job.level += 1
        return 0.0
    return wait


def endure(job: Job, trouble: str, *, may_be_cause: bool, away: bool, now: float, patience: Patience) -> float | None:
    """A request failed. Returns None if the job is given up on, with its answers filled in; else the seconds to wait.

    may_be_cause: it can be this revision that the API cannot answer, not the API. away: no source answers anybody; then
    nothing is given up on, since what is published without its text stays so.
    """
    job.trouble = trouble
    job.retry = True
    if away:
        return 0.0
    job.failures += 1
    job.level += may_be_cause
    only_parent = job.revision is not None
    if _is_over(job, now, patience) or (only_parent and job.level >= ALONE + PARENT_TRIES):
        close(job, Answer.UNAVAILABLE, Answer.UNAVAILABLE)
        return None
    return _nth(job.level - ALONE) if may_be_cause and job.level > ALONE else 0.0


def hear_page(job: Job, html: Html, *, now: float, age_seconds: float, patience: Patience) -> float | None:
    """Take the page into the job. Arguments and return value as in `hear`: what is rendered may lag behind as well."""
    job.page_tries += 1
    lags = html.answer is Answer.MISSING and patience.replica_lag_seconds > max(age_seconds, _asked_for(job, now))
    if lags or (html.answer is Answer.SHA1_MISMATCH and job.page_tries == 1):
        job.retry = True
        return _nth(job.page_tries)
    job.html = html
    return None


def endure_page(job: Job, trouble: str, *, away: bool) -> float | None:
    """A request for the page failed. Returns None if it is given up on, else the seconds to wait. See `endure`."""
    job.trouble = trouble
    job.retry = True
    if away:
        return 0.0
    job.page_tries += 1
    if job.page_tries >= PAGE_TRIES:
        job.html = Html(answer=Answer.UNAVAILABLE)
        return None
    return _nth(job.page_tries)


def _hear_revision(job: Job, answers: Answers, now: float, age_seconds: float, patience: Patience) -> float | None:
    """Seconds to wait if there is an answer that is not final; None if it is, or if there is none."""
    rev_id = job.event.rev_id
    if job.revision is not None:
        return None
    if rev_id in answers.missing:
        text = Text(rev_id=rev_id, answer=Answer.MISSING)
    elif rev_id in answers.found:
        text = judge(answers.found[rev_id], announced_sha1(job.event), announced_slots(job.event))
    else:
        return None
    wait = _wait(job, text, now, age_seconds, patience)
    if wait is None:
        job.revision = text
    return wait


def _wait(job: Job, text: Text, now: float, age_seconds: float, patience: Patience) -> float | None:
    asked_for = _asked_for(job, now)
    if text.answer is Answer.MISSING:
        # An event from the future does not make us wait longer than one of now.
        left = patience.replica_lag_seconds - max(age_seconds, asked_for)
    elif text.answer is Answer.UNAVAILABLE:
        job.trouble = "the API has the revision and gives neither its text nor a reason"
        left = patience.give_up_seconds - asked_for
    elif text.answer is Answer.SHA1_MISMATCH:
        job.mismatches += 1
        job.trouble = f"announced {announced_sha1(job.event)}, came {text.sha1}"
        return None if job.mismatches > 1 else WAITS_SECONDS[0]
    else:
        return None
    return min(_nth(job.asked), left) if left > 0 else None


def _is_over(job: Job, now: float, patience: Patience) -> bool:
    return job.failures >= LEAST_FAILURES and _asked_for(job, now) >= patience.give_up_seconds


def _asked_for(job: Job, now: float) -> float:
    return 0.0 if job.first_asked is None else now - job.first_asked


def _nth(times: int) -> float:
    """The wait after the n-th time, from 1."""
    return WAITS_SECONDS[min(times, len(WAITS_SECONDS)) - 1]
