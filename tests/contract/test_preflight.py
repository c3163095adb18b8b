"""What is missing on a machine is told in one message with its cause and the next command, before anything is made.

The programs are stand-ins of a few lines that fail as the real ones do on such a machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Devenv

GIB = 1024**3
MINIKUBE = """\
case "$1" in
  profile) echo '{"invalid": [], "valid": []}' ;;
  start) echo "minikube was started: $*" >&2; exit 99 ;;
esac
"""

Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Makes programs: name → the text of a shell script; gives the variables with which only they are found."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(**programs: str) -> dict[str, str]:
        for name, text in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        return {"PATH": str(folder)}

    return make


def docker(**about: object) -> str:
    """A Docker engine that says this about itself."""
    info = {"ServerVersion": "28.0", "MemTotal": 16 * GIB, "NCPU": 8, "Name": "elsewhere", **about}
    return f"echo '{json.dumps(info)}'"


def test_no_docker(devenv: Devenv, machine: Machine) -> None:
    result = devenv("up", "--backend", "minikube", variables=machine(minikube=MINIKUBE, kubectl=""))
    assert result.exit_code == 3
    assert "Docker is not installed" in result.stderr
    assert "devenv up --backend local" in result.stderr


@pytest.mark.parametrize(
    ("script", "said", "next_command"),
    [
        (
            "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock' >&2; exit 1",
            "Docker's engine is not running",
            "Start Docker",
        ),
        (
            "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1",
            "This user may not use Docker's engine",
            "usermod -aG docker",
        ),
    ],
)
def test_docker_does_not_answer(devenv: Devenv, machine: Machine, script: str, said: str, next_command: str) -> None:
    variables = machine(minikube=MINIKUBE, kubectl="", docker=script)
    result = devenv("up", "--backend", "minikube", variables=variables)
    assert result.exit_code == 3
    assert said in result.stderr
    assert next_command in result.stderr


def test_no_minikube(devenv: Devenv, machine: Machine) -> None:
    result = devenv("up", "--backend", "minikube", variables=machine(kubectl="", docker=docker()))
    assert result.exit_code == 3
    assert "minikube is not installed" in result.stderr
    assert "https://minikube.sigs.k8s.io/docs/start/" in result.stderr


@pytest.mark.parametrize(
    ("setting", "about", "said"),
    [
        ("", {"MemTotal": 2 * GIB}, "Docker has 2048 MiB of memory, and the node needs 2560 MiB"),
        ('memory = "20g"', {}, "Docker has 16384 MiB of memory, and the node needs 20480 MiB"),
        ('memory = "2g"', {}, "the platform needs 2560 MiB"),
        ("cpus = 16", {}, "Docker has 8 processors, and the node needs 16"),
    ],
)
def test_too_small(
    devenv: Devenv, machine: Machine, project_folder: Path, setting: str, about: dict[str, object], said: str
) -> None:
    (project_folder / "devenv.toml").write_text(f"[minikube]\n{setting}\n")
    variables = machine(minikube=MINIKUBE, kubectl="", docker=docker(**about))
    result = devenv("up", "--backend", "minikube", variables=variables)
    assert result.exit_code == 3
    assert said in result.stderr
    assert "minikube was started" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_unreadable_dag_folder(devenv: Devenv, machine: Machine, project_folder: Path) -> None:
    (project_folder / "dags").chmod(0)
    try:
        variables = machine(minikube=MINIKUBE, kubectl="", docker=docker())
        result = devenv("up", "--backend", "minikube", variables=variables)
    finally:
        (project_folder / "dags").chmod(0o755)
    assert result.exit_code == 3
    assert "cannot be read by this user" in result.stderr


def test_without_kubectl_minikubes_own_renders(devenv: Devenv, machine: Machine, project_folder: Path) -> None:
    asked = project_folder / "asked"
    minikube = MINIKUBE + f'echo "$@" >> {asked}\n'
    devenv("up", "--backend", "minikube", variables=machine(minikube=minikube, docker=docker()))
    assert any("-p devenv kubectl -- " in line for line in asked.read_text().splitlines())


def test_a_failed_start_is_explained(devenv: Devenv, machine: Machine) -> None:
    error = {
        "type": "io.k8s.sigs.minikube.error",
        "data": {"name": "RSRC_INSUFFICIENT_CORES", "message": "has 1 CPU", "exitcode": "29"},
    }
    minikube = MINIKUBE.replace("exit 99", f"echo '{json.dumps(error)}'; exit 29")
    result = devenv("up", "--backend", "minikube", variables=machine(minikube=minikube, kubectl=":", docker=docker()))
    assert result.exit_code == 3
    assert "Docker has fewer processors than were asked for (exit code 29, RSRC_INSUFFICIENT_CORES)" in result.stderr
    assert "minikube.cpus" in result.stderr


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "local: minikube is not installed"),
        ({"minikube": MINIKUBE}, "local: Docker is not installed"),
        ({"minikube": MINIKUBE, "docker": docker()}, "minikube: Docker and minikube are installed"),
    ],
)
def test_the_choice_is_one_line_with_its_reason(
    devenv: Devenv, machine: Machine, programs: dict[str, str], said: str
) -> None:
    assert said in devenv("up", "--dry-run", variables=machine(**programs)).stderr


def test_a_context_must_be_named(devenv: Devenv) -> None:
    result = devenv("up", "--backend", "kubernetes")
    assert result.exit_code == 2
    assert "devenv never uses the current context implicitly" in result.stderr
