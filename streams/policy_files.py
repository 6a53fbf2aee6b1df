"""Policies from files: read at the start, and read again while the source runs. What is wrong changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from schemas.policy import Policies, Policy
from schemas.policy_file import InvalidPolicy, read_policy_file

log = logging.getLogger("sluice.policies")


def load(path: Path) -> Policy:
    """Raises `InvalidPolicy`, whose message names file, line and reason, and `OSError`."""
    try:
        return read_policy_file(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError as exc:
        raise InvalidPolicy(0, f"{path}: not UTF-8") from exc
    except InvalidPolicy as exc:
        where = f"{path}:{exc.line}" if exc.line else str(path)
        raise InvalidPolicy(0, f"{where}: {exc.reason}") from exc


class Watch:
    """The policies in force: those of the settings, with the files among them read again when they change.

    A file that has become wrong, or names another policy, is reported once, and the last good one stays in force.
    """

    def __init__(self, policies: Policies) -> None:
        self._rules = policies
        self._seen = {path: _stamp(path) for path in _paths(policies.policies)}
        self.refused: dict[str, str] = {}

    def current(self) -> Policies:
        """Looks at the files; call it as often as you like."""
        for path, seen in list(self._seen.items()):
            stamp = _stamp(path)
            if stamp != seen:
                self._seen[path] = stamp
                self._read(path)
        return self._rules

    def _read(self, path: str) -> None:
        old = next(policy for policy in self._rules.policies if policy.path == path)
        try:
            new = _same_name(load(Path(path)), old)
        except (InvalidPolicy, OSError) as exc:
            self.refused[path] = str(exc)
            log.error("the last good policy stays in force: %s", exc)  # noqa: TRY400 - the reason says it all
            return
        self.refused.pop(path, None)
        if new != old:
            log.info("policy %s is in force as %s says now", new.name, path)
            changed = tuple(new if policy is old else policy for policy in self._rules.policies)
            self._rules = replace(self._rules, policies=changed)


def _same_name(new: Policy, old: Policy) -> Policy:
    """Topics are named after policies, and made before anything runs."""
    if new.name != old.name:
        raise InvalidPolicy(0, f"{new.path}: a running policy is not renamed ({old.name} to {new.name}); restart")
    return new


def _paths(policies: Iterable[Policy]) -> list[str]:
    return [policy.path for policy in policies if policy.path]


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
