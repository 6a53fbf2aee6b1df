"""A policy as a file: TOML in, `Policy` out, and for a wrong file the line and the reason.

    name = "careful"

    [[rule]]                                  # the first rule that matches an edit decides
    match = { editor_class = ["bot"] }
    hold = "5m"

    [[rule]]                                  # the last one has no match: it is for all others
    hold = "24h"                              # or protect = 0.98: as long as is learned to keep 98 % away
    restore = "instant"

The JSON Schema beside this module (policy/1.0.0.json) says the same to an editor.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from schemas.event import EDIT_KINDS
from schemas.learned import HIGHEST_TARGET, UNKNOWN_SECONDS
from schemas.policy import DAY_SECONDS, HORIZON_SECONDS, MAX_HOLD_SECONDS, Match, Policy, Review, Risk, Rule, War
from schemas.reasons import EditorClass

KINDS = frozenset({*EDIT_KINDS, "redirect"})
PAGE_FLAGS = frozenset({"protected", "breaking"})
MODELS = ("revertrisk-language-agnostic", "revertrisk-multilingual", "revertrisk-wikidata")
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}", re.ASCII)
LONGEST_SECONDS = 90 * DAY_SECONDS
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_SECONDS, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)


class InvalidPolicy(ValueError):
    """A policy file that cannot be used. line: where, from 1; 0 if no line can be named."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


class _Wrong(ValueError):
    """A key whose value cannot be used."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def read_policy_file(text: str, path: str = "") -> Policy:
    """path: where it was read. Raises `InvalidPolicy`."""
    try:
        doc = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = re.search(r"at line (\d+)", str(exc))
        raise InvalidPolicy(int(found[1]) if found else text.count("\n") + 1, f"no TOML: {exc}") from exc
    try:
        name, tables = _head(doc)
    except _Wrong as exc:
        raise InvalidPolicy(_line(text, exc.key, None), str(exc)) from exc
    rules = []
    for number, table in enumerate(tables):
        try:
            rules.append(_rule(table))
            _check_place(table, last=number == len(tables) - 1)
        except _Wrong as exc:
            raise InvalidPolicy(_line(text, exc.key, number), str(exc)) from exc
    return Policy(name=name, hold_seconds=rules[-1].hold_seconds, rules=tuple(rules), path=path)


def _head(doc: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    _known(doc, {"name", "about", "measured", "rule"}, "a policy")
    name, tables = doc.get("name"), doc.get("rule")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _Wrong("name", "name: lower-case letters, digits and _, as it becomes part of topic names")
    if not isinstance(tables, list) or not tables or not all(isinstance(each, dict) for each in tables):
        raise _Wrong("rule", "a policy has one [[rule]] at least")
    return name, tables


def _check_place(table: Mapping[str, Any], *, last: bool) -> None:
    if table.get("match") and last:
        raise _Wrong("match", "the last rule is for every edit that no other matches, so it has no match")
    if not table.get("match") and not last:
        raise _Wrong("[[rule]]", "a rule without match ends the list: the rules after it would never be used")


def _rule(table: Mapping[str, Any]) -> Rule:
    _known(table, _KNOBS, "a rule")
    protect, hold = _wait(table)
    require = _choice(table, "require", ("none", "patrolled", "approved", "other_editor"), "none")
    for key in ("wait", "else"):
        if key in table and require == "none":
            raise _Wrong(key, f"{key}: only with require")
    review = None
    if require != "none":
        review = Review(
            kind=require,
            wait_seconds=_duration(table, "wait", MAX_HOLD_SECONDS),
            otherwise=_choice(table, "else", ("release", "withhold"), "withhold"),
        )
    most = _duration(table, "max_hold", max(MAX_HOLD_SECONDS, 2 * hold))
    return Rule(
        match=_match(table.get("match", {})),
        hold_seconds=hold,
        protect=protect,
        min_hold_seconds=_least(table, hold, most) if protect is not None else 0.0,
        clock=_choice(table, "clock", ("edit", "quiet"), "edit"),
        max_hold_seconds=most,
        emit=_choice(table, "emit", ("latest", "each"), "latest"),
        risk=_risk(table["risk"]) if "risk" in table else None,
        require=review,
        trust=_trust(table.get("trust", {})),
        war=_war(table["war"]) if "war" in table else None,
        restore=_choice(table, "restore", ("instant", "no"), "no") == "instant",
        horizon_seconds=_duration(table, "horizon", HORIZON_SECONDS),
        stall=_choice(table, "stall", ("closed", "open"), "closed"),
    )


def _wait(table: Mapping[str, Any]) -> tuple[float | None, float]:
    """(protection, hold in seconds): of a rule that learns its hold, the hold until there is one."""
    if "protect" not in table:
        if "hold" not in table:
            raise _Wrong("[[rule]]", "a rule has a hold, or protect")
        for key in ("min_hold", "until_learned"):
            if key in table:
                raise _Wrong(key, f"{key}: only with protect; a hold is what it is")
        return None, seconds(table["hold"], "hold")
    if "hold" in table:
        raise _Wrong("hold", "hold: not beside protect, which learns it; the hold until then is until_learned")
    target = table["protect"]
    if not _is_number(target) or not 0 < target <= HIGHEST_TARGET:
        most = f"at most {HIGHEST_TARGET}: beyond that too few cases are known"
        raise _Wrong("protect", f"protect: a share of the bad edits, more than 0 and {most}; not {target!r}")
    if "trust" in table:
        raise _Wrong("trust", "trust: not with protect, which learns a hold for each class of editors")
    return float(target), _duration(table, "until_learned", UNKNOWN_SECONDS)


def _least(table: Mapping[str, Any], hold: float, most: float) -> float:
    least = _duration(table, "min_hold", 0.0)
    if least > most:
        raise _Wrong("min_hold", "min_hold: not longer than max_hold")
    if not least <= hold <= most:
        key = "until_learned" if "until_learned" in table else "max_hold" if hold > most else "min_hold"
        raise _Wrong(key, f"{key}: until_learned (7d if it is not given) lies from min_hold to max_hold")
    if not hold:
        raise _Wrong("until_learned", "until_learned: more than 0; nothing is held back otherwise")
    return least


_KNOBS = {
    "clock", "else", "emit", "hold", "horizon", "match", "max_hold", "min_hold", "protect", "require",
    "restore", "risk", "stall", "trust", "until_learned", "wait", "war",
}  # fmt: skip


def _match(table: Any) -> Match:
    _known(_table(table, "match"), {"wiki", "ns", "topic", "kind", "editor_class", "page_flags"}, "match")

    def values(key: str, allowed: Any, kind: type) -> tuple[Any, ...]:
        given = table.get(key, [])
        given = given if isinstance(given, list) else [given]
        for each in given:
            if type(each) is not kind:
                raise _Wrong(key, f"{key}: a list of {'numbers' if kind is int else 'strings'}, not {each!r}")
            if allowed is not None and each not in allowed:
                raise _Wrong(key, f"{key}: {each!r} is none of {', '.join(sorted(allowed))}")
        return tuple(given)

    return Match(
        wiki=values("wiki", None, str),
        ns=values("ns", None, int),
        topic=values("topic", None, str),
        kind=values("kind", KINDS, str),
        editor_class=tuple(EditorClass(each) for each in values("editor_class", set(EditorClass), str)),
        page_flags=values("page_flags", PAGE_FLAGS, str),
    )


def _risk(table: Any) -> Risk:
    _known(_table(table, "risk"), {"model", "max", "fpr", "over", "treat_as"}, "risk")
    model = _choice(table, "model", MODELS, "")
    if ("max" in table) == ("fpr" in table):
        raise _Wrong("risk", "risk: either max, a score, or fpr, a share of false alarms")
    if "fpr" in table and (table["fpr"] != 0.15 or model != MODELS[0]):
        raise _Wrong("fpr", f"fpr: limits are known for 0.15 and {MODELS[0]} only; give max")
    if "max" in table and not (_is_number(table["max"]) and 0 <= table["max"] <= 1):
        raise _Wrong("max", "max: a score from 0 to 1")
    over = table.get("over", "withhold")
    extend = None
    if isinstance(over, str) and over.startswith("extend "):
        extend = seconds(over.removeprefix("extend "), "over")
    elif over != "withhold":
        raise _Wrong("over", 'over: "withhold" or "extend 6h"')
    return Risk(
        model=model,
        max=float(table["max"]) if "max" in table else None,
        extend_seconds=extend,
        missing=_choice(table, "treat_as", ("over", "under"), "under"),
    )


def _war(table: Any) -> War:
    _known(_table(table, "war"), {"n", "hours"}, "war")
    n, hours = table.get("n", 3), table.get("hours", 24)
    if type(n) is not int or not 2 <= n <= 15:
        raise _Wrong("n", "n: from 2 to 15 reverts")
    if not _is_number(hours) or not 0 < hours <= 720:
        raise _Wrong("hours", "hours: more than 0, at most 720")
    return War(n=n, hours=float(hours))


def _trust(table: Any) -> dict[EditorClass, float]:
    _known(_table(table, "trust"), set(EditorClass), "trust")
    for name, factor in table.items():
        if not _is_number(factor) or not 0 <= factor <= 100:
            raise _Wrong(name, f"{name}: a factor of the hold from 0 to 100")
    return {EditorClass(name): float(factor) for name, factor in table.items()}


def seconds(value: Any, key: str) -> float:
    """Seconds of a duration: 90, "90s", "5m", "24h", "7d"."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found:
        value = float(found[1]) * _UNITS[found[2]]
    if not _is_number(value) or not 0 <= value <= LONGEST_SECONDS:
        raise _Wrong(key, f'{key}: a duration from 0 to 90 days, as 90, "90s", "5m", "24h" or "7d"')
    return float(value)


def _duration(table: Mapping[str, Any], key: str, default: float) -> float:
    return seconds(table[key], key) if key in table else default


def _choice(table: Mapping[str, Any], key: str, allowed: tuple[str, ...], default: str) -> Any:
    value = table.get(key, default)
    if value not in allowed:
        raise _Wrong(key, f"{key}: {' or '.join(allowed)}, not {value!r}")
    return value


def _table(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(key, f"{key}: a table, as {key} = {{ … }}")
    return value


def _known(table: Mapping[str, Any], keys: set[str] | set[EditorClass], where: str) -> None:
    for key in table:
        if key not in keys:
            raise _Wrong(key, f"{where} has no {key!r}; it has {', '.join(sorted(keys))}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(text: str, key: str, rule: int | None) -> int:
    """The line of a key, within the rule of that number (None = before all rules)."""
    numbered = list(enumerate(text.splitlines(), start=1))
    starts = [number for number, line in numbered if re.match(r"\s*\[\[\s*rule\s*\]\]", line)]
    first, last = 1, starts[0] if starts else len(numbered) + 1
    if rule is not None and rule < len(starts):
        first, last = starts[rule], starts[rule + 1] if rule + 1 < len(starts) else len(numbered) + 1
    wanted: Callable[[str], Any] = re.compile(rf"(^|[\s{{,.\"']){re.escape(key)}[\"']?\s*=").search
    return next((number for number, line in numbered if first <= number < last and wanted(line)), first)
