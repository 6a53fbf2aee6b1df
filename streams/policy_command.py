"""`sluice policy check|explain|try`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from processors import curve, whatif
from schemas.log import Policies
from schemas.policy import Match, Policy, Rule
from schemas.policy_file import InvalidPolicy
from streams.capture import read_capture
from streams.histories import read_history
from streams.policy_files import load


def check(paths: Iterable[Path]) -> tuple[list[str], bool]:
    """A line per file: what it holds, or where it is wrong and why; and whether all are right."""
    lines, good = [], True
    for path in paths:
        try:
            policy = load(path)
            learned = sum(rule.protect is not None for rule in policy.rules)
            holds = f", {learned} with a hold that is learned" if learned else ""
            lines.append(f"{path}: policy {policy.name}, {_plural(len(policy.rules), 'rule')}{holds}")
        except InvalidPolicy as exc:
            lines.append(str(exc))
            good = False
    return lines, good


def explain(policy: Policy, text: str) -> str:
    """What a policy says, in sentences. text: its file, which may say what was measured."""
    doc = tomllib.loads(text)
    lines = [f"Policy {policy.name}: {doc.get('about', 'no description')}."]
    for number, rule in enumerate(policy.rules):
        lines.append(f"{number}. {whom(rule.match)}: {'; '.join(how(rule))}.")
    if measured := doc.get("measured"):
        lines.append(
            "A fixed window of this length, on 25 contentious enwiki pages: protection "
            f"{100 * measured['protection']:g} %, leak {100 * measured['leak']:g} %, "
            f"{measured['retractions_per_1000']:g} retractions per 1,000, mean delay {measured['mean_delay']}."
        )
    return "\n".join(lines)


def attempt(policies: Sequence[Policy], path: Path) -> str:
    """What the policies would have done over a capture or a history, side by side."""
    rules = Policies(policies=tuple(policies))
    if path.name.removesuffix(".gz").endswith(".csv"):
        pages = curve.pages(read_history(path))
        truth: dict[whatif.EditKey, curve.Edit] = {}
        records: list[whatif.Record] = []
        for page_id, history in enumerate(pages.values(), start=1):
            for edit in curve.judged(history):
                truth["history", page_id, edit.revision.rev_id, 0] = edit
            records += whatif.history_log(history, page_id, rules)
        return whatif.table(whatif.outcomes(whatif.over_log(records, rules), rules, truth))
    captured = ((r.partition, r.kind, r.value) for r in read_capture(path))
    return whatif.table(whatif.outcomes(whatif.over_log(captured, rules), rules))


def whom(match: Match) -> str:
    """Which edits, in words."""
    parts = [
        f"{name} {' or '.join(map(str, values))}"
        for name, values in (
            ("wiki", match.wiki),
            ("namespace", match.ns),
            ("topic", match.topic),
            ("kind", match.kind),
            ("editor", match.editor_class),
            ("page", match.page_flags),
        )
        if values
    ]
    return "Edits of " + ", ".join(parts) if parts else "All other edits"


def how(rule: Rule) -> list[str]:
    """What a rule asks, a phrase per knob."""
    said = [_wait(rule)]
    if rule.clock == "quiet":
        said.append(f"counted from the page's last edit, {whatif.span(rule.max_hold_ms / 1000)} at most")
    for name, factor in rule.trust.items():
        said.append(f"times {factor:g} for {name} editors")
    if rule.risk is not None:
        limit = f"above {rule.risk.max:g}" if rule.risk.max is not None else "above Wikimedia's limit for 15 %"
        extend = rule.risk.extend_seconds
        then = "are withheld" if extend is None else f"wait {whatif.span(extend)} more"
        said.append(f"scores of {rule.risk.model} {limit} {then}, a missing score counts as {rule.risk.missing}")
    if rule.require is not None:
        then = "released" if rule.require.otherwise == "release" else "withheld"
        said.append(f"must be {rule.require.kind} within {whatif.span(rule.require.wait_seconds)}, else {then}")
    if rule.war is not None:
        said.append(f"after {rule.war.n} reverts in {rule.war.hours:g} h the page must be quiet first")
    if rule.restore:
        said.append("what brings back the text that is out goes out at once")
    if rule.emit == "each":
        said.append("each edit goes out, newer ones notwithstanding")
    if rule.stall == "open":
        said.append("also while only page changes are heard")
    return said


def _wait(rule: Rule) -> str:
    if rule.protect is None:
        return f"wait {whatif.span(rule.hold_seconds)}" if rule.hold_seconds else "go out at once"
    least = f"{whatif.span(rule.min_hold_seconds)} at least and " if rule.min_hold_seconds else ""
    return (
        f"wait as long as is learned to keep {100 * rule.protect:g} % of bad edits away, {least}"
        f"{whatif.span(rule.max_hold_ms / 1000)} at most, and {whatif.span(rule.hold_seconds)} while too few are known"
    )


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
