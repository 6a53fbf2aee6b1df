"""The command `sluice`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from processors import whatif
from processors.oracle_ledger import InvalidLedger
from processors.protect import HIGHEST_TARGET
from schemas.control import encode_endpoint
from schemas.decision import encode_decision
from schemas.event import milliseconds, rfc3339
from schemas.policy_file import InvalidPolicy
from schemas.reasons import Step
from streams import cluster, logs, look, metrics, policy_command, run, siteinfo_fetch, what_if, why
from streams.broker import Broker, run_foreground
from streams.capture import InvalidCapture, capture, manifest_path, read_capture, replay
from streams.clock import now_ms
from streams.cluster import ClusterRefused
from streams.content_api import Trouble
from streams.content_source import UnknownSite
from streams.endpoints import Choice
from streams.histories import InvalidHistory, run_curve
from streams.jars import BrokerError
from streams.kafka import Out, send_all
from streams.offered import offered_streams
from streams.policy_files import load
from streams.reconcile import reconcile
from streams.score import run_score
from streams.settings import InvalidSetting, Settings, cache_folder, since_ms, state_folder
from streams.siteinfo import words_of
from streams.topics import Topics

STEP_HELP = {
    Step.SOURCE: "hear the source and write the log",
    Step.FETCH: "ask the content APIs for texts",
    Step.ENRICH: "parse texts and compare them with their parents",
    Step.GATE: "decide what is released, withheld and retracted",
    Step.PUBLISH: "write the topics that partners read",
}
SINCE_HELP = "where a first start begins: a time (RFC 3339), 90m, 6h, 7d or earliest (default: now)"
DEFAULT_BROKER_PORT = 9092

# What a person can repair: one line says it, and the code is that of a wrong configuration.
REFUSED = (
    InvalidSetting,
    InvalidPolicy,
    InvalidHistory,
    BrokerError,
    ClusterRefused,
    InvalidCapture,
    look.UnreadableFile,
    OSError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    logs.set_up()
    try:
        code: int = arguments.command(arguments, os.environ)
    except BrokenPipeError:  # before OSError, which it is too
        return run.OK
    except REFUSED as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.MISCONFIGURED
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluice",
        description="Live Wikimedia edits, once the water has settled.",
        epilog="Settings are environment variables; `sluice settings` lists them.",
    )
    parser.add_argument("--version", action="version", version=f"sluice {metrics.own_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = _command(commands, "demo", _demo, "the whole line on a world made up here: no network, no configuration")
    command.add_argument("--random-state", type=int, default=1, help="which world (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=20, help="how long it is edited (default: %(default)g)")
    command.add_argument("--hours", type=float, help="the same in hours")
    command.add_argument("--rate", type=float, default=6, help="edits per second (default: %(default)g)")
    command.add_argument(
        "--faults", choices=["none", "storm"], default="none", help="storm: kill steps, cut the stream"
    )
    command.add_argument("--pictures", type=Path, help="folder for the curve (default: SLUICE_STATE/demo)")

    command = _command(commands, "world", _world, "a simulated Wikimedia on loopback, and a ledger of all it did")
    command.add_argument("--random-state", type=int, default=1, help="which world (default: %(default)s)")
    command.add_argument("--rate", type=float, default=20, help="page changes a second (default: %(default)s)")
    command.add_argument("--wikis", type=int, default=3, help="how many, 1 to 300 (default: %(default)s)")
    command.add_argument("--hours", type=float, default=24, help="of its own time (default: %(default)s)")
    command.add_argument("--speed", type=float, default=1, help="how fast its time goes; 0 = as fast as it can")
    command.add_argument(
        "--time-scale", type=float, default=1, help="how many times quicker people undo; 60 = seconds for minutes"
    )
    command.add_argument("--faults", choices=["none", "storm"], default="none", help="storm: what can break, breaks")
    command.add_argument("--ledger", type=Path, help="FILE.ndjson for what it did, offered and served")
    command.add_argument("--port", type=int, default=8642, help="default: %(default)s; 0 = any")

    command = _command(commands, "run", _run, "the whole line against the live source, with its own broker")
    command.add_argument("--wikis", help="wikis to keep, as enwiki,dewiki; default: SLUICE_WIKIS or all")
    command.add_argument("--since", help=SINCE_HELP)

    for step, text in STEP_HELP.items():
        command = _command(commands, step, _step, f"one step: {text}")
        command.set_defaults(step=step)
        if step is Step.SOURCE:
            command.add_argument("--wikis", help="wikis to keep, as enwiki,dewiki")
            command.add_argument("--since", help=SINCE_HELP)

    command = _command(commands, "streams", _streams, "list the streams that the source offers, and which are followed")

    command = _command(commands, "endpoint", _endpoint, "choose which endpoint of the source a running source asks")
    command.add_argument("choice", choices=list(Choice), help="auto: the fallback only while the primary is silent")

    command = _command(commands, "reconcile", _reconcile, "find what the source never sent, and put it into the log")
    command.add_argument(
        "--wikis", required=True, help="enwiki,dewiki=de.wikipedia.org; a domain where the log has none"
    )
    command.add_argument("--since", default="3h", help="from then on: a time (RFC 3339), 90m, 6h or 7d (default: 3h)")
    command.add_argument("--list", action="store_true", help="only list what is missing")

    command = _command(
        commands, "siteinfo", _siteinfo, "fetch what wikis say of their namespaces and words into SLUICE_SITEINFO"
    )
    command.add_argument("--wikis", required=True, help="enwiki,dewiki; xywiki=its.domain.org where the name misleads")

    command = _command(commands, "broker", _broker, "a real Apache Kafka, one node, nothing to install")
    command.add_argument("--folder", type=Path, help="its data (default: SLUICE_STATE/broker)")
    command.add_argument("--port", type=int, default=DEFAULT_BROKER_PORT, help="default: %(default)s; 0 = any")
    command.add_argument("--heap-mb", type=int, default=256, help="Java heap (default: %(default)s)")

    command = _command(commands, "topics", _topics, "make the topics, or hold the cluster against the table")
    command.add_argument("action", choices=["create", "check", "list"])

    command = _command(commands, "capture", _capture, "write the log to a file")
    command.add_argument("-o", "--output", type=Path, required=True, help="FILE.ndjson or FILE.ndjson.gz")

    command = _command(commands, "replay", _replay, "decide over a captured log again, without a broker")
    command.add_argument("file", type=Path, help="what `sluice capture` wrote")
    command.add_argument("-o", "--output", type=Path, help="default: standard output")

    command = _command(
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

    command = _command(commands, "why", _why, "every decision about one revision, and what led to it")
    command.add_argument("wiki", help="as enwiki")
    command.add_argument("rev", type=int, help="the revision's id")
    command.add_argument("--on", type=Path, metavar="LOG", help="a capture; default: the topics")

    command = _command(commands, "what-if", _what_if, "what other policies would have done with the log, side by side")
    command.add_argument("policies", nargs="+", metavar="POLICY", help="FILE.toml, or name=hold in seconds")
    command.add_argument("--on", type=Path, metavar="LOG", help="a capture; default: the topic")
    command.add_argument("--from", dest="begin", metavar="TIME", help="only events from then on (RFC 3339)")
    command.add_argument("--to", dest="end", metavar="TIME", help="only events before")
    command.add_argument("--picture", type=Path, nargs="*", default=[], metavar="FILE", help="FILE.png, FILE.svg")

    command = _command(
        commands, "policy", _policy, "look at policy files: are they right, what do they say, what would they do"
    )
    command.add_argument("action", choices=["check", "explain", "try"])
    command.add_argument("files", type=Path, nargs="+", metavar="FILE.toml")
    command.add_argument(
        "--on", type=Path, metavar="LOG", help="of `try`: a capture, or a history as of `sluice curve`"
    )
    command = _command(commands, "score", _score, "hold every topic against the ledger of a simulated wiki")
    command.add_argument("ledger", type=Path, help="what the simulated wiki wrote")
    command.add_argument("--wait", type=float, default=10, help="seconds for what is under way (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="for machines")

    command = _command(commands, "parse", _parse, "the content of one page as a record has it, as JSON")
    command.add_argument("file", type=Path, help="wikitext in UTF-8, or HTML with --html")
    command.add_argument("--html", action="store_true", help="the file is the HTML that the wiki rendered")
    _of_a_page(command)

    command = _command(commands, "delta", _delta, "what changed between two texts of a page, as JSON")
    command.add_argument("old", type=Path, help="the parent's text in UTF-8")
    command.add_argument("new", type=Path, help="the revision's text in UTF-8")
    _of_a_page(command)

    _command(commands, "settings", _settings, "every setting, its value and what it is for")
    return parser


def _command(commands: Any, name: str, function: Any, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(command=function)
    return command


def _of_a_page(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wiki", default="enwiki", help="whose words it is in, as dewiki (default: %(default)s)")
    command.add_argument("--title", help="with its prefix: tells modules, styles, JSON and items from wikitext")


def _demo(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from streams.demo import Show, default_pictures, run_demo  # a web server that no other command needs

    show = Show(
        random_state=arguments.random_state,
        seconds=arguments.seconds if arguments.hours is None else arguments.hours * 3600,
        rate=arguments.rate,
        faults=arguments.faults,
        pictures=arguments.pictures or default_pictures(env),
    )
    return run_demo(show, env)


def _world(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from streams.world_command import WorldOptions, run_world  # a web server that no step needs

    given = {name: value for name, value in vars(arguments).items() if name != "command"}
    try:
        return run_world(WorldOptions(**given))
    except ValueError as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.MISCONFIGURED


def _run(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = _narrowed(arguments, Settings.from_env(env)).with_(assign="all")
    if not asyncio.run(run.can_reach(settings.source)):
        raise OSError(f"cannot reach {settings.source}; without a network, `make demo` shows the same line offline")
    if run.is_live(settings):
        settings = _with_contact(settings)
    if "SLUICE_KAFKA" in env:
        return _run_line(settings)
    folder = state_folder(settings, env) / "broker"
    with Broker(folder, cache=cache_folder(env)) as broker:
        return _run_line(settings.with_(kafka=broker.bootstrap))


def _run_line(settings: Settings) -> int:
    asyncio.run(cluster.create(settings))
    print(f"sluice: Kafka at {settings.kafka}, topics {settings.topic_prefix}.*; Ctrl-C ends it", file=sys.stderr)
    return run.run_until_signal(settings, list(Step))


def _with_contact(settings: Settings) -> Settings:
    """Wikimedia wants to know whom to ask; so do we, once."""
    if settings.contact:
        return settings
    if not sys.stdin.isatty():
        raise InvalidSetting("set SLUICE_CONTACT to a mail address or URL: Wikimedia refuses clients without one")
    contact = input("Wikimedia asks every client for a contact (mail address or URL): ").strip()
    if not contact:
        raise InvalidSetting("no contact given; SLUICE_CONTACT holds it for next time")
    return settings.with_(contact=contact)


def _step(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    return run.run_until_signal(_narrowed(arguments, Settings.from_env(env)), [arguments.step])


def _streams(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    offered = asyncio.run(offered_streams(settings))
    for stream in sorted({*offered, *settings.followed}):
        followed = "followed" if stream in settings.followed else ""
        print(f"{stream:<64} {followed if stream in offered else f'{followed}, but not offered'}".rstrip())
    return run.OK if set(settings.followed) <= set(offered) else run.FAILED


def _endpoint(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    if arguments.choice == Choice.FALLBACK and not settings.source_fallback:
        raise InvalidSetting("SLUICE_SOURCE_FALLBACK is not set: there is no other endpoint")
    record = Out(topic=Topics(settings).control, key=b"endpoint", value=encode_endpoint(arguments.choice), partition=0)
    asyncio.run(send_all(settings, [record]))
    print(f"told the source: {arguments.choice}", file=sys.stderr)
    return run.OK


def _reconcile(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    begin_ms = since_ms(settings.with_(since=arguments.since), now_ms())
    wikis = _with_domains(arguments.wikis)
    try:
        reports = asyncio.run(reconcile(settings, wikis, begin_ms, now_ms(), inject=not arguments.list))
    except (Trouble, UnknownSite, LookupError, KafkaError) as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.FAILED
    for report in reports:
        for change in report.missing:
            print(f"{change.wiki} {change.rev_id} {rfc3339(change.at_ms)} page {change.page_id}")
        print(f"{report.wiki}: {len(report.missing)} of {report.listed} revisions are missing", file=sys.stderr)
    return run.OK


def _siteinfo(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings, wikis = Settings.from_env(env), _with_domains(arguments.wikis)

    async def fetched() -> int:
        code = run.OK
        async for wiki, trouble in siteinfo_fetch.fetch(settings, wikis):
            print(f"{wiki}: {trouble or 'written'}", file=sys.stderr)
            code = run.FAILED if trouble else code
        return code

    return asyncio.run(fetched())


def _with_domains(text: str) -> dict[str, str]:
    """`enwiki,dewiki=de.wikipedia.org`: name → domain, "" where none is given."""
    return dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())


def _narrowed(arguments: argparse.Namespace, settings: Settings) -> Settings:
    if getattr(arguments, "wikis", None):
        settings = settings.with_(wikis=tuple(part.strip() for part in arguments.wikis.split(",") if part.strip()))
    if getattr(arguments, "since", None):
        settings = settings.with_(since=arguments.since)
    return settings


def _broker(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    folder = arguments.folder or state_folder(Settings.from_env(env), env) / "broker"
    return run_foreground(folder, cache=cache_folder(env), port=arguments.port, heap_mb=arguments.heap_mb)


def _topics(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    if arguments.action == "list":
        for topic in Topics(settings).table():
            print(f"{topic.name:<28} {topic.partitions:>4}  {topic.cleanup:<15} {topic.about}")
        return run.OK
    if arguments.action == "create":
        made = asyncio.run(cluster.create(settings))
        print("\n".join(f"made {name}" for name in made) or "every topic was there already")
        return run.OK
    differences = asyncio.run(cluster.differences(settings))
    print("\n".join(differences) or "every topic is as it should be")
    return run.FAILED if differences else run.OK


def _capture(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    count = asyncio.run(capture(Settings.from_env(env), arguments.output))
    print(f"{count} records → {arguments.output}, {manifest_path(arguments.output).name}", file=sys.stderr)
    return run.OK


def _replay(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    states: dict[str, int] = {}
    unreadable = 0
    with arguments.output.open("wb") if arguments.output else open(sys.stdout.fileno(), "wb", closefd=False) as out:
        for record, result in replay(read_capture(arguments.file)):
            if not isinstance(result, list):
                unreadable += 1
                print(f"partition {record.partition}, offset {record.offset}: {result}", file=sys.stderr)
                continue
            for decision in (decision for group in result for decision in group.decisions):
                states[decision.state] = states.get(decision.state, 0) + 1
                out.write(encode_decision(decision) + b"\n")
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no decision"
    print(f"{counts}; {unreadable} unreadable records", file=sys.stderr)
    return run.OK if not unreadable else run.FAILED


def _curve(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    if arguments.protect is not None and not 0 < arguments.protect <= HIGHEST_TARGET:
        raise InvalidSetting(f"--protect: a share of bad edits, more than 0 and at most {HIGHEST_TARGET}")
    print(run_curve(arguments.file, arguments.decisions, arguments.protect))
    return run.OK


def _why(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    if arguments.on is None:
        found = asyncio.run(why.from_topics(Settings.from_env(env), arguments.wiki, arguments.rev))
    else:
        found = list(why.from_capture(arguments.on, arguments.wiki, arguments.rev))
    text, good = why.told(arguments.wiki, arguments.rev, found)
    print(text)
    return run.OK if good and found else run.FAILED


def _what_if(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(dict(env) | {"SLUICE_POLICIES": ",".join(arguments.policies)})
    records: Iterable[what_if.Record]
    records = what_if.from_capture(arguments.on) if arguments.on else asyncio.run(what_if.from_topic(settings))
    begin, end = (_time(text) for text in (arguments.begin, arguments.end))
    if begin is not None or end is not None:
        records = what_if.between(records, begin or 0, end or 2**63)
    outcomes = what_if.compare(records, settings.policies, settings.grace_seconds)
    print(whatif.table(outcomes))
    for path in arguments.picture:
        what_if.draw(outcomes, path)
    return run.OK


def _time(text: str | None) -> int | None:
    try:
        return None if text is None else milliseconds(text)
    except ValueError as exc:
        raise InvalidSetting(f"{text!r} is no time: {exc}") from exc


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


def _score(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    scoring = run_score(Settings.from_env(env), arguments.ledger, wait_seconds=arguments.wait, as_json=arguments.json)
    try:
        code, text = asyncio.run(scoring)
    except (InvalidLedger, cluster.LayoutDiffers, KafkaError) as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.MISCONFIGURED
    print(text)
    return code


def _parse(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    if arguments.html:
        _print_bytes(look.parse_html_file(arguments.file, wiki=arguments.wiki, title=arguments.title))
        return run.OK
    words = words_of(Settings.from_env(env).siteinfo)(arguments.wiki)
    _print_bytes(look.parse_file(arguments.file, wiki=arguments.wiki, title=arguments.title, namespaces=words))
    return run.OK


def _delta(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    words, wiki, title = words_of(Settings.from_env(env).siteinfo)(arguments.wiki), arguments.wiki, arguments.title
    _print_bytes(look.delta_files(arguments.old, arguments.new, wiki=wiki, title=title, namespaces=words))
    return run.OK


def _print_bytes(payload: bytes) -> None:
    """JSON is UTF-8, whatever the terminal's language."""
    sys.stdout.buffer.write(payload)
    sys.stdout.flush()


def _settings(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    for name, value, text in Settings.from_env(env).described():
        print(f"{name}={value}\n    {text}")
    return run.OK


if __name__ == "__main__":
    sys.exit(main())
