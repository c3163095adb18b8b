"""Nothing that devenv starts resets, makes anew or deletes a cluster that works; the current context stays."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.conftest import MAIN_PROFILE
from tests.support.program import Program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TEAM = """\
apiVersion: v1
kind: Config
current-context: team
clusters: [{name: team, cluster: {server: "https://team.example.com:6443"}}]
users: [{name: me, user: {token: abc}}]
contexts: [{name: team, context: {cluster: team, user: me}}]
"""
HARMFUL = {
    ("minikube", "start"),
    ("minikube", "delete"),
    ("minikube", "stop"),
    ("docker", "rm"),
    ("docker", "restart"),
    ("docker", "stop"),
    ("docker", "kill"),
    ("kubectl", "delete"),
    ("kubectl", "drain"),
}


class Recorder:
    """Programs in front of the real ones on PATH, which note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._notes = folder / "notes"
        folder.mkdir()
        for name in ("minikube", "docker", "kubectl"):
            script = f'#!/bin/sh\necho "{name} $*" >> {self._notes}\nexec {shutil.which(name)} "$@"\n'
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def take(self) -> list[list[str]]:
        """The commands since the last call."""
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        self._notes.write_text("")
        return [line.split() for line in lines]

    def harmful(self) -> list[list[str]]:
        """Those that can reset, make anew or delete a node or what runs in it."""
        return [command for command in self.take() if any((command[0], word) in HARMFUL for word in command[1:3])]


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return Recorder(tmp_path_factory.mktemp("recorder") / "bin")


@pytest.fixture
def recorded(main_job: Program, recorder: Recorder) -> Program:
    import os

    recorder.take()
    path = f"{recorder.folder}:{os.environ['PATH']}"
    return replace(main_job, variables={**main_job.variables, "PATH": path})


def birth() -> str:
    """When the node was made: another date after a reset."""
    command = ["kubectl", "--context", MAIN_PROFILE, "get", "node", "-o", "jsonpath={.items[0].metadata.uid}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def with_kubeconfig(program: Program, *paths: Path) -> Program:
    value = ":".join(str(path) for path in paths)
    return replace(program, variables={**program.variables, "KUBECONFIG": value})


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig without a context in a file system that is mounted read-only, which stops root, too."""
    folder = tmp_path / "readonly"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    (folder / "config").write_text("apiVersion: v1\nkind: Config\n")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    yield folder / "config"
    subprocess.run(["umount", folder], check=True)


@pytest.mark.main
def test_a_kubeconfig_that_cannot_be_written_resets_nothing(
    recorded: Program, recorder: Recorder, unwritable: Path
) -> None:
    before = birth()
    with_kubeconfig(recorded, unwritable).run("up", "--detach")
    with_kubeconfig(recorded, unwritable).run("status")
    assert recorder.harmful() == []
    assert birth() == before


@pytest.mark.main
@pytest.mark.parametrize("form", ["one file", "two files", "a folder that does not exist"])
def test_the_current_context_stays_in_every_form_of_kubeconfig(
    recorded: Program, recorder: Recorder, tmp_path: Path, form: str
) -> None:
    team, other = tmp_path / "team.yaml", tmp_path / "other.yaml"
    team.write_text(TEAM)
    other.write_text("apiVersion: v1\nkind: Config\n")
    paths = {"one file": [team], "two files": [team, other], "a folder that does not exist": [tmp_path / "no" / "c"]}
    program = with_kubeconfig(recorded, *paths[form])
    program.run("up", "--detach")
    program.run("doctor", "--fix", code=None)
    assert recorder.harmful() == []
    for path in paths[form]:
        if path.exists():
            chosen = ["kubectl", "config", "current-context", "--kubeconfig", str(path)]
            current = subprocess.run(chosen, capture_output=True, text=True, check=False).stdout.strip()
            assert current == ("team" if path == team else "")


def test_devenvs_own_kubeconfig_is_written_again_without_a_start(recorded: Program, recorder: Recorder) -> None:
    (own,) = Path(recorded.variables["DEVENV_DATA"]).glob("environments/*/kubeconfig")
    own.unlink()
    assert "is up" in recorded.run("status")
    own.write_text("not: [yaml")
    recorded.run("up", "--detach")
    assert recorder.harmful() == []
    assert own.stat().st_mode & 0o777 == 0o600


@pytest.mark.main
@pytest.mark.parametrize("state", ["damaged", "missing"])
def test_a_profile_file_that_is_not_whole_is_named_by_every_command(
    recorded: Program, recorder: Recorder, state: str
) -> None:
    file = Path.home() / ".minikube" / "profiles" / MAIN_PROFILE / "config.json"
    kept = file.read_bytes()
    try:
        file.write_bytes(b"") if state == "damaged" else file.unlink()
        for command in (["status"], ["up", "--detach"], ["watch"]):
            (error,) = [line for line in recorded.json(*command, code=None) if line.type == "devenv.error"]
            assert f"{file} is {state}; its node and the data in it are there" in error.data["message"]
            assert error.data["hint"].startswith("restore that file")
        findings = [line.data for line in recorded.json("doctor", code=None) if line.type == "devenv.doctor.finding"]
        assert any(str(file) in finding["cause"] for finding in findings if finding["check"] == "profile")
    finally:
        file.write_bytes(kept)
    assert recorder.harmful() == []
    assert "is up" in recorded.run("status")


def test_a_profile_of_another_minikube_is_not_made_anew(recorded: Program, recorder: Recorder, tmp_path: Path) -> None:
    other = replace(recorded, variables={**recorded.variables, "MINIKUBE_HOME": str(tmp_path)})
    (error,) = [line for line in other.json("up", "--detach", code=None) if line.type == "devenv.error"]
    assert "another MINIKUBE_HOME" in error.data["message"]
    assert recorder.harmful() == []


def test_a_storage_provisioner_that_is_gone_comes_back_with_up(recorded: Program, recorder: Recorder) -> None:
    kubectl = ["kubectl", "--context", MAIN_PROFILE]
    subprocess.run([*kubectl, "delete", "storageclass", "standard"], check=True)
    subprocess.run([*kubectl, "-n", "kube-system", "delete", "pod", "storage-provisioner"], check=True)
    recorded.run("up", "--detach")
    assert recorder.harmful() == []
    subprocess.run([*kubectl, "get", "storageclass", "standard"], check=True)
    subprocess.run([*kubectl, "-n", "kube-system", "get", "pod", "storage-provisioner"], check=True)


def test_a_node_that_docker_restarted_is_found_again(recorded: Program) -> None:
    """kubernetes/minikube#9165: its kubelet does not start by itself, and other ports may lead to it."""
    before = birth()
    subprocess.run(["docker", "restart", MAIN_PROFILE], check=True, capture_output=True)
    said = recorded.run("status", code=None).splitlines()[0]
    assert "missing" not in said
    recorded.run("up", "--detach", seconds=600)
    assert birth() == before
    assert " is up" in recorded.run("status").splitlines()[0]
    recorded.run("run", "taskflow_example", "--wait", seconds=300)


EVERY = (
    ("status",),
    ("config",),
    ("env",),
    ("check",),
    ("dags",),
    ("doctor",),
    ("doctor", "--fix"),
    ("up", "--detach"),
    ("sync",),
    ("run", "taskflow_example", "--wait"),
    ("test", "taskflow_example"),
    ("rerun", "taskflow_example", "load"),
    ("logs", "scheduler", "--tail", "1"),
    ("logs", "taskflow_example", "load"),
    ("airflow", "version"),
    ("psql", "-c", "select 1"),
    ("shell", "scheduler"),
    ("open", "--print"),
    ("secrets", "list"),
    ("secrets", "seed"),
    ("init",),
)
"""All commands but those that go on until they are ended (`watch` and `ui`), and `down` and `destroy`."""


def test_no_command_runs_what_can_reset_a_node_that_answers(recorded: Program, recorder: Recorder) -> None:
    before, config = birth(), (recorded.folder / "devenv.toml").read_text()
    with recorded.watching():
        for command in EVERY:
            recorded.run(*command, code=None)
            assert recorder.harmful() == [], command
    assert birth() == before
    assert (recorded.folder / "devenv.toml").read_text() == config
