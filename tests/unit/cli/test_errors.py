"""Each mistake that a user can make at the command line: one message with what, why and the next command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devenv.cli import app
from devenv.cli.commands import COMMANDS, overview
from devenv.errors import ExitCode


def test_wrong_folder(devenv, tmp_path: Path) -> None:
    result = devenv("status", cwd=tmp_path)
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first == f"error: neither {tmp_path} nor a folder above it has devenv.toml or a folder dags/  DEVENV-102"
    assert hint.startswith("→ devenv init")


def test_a_folder_that_was_named_and_is_none(devenv, tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path}/nowhere" in devenv("config", "--project", f"{tmp_path}/nowhere").stderr
    assert (
        f"{tmp_path} has neither devenv.toml nor a folder with DAG files" in devenv("--project", "..", "config").stderr
    )


def test_the_project_is_found_from_a_folder_below(devenv, project_folder: Path) -> None:
    below = project_folder / "dags" / "team" / "dags"
    below.mkdir(parents=True)
    (project_folder / "devenv.toml").write_text("[ports]\nairflow = 9000\n")
    assert "ports.airflow  9000   devenv.toml:2" in devenv("config", "--given", cwd=below).stdout


def test_a_devenv_toml_with_three_mistakes(devenv, project_folder: Path) -> None:
    (project_folder / "devenv.toml").write_text('backnd = "x"\n[minikube]\ncpu = 4\nmemory = 6\n')
    result = devenv("up")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.splitlines() == [
        "error: devenv.toml has 3 problems:  DEVENV-101",
        "  devenv.toml:1  backnd is not a setting; did you mean backend?",
        "  devenv.toml:3  minikube.cpu is not a setting; did you mean minikube.cpus?",
        "  devenv.toml:4  minikube.memory must be text in quotes, not 6",
        "→ devenv init --print   shows every setting with its meaning",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_an_unreadable_devenv_toml(devenv, project_folder: Path) -> None:
    (project_folder / "devenv.toml").touch(mode=0o000)
    assert "cannot be read: Permission denied" in devenv("config").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stop",), "there is no command 'stop'; did you mean down?  DEVENV-103\n→ devenv down"),
        (("Start",), "there is no command 'Start'; did you mean up?  DEVENV-103\n→ devenv up"),
        (("trigger", "sales"), "there is no command 'trigger'; did you mean run?  DEVENV-103\n→ devenv run"),
        (
            ("rm",),
            (
                "there is no command 'rm'; `devenv down` stops the environment and keeps its data, "
                "`devenv destroy` removes all of it  DEVENV-103\n→ devenv down"
            ),
        ),
        (("wtch",), "there is no command 'wtch'; did you mean watch?  DEVENV-103\n→ devenv watch --help"),
        (("up", "--bakend", "x"), "no such option: --bakend; did you mean --backend?  DEVENV-104\n→ devenv up --help"),
        (("config", "--project"), "option '--project' requires an argument  DEVENV-104"),
        (("up", "--port", "http"), "invalid value for '--port'"),
        (("completion",), "missing argument 'shell': bash, zsh, fish"),
    ],
)
def test_a_typo(devenv, arguments: tuple[str, ...], said: str) -> None:
    result = devenv(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr


def test_an_error_as_json(devenv, tmp_path: Path) -> None:
    result = devenv("status", "-o", "json", cwd=tmp_path)
    line = json.loads(result.stdout)
    assert (line["type"], line["data"]["code"], line["data"]["exit_code"]) == ("devenv.error", "DEVENV-102", 2)
    assert result.stderr == ""


def test_a_defect_leaves_a_report_and_no_traceback(devenv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_name: str) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(app, "load_command", fail)
    result = devenv("config", variables={"SECRET_TOKEN": "hunter2"})
    assert result.exit_code == ExitCode.INTERNAL
    (report,) = (tmp_path / "cache" / "crashes").iterdir()
    assert result.stderr.splitlines() == [
        "error: devenv has a defect: ZeroDivisionError: by zero  DEVENV-070",
        f"→ please attach {report} to an issue",
    ]
    text = report.read_text()
    assert "command: devenv config" in text
    assert "Traceback" in text
    assert "hunter2" not in text
    assert report.stat().st_mode & 0o777 == 0o600


def test_ctrl_c(devenv, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "load_command", interrupt)
    assert devenv("config").exit_code == ExitCode.INTERRUPTED


def test_a_reader_that_goes_away_ends_the_command_quietly(devenv, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_name: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(app, "load_command", gone)
    result = devenv("config")
    assert (result.exit_code, result.stderr) == (141, "")


def test_help_starts_with_examples_fits_80_columns_and_names_every_command(devenv) -> None:
    for arguments in ((), ("--help",), ("-h",), ("help",)):
        assert devenv(*arguments).stdout == overview()
    assert max(map(len, overview().splitlines())) <= 80
    assert all(f"\n  {name} " in overview() for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_says_what_it_does_and_takes_the_global_flags(name: str) -> None:
    command = app.load_command(name)
    assert command.help, "a command says what it does"
    for each in getattr(command, "commands", {None: command}).values():
        assert all(param.help for param in each.params if param.param_type_name == "option")
        if not each.context_settings.get("ignore_unknown_options"):
            flags = {flag for param in each.params for flag in param.opts}
            assert {"--project", "--output", "--quiet", "--verbose", "--no-color"} <= flags


def test_global_flags_before_and_after_the_command(devenv) -> None:
    before, after = devenv("-o", "json", "config"), devenv("config", "-o", "json")
    assert [json.loads(line)["data"] for line in before.stdout.splitlines()] == [
        json.loads(line)["data"] for line in after.stdout.splitlines()
    ]


def test_completion_of_commands_imports_none_of_them(devenv, capsys: pytest.CaptureFixture[str]) -> None:
    from devenv.cli.app import root

    context = root().make_context("devenv", [], resilient_parsing=True)
    assert [item.value for item in root().shell_complete(context, "de")] == ["destroy", "debug"]
    for shell in ("bash", "zsh", "fish"):
        assert "_DEVENV_COMPLETE" in devenv("completion", shell).stdout


def test_no_synonym_leads_to_a_command_that_deletes() -> None:
    from devenv.cli.commands import COMMANDS, REMOVING, SYNONYMS

    assert set(SYNONYMS.values()) <= {*COMMANDS, "--version"} - {"destroy"}
    assert not {*SYNONYMS, *REMOVING} & set(COMMANDS)
