"""How checks are run, shown and written down."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from devenv.doctor.check import Check, Finding, Result, diagnose, failure, ok, skipped, warning
from devenv.doctor.machine import Machine
from devenv.doctor.report import report_text
from devenv.environment import Environment
from devenv.errors import PlatformError
from devenv.logs.scrub import Scrubber
from devenv.project import Project
from devenv.settings.schema import Settings


def raising(error: Exception) -> Finding:
    raise error


def test_a_check_waits_for_those_it_needs_and_is_not_run_when_one_failed() -> None:
    ran: list[str] = []

    def noting(name: str, finding: Finding) -> Check:
        return Check(
            name, name, lambda: ran.append(name) or finding, needs={"b": ("a",), "d": ("c",), "e": ("d",)}.get(name, ())
        )

    checks = [
        noting("a", warning("so so")),
        noting("b", ok("b")),
        noting("c", failure("broken", "mend")),
        noting("d", ok("d")),
        noting("e", ok("e")),
    ]
    told: list[str] = []
    results = diagnose(checks, lambda result: told.append(result.check.name))
    assert [result.finding.level for result in results] == ["warning", "ok", "failure", "skipped", "skipped"]
    assert [result.finding.cause for result in results[3:]] == ["c comes first", "c comes first"]
    assert [result.ran for result in results] == [True, True, True, False, False]
    assert sorted(ran) == ["a", "b", "c"]
    assert told == ["a", "b", "c", "d", "e"]


def test_an_error_is_a_finding_a_defect_hides_nothing_and_a_check_that_hangs_is_left() -> None:
    release = threading.Event()
    checks = [
        Check("error", "Error", lambda: raising(PlatformError("it is down", hint="devenv up", detail="trace"))),
        Check("defect", "Defect", lambda: raising(KeyError("x"))),
        Check("hangs", "Hangs", lambda: ok(str(release.wait(10))), seconds=0.05),
        Check("well", "Well", lambda: skipped("not here")),
    ]
    error, defect, hangs, well = (result.finding for result in diagnose(checks))
    release.set()
    assert (error.level, error.cause, error.remedy, error.detail) == ("failure", "it is down", "devenv up", "trace")
    assert defect.level == "warning"
    assert "KeyError" in defect.cause
    assert "no answer within" in hangs.cause
    assert well.level == "skipped"


def test_a_report_holds_no_secret_and_no_home(tmp_path: Path) -> None:
    home = tmp_path / "home" / "ada"
    settings = Settings.model_validate(
        {
            "airflow": {"config": {"smtp": {"smtp_password": "canary-1"}}},
            "images": {"build_arguments": {"TOKEN": "canary-2"}},
        }
    )
    project = Project(home / "shop", settings, Environment(variables={}))
    results = [Result(Check("a", "A", lambda: ok("")), failure(f"at {home}/shop: canary-3", detail="canary-3"), 0.1)]
    text = report_text(results, project, None, home=home, scrub=Scrubber(["canary-3"]))
    assert "canary" not in text
    assert str(home) not in text
    assert "- failure: A: at ~/shop: ***" in text
    assert '"smtp_password": "***"' in text


def test_without_a_project_the_laptop_is_looked_at_and_the_exit_code_says_that_something_failed(devenv: Any) -> None:
    (devenv.cwd / "dags").rmdir()
    result = devenv("doctor", "-o", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    found = {line["data"]["check"]: line["data"] for line in lines if line["type"] == "devenv.doctor.finding"}
    assert result.exit_code == 1
    assert found["project"]["level"] == "failure"
    assert "devenv init" in found["project"]["remedy"]
    assert {"docker", "memory", "disk"} <= set(found)
    assert "pods" not in found
    assert lines[-1]["type"] == "devenv.doctor.finished"


def test_a_name_that_nobody_answers_for_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait() and [])
    assert Machine(Environment(variables={})).resolve("registry-1.docker.io", timeout=0.01) == []
    answered.set()
