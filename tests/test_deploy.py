"""What deploy/ says is true: each name in it exists in the code, each alert fires when it should and only then."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from schemas.reasons import Step
from streams import metrics
from streams.settings import Settings
from streams.topics import Topics

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "sluice.rules.yaml"
HEADINGS = ["Meaning", "Impact", "Check", "Fix", "Verify", "Escalate"]
# Labels that Prometheus adds, and series that it makes itself.
TARGET_LABELS = {"job", "instance"}
OWN_SERIES = {"up": TARGET_LABELS, "ALERTS": {"alertname", "alertstate", "severity", "team"}}

GROUPS = {group["name"]: group["rules"] for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]}
RECORDED = {rule["record"]: rule["expr"] for rule in GROUPS["sluice-recording"]}
ALERTS = {rule["alert"]: rule for rule in GROUPS["sluice-alerts"]}
DASHBOARD = json.loads((DEPLOY / "dashboards" / "sluice.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
RUNBOOKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DEPLOY / "runbooks").glob("*.md"))}


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found


def run(*command: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=120, check=False
    )


def known_series() -> dict[str, dict[str, set[str]]]:
    """Sample name → label → its values, of everything that a process exports."""
    metrics.initialise()
    series: dict[str, dict[str, set[str]]] = {}
    for family in metrics.REGISTRY.collect():
        for sample in family.samples:
            labels = series.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return series


KNOWN = known_series()


def level(record: str) -> set[str]:
    """The labels that a recording rule's name says are left, beside job."""
    known = {label for labels in KNOWN.values() for label in labels}
    return {label for label in record.partition(":")[0].split("_") if label in known}


def dashboard_expressions() -> list[str]:
    found = [target["expr"] for panel in PANELS for target in panel["targets"]]
    found += [marks["expr"] for marks in DASHBOARD["annotations"]["list"]]
    return [expr.replace("$__rate_interval", "1m").replace("$job", "sluice") for expr in found]


def runbook_expressions() -> list[str]:
    return re.findall(r"promtool query instant \S+ '([^']+)'", "\n".join(RUNBOOKS.values()))


def wrong_names(expr: str) -> list[str]:
    """Each metric, label or label value of a PromQL expression that does not exist."""
    outside = re.sub(r'"[^"]*"', '""', expr)
    names = re.findall(r"\b(?:sluice_\w+|\w+:[\w:]+|ALERTS\w*)", outside)
    wrong = [name for name in names if name not in KNOWN and name not in RECORDED and name not in OWN_SERIES]
    for name, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", expr):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            wrong += [f"{name}{{{label}{operator}{value!r}}}"] if not matches(name, label, value) else []
    every_label = TARGET_LABELS.union(*KNOWN.values())
    for labels in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expr):
        wrong += [label for label in re.findall(r"\w+", labels) if label not in every_label]
    return wrong


def matches(name: str, label: str, value: str) -> bool:
    if name in OWN_SERIES:
        return label in OWN_SERIES[name]
    values = values_of(name, label)
    return label in TARGET_LABELS or (bool(values) and all(wanted in values for wanted in value.split("|")))


def values_of(name: str, label: str) -> set[str]:
    """Every value that a label of a metric or of a recorded series can have."""
    if name not in RECORDED:
        return KNOWN.get(name, {}).get(label, set())
    if label not in level(name):
        return set()
    inside = re.findall(r"\w+:[\w:]+|sluice_\w+", RECORDED[name])
    return set().union(*(values_of(each, label) for each in inside))


# Rules


def test_the_rules_and_the_scrape_configuration_pass_every_check_of_promtool():
    promtool = program("promtool", "prometheus")
    checked = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = run(promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_fires_above_its_threshold_and_not_below():
    tested = run(program("promtool", "prometheus"), "test", "rules", "sluice.rules_test.yaml", cwd=RULES.parent)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def changed_rules(change: str, rule: dict[str, Any]) -> dict[str, Any]:
    """An alert that is a little wrong."""
    if change == "removed":
        return rule | {"expr": "vector(0) > 1"}
    if change in {"higher", "lower"}:
        factor = 1.1 if change == "higher" else 0.9
        number = re.compile(r"(?<=[<>] )[\d.]+")
        return rule | {"expr": number.sub(lambda found: str(float(found[0]) * factor), rule["expr"])}
    if "for" not in rule:
        return rule
    minutes = int(rule["for"].removesuffix("m")) + (2 if change == "slower" else -2)
    return rule | {"for": f"{minutes}m"}


@pytest.mark.parametrize("change", ["removed", "higher", "lower", "slower", "sooner"])
def test_the_unit_tests_notice_an_alert_that_is_removed_or_whose_threshold_or_duration_moves(change, tmp_path):
    promtool = program("promtool", "prometheus")
    rules = {name: changed_rules(change, rule) for name, rule in ALERTS.items()}
    changed = {name for name in ALERTS if rules[name] != ALERTS[name]}
    groups = [
        {"name": "sluice-recording", "rules": GROUPS["sluice-recording"]},
        {"name": "sluice-alerts", "rules": list(rules.values())},
    ]
    (tmp_path / RULES.name).write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    shutil.copy(RULES.with_name("sluice.rules_test.yaml"), tmp_path)
    tested = run(promtool, "test", "rules", "sluice.rules_test.yaml", cwd=tmp_path)
    # A comparison with 0 has no tenth to move by.
    expected = {name for name in changed if change not in {"higher", "lower"} or re.search("[1-9]", moved(name))}
    assert set(re.findall(r'FAILED|alertname=\\?"(\w+)', tested.stdout + tested.stderr)) >= expected
    assert len(expected) > 8


def moved(alert: str) -> str:
    return " ".join(re.findall(r"(?<=[<>] )[\d.]+", ALERTS[alert]["expr"]))


@pytest.mark.parametrize("expr", [*RECORDED.values(), *(rule["expr"] for rule in ALERTS.values())])
def test_each_metric_label_and_value_in_a_rule_exists(expr):
    assert wrong_names(expr) == []


def test_the_check_of_names_finds_what_does_not_exist():
    assert wrong_names('rate(sluice_nothing_total{step="gate"}[5m])') != []
    assert wrong_names('rate(sluice_records_total{step="gates"}[5m])') != []
    assert wrong_names('rate(sluice_records_total{stage="gate"}[5m])') != []
    assert wrong_names("sum by (wiki) (sluice_gate_pages)") != []
    assert wrong_names('step:sluice_dead_letters:rate5m{reason="not_json"}') != []
    assert wrong_names("step:sluice_dead_letters:rate7m") != []


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_how_urgent_whose_what_and_where_to_read_on(alert):
    labels, notes = alert["labels"], alert["annotations"]
    assert labels["severity"] in {"page", "ticket", "none"}
    assert labels["team"] == "sluice"
    assert notes.keys() == {"summary", "description", "dashboard", "runbook"}
    assert notes["summary"].endswith("#page") == (labels["severity"] == "page")
    assert notes["runbook"] == f"deploy/runbooks/{alert['alert']}.md"
    number = re.fullmatch(rf"/d/{DASHBOARD['uid']}/sluice\?viewPanel=(\d+)", notes["dashboard"])
    assert number is not None
    assert int(number[1]) in {panel["id"] for panel in PANELS}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(notes.values())))
    assert used <= TARGET_LABELS.union(*(labels.keys() for labels in KNOWN.values()))


# Runbooks


def test_each_alert_has_a_runbook_and_each_runbook_an_alert():
    assert set(RUNBOOKS) == set(ALERTS)


def code_blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_runbook_has_its_six_parts_and_commands_that_exist(name):
    page = RUNBOOKS[name]
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .*$", page, flags=re.MULTILINE)[1:])
    for block in code_blocks(page):
        assert run("bash", "-n", "-c", block).returncode == 0
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]
    commands = [line for block in code_blocks(page) for line in block.splitlines()]
    for command in commands + [code for code in inline if code.startswith(("sluice ", "docker "))]:
        check_command(command)


def check_command(command: str) -> None:
    from streams import cli

    words = shlex.split(command)
    assert words[0] in {"sluice", "curl", "kcat", "docker", "promtool"}, command
    if words[0] == "sluice":
        arguments = words[1 : words.index("|")] if "|" in words else words[1:]
        cli._parser().parse_args(arguments)
    if words[0] == "kcat" and "-t" in words:
        assert words[words.index("-t") + 1] in {topic.name for topic in Topics(Settings()).table()}
    if words[:2] == ["docker", "compose"]:
        assert words[2:4] == ["-f", "deploy/compose.yaml"]
        services = [word for word in words[5:7] if word in COMPOSE["services"]]
        assert services or words[4] in {"ps", "up"} or "--since" in words, command
        if "--since" in words:
            assert words[words.index("--since") + 2] in COMPOSE["services"]
    if "--group" in words:
        assert words[words.index("--group") + 1] in {Topics(Settings()).group(step) for step in Step}
    if "127.0.0.1:9108/metrics" in words and "grep" in words:
        pattern = next(word for word in words[words.index("grep") + 1 :] if not word.startswith("-"))
        check_pattern(pattern)


def check_pattern(pattern: str) -> None:
    """Each alternative of a pattern for /metrics finds a line there."""
    lines = generate_latest(metrics.REGISTRY).decode().splitlines()
    for alternative in alternatives(pattern):
        assert any(re.search(alternative, line) for line in lines), alternative


def alternatives(pattern: str) -> list[str]:
    group = re.search(r"\(([^()]*)\)", pattern)
    if group is None:
        return [pattern]
    return [
        whole
        for part in group[1].split("|")
        for whole in alternatives(pattern[: group.start()] + part + pattern[group.end() :])
    ]


# Dashboard


@pytest.mark.parametrize("hash_start", ["0", "1"])
def test_what_is_written_by_code_is_what_the_code_writes(hash_start):
    checked = run(sys.executable, "-m", "deploy.generate", "--check", PYTHONHASHSEED=hash_start)
    assert checked.returncode == 0, checked.stderr


def test_each_panel_has_an_id_a_unit_a_description_and_room_of_its_own():
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("expr", [*dashboard_expressions(), *runbook_expressions()])
def test_each_metric_label_and_value_in_the_dashboard_and_the_runbooks_exists(expr):
    assert wrong_names(expr) == []


# Prometheus itself

EXPORTER = """
import sys, time
from prometheus_client import start_http_server
from streams import metrics
metrics.initialise()
for gauge in (metrics.HEARD_UNTIL, metrics.LAST_EVENT):
    for labels in list(gauge._metrics):
        gauge.labels(*labels).set(time.time())
server, _ = start_http_server(0, addr="127.0.0.1", registry=metrics.REGISTRY)
print(server.server_port, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the shipped configuration, every second, of a process that exports what a step exports."""
    binary = program("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as exporter:
        assert exporter.stdout is not None
        target = f"127.0.0.1:{int(exporter.stdout.readline())}"
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        server = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=error",
            ]
        )
        try:
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait(30)
            exporter.communicate("")


def ask(prometheus: str, expr: str) -> list[dict[str, Any]]:
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def first_answer(prometheus: str, expr: str) -> list[dict[str, Any]]:
    """The first result that is not empty; Prometheus has no event to wait for, so that it is asked again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if result := ask(prometheus, expr):
                return result
        except (ConnectionError, urllib.error.URLError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"no data within a minute: {expr}")


def test_a_real_prometheus_has_data_for_each_panel_rule_and_runbook_and_only_the_watchdog_fires(prometheus):
    assert first_answer(prometheus, 'up{job="sluice"}')[0]["value"][1] == "1"
    for expr in [*(e for e in dashboard_expressions() if not e.startswith("ALERTS")), *runbook_expressions()]:
        if "> 0" not in expr or "time()" in expr:
            assert first_answer(prometheus, expr), expr
    firing = first_answer(prometheus, 'ALERTS{alertstate="firing"}')
    assert {alert["metric"]["alertname"] for alert in firing} == {"SluiceWatchdog"}


@pytest.mark.parametrize("record", RECORDED)
def test_a_recording_rule_is_named_after_the_labels_that_are_left(prometheus, record):
    wanted = set() if record.startswith("job:") else set(record.partition(":")[0].split("_"))
    assert level(record) == wanted
    assert set(first_answer(prometheus, record)[0]["metric"]) - {"__name__", "job"} == wanted


def test_a_process_has_far_fewer_series_than_prometheus_takes():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    samples = [sample for family in metrics.REGISTRY.collect() for sample in family.samples]
    assert len(samples) * 10 < job["sample_limit"]
    assert max(len(sample.labels) for sample in samples) + len(TARGET_LABELS) <= job["label_limit"]


def test_the_metrics_pass_the_lint_of_promtool():
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        input=generate_latest(metrics.REGISTRY),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, b"")


# Settings, compose, image


def test_the_example_environment_holds_each_setting_with_its_default_and_nothing_else():
    lines = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert Settings.from_env(env) == Settings()
    assert list(env) == [name for name, _, _ in Settings().described()]
    for name, _, about in Settings().described():
        assert f"# {about}" == lines[[line.partition("=")[0] for line in lines].index(name) - 1]


def test_compose_has_one_service_per_step_and_prometheus_reads_each():
    services = COMPOSE["services"]
    assert set(services) == {*Step, "kafka", "topics", "prometheus"}
    for step in Step:
        assert services[step]["command"] == [step]
        assert services[step]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    port = services["source"]["environment"]["SLUICE_METRICS_PORT"]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": [f"{step}:{port}" for step in Step]}]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_pinned_bounded_and_has_no_more_rights_than_it_needs(name):
    service = COMPOSE["services"][name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert not service.get("privileged")
    assert name == "kafka" or service["read_only"] is True
    assert name == "topics" or "test" in service["healthcheck"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    if service["image"].startswith("sluice:"):
        assert service["stop_signal"] == "SIGTERM"
        assert int(service["stop_grace_period"].removesuffix("s")) > 30
        assert set(service["environment"]) <= {variable for variable, _, _ in Settings().described()}
        Settings.from_env(service["environment"])


def test_docker_compose_reads_the_compose_file():
    checked = run(program("docker-compose", "docker-compose"), "-f", str(DEPLOY / "compose.yaml"), "config", "-q")
    assert checked.returncode == 0, checked.stderr


def test_the_image_is_pinned_runs_without_root_and_gets_all_that_it_copies():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line.split() for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    bases = [words[1] for words in lines if words[0] == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    last = {words[0]: words[1:] for words in lines}
    assert last["USER"] == ["10001:10001"]
    assert last["STOPSIGNAL"] == ["SIGTERM"]
    assert last["ENTRYPOINT"] == ['["sluice"]']
    assert "not built in CI" in text
    admitted = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for words in lines:
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert f"!{source}" in admitted
                assert (ROOT / source).exists()
