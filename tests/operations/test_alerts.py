"""Alerts and their tests by promtool, and what docs/metrics.md says of all that an operator sees."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from handler.metrics import STAGE_SECONDS

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "operations"
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
METRICS = {
    one["name"]
    for name, section in yaml.safe_load((ROOT / "serving" / "metrics.yaml").read_text()).items()
    if name != "dimensions"
    for kind in section.values()
    for one in kind
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: Debian has it in the package prometheus"
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_configuration_and_alerts_are_valid() -> None:
    assert "SUCCESS: 7 rules found" in promtool("check", "config", "operations/prometheus.yml")


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    (command,) = re.findall("`promtool (test rules [^`]+)`", DOCUMENT)
    assert "SUCCESS" in promtool(*command.split())


def test_each_alert_has_two_tests_and_a_paragraph() -> None:
    (group,) = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", DOCUMENT, re.MULTILINE) == names
    for rule in group["rules"]:
        assert rule["annotations"]["runbook"] == f"docs/metrics.md#{rule['alert'].lower()}"
    quiet, loud, _ = yaml.safe_load((OPERATIONS / "alerts_test.yml").read_text())["tests"]
    assert [test["alertname"] for test in quiet["alert_rule_test"]] == names
    assert not any(test.get("exp_alerts") for test in quiet["alert_rule_test"])
    assert [test["alertname"] for test in loud["alert_rule_test"] if test["exp_alerts"]] == names


def test_the_document_tells_each_metric_once() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", DOCUMENT, re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"\w+", row)]
    assert sorted(told) == sorted(METRICS)


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_expressions_use_metrics_that_there_are(file: str) -> None:
    text = (OPERATIONS / file).read_text()
    used = {re.sub(r"_(sum|count|bucket)$", "", name) for name in re.findall(r"(\w+)\{", text)}
    assert STAGE_SECONDS in used or file == "alerts.yml"
    assert used - {"up", "ALERTS"} <= METRICS
