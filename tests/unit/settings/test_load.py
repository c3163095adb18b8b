from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.settings import Settings, SettingsError, load
from devenv.settings.load import every_key, read
from devenv.settings.template import template
from devenv.settings.toml_lines import key_lines

if sys.version_info >= (3, 11):
    import tomllib as toml
else:
    import tomli as toml


def environment(**variables: str) -> Environment:
    return Environment(variables=variables)


def write(folder: Path, text: str) -> Path:
    (folder / "devenv.toml").write_text(text)
    return folder


def problems(folder: Path, flags: dict[str, object] | None = None, **variables: str) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as caught:
        load(folder, environment(**variables), flags)
    return [(problem.where, problem.message) for problem in caught.value.problems]


def test_no_file_is_needed(tmp_path: Path) -> None:
    assert load(tmp_path, environment()) == Settings()


def test_flags_go_over_variables_over_the_last_up_over_the_file_over_defaults(tmp_path: Path) -> None:
    write(tmp_path, "[ports]\nairflow = 1001\nvault = 1002\ngrafana = 1003\nflower = 1004\n")
    variables = {"DEVENV_PORTS__AIRFLOW": "2001", "DEVENV_PORTS__VAULT": "2002", "DEVENV_PORTS__GRAFANA": ""}
    effective = read(
        tmp_path, environment(**variables), {"ports.airflow": 3001, "ports.flower": None}, {"ports.flower": 4004}
    )
    ports = effective.settings.ports
    assert (ports.airflow, ports.vault, ports.grafana, ports.flower, ports.prometheus) == (3001, 2002, 1003, 4004, 9090)
    assert [effective.origin(("ports", name)) for name in ("airflow", "vault", "grafana", "flower", "prometheus")] == [
        "--port",
        "DEVENV_PORTS__VAULT",
        "devenv.toml:4",
        "devenv up --flower (the last one)",
        "default",
    ]


@pytest.mark.parametrize(
    ("name", "text", "read_back"),
    [
        ("DEVENV_BACKEND", "local", lambda settings: settings.backend == "local"),
        ("DEVENV_AIRFLOW__VERSION", "3.3.2", lambda settings: settings.airflow.version == "3.3.2"),
        ("DEVENV_SYNC__FOLDERS", "plugins, include", lambda settings: settings.sync.folders == ("plugins", "include")),
        ("DEVENV_SYNC__FOLDERS", '["plugins"]', lambda settings: settings.sync.folders == ("plugins",)),
        ("DEVENV_SYNC__POLL_SECONDS", "2", lambda settings: settings.sync.poll_seconds == 2.0),
        ("DEVENV_TERMINAL__BELL", "yes", lambda settings: settings.terminal.bell is True),
        ("DEVENV_MINIKUBE__CPUS", "4", lambda settings: settings.minikube.cpus == 4),
        (
            "DEVENV_AIRFLOW__CONFIG__CORE__PARALLELISM",
            "8",
            lambda settings: settings.airflow.config == {"core": {"parallelism": "8"}},
        ),
    ],
)
def test_a_variable_has_the_type_of_its_setting(tmp_path: Path, name: str, text: str, read_back) -> None:
    assert read_back(load(tmp_path, environment(**{name: text})))


def test_variables_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    load(tmp_path, environment(DEVENV_ROOT="/nix", DEVENV_CACHE="/tmp/x", DEVENV_PROFILE="y"))


def test_every_problem_of_every_source_in_one_message(tmp_path: Path) -> None:
    write(
        tmp_path,
        'backnd = "local"\n\n[airflow]\nexecutor = "Kubernetes"\nnamespace = "x"\n\n[ports]\nairflow = "8080"\n',
    )
    found = problems(tmp_path, {"airflow.schedulers": 99}, DEVENV_MINIKUBE__CPU="4")
    assert [where for where, _ in found] == [
        "devenv.toml:1",
        "devenv.toml:4",
        "devenv.toml:5",
        "devenv.toml:8",
        "--with ha",
        "DEVENV_MINIKUBE__CPU",
    ]
    text = "\n".join(message for _, message in found)
    assert "did you mean backend?" in text
    assert 'did you mean "KubernetesExecutor"?' in text
    assert "did you mean kubernetes.namespace?" in text
    assert 'ports.airflow must be a whole number, not "8080"' in text
    assert "did you mean minikube.cpus?" in text


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("[airflow\n", "devenv.toml:1", "is not TOML"),
        ('name = "a"\n\nname = "b"\n', "devenv.toml:3", "is not TOML"),
        ("[minikube]\ncpus = 1\n", "devenv.toml:2", "minikube.cpus must be at least 2, not 1"),
        ('[minikube]\nmemory = "lots"\n', "devenv.toml:2", 'minikube.memory cannot be "lots"'),
        ('[sync]\ndags = "../elsewhere"\n', "devenv.toml:2", "must be a path inside the project"),
        ('[airflow]\nversion = "2.6.3"\n', "devenv.toml:2", "must be a release from 2.7.0 on"),
        ('[vault.secrets.a]\npath = "x/y"\n', "devenv.toml:1", "vault.secrets.a.file is missing"),
        ('[sync]\nbackend = "local"\n', "devenv.toml:2", "stands outside any table, above the first [table]"),
        ("airflow = 3\n", "devenv.toml:1", "airflow must be a table, not 3"),
        # together wrong
        ("[ports]\nvault = 8080\n", "devenv.toml:2", "port 8080 is already that of ports.airflow"),
        (
            '[airflow]\nversion = "3.3.2"\nexecutor = "SequentialExecutor"\n',
            "devenv.toml:3",
            "Airflow 3.3.2 has no SequentialExecutor",
        ),
        ('backend = "local"\n[airflow]\nexecutor = "CeleryExecutor"\n', "devenv.toml:3", "needs a cluster"),
        ('backend = "kubernetes"\n', "devenv.toml:1", "needs kubernetes.context"),
        ('[airflow.config.core]\nexecutor = "X"\n', "devenv.toml:2", "set airflow.executor instead"),
        ('[sync]\nfolders = ["a/lib", "b/lib"]\n', "devenv.toml:2", "two synced folders have the name lib/"),
        (
            '[vault.secrets.x]\npath = "a"\nfile = "slack.env"\n',
            "devenv.toml:3",
            "the file slack.env is already taken",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, where: str, said: str) -> None:
    assert [(place, said in message) for place, message in problems(write(tmp_path, text))] == [(where, True)]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "devenv.toml").mkdir()
    assert problems(tmp_path)[0][1].startswith("cannot be read: Is a directory")
    (tmp_path / "devenv.toml").rmdir()
    (tmp_path / "devenv.toml").write_bytes(b'name = "ok"\nx = "\xff"\n')
    assert problems(tmp_path) == [("devenv.toml:2", "is not UTF-8 text")]


def test_lines_of_keys_in_every_form_of_toml() -> None:
    text = '# c\na = 1\nb.c = """\nx = 1\n"""\n\n[t]\nlist = [\n  1,\n  2,\n]\n[t.u]\nv = { w = 1 }\n'
    assert key_lines(text) == {
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 3,
        ("t",): 7,
        ("t", "list"): 8,
        ("t", "u"): 12,
        ("t", "u", "v"): 13,
        ("t", "u", "v", "w"): 13,
    }


def test_the_template_is_valid_with_every_setting_taken_out_of_its_comment(tmp_path: Path) -> None:
    load(write(tmp_path, template()), environment())
    lines = [re.sub(r"^# (?=\w+ = |\"[^\"]+\" = |\[)", "", line) for line in template().splitlines()]
    given = toml.loads("\n".join(lines))
    missing = [".".join(path) for path, _ in every_key() if not _has(given, path)]
    assert missing == []
    load(write(tmp_path, "\n".join(lines)), environment())


def _has(table: dict, path: tuple[str, ...]) -> bool:
    for key in path:
        if key not in table:
            return False
        table = table[key]
    return True
