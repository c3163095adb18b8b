"""`devenv up` on a real minikube, in one profile: interrupted, resumed, shared with nobody, stopped, moved, removed.

The tests build on each other, as a week with one environment does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

from devenv.cluster.connection import Cluster
from devenv.cluster.errors import ExecRefused, PodFailed
from devenv.cluster.exec import ExecDuplex, exec_duplex, run_in_pod
from devenv.cluster.forward import Forward
from devenv.cluster.streams import Stop
from devenv.duplex import DuplexClosed
from devenv.environment import Environment
from devenv.platform.waiting import ReadyWait, Workload, diagnose
from tests.cluster.conftest import HELLO, MakeProject
from tests.support.program import Program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NAMESPACE = "airflow"


@pytest.fixture(scope="module")
def program(make_project: MakeProject, empty_profile: str) -> Program:
    return make_project("shop", empty_profile)


@pytest.fixture(scope="module")
def cluster(program: Program, empty_profile: str) -> Cluster:
    """The cluster after the first boot."""
    assert program
    return Cluster.open(empty_profile, Environment())


def status(program: Program) -> dict[str, object]:
    (line,) = [line for line in program.json("status", code=None) if line.type == "devenv.status"]
    return line.data


def agent(cluster: Cluster) -> str:
    pods = cluster.list("Pod", NAMESPACE, labels="app.kubernetes.io/component=agent")
    (name,) = [pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return str(name)


def first_job(cluster: Cluster) -> str:
    """When the oldest process that the database remembers started: another database, another time."""
    query = ["psql", "-U", "airflow", "-Atc", "select min(start_date) from job"]
    code, output, errors = run_in_pod(cluster, NAMESPACE, "postgres-0", "postgres", query)
    assert code == 0, errors
    return output.decode().strip()


def test_interrupted_while_minikube_starts_and_resumed(program: Program, empty_profile: str) -> None:
    before = subprocess.run(
        ["kubectl", "config", "current-context"], capture_output=True, text=True, check=False
    ).stdout
    with subprocess.Popen(
        [*program.command, "up", "--detach", "-o", "json"],
        cwd=program.folder,
        env={**os.environ, **program.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            event = json.loads(line)
            if event["type"] == "devenv.step.progress" and event["data"]["message"] == "Preparing Kubernetes":
                child.send_signal(signal.SIGINT)
                break
        child.stdout.read()
        assert child.wait(60) == 130
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"minikube start -p {empty_profile}" not in left

    program.run("up", "--detach", seconds=900)
    after = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=False).stdout
    assert after == before


def test_everything_runs_and_answers_on_127_0_0_1(program: Program) -> None:
    state = status(program)
    assert state["state"] == "up"
    urls = state["urls"]
    assert isinstance(urls, dict)
    with urllib.request.urlopen(f"{urls['webserver']}/health", timeout=30) as answer:
        assert json.load(answer)["scheduler"]["status"] == "healthy"
    with urllib.request.urlopen(f"{urls['vault']}/v1/sys/health", timeout=30) as answer:
        assert json.load(answer)["sealed"] is False


def test_every_object_says_whose_it_is(program: Program, cluster: Cluster) -> None:
    identifier = status(program)["identifier"]
    for kind in ("Deployment", "StatefulSet", "Service", "PersistentVolumeClaim", "Role"):
        items = cluster.list(kind, NAMESPACE)
        assert items
        assert {item["metadata"]["labels"]["devenv.io/environment"] for item in items} == {identifier}
    namespace = cluster.get("Namespace", NAMESPACE)
    assert namespace is not None
    assert namespace["metadata"]["annotations"]["devenv.io/folder"] == str(program.folder)


def test_another_folder_is_refused_and_can_destroy_nothing(
    program: Program, make_project: MakeProject, empty_profile: str, foreign_profile: str, cluster: Cluster
) -> None:
    other = make_project("other", empty_profile)
    for arguments in (("up", "--detach"), ("destroy", "--yes"), ("down",)):
        said = failed(other, *arguments)
        assert f"belongs to environment {status(program)['identifier']}" in said
        assert str(program.folder) in said
        assert "--profile NAME" in said
    assert "devenv did not make it" in failed(other, "up", "--detach", "--profile", foreign_profile)
    assert cluster.get("Deployment", "scheduler", NAMESPACE) is not None


def failed(program: Program, *arguments: str) -> str:
    """What a refused command says."""
    done = subprocess.run(
        [*program.command, *arguments],
        cwd=program.folder,
        env={**os.environ, **program.variables, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 5, done.stderr
    return done.stderr


def test_a_session_carries_bytes_both_ways_and_tells_how_the_program_ended(cluster: Cluster) -> None:
    pod = agent(cluster)
    sent = os.urandom(3_000_000)
    session = exec_duplex(cluster, NAMESPACE, pod, "agent", ["cat"])
    try:
        writer = threading.Thread(target=session.write, args=(sent,))
        writer.start()
        came = b""
        while len(came) < len(sent):
            came += session.read(30.0)
        writer.join()
        assert came == sent
        assert session.end_input()
        with pytest.raises(DuplexClosed, match="exit code 0"):
            session.read(30.0)
    finally:
        session.close()
    script = "import sys; print(sys.stdin.read()); sys.exit('the last words')"
    code, output, errors = run_in_pod(cluster, NAMESPACE, pod, "agent", ["python3", "-c", script], stdin=b"in")
    assert (code, output, errors) == (1, b"in\n", "the last words")
    with pytest.raises(ExecRefused, match="not found"):
        run_in_pod(cluster, NAMESPACE, "no-such-pod", "agent", ["true"])


def test_a_session_ends_with_its_pod_and_a_forward_goes_on_with_the_next(cluster: Cluster) -> None:
    labels = "app.kubernetes.io/component=agent"
    serve = "import http.server as h; h.HTTPServer(('', 8099), h.SimpleHTTPRequestHandler).serve_forever()"
    with Forward(cluster, NAMESPACE, labels, 8099) as forward:
        for last in (False, True):
            pod = agent(cluster)
            session = exec_duplex(cluster, NAMESPACE, pod, "agent", ["python3", "-c", serve])
            assert fetched(f"http://127.0.0.1:{forward.port}/", seconds=60), session.last_words
            if last:
                session.close()
                break
            cluster.delete("Pod", pod, NAMESPACE, grace_seconds=1)
            with pytest.raises(DuplexClosed):
                read_on(session)
            for _event, found in cluster.watch("Pod", NAMESPACE, labels=labels, timeout=180):
                if found["metadata"]["name"] != pod and diagnose(found) is None:
                    break


def test_a_watch_is_ended_from_another_thread(cluster: Cluster) -> None:
    stop = Stop()
    seen = []
    for event in cluster.watch("Pod", NAMESPACE, stop=stop):
        seen.append(event)
        if len(seen) == 1:
            threading.Timer(0.5, stop).start()
    assert seen


def read_on(session: ExecDuplex) -> None:
    """Reads until the session ends."""
    while True:
        session.read(60.0)


def fetched(url: str, *, seconds: float) -> bool:
    """Whether a URL answers within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
        time.sleep(0.3)
    return False


@pytest.fixture(scope="module")
def broken(cluster: Cluster) -> str:
    """A namespace for pods that cannot start; it goes with the profile."""
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "broken"}}])
    return "broken"


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({"image": "registry.invalid/none:1"}, r"image registry\.invalid/none:1: the registry cannot be reached"),
        (
            {"command": ["sh", "-c", "echo my last line; exit 3"]},
            "container c is in CrashLoopBackOff: exit code 3",
        ),
        ({"resources": {"requests": {"cpu": "64"}}}, "not enough cpu left on the node: it needs 64000m cpu and"),
    ],
)
def test_a_pod_that_cannot_start_says_why_at_once(
    cluster: Cluster, broken: str, container: dict[str, object], said: str
) -> None:
    # Without a probe, a container counts as ready for the moment before it ends.
    probe = {"exec": {"command": ["test", "-e", "/never"]}}
    image = {"image": "postgres:15", "imagePullPolicy": "IfNotPresent"}
    spec = {"name": "c", "startupProbe": probe, **image, **container}
    name = f"etl-{next(iter(container))}"
    labels = {"app": name}
    cluster.apply(
        [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": broken},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [spec]}},
                },
            }
        ]
    )
    with pytest.raises(PodFailed, match=said) as raised:
        ReadyWait(cluster, broken, [Workload("Deployment", name)]).run(180)
    assert raised.value.hint
    if "command" in container:
        assert "my last line" in (raised.value.detail or "")


def test_plugins_become_an_image_that_is_rolled_out_and_taken_back(program: Program, cluster: Cluster) -> None:
    settings = program.folder / "devenv.toml"
    before = settings.read_text()
    settings.write_text(f"{before}\n[sync]\nfolders = []\n")  # else they are synced, and no image is built for them
    plugins = program.folder / "plugins"
    plugins.mkdir()
    (plugins / "shop_hook.py").write_text("NAME = 'shop'\n")
    program.run("up", "--detach", seconds=600)
    read = ["python3", "-c", "import sys; sys.path.insert(0, '/opt/airflow/plugins'); import shop_hook; print('in')"]
    assert run_in_pod(cluster, NAMESPACE, agent(cluster), "agent", read)[1] == b"in\n"
    (plugins / "shop_hook.py").unlink()
    program.run("up", "--detach", seconds=600)
    assert run_in_pod(cluster, NAMESPACE, agent(cluster), "agent", read)[0] == 1
    settings.write_text(before)


def test_requirements_and_packages_are_installed_and_rolled_out_while_watching(
    program: Program, cluster: Cluster
) -> None:
    settings = program.folder / "devenv.toml"
    settings.write_text(settings.read_text() + '[images]\nbuild_network = "host"\n')
    (program.folder / "dags" / "herd.py").write_text("import cowsay\n" + HELLO.replace("hello", "herd"))
    with program.watching() as watch:
        (problem,) = watch.verdict("dags/herd.py", ok=False)["problems"]
        assert "cowsay" in problem["message"]
        (program.folder / "packages.txt").write_text("tree  # for the tasks\n")
        (program.folder / "requirements.txt").write_text("cowsay==6.1\n")
        assert watch.verdict("dags/herd.py", ok=True, seconds=600)["dag_ids"] == ["herd"]
        assert watch.interrupt() == 130
    assert run_in_pod(cluster, NAMESPACE, agent(cluster), "agent", ["tree", "--version"])[0] == 0
    version = ["python3", "-c", "import airflow; print(airflow.__version__)"]
    assert run_in_pod(cluster, NAMESPACE, agent(cluster), "agent", version)[1].split()[-1] == b"2.7.2"


def test_stopped_and_started_with_a_port_that_is_taken_meanwhile_nothing_is_lost(
    program: Program, empty_profile: str, cluster: Cluster
) -> None:
    urls = status(program)["urls"]
    assert isinstance(urls, dict)
    port = int(urls["webserver"].rpartition(":")[2])
    before = first_job(cluster)
    program.run("down")
    assert status(program)["state"] == "stopped"
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        program.run("up", "--detach", seconds=900)
        urls = status(program)["urls"]
        assert isinstance(urls, dict)
        assert int(urls["webserver"].rpartition(":")[2]) != port
        assert fetched(f"{urls['webserver']}/health", seconds=60)
    assert first_job(Cluster.open(empty_profile, Environment())) == before


def test_destroy_removes_the_profile(program: Program, empty_profile: str) -> None:
    identifier = status(program)["identifier"]
    program.run("destroy", "--yes", seconds=300)
    answer = subprocess.run(
        ["minikube", "profile", "list", "-o", "json", "--light"], capture_output=True, text=True, check=False
    )
    names = [entry["Name"] for kind in ("valid", "invalid") for entry in json.loads(answer.stdout).get(kind) or []]
    assert empty_profile not in names
    assert status(program)["state"] == "missing"
    images = subprocess.run(["docker", "image", "ls"], capture_output=True, text=True, check=True).stdout
    assert f"devenv/{identifier}" not in images
