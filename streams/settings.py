"""Every setting of sluice, read once from the environment: `SLUICE_<FIELD>` in capitals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from schemas.event import (
    PAGE_CHANGE,
    READABLE,
    RECENT_CHANGE,
    RISK_STREAMS,
    TAGS_CHANGE,
    TOPIC_PREDICTION,
    VISIBILITY_CHANGE,
    milliseconds,
)
from schemas.log import Policies, Policy
from streams.policy_files import load

DEFAULT_SOURCE = "https://stream.wikimedia.org"
DEFAULT_CONTENT = "https://{domain}/w/api.php"
FORMS = ("wikitext", "html", "both")
DEFAULT_KAFKA = "127.0.0.1:9092"
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# Every hold > 0 needs these; a source without one of them is none.
REQUIRED_STREAMS = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE)


class InvalidSetting(ValueError):
    """A setting that cannot be used; the message names the variable and says what would do."""


def _about(help_text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults work on a laptop against the live source. Units are in the names."""

    kafka: str = _about("bootstrap servers of the Kafka cluster", DEFAULT_KAFKA)
    topic_prefix: str = _about("first part of every topic name, group and transactional id", "sluice")
    partitions: int = _about("partitions of every per-page topic, for life", 12)
    replication: int = _about("replication factor of the topics", 1)
    source: str = _about("base URL of an EventStreams server", DEFAULT_SOURCE)
    source_fallback: str = _about("base URL of a second EventStreams server; empty = none", "")
    streams: tuple[str, ...] = _about(
        "streams to follow, comma-separated; page_change, tags and visibility must be among them; topic predictions "
        "are added at the start if a policy asks for topics",
        (*REQUIRED_STREAMS, RECENT_CHANGE, *RISK_STREAMS),
    )
    recentchange: str = _about("which recent changes to keep: needed (log actions, patrolled edits) or all", "needed")
    content: str = _about("template of a wiki's action API; {domain} and {wiki} are filled in", DEFAULT_CONTENT)
    content_fallback: str = _about("the same of a second source, asked while the first one fails; empty = none", "")
    content_form: tuple[str, ...] = _about(
        "what is fetched: wikitext, html or both; `wiki=form` for one wiki, comma-separated", ("wikitext",)
    )
    contact: str = _about("URL or mail address for the User-Agent; the live site refuses requests without", "")
    wikis: tuple[str, ...] = _about("wikis to keep, comma-separated (enwiki,dewiki); empty = all", ())
    since: str = _about("where a first start begins: a time (RFC 3339), 90m, 6h, 7d or earliest; empty = now", "")
    policies: tuple[Policy, ...] = _about(
        "policies, comma-separated: each a policy file (deploy/policies/careful.toml), or short: name=hold in seconds",
        (
            Policy(name="live", hold_seconds=0),
            Policy(name="fast", hold_seconds=300),
            Policy(name="standard", hold_seconds=3600),
        ),
    )
    learned: str = _about(
        "file of `sluice learn`: where a policy says protect, it is known from the start; empty = none", ""
    )
    grace_seconds: float = _about("added once to each deadline, for signals under way", 60.0)
    tick_seconds: float = _about("how often the source commits events, ticks and cursor", 1.0)
    quiet_seconds: float = _about("how far behind now a caught-up stream is taken to be heard", 30.0)
    caught_up_seconds: float = _about("how long every message must have been young before we are caught up", 60.0)
    deaf_seconds: float = _about("silence of an upstream topic after which it is deaf", 1200.0)
    idle_seconds: float = _about("silence on the connection after which it is made anew", 60.0)
    linger_seconds: float = _about("how long fetch gathers a wiki's revisions into one request; a hold hides it", 20.0)
    live_wikis: tuple[str, ...] = _about("wikis that are served live: theirs are gathered for less long", ())
    live_linger_seconds: float = _about("how long those are gathered", 1.0)
    lingers: tuple[str, ...] = _about(
        "the same for single wikis, `wiki=seconds`, comma-separated: as its shortest window asks, all share one fetch",
        (),
    )
    erase_seconds: float = _about("how often the source looks for what was hidden, to erase it from the log", 60.0)
    requests_per_minute: float = _about("content API requests of the whole deployment", 200.0)
    replica_lag_seconds: float = _about("age below which an unknown revision may still arrive at the API", 60.0)
    give_up_seconds: float = _about("how long fetch asks, while others are answered, before it says unavailable", 900.0)
    parse_workers: int = _about("processes of enrich that parse, each on a core of its own", 2)
    siteinfo: str = _about(
        "folder of <wiki>.json, as `sluice siteinfo` fills it: wikis whose own words count; empty = none", ""
    )
    assign: str = _about("partitions of this process: group (shared with others) or all", "group")
    instance: str = _about("stable name of this worker in its consumer group; empty = none", "")
    state: str = _about(
        "folder of the own broker's data and the gate's store; empty = ~/.local/state/sluice, and the gate in memory",
        "",
    )
    metrics_host: str = _about("address of /metrics", "127.0.0.1")
    metrics_port: int = _about("port of /metrics; 0 = none", 9108)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read `SLUICE_<FIELD>` for each field; absent means the default. Raises `InvalidSetting`."""
        given: dict[str, Any] = {}
        for setting in fields(cls):
            variable = f"SLUICE_{setting.name.upper()}"
            text = env.get(variable)
            if text is None:
                continue
            try:
                given[setting.name] = _read(setting.name, setting.default, text.strip())
            except ValueError as exc:
                raise InvalidSetting(f"{variable}={text!r}: {exc}") from exc
        settings = cls(**given)
        settings.check()
        return settings

    def check(self) -> None:
        """Raises `InvalidSetting` where one value makes no sense."""
        if self.assign not in {"group", "all"}:
            raise InvalidSetting(f"SLUICE_ASSIGN={self.assign!r}: it is 'group' or 'all'")
        if self.recentchange not in {"needed", "all"}:
            raise InvalidSetting(f"SLUICE_RECENTCHANGE={self.recentchange!r}: it is 'needed' or 'all'")
        if missing := [stream for stream in REQUIRED_STREAMS if stream not in self.streams]:
            raise InvalidSetting(f"SLUICE_STREAMS lacks {', '.join(missing)}: no hold can do without")
        if unknown := [stream for stream in self.streams if stream not in READABLE]:
            raise InvalidSetting(f"SLUICE_STREAMS: we cannot read {', '.join(unknown)}; we read {', '.join(READABLE)}")
        if not 1 <= self.partitions <= 1000:
            raise InvalidSetting(f"SLUICE_PARTITIONS={self.partitions}: 1 to 1000")
        if not 1 <= self.parse_workers <= 256:
            raise InvalidSetting(f"SLUICE_PARSE_WORKERS={self.parse_workers}: 1 to 256")
        for entry in self.content_form:
            if entry.rpartition("=")[2] not in FORMS:
                raise InvalidSetting(f"SLUICE_CONTENT_FORM: {entry!r} is none of {', '.join(FORMS)}, nor wiki=form")
        for wiki, seconds in self.linger_of_wikis.items():
            if not wiki or not 0 < seconds < math.inf:
                raise InvalidSetting(f"SLUICE_LINGERS: {wiki}={seconds:g}: a wiki, and more than 0 seconds")
        for name in ("tick_seconds", "linger_seconds", "live_linger_seconds", "requests_per_minute"):
            if getattr(self, name) <= 0:
                raise InvalidSetting(f"SLUICE_{name.upper()}={getattr(self, name)}: more than 0")

    def with_(self, **changes: Any) -> Self:
        """A copy with some values changed."""
        return replace(self, **changes)

    def described(self) -> list[tuple[str, str, str]]:
        """Each setting as (variable, value as the variable would hold it, what it is for)."""
        return [(f"SLUICE_{f.name.upper()}", _write(getattr(self, f.name)), f.metadata["help"]) for f in fields(self)]

    def form_of(self, wiki: str) -> str:
        """What is fetched of a wiki's revisions: one of `FORMS`."""
        forms = {name: form for name, _, form in (entry.rpartition("=") for entry in self.content_form)}
        return forms.get(wiki, forms.get("", FORMS[0]))

    @property
    def linger_of_wikis(self) -> dict[str, float]:
        """Seconds for which revisions are gathered, of the wikis that have a time of their own.

        Raises `InvalidSetting`.
        """
        single = {}
        for entry in self.lingers:
            wiki, _, seconds = entry.partition("=")
            try:
                single[wiki] = float(seconds)
            except ValueError as exc:
                raise InvalidSetting(f"SLUICE_LINGERS: {entry!r} is not wiki=seconds") from exc
        return dict.fromkeys(self.live_wikis, self.live_linger_seconds) | single

    @property
    def rules(self) -> Policies:
        """The policies as they enter the log."""
        return Policies(policies=self.policies, grace_seconds=self.grace_seconds)

    @property
    def followed(self) -> tuple[str, ...]:
        """The streams to ask for: those of `streams`, and topic predictions if a policy asks for topics."""
        asks = any(rule.match.topic for policy in self.policies for rule in policy.rules)
        missing = asks and TOPIC_PREDICTION not in self.streams
        return (*self.streams, TOPIC_PREDICTION) if missing else self.streams

    @property
    def user_agent(self) -> str:
        return f"sluice/0.1 ({self.contact or 'no contact given'}) aiohttp"


def state_folder(settings: Settings, env: Mapping[str, str]) -> Path:
    """Where the own broker keeps its data: SLUICE_STATE, else the user's state folder by the XDG rule."""
    if settings.state:
        return Path(settings.state)
    base = env.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "sluice"


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where downloads are kept between runs: the user's cache folder by the XDG rule."""
    base = env.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sluice"


def _read(name: str, default: Any, text: str) -> Any:
    if name == "policies":
        return _policies(tuple(_policy(part) for part in text.split(",") if part.strip()))
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, int):
        return int(text)
    if isinstance(default, float):
        return float(text)
    return text


def _write(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(_write(item) for item in value)
    if isinstance(value, Policy):
        return value.path or f"{value.name}={value.hold_seconds:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _policies(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    names = [policy.name for policy in policies]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two policies are called {twice!r}")
    return policies


def _policy(part: str) -> Policy:
    if part.strip().endswith(".toml"):
        try:
            return load(Path(part.strip()))
        except OSError as exc:
            raise ValueError(str(exc)) from exc
    name, equals, hold = part.strip().partition("=")
    if not equals or not name.isidentifier() or not name.isascii() or not name.islower():
        raise ValueError(
            f"{part!r} is no policy; write a file's name or name=seconds, the name in lower-case letters and digits"
        )
    seconds = float(hold)
    if not 0 <= seconds <= 90 * 86_400:
        raise ValueError(f"{part!r}: a hold is from 0 s to 90 days")
    return Policy(name=name, hold_seconds=seconds)


def since_ms(settings: Settings, now_ms: int) -> int:
    """Where a first start begins, in Unix milliseconds. Raises `InvalidSetting`."""
    text = settings.since
    if not text:
        return now_ms
    if text == "earliest":
        return 0
    number, unit = text[:-1], text[-1:]
    if unit in UNITS_MS and number.isascii() and number.isdigit():
        return max(0, now_ms - int(number) * UNITS_MS[unit])
    try:
        return milliseconds(text)
    except ValueError as exc:
        raise InvalidSetting(f"SLUICE_SINCE={text!r}: a time (RFC 3339), 90m, 6h, 7d or earliest; {exc}") from exc
