"""Random histories of a few pages: logs made from small choices, run through the gate, and judged by the oracle.

Times are seconds after EPOCH. Page 1 is on a wiki that patrols, page 2 on one that reviews, page 3 on neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from test_gate import EPOCH, sha

from processors.oracle_decisions import check_decisions, check_one_verdict, decisions_of, key_of
from processors.oracle_facts import Line as Topics
from processors.oracle_facts import Record
from processors.oracle_history import pages_of
from processors.oracle_ledger import Ledger, Offered
from processors.oracle_log import Partition
from processors.oracle_verdicts import Fate, fates
from processors.shard import Shard
from schemas.decision import Decision, encode_decision, encode_decisions
from schemas.event import (
    PAGE_CHANGE,
    RECENT_CHANGE,
    RISK_STREAMS,
    TAGS_CHANGE,
    TOPIC_PREDICTION,
    VISIBILITY_CHANGE,
    decode_event,
    rfc3339,
)
from schemas.learned import Choice, Learned, Stratum
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Gap,
    Policies,
    Policy,
    Tick,
    encode_gap,
    encode_learned,
    encode_policies,
    encode_tick,
)
from schemas.policy_file import read_policy_file

STREAMS = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE, *RISK_STREAMS)
WIKIS = {1: "frwiki", 2: "dewiki", 3: "enwiki"}
EDITORS: dict[str, dict[str, Any]] = {
    "u0": {},
    "u1": {"user_id": 1, "edit_count": 10},
    "u2": {"user_id": 2, "groups": ["sysop"]},
    "u3": {"user_id": 3, "is_bot": True},
}
RISK = "revertrisk-language-agnostic"
END = 10**9


def wiki_of(page: int) -> str:
    return WIKIS.get(page, "enwiki")


class Entry(NamedTuple):
    """A record of the log. page: whose partition it goes to, 0 = all."""

    kind: bytes
    value: bytes
    page: int


def policy(name: str, *rules: str) -> Policy:
    return read_policy_file(f'name = "{name}"\n' + "".join(f"[[rule]]\n{each}\n" for each in rules))


def policies(*made: Policy) -> Policies:
    return Policies(policies=(Policy(name="live"), *made), grace_seconds=10)


SHORT = Policies(policies=tuple(Policy(name=f"w{hold}", hold_seconds=hold) for hold in (0, 60, 600)))
FULL = Policies(
    policies=(
        Policy(name="live"),
        policy("full", 'hold = 60\nmax_hold = 900\nrestore = "instant"\nwar = {n = 3}'),
        policy("seen", 'hold = 30\nrequire = "other_editor"\nwait = 300\nelse = "release"'),
    )
)
# Each knob, alone and with others; in each set more than one policy, as one state serves all.
SETS = (
    SHORT,
    FULL,
    policies(
        policy("risky", f'hold = 5\nmax_hold = 300\nrisk = {{ model = "{RISK}", max = 0.5 }}'),
        policy("long", f'hold = 50\nrisk = {{ model = "{RISK}", max = 0.5, over = "extend 100", treat_as = "over" }}'),
    ),
    policies(
        policy("patrolled", 'hold = 50\nmax_hold = 400\nrequire = "patrolled"\nwait = 200'),
        policy("approved", 'hold = 20\nmax_hold = 500\nrequire = "approved"\nwait = 100\nelse = "release"'),
    ),
    policies(
        policy("quiet", 'hold = 60\nclock = "quiet"\nmax_hold = 200\nemit = "each"'),
        policy("wars", "hold = 60\nmax_hold = 250\nwar = {n = 2, hours = 1}\ntrust = { trusted = 0.5 }"),
        policy("open", 'hold = 40\nstall = "open"\nwar = {n = 3}'),
    ),
    policies(
        policy(
            "kinds",
            'match = { editor_class = ["bot"] }\nhold = 5',
            'match = { kind = ["create", "redirect"] }\nhold = 100',
            'match = { page_flags = ["breaking"] }\nhold = 15',
            'match = { page_flags = ["protected"] }\nhold = 150',
            'match = { topic = ["Culture.Biography.*"] }\nhold = 200\nmax_hold = 400',
            'match = { wiki = ["dewiki"] }\nhold = 0',
            'hold = 30\nhorizon = 500\nrestore = "instant"',
        ),
    ),
)  # fmt: skip


@dataclass
class Writer:
    """Writes a log, choice by choice."""

    log: list[Entry] = field(default_factory=list)
    at: int = 0
    serial: int = 0
    revs: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def wait(self, seconds: int) -> None:
        self.at += seconds

    def control(self, value: bytes) -> None:
        self.log.append(Entry(KIND_CONTROL, value, 0))

    def tick(self, behind: int, *, late: dict[str, int] | None = None) -> None:
        self.serial += 1
        heard = dict.fromkeys(STREAMS, self.at - behind)
        heard |= {stream: self.at - behind - seconds for stream, seconds in (late or {}).items()}
        heard_ms = {stream: EPOCH + at * 1000 for stream, at in heard.items()}
        self.log.append(Entry(KIND_TICK, encode_tick(Tick(number=self.serial, heard_ms=heard_ms, cursor=())), 0))

    def change(self, kind: str, page: int, rev: int, text: str, user: str, *, ago: int = 0, **more: Any) -> None:
        at = rfc3339(EPOCH + (self.at - ago) * 1000)
        prior = more.pop("prior", None)
        editor = {"user_text": user, **EDITORS.get(user, {})}
        place = {
            "page_id": page,
            "page_title": f"P{page}",
            "namespace_id": 0,
            "is_redirect": more.pop("redirect", False),
        }
        self.event(
            PAGE_CHANGE,
            {
                "page_change_kind": kind,
                "dt": at,
                "wiki_id": wiki_of(page),
                "page": place,
                "performer": {"user_text": "Admin"},
                "revision": {
                    "rev_id": rev, "rev_dt": at, "rev_sha1": sha(text), "editor": editor,
                    **{f"is_{part}_visible": True for part in ("content", "editor", "comment")}, **more,
                },
                **({"prior_state": prior} if prior else {}),
            },
            page,
            ago,
        )  # fmt: skip

    def about(self, stream: str, page: int, rev: int, ago: int, **more: Any) -> None:
        self.event(stream, {"database": wiki_of(page), "page_id": page, "rev_id": rev, **more}, page, ago)

    def visibility(self, page: int, rev: int, ago: int, *, shows: bool = False) -> None:
        all_ = {"text": True, "user": True, "comment": True}
        now, before = (all_, all_ | {"text": False}) if shows else (all_ | {"text": False}, all_)
        self.about(VISIBILITY_CHANGE, page, rev, ago, visibility=now, prior_state={"visibility": before})

    def says(self, stream: str, page: int, rev: int, ago: int, model: str, shares: dict[str, float]) -> None:
        said = {"model_name": model, "model_version": "3", "predictions": [], "probabilities": shares}
        about = {"wiki_id": wiki_of(page), "page": {"page_id": page}, "revision": {"rev_id": rev}}
        self.event(stream, about | {"predicted_classification": said}, page, ago)

    def action(self, page: int, kind: str, action: str, ago: int, *, params: Any = None, title: str = "") -> None:
        doc = {
            "wiki": wiki_of(page),
            "type": "log",
            "title": title or f"P{page}",
            "log_type": kind,
            "log_action": action,
        }
        self.event(RECENT_CHANGE, doc | {"log_params": params}, 0, ago)

    def event(self, stream: str, doc: dict[str, Any], page: int, ago: int) -> None:
        self.serial += 1
        dt = rfc3339(EPOCH + (self.at - ago) * 1000)
        meta = {"id": f"e{self.serial}", "stream": stream, "domain": "x.wikipedia.org", "dt": dt}
        self.log.append(Entry(KIND_EVENT, orjson.dumps({"meta": meta, **doc}), page))

    def end(self) -> None:
        """Time for everything."""
        self.at = END
        self.tick(0)


PAGES, USERS = st.integers(1, 3), st.sampled_from(sorted(EDITORS))
BACK = st.integers(0, 5)  # how many revisions back a signal is about
AGO = st.sampled_from([0, 0, 0, 0, 5, 25, 120])  # how long before it is read it happened


class History(RuleBasedStateMachine):
    """A wiki at work. `rules` is the policy set in force; a subclass judges the log in `judge`."""

    sets: Sequence[Policies] = SETS

    def __init__(self) -> None:
        super().__init__()
        self.writer = Writer()
        self.rules: Policies = SHORT
        self.crowded = False
        self.forgotten: set[int] = set()
        self.came: tuple[Policy, ...] = ()
        self.gone: list[str] = []
        self.went: set[str] = set()

    @initialize(number=st.integers(0, 99))
    def begin(self, number: int) -> None:
        self.rules = self.sets[number % len(self.sets)]

    @rule(page=PAGES, text=st.integers(0, 4), user=USERS, after=st.integers(0, 90), ago=st.sampled_from([0, 0, 0, 15]))
    def edit(self, page: int, text: int, user: str, after: int, ago: int) -> None:
        self.writer.wait(after)
        kind = "edit" if self.writer.revs[page] else "create"
        self._edit(kind, page, f"t{text}", user, ago=ago)

    @rule(page=PAGES, user=USERS, after=st.integers(0, 30))
    def vandalize_and_revert(self, page: int, user: str, after: int) -> None:
        self._edit("edit", page, "good", "u1")
        self.writer.wait(after)
        self._edit("edit", page, f"bad{self.writer.serial}", user)
        self.writer.wait(after)
        self._edit("edit", page, "good", "u2")

    @rule(page=PAGES, back=BACK, user=USERS)
    def declare_a_revert(self, page: int, back: int, user: str) -> None:
        if self.writer.revs[page]:
            named = self._rev(page, back)
            revert = {"method": "undo", "is_exact": False, "rev_reverted_oldest_id": named}
            self._edit("edit", page, f"undone{self.writer.serial}", user, revert=revert)

    @rule(page=PAGES, user=USERS, redirect=st.booleans())
    def move(self, page: int, user: str, redirect: bool) -> None:
        if self.writer.revs[page]:
            self._edit("move", page, "moved", user, redirect=redirect)

    @rule(page=PAGES, after=st.sampled_from([1, 60, 600]))
    def crowd(self, page: int, after: int) -> None:
        """Once, as each edit is looked at again and again."""
        if self.crowded:
            return
        self.crowded = True
        for number in range(10):
            self.writer.wait(after)
            self._edit("edit", page, f"crowd{self.writer.serial}", f"c{number}")

    @rule(page=PAGES, user=USERS)
    def block_its_editor(self, page: int, user: str) -> None:
        self._edit("edit", page, f"blocked{self.writer.serial}", user)
        self.writer.action(page, "block", "block", 0, params={}, title=f"User:{user}")

    @rule(page=PAGES, user=USERS)
    def restore_what_is_out(self, page: int, user: str) -> None:
        for text, editor, after in (("good", "u1", 300), (f"bad{self.writer.serial}", user, 5), ("good", "u2", 5)):
            self._edit("edit", page, text, editor)
            self.writer.wait(after)
            self.writer.tick(0)

    @rule(page=PAGES, after=st.sampled_from([5, 200]))
    def hide_and_show_again(self, page: int, after: int) -> None:
        self._edit("edit", page, f"hidden{self.writer.serial}", "u0")
        hidden = self.writer.revs[page][-1]
        self.writer.visibility(page, hidden, 0)
        self._edit("edit", page, f"later{self.writer.serial}", "u1")
        self.writer.wait(after)
        self.writer.tick(0)
        self.writer.visibility(page, hidden, 0, shows=True)

    @rule(after=st.sampled_from([5, 40]))
    def approve_and_take_back(self, after: int) -> None:
        self._edit("edit", 2, f"seen{self.writer.serial}", "u0")
        for action in ("approve", "unapprove"):
            self.writer.action(2, "review", action, 0, params=[self.writer.revs[2][-1], 0, ""])
            self.writer.wait(after)

    @rule(page=PAGES)
    def put_off_behind_a_bar(self, page: int) -> None:
        """The tag comes too late for the edit's fire time; then an edit of before that is read."""
        self._edit("edit", page, f"late{self.writer.serial}", "u0")
        self.writer.wait(75)
        self.tag(page, 0, 0)
        self._edit("edit", page, f"before{self.writer.serial}", "u1", ago=10)

    def _edit(self, kind: str, page: int, text: str, user: str, **more: Any) -> None:
        rev, revs = self.writer.serial + 1, self.writer.revs[page]
        # Now and then a parent that nobody has seen.
        parent = rev + 10**6 if rev % 7 == 0 else revs[-1] if revs else 0
        self.writer.change(kind, page, rev, text, user, rev_parent_id=parent, **more)
        revs.append(rev)

    def _rev(self, page: int, back: int) -> int:
        revs = self.writer.revs[page]
        # Now and then about one that comes later.
        return (
            self.writer.serial + 3 if back == 5 and self.writer.serial % 3 == 0 else revs[max(0, len(revs) - 1 - back)]
        )

    @rule(page=PAGES, back=BACK, ago=AGO)
    def tag(self, page: int, back: int, ago: int) -> None:
        if self.writer.revs[page]:
            tags: dict[str, Any] = {"tags": ["mw-reverted"], "prior_state": {"tags": []}}
            self.writer.about(TAGS_CHANGE, page, self._rev(page, back), ago, **tags)

    @rule(page=PAGES, back=BACK, ago=AGO, shows=st.booleans())
    def hide_or_show(self, page: int, back: int, ago: int, shows: bool) -> None:
        if self.writer.revs[page]:
            self.writer.visibility(page, self._rev(page, back), ago, shows=shows)

    @rule(page=PAGES, undelete=st.booleans(), after=st.integers(1, 60))
    def delete(self, page: int, undelete: bool, after: int) -> None:
        if self.writer.revs[page]:
            rev = self.writer.revs[page][-1]
            self.writer.change("delete", page, rev, "gone", "u2")
            if undelete and rev not in self.forgotten:
                self.writer.wait(after)
                self.writer.change("undelete", page, rev, "back", "u2")

    @rule(page=PAGES, back=BACK, score=st.sampled_from([0.1, 0.9]), ago=AGO)
    def score(self, page: int, back: int, score: float, ago: int) -> None:
        if self.writer.revs[page]:
            shares = {"true": score, "false": 1 - score}
            self.writer.says(RISK_STREAMS[0], page, self._rev(page, back), ago, RISK, shares)

    @rule(page=PAGES, living=st.booleans())
    def topics(self, page: int, living: bool) -> None:
        """Also before anything else of the page."""
        rev = self._rev(page, 0) if self.writer.revs[page] else self.writer.serial + 2
        shares = {"Culture.Biography.Women": 0.9 if living else 0.1, "STEM": 0.6}
        self.writer.says(TOPIC_PREDICTION, page, rev, 0, "outlink", shares)

    @rule(page=st.sampled_from([1, 2]), back=BACK, action=st.sampled_from(["yes", "yes", "no"]), ago=AGO)
    def look(self, page: int, back: int, action: str, ago: int) -> None:
        if self.writer.revs[page]:
            rev = self._rev(page, back)
            if page == 1:
                self.writer.action(1, "patrol", "patrol", ago, params={"curid": str(rev)})
            else:
                self.writer.action(2, "review", "approve" if action == "yes" else "unapprove", ago, params=[rev, 0, ""])

    @rule(page=PAGES, user=USERS, ago=AGO)
    def block(self, page: int, user: str, ago: int) -> None:
        self.writer.action(page, "block", "block", ago, params={}, title=f"User:{user}")

    @rule(page=PAGES, on=st.booleans())
    def protect(self, page: int, on: bool) -> None:
        if self.writer.revs[page]:
            self.writer.action(page, "protect", "protect" if on else "unprotect", 0, params={})
            self._edit("edit", page, f"protected{self.writer.serial}", "u1")

    @rule(after=st.integers(1, 120), behind=st.sampled_from([0, 20, 45]))
    def tick(self, after: int, behind: int) -> None:
        self.writer.wait(after)
        self.writer.tick(behind)

    @rule(stream=st.sampled_from(STREAMS), seconds=st.sampled_from([30, 200]))
    def tick_with_a_stream_behind(self, stream: str, seconds: int) -> None:
        self.writer.tick(0, late={stream: seconds})

    @rule(back=st.integers(1, 100), length=st.integers(1, 50), stream=st.sampled_from(["", "", "", *STREAMS]))
    def gap(self, back: int, length: int, stream: str) -> None:
        from_ms = EPOCH + (self.writer.at - back) * 1000
        self.writer.control(encode_gap(Gap(from_ms=from_ms, to_ms=from_ms + length * 1000, stream=stream)))

    @rule(after=st.sampled_from([5, 200]), score=st.sampled_from([0.9, 0.1]))
    def score_and_look(self, after: int, score: float) -> None:
        """A model is against an edit, or for it, and a patroller is for it."""
        self._edit("edit", 1, f"risky{self.writer.serial}", "u0")
        rev = self.writer.revs[1][-1]
        self.writer.says(RISK_STREAMS[0], 1, rev, 0, RISK, {"true": score, "false": 1 - score})
        self.writer.wait(after)
        self.writer.action(1, "patrol", "patrol", 0, params={"curid": str(rev)})

    def teardown(self) -> None:
        self.writer.end()
        self.judge(self.writer.log)

    def judge(self, log: list[Entry]) -> None:
        raise NotImplementedError


LEARNING = policies(
    policy("most", 'protect = 0.9\nuntil_learned = 40\nmin_hold = 10\nmax_hold = 300\nrestore = "instant"'),
    policy("half", "match = { ns = [1] }\nhold = 5", "protect = 0.5\nuntil_learned = 20\nmax_hold = 100"),
)
# Of policies that come.
KNOBS = {
    "full": "hold = {hold}\nmax_hold = 900",
    "other": 'hold = {hold}\nmax_hold = 900\nrequire = "other_editor"\nwait = 400',
    "war": "hold = {hold}\nmax_hold = 900\nwar = {{n = 2, hours = 1}}",
}
STRATA = (Stratum(), Stratum("frwiki"), Stratum("enwiki", "new"), Stratum("dewiki", "anon", "1-5"))


class Changing(History):
    """Other holds come into force meanwhile, and tables of what was learned; policies come, go and come back."""

    sets = (*SETS, LEARNING)

    @rule(strata=st.sets(st.sampled_from(STRATA), min_size=1), hold=st.sampled_from([3, 30, 90, 2000]))
    def learn(self, strata: set[Stratum], hold: int) -> None:
        chosen = [(stratum, target) for stratum in strata for target in (0.5, 0.9)]
        rows = {key: Choice(int(hold * 1000 * key[1]), Stratum(key[0].wiki), 300) for key in chosen}
        self.writer.control(encode_learned(Learned(at_ms=EPOCH, rows=rows)))

    @rule()
    def months_go_by(self) -> None:
        """How active pages are is known then; which epochs there were is forgotten."""
        self.forgotten = {rev for revs in self.writer.revs.values() for rev in revs}
        for _ in range(2):
            self.writer.wait(31 * 86_400)
            self.writer.tick(0)

    @rule(hold=st.sampled_from([0, 0, 20, 400, None]))
    def change_the_holds(self, hold: int | None) -> None:
        """None: as they were at first."""
        mine = self._present()
        changed = mine if hold is None else tuple(held(each, hold) for each in mine)
        self.writer.control(encode_policies(replace(self.rules, policies=changed)))

    def _present(self) -> tuple[Policy, ...]:
        return tuple(each for each in (*self.rules.policies, *self.came) if each.name not in self.gone)

    @rule(hold=st.sampled_from([0, 30, 300, 3000]), knob=st.sampled_from(["", *KNOBS]))
    def a_policy_comes(self, hold: int, knob: str) -> None:
        """One more, for what waits and what is to come: in the short form, or with a rule of its own."""
        name = f"new{len(self.came)}"
        come = policy(name, KNOBS[knob].format(hold=hold)) if knob else Policy(name=name, hold_seconds=hold)
        self.came = (*self.came, come)
        self.change_the_holds(None)

    @rule(number=st.integers(0, 9))
    def a_policy_goes(self, number: int) -> None:
        """Also one of those that came; one stays."""
        present = self._present()
        if len(present) > 1:
            self.gone.append(present[number % len(present)].name)
            self.went.add(self.gone[-1])
            self.change_the_holds(None)

    @rule(number=st.integers(0, 9))
    def it_comes_back(self, number: int) -> None:
        if self.gone:
            del self.gone[number % len(self.gone)]
            self.change_the_holds(None)

    @rule(page=PAGES, number=st.integers(0, 9), after=st.sampled_from([5, 200]))
    def miss_a_bar(self, page: int, number: int, after: int) -> None:
        """What a policy let out, or holds, is undone while it is gone."""
        self._edit("edit", page, f"missed{self.writer.serial}", "u0")
        self.writer.wait(after)
        self.writer.tick(0)
        self.a_policy_goes(number)
        self.tag(page, 0, 0)
        self._edit("edit", page, f"on top{self.writer.serial}", "u1")
        self.it_comes_back(len(self.gone) - 1)

    @rule(page=PAGES, hold=st.sampled_from([30, 300]))
    def fight_before_a_rule_asks(self, page: int, hold: int) -> None:
        for text, user in (("a", "u1"), ("b", "u2"), ("a", "u1"), ("b", "u2")):
            self._edit("edit", page, text, user)
        self.a_policy_comes(hold, "war")


def held(policy: Policy, hold: int) -> Policy:
    """The same with another hold in each rule."""
    if not policy.rules:
        return replace(policy, hold_seconds=float(hold))
    return replace(policy, rules=tuple(replace(rule, hold_seconds=float(hold)) for rule in policy.rules))


def random_log(random_state: int, *, pages: int = 12, length: int = 300, first: int = 1) -> list[Entry]:
    """A log without an end, of edits, what is said about them, and ticks. first: the first page's id."""
    chooser, writer = Random(random_state), Writer()
    for _ in range(length):
        writer.wait(chooser.randint(0, 40))
        page, back = first + chooser.randrange(pages), chooser.randint(1, 6)
        revs = writer.revs[page]
        kind = chooser.choice(["edit"] * 6 + ["tag", "hide", "delete", "tick", "tick"])
        if kind == "tick":
            writer.tick(20)
        elif kind == "edit":
            revs.append(writer.serial + 1)
            writer.change("edit", page, revs[-1], f"t{chooser.randint(0, 5)}", f"u{chooser.randint(0, 2)}")
        elif revs and kind == "tag":
            writer.about(TAGS_CHANGE, page, revs[-back:][0], 0, tags=["mw-reverted"], prior_state={"tags": []})
        elif revs and kind == "hide":
            writer.visibility(page, revs[-back:][0], 0)
        elif revs:
            writer.change("delete", page, revs[-1], "gone", "u2")
    return writer.log


def shard_of(rules: Policies) -> Shard:
    shard = Shard()
    shard.apply(KIND_CONTROL, encode_policies(rules))
    return shard


def run(shard: Shard, log: Iterable[Entry]) -> list[Decision]:
    return [d for kind, value, _ in log for group in shard.apply(kind, value) for d in group.decisions]


def partition_of(log: Sequence[Entry], rules: Policies) -> Partition:
    """The log as the oracle is given it."""
    records, offered = [], []
    for offset, (kind, value, page) in enumerate([Entry(KIND_CONTROL, encode_policies(rules), 0), *log]):
        key = b"any"
        if kind == KIND_EVENT:
            doc = orjson.loads(value)
            event_id = doc["meta"]["id"]
            key = f"{page}:0:0:{event_id}".encode()
            number, event = len(offered), decode_event(value)
            offered.append(Offered(number=number, at_ms=0, topic="any", offset=number, event=event, doc=doc))
        records.append(Record(topic="any", partition=0, offset=offset, key=key, value=value, headers={"kind": kind}))
    return Partition(records, Ledger({}, tuple(offered)))


def fates_of(log: Sequence[Entry], rules: Policies) -> list[Fate]:
    return [fate for page in pages_of(partition_of(log, rules)) for fate in fates(page)]


def by_page(decisions: Iterable[Decision]) -> dict[int, list[bytes]]:
    """The bodies, as they follow each other on a page."""
    made: dict[int, list[bytes]] = defaultdict(list)
    for decision in decisions:
        made[decision.page_id].append(encode_decision(decision))
    return made


def objections(log: Sequence[Entry], rules: Policies, decisions: Sequence[Decision]) -> list[str]:
    """What the oracle has against these decisions about this log."""
    return disagreements(fates_of(log, rules), decisions)


def misplaced(expected: Sequence[Fate], log: Sequence[Entry], rules: Policies) -> list[str]:
    """What the gate does not decide by the very record of the log by which the oracle says it must be."""
    shard = shard_of(rules)
    due = {(*key_of(step.decision), step.decision.state): step.moment[0] for fate in expected for step in fate.steps}
    # The oracle is given the policies as the first record.
    came = {(*key_of(d), d.state): place for place, e in enumerate(log, start=1) for d in run(shard, [e])}
    return [f"{key}: {due[key]} | {came[key]}" for key in due if key in came and due[key] != came[key]]


def disagreements(expected: Sequence[Fate], decisions: Sequence[Decision]) -> list[str]:
    record = Record(topic="decisions", partition=0, offset=0, key=b"", value=encode_decisions(decisions))
    line = Topics(
        partitions=1, source=(), content=(), enriched=(), decisions=[record], deadletter=(), edits={}, pages={}
    )  # fmt: skip
    made = decisions_of(line)
    findings = (check_one_verdict(expected, made), check_decisions(expected, made))
    known = {(fate.policy, *fate.page.key, fate.edit.event.rev_id, fate.edit.epoch) for fate in expected}
    wrong = [f"{d.what}: {d.expected} | {d.came}" for finding in findings for d in finding.disagreements]
    return wrong + [f"{key} is decided, and should not be" for key in made if key not in known]
