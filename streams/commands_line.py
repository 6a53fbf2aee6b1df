"""The commands that run the line, or parts of it: demo, world, run, the five steps, broker, topics, score, settings.

What takes long to load is loaded by the command that needs it, since every step starts by way of this module.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from aiokafka.errors import KafkaError

from schemas.reasons import Step
from streams import cluster, run
from streams.broker import Broker, run_foreground
from streams.commands import Commands, add_command
from streams.settings import InvalidSetting, Settings, cache_folder, state_folder
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


def add(commands: Commands) -> None:
    """Their arguments."""
    command = add_command(commands, "demo", _demo, "the whole line on a made-up world: no network, no configuration")
    command.add_argument("--random-state", type=int, default=1, help="which world (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=20, help="how long it is edited (default: %(default)g)")
    command.add_argument("--hours", type=float, help="the same in hours")
    command.add_argument("--rate", type=float, default=6, help="edits per second (default: %(default)g)")
    command.add_argument(
        "--faults", choices=["none", "storm"], default="none", help="storm: kill steps, cut the stream"
    )
    command.add_argument("--pictures", type=Path, help="folder for the curve (default: SLUICE_STATE/demo)")

    command = add_command(commands, "world", _world, "a simulated Wikimedia on loopback, and a ledger of all it did")
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

    command = add_command(commands, "run", _run, "the whole line against the live source, with its own broker")
    command.add_argument("--wikis", help="wikis to keep, as enwiki,dewiki; default: SLUICE_WIKIS or all")
    command.add_argument("--since", help=SINCE_HELP)

    for step, text in STEP_HELP.items():
        command = add_command(commands, step, _step, f"one step: {text}")
        command.set_defaults(step=step)
        if step is Step.SOURCE:
            command.add_argument("--wikis", help="wikis to keep, as enwiki,dewiki")
            command.add_argument("--since", help=SINCE_HELP)

    command = add_command(commands, "broker", _broker, "a real Apache Kafka, one node, nothing to install")
    command.add_argument("--folder", type=Path, help="its data (default: SLUICE_STATE/broker)")
    command.add_argument("--port", type=int, default=DEFAULT_BROKER_PORT, help="default: %(default)s; 0 = any")
    command.add_argument("--heap-mb", type=int, default=256, help="Java heap (default: %(default)s)")

    command = add_command(commands, "topics", _topics, "make the topics, or hold the cluster against the table")
    command.add_argument("action", choices=["create", "check", "list"])

    command = add_command(commands, "score", _score, "hold every topic against the ledger of a simulated wiki")
    command.add_argument("ledger", type=Path, help="what the simulated wiki wrote")
    command.add_argument("--wait", type=float, default=10, help="seconds for what is under way (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="for machines")

    add_command(commands, "settings", _settings, "every setting, its value and what it is for")


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


def _score(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from processors.oracle_ledger import InvalidLedger
    from streams.score import run_score

    scoring = run_score(Settings.from_env(env), arguments.ledger, wait_seconds=arguments.wait, as_json=arguments.json)
    try:
        code, text = asyncio.run(scoring)
    except (InvalidLedger, cluster.LayoutDiffers, KafkaError) as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.MISCONFIGURED
    print(text)
    return code


def _settings(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    for name, value, text in Settings.from_env(env).described():
        print(f"{name}={value}\n    {text}")
    return run.OK
