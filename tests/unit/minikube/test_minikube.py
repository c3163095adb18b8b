"""minikube's lines and exit codes as progress and errors; image names; memory in its notation; free ports."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from devenv import ports
from devenv.errors import DevenvError
from devenv.events import Event, Notice
from devenv.minikube.errors import (
    DockerNotRunning,
    MinikubeFailed,
    NotEnoughDisk,
    NotEnoughMemory,
    NotEnoughProcessors,
    PortTaken,
)
from devenv.minikube.images import full_name
from devenv.minikube.preflight import memory_mib
from devenv.minikube.problems import Problem, explain
from devenv.minikube.program import Events, _profile
from devenv.settings.schema import PortSettings


def event(kind: str, **data: str) -> str:
    return json.dumps({"specversion": "1.0", "type": f"io.k8s.sigs.minikube.{kind}", "data": data})


def test_steps_are_told_with_the_furthest_that_was_reached_and_other_lines_are_kept() -> None:
    told: list[tuple[str, float | None]] = []
    events = Events(lambda message, fraction: told.append((message, fraction)))
    for line in (
        event("step", name="Starting Node", message="…", currentstep="4", totalsteps="20"),
        event("step", name="Selecting Driver", message="…", currentstep="1", totalsteps="20"),
        event("step", name="Done", message="…", currentstep="", totalsteps="20"),
        event("download.progress", artifact="preload", progress="0.36"),
        "E1122 docker.go:243] Failed to disable",
        "",
        event("error", name="RSRC_INSUFFICIENT_CORES", message="has 1 CPU", advice="more", exitcode="29"),
        event("error", message="something that follows"),
    ):
        events.take(line)
    assert told == [("Starting Node", 0.2), ("Selecting Driver", 0.2), ("Done", 0.2), ("Downloading preload", 0.36)]
    assert list(events.plain) == ["E1122 docker.go:243] Failed to disable"]
    assert events.problem(29) == Problem("RSRC_INSUFFICIENT_CORES", "has 1 CPU", "more", 29)


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        (Problem("RSRC_INSUFFICIENT_REQ_MEMORY", "Requested 250MiB", "", 23), NotEnoughMemory, "minikube's minimum"),
        (Problem("RSRC_INSUFFICIENT_CORES", "has 1 CPU", "", 29), NotEnoughProcessors, "exit code 29"),
        (Problem("PROVIDER_DOCKER_NOT_RUNNING", "deadline", "", 55), DockerNotRunning, "not running"),
        (
            Problem("GUEST_PROVISION", "Bind for 127.0.0.1:8080 failed: port is already allocated", "", 80),
            PortTaken,
            "held by another program",
        ),
        (Problem("GUEST_PROVISION", "write: no space left on device", "", 80), NotEnoughDisk, "disk is full"),
        (Problem("GUEST_PROVISION", "something else", "", 80), MinikubeFailed, "could not make or start its node"),
        (Problem("INET_GET_VERSIONS", "timeout", "", 42), MinikubeFailed, "could not download"),
        (Problem("", "", "", 107), MinikubeFailed, "control plane did not start"),
        (Problem("", "", "", 1), MinikubeFailed, "exit code 1"),
    ],
)
def test_every_failure_has_a_cause_and_a_next_command(problem: Problem, kind: type[DevenvError], words: str) -> None:
    error = explain(problem, ["the last line"])
    assert type(error) is kind
    assert words in error.message
    assert error.hint
    assert "the last line" in (error.detail or "")


def test_a_profile_tells_its_owner_and_what_it_publishes() -> None:
    labels = {"Component": "kubelet", "Key": "node-labels", "Value": "a=b,devenv.io/environment=shop-1"}
    profile = _profile(
        {
            "Name": "devenv",
            "Config": {
                "Driver": "docker",
                "Memory": 6144,
                "Nodes": [{}, {}],
                "ExposedPorts": ["127.0.0.1:8081:30080", "8200:30820", "22"],
                "KubernetesConfig": {"ContainerRuntime": "containerd", "ExtraOptions": [labels]},
            },
        }
    )
    assert (profile.owner, profile.nodes, profile.ports) == ("shop-1", 2, {30080: 8081, 30820: 8200})
    assert _profile({"Name": "theirs", "Config": {}}).owner == ""


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("postgres:15", "docker.io/library/postgres:15"),
        ("hashicorp/vault", "docker.io/hashicorp/vault:latest"),
        ("localhost:5000/etl", "localhost:5000/etl:latest"),
        ("ghcr.io/team/etl@sha256:ab", "ghcr.io/team/etl@sha256:ab"),
    ],
)
def test_images_have_one_full_name(image: str, full: str) -> None:
    assert full_name(image) == full


def test_memory_in_minikubes_notation() -> None:
    assert [memory_mib(text) for text in ("6g", "4096m", "4096", "2.5GB", "3Gi")] == [6144, 4096, 4096, 2560, 3072]


def test_a_taken_port_is_replaced_by_the_next_and_its_holder_is_named() -> None:
    said: list[Event] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        chosen = ports.choose(taken, "Airflow", said.append)
    assert chosen > taken
    assert isinstance(said[0], Notice)
    assert f"port {taken} is taken" in said[0].message
    assert f"(pid {os.getpid()})" in said[0].message


def test_two_components_never_get_one_port() -> None:
    given: set[int] = set()
    first = ports.choose(18_080, "Airflow", lambda _event: None, taken=given)
    assert ports.choose(first, "Vault", lambda _event: None, taken=given) > first


def test_ports_that_a_watch_keeps_are_known_while_it_lives(tmp_path: Path) -> None:
    assert ports.held(tmp_path) == {}
    ports.hold(tmp_path, {"vault": 8201})
    assert ports.held(tmp_path) == {"vault": 8201}
    (tmp_path / "state.json").write_text('{"pid": 0, "ports": [1]}')
    assert ports.held(tmp_path) == {}
    ports.release(tmp_path)
    ports.release(tmp_path)
    assert ports.wanted_port("webserver", PortSettings(airflow=8090)) == 8090
