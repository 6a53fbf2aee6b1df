"""The commands about the source and its log: streams, endpoint, reconcile, siteinfo, capture, replay.

Every step starts by way of this module too, so what takes long to load is loaded by the command that needs it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from aiokafka.errors import KafkaError

from schemas.control import encode_endpoint
from schemas.decision import encode_decision
from schemas.event import rfc3339
from streams import run
from streams.capture import capture, manifest_path, read_capture, replay
from streams.clock import now_ms
from streams.commands import Commands, add_command
from streams.endpoints import Choice
from streams.kafka import Out, send_all
from streams.settings import InvalidSetting, Settings, since_ms
from streams.topics import Topics


def add(commands: Commands) -> None:
    """Their arguments."""
    command = add_command(commands, "streams", _streams, "the streams that the source offers, and which are followed")

    command = add_command(commands, "endpoint", _endpoint, "choose which endpoint of the source a running source asks")
    command.add_argument("choice", choices=list(Choice), help="auto: the fallback only while the primary is silent")

    command = add_command(commands, "reconcile", _reconcile, "find what the source never sent, and put it into the log")
    command.add_argument(
        "--wikis", required=True, help="enwiki,dewiki=de.wikipedia.org; a domain where the log has none"
    )
    command.add_argument("--since", default="3h", help="from then on: a time (RFC 3339), 90m, 6h or 7d (default: 3h)")
    command.add_argument("--list", action="store_true", help="only list what is missing")

    command = add_command(
        commands, "siteinfo", _siteinfo, "fetch what wikis say of their namespaces and words into SLUICE_SITEINFO"
    )
    command.add_argument("--wikis", required=True, help="enwiki,dewiki; xywiki=its.domain.org where the name misleads")

    command = add_command(commands, "capture", _capture, "write the log to a file")
    command.add_argument("-o", "--output", type=Path, required=True, help="FILE.ndjson or FILE.ndjson.gz")

    command = add_command(commands, "replay", _replay, "decide over a captured log again, without a broker")
    command.add_argument("file", type=Path, help="what `sluice capture` wrote")
    command.add_argument("-o", "--output", type=Path, help="default: standard output")


def _streams(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from streams.offered import offered_streams

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
    from streams.content_api import Trouble
    from streams.content_source import UnknownSite
    from streams.reconcile import reconcile

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
    from streams import siteinfo_fetch

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
