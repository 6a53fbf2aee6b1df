"""The commands that look at decisions and pages: curve, learn, why, what-if, quality, policy, parse, delta.

Every step starts by way of this module too, so what takes long to load is loaded by the command that needs it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from aiokafka.errors import KafkaError

from processors import quality
from processors.namespaces import Namespaces, has_words, namespaces_of
from schemas.event import milliseconds
from schemas.learned import HIGHEST_TARGET
from schemas.log import InvalidRecord
from streams import policy_command, run, why
from streams.commands import Commands, add_command
from streams.histories import run_curve, run_learn
from streams.learning import load_seed
from streams.policy_files import load
from streams.quality import in_json, read_rows
from streams.settings import InvalidSetting, Settings
from streams.siteinfo import words_of


def add(commands: Commands) -> None:
    """Their arguments."""
    command = add_command(
        commands, "curve", _curve, "how fast bad edits of a history are undone, from the gate's decisions"
    )
    command.add_argument("file", type=Path, help="CSV: page, rev_id, ts, user, kind, sha1; may be .gz")
    command.add_argument("--decisions", type=Path, metavar="OUT.ndjson", help="one line per edit goes there")
    command.add_argument(
        "--protect",
        type=float,
        metavar="SHARE",
        help="what holds learned for this protection, as 0.98, would have given",
    )

    command = add_command(
        commands, "learn", _learn, "count in histories how soon bad edits are undone, for SLUICE_LEARNED"
    )
    command.add_argument(
        "files", nargs="+", metavar="[WIKI=]FILE", help="as of `sluice curve`; without a wiki it stands for all"
    )
    command.add_argument("--out", type=Path, required=True, metavar="OUT.json", help="the counts go there")
    command.add_argument(
        "--protect", type=float, default=0.98, metavar="SHARE", help="say what this comes to (default: %(default)s)"
    )

    command = add_command(commands, "why", _why, "every decision about one revision, and what led to it")
    command.add_argument("wiki", help="as enwiki")
    command.add_argument("rev", type=int, help="the revision's id")
    command.add_argument("--on", type=Path, metavar="LOG", help="a capture; default: the topics")

    command = add_command(commands, "what-if", _what_if, "what other policies would have done with the log")
    command.add_argument("policies", nargs="+", metavar="POLICY", help="FILE.toml, or name=hold in seconds")
    command.add_argument("--on", type=Path, metavar="LOG", help="a capture; default: the topic")
    command.add_argument("--from", dest="begin", metavar="TIME", help="only events from then on (RFC 3339)")
    command.add_argument("--to", dest="end", metavar="TIME", help="only events before")
    command.add_argument("--picture", type=Path, nargs="*", default=[], metavar="FILE", help="FILE.png, FILE.svg")

    command = add_command(
        commands, "quality", _quality, "what each policy kept away, let through, and took back how late"
    )
    command.add_argument("--since", default="", metavar="DAY", help="only edits from then on, as 2026-11-22")
    command.add_argument(
        "--check", action="store_true", help="fold the decisions anew and compare; code 1 if they differ"
    )
    command.add_argument("--json", action="store_true", help="for machines")

    command = add_command(
        commands, "policy", _policy, "look at policy files: are they right, what do they say, what would they do"
    )
    command.add_argument("action", choices=["check", "explain", "try"])
    command.add_argument("files", type=Path, nargs="+", metavar="FILE.toml")
    command.add_argument(
        "--on", type=Path, metavar="LOG", help="of `try`: a capture, or a history as of `sluice curve`"
    )

    command = add_command(commands, "parse", _parse, "the content of one page as a record has it, as JSON")
    command.add_argument("file", type=Path, help="wikitext in UTF-8, or HTML with --html")
    command.add_argument("--html", action="store_true", help="the file is the HTML that the wiki rendered")
    _of_a_page(command)

    command = add_command(commands, "delta", _delta, "what changed between two texts of a page, as JSON")
    command.add_argument("old", type=Path, help="the parent's text in UTF-8")
    command.add_argument("new", type=Path, help="the revision's text in UTF-8")
    _of_a_page(command)


def _curve(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    _check_protect(arguments.protect)
    print(run_curve(arguments.file, arguments.decisions, arguments.protect))
    return run.OK


def _learn(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    _check_protect(arguments.protect)
    print(run_learn(arguments.files, arguments.out, arguments.protect))
    return run.OK


def _check_protect(share: float | None) -> None:
    if share is not None and not 0 < share <= HIGHEST_TARGET:
        raise InvalidSetting(f"--protect: a share of bad edits, more than 0 and at most {HIGHEST_TARGET}")


def _why(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    if arguments.on is None:
        found = asyncio.run(why.from_topics(Settings.from_env(env), arguments.wiki, arguments.rev))
    else:
        found = list(why.from_capture(arguments.on, arguments.wiki, arguments.rev))
    text, good = why.told(arguments.wiki, arguments.rev, found)
    print(text)
    return run.OK if good and found else run.FAILED


def _what_if(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from processors import whatif
    from streams import what_if

    settings = Settings.from_env(dict(env) | {"SLUICE_POLICIES": ",".join(arguments.policies)})
    records: Iterable[whatif.Record]
    records = what_if.from_capture(arguments.on) if arguments.on else asyncio.run(what_if.from_topic(settings))
    begin, end = (_time(text) for text in (arguments.begin, arguments.end))
    if begin is not None or end is not None:
        records = what_if.between(records, begin or 0, end or 2**63)
    outcomes = what_if.compare(records, settings.policies, settings.grace_seconds, load_seed(settings))
    print(whatif.table(outcomes))
    for path in arguments.picture:
        what_if.draw(outcomes, path)
    return run.OK


def _time(text: str | None) -> int | None:
    try:
        return None if text is None else milliseconds(text)
    except ValueError as exc:
        raise InvalidSetting(f"{text!r} is no time: {exc}") from exc


def _quality(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    try:
        found = asyncio.run(read_rows(settings, since=arguments.since, check=arguments.check))
    except (InvalidRecord, KafkaError) as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.FAILED
    print(in_json(found) if arguments.json else quality.table(found.rows))
    if arguments.check:
        for each in found.different:
            print(each, file=sys.stderr)
        old = f", {found.passed_over} rows are older than the decisions that are left" if found.passed_over else ""
        print(f"folded anew: {len(found.different)} differences{old}", file=sys.stderr)
    return run.FAILED if found.different else run.OK


def _policy(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    if arguments.action == "check":
        lines, good = policy_command.check(arguments.files)
        print("\n".join(lines))
        return run.OK if good else run.FAILED
    if arguments.action == "explain":
        print("\n\n".join(policy_command.explain(load(path), path.read_text("utf-8")) for path in arguments.files))
        return run.OK
    if arguments.on is None:
        raise InvalidSetting("`sluice policy try` needs --on LOG: a capture, or a history as of `sluice curve`")
    print(policy_command.attempt([load(path) for path in arguments.files], arguments.on))
    return run.OK


def _parse(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from streams import look

    if arguments.html:
        _print_bytes(look.parse_html_file(arguments.file, wiki=arguments.wiki, title=arguments.title))
        return run.OK
    words = _words(arguments.wiki, env)
    _print_bytes(look.parse_file(arguments.file, wiki=arguments.wiki, title=arguments.title, namespaces=words))
    return run.OK


def _delta(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from streams import look

    words, wiki, title = _words(arguments.wiki, env), arguments.wiki, arguments.title
    _print_bytes(look.delta_files(arguments.old, arguments.new, wiki=wiki, title=title, namespaces=words))
    return run.OK


def _words(wiki: str, env: Mapping[str, str]) -> Namespaces:
    words = words_of(Settings.from_env(env).siteinfo)(wiki)
    if words is namespaces_of(wiki) and not has_words(wiki):
        print(f"sluice: no words are known of {wiki!r}: it is read with the English ones", file=sys.stderr)
    return words


def _of_a_page(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wiki", default="enwiki", help="whose words it is in, as dewiki (default: %(default)s)")
    command.add_argument("--title", help="with its prefix: tells modules, styles, JSON and items from wikitext")


def _print_bytes(payload: bytes) -> None:
    """JSON is UTF-8, whatever the terminal's language."""
    sys.stdout.buffer.write(payload)
    sys.stdout.flush()
