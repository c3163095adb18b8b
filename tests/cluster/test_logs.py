"""Following pods on a real cluster: in time order, through restarts, as task pods come and go."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devenv.backends.base import LogQuery
from devenv.cluster.connection import Cluster
from devenv.environment import Environment
from devenv.events import LogLine
from devenv.logs.pods import pod_logs
from devenv.logs.scrub import Scrubber
from tests.support.volume import running_profile

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

IMAGE = "postgres:15"
SECRET = "canary-of-vault"


def pod(name: str, script: str, *, restart: str = "Always", init: str = "", **labels: str) -> dict[str, Any]:
    def container(title: str, text: str) -> dict[str, Any]:
        return {"name": title, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["bash", "-c", text]}

    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "restartPolicy": restart,
            "terminationGracePeriodSeconds": 0,
            "initContainers": [container("secrets", init)] if init else [],
            "containers": [container("base", script)],
        },
    }


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster.open(running_profile(), Environment())


@pytest.fixture
def make(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Makes pods in a namespace of their own; returns its name."""
    namespace = f"devenv-logs-{uuid.uuid4().hex[:8]}"
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])

    def made(*pods: dict[str, Any]) -> str:
        for item in pods:
            item["metadata"]["namespace"] = namespace
        cluster.apply(pods)
        return namespace

    yield made
    cluster.delete("Namespace", namespace)


class Following:
    """`pod_logs` in a thread; `until` waits for what a line must satisfy."""

    def __init__(self, cluster: Cluster, namespace: str, *components: str) -> None:
        self.lines: list[LogLine] = []
        self._came = threading.Condition()
        query = LogQuery(components=components, follow=True, tail=50)
        self._logs = pod_logs(cluster, namespace, query, scrub=Scrubber([SECRET]))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for line in self._logs:
            with self._came:
                self.lines.append(line)
                self._came.notify_all()
            if self._stop.is_set():
                break
        self._logs.close()  # type: ignore[attr-defined]

    def until(self, what: Callable[[list[LogLine]], bool]) -> None:
        with self._came:
            assert self._came.wait_for(lambda: what(self.lines), 240), [line.text for line in self.lines]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_a_restart_and_a_task_pod_that_comes_and_goes_are_followed(cluster: Cluster, make: Callable[..., str]) -> None:
    scheduler = {"app.kubernetes.io/component": "scheduler"}
    triggerer = {"app.kubernetes.io/component": "triggerer"}
    namespace = make(
        pod("scheduler", "while true; do echo beat; sleep 0.3; done", **scheduler),
        pod("triggerer", f"echo life of $HOSTNAME {SECRET}; sleep 1; exit 1", **triggerer),
        pod("somebody", "while true; do echo not ours; sleep 1; done", app="other"),
    )
    following = Following(cluster, namespace)
    try:
        following.until(lambda lines: sum(line.component == "triggerer" for line in lines) >= 2)
        make(pod("load-1", "echo task ends", restart="Never", init="echo fetched", dag_id="sales", task_id="load"))
        following.until(lambda lines: any(line.text == "task ends" for line in lines))
        cluster.delete("Pod", "load-1", namespace)
        beats = len(following.lines)
        following.until(lambda lines: len(lines) > beats + 3)
    finally:
        following.stop()
    lines = following.lines
    assert {line.component for line in lines} == {"scheduler", "triggerer", "task"}
    assert [line.text for line in lines if line.component == "task"] == ["fetched", "task ends"]
    assert [line.source for line in lines if line.component == "task"] == ["load-1/secrets", "load-1/base"]
    assert {line.text for line in lines if line.component == "triggerer"} == {"life of triggerer ***"}
    times = [line.time for line in lines if line.component == "scheduler"]
    assert times == sorted(times)
    assert len(times) == len(set(times))


def test_a_look_back_shows_the_life_before_a_restart(cluster: Cluster, make: Callable[..., str]) -> None:
    flag = "/var/lib/postgresql/once"
    script = f"if [ -e {flag} ]; then echo second; sleep 600; else touch {flag}; echo first; exit 1; fi"
    item = pod("webserver", script, **{"app.kubernetes.io/component": "webserver"})
    item["spec"]["volumes"] = [{"name": "kept", "emptyDir": {}}]
    item["spec"]["containers"][0]["volumeMounts"] = [{"name": "kept", "mountPath": "/var/lib/postgresql"}]
    namespace = make(item)
    for _event, seen in cluster.watch("Pod", namespace, timeout=240):
        states = (seen.get("status") or {}).get("containerStatuses") or []
        if states and states[0]["restartCount"] == 1 and "running" in states[0]["state"]:
            break
    found = [line.text for line in pod_logs(cluster, namespace, LogQuery(components=("webserver",)))]
    assert found == ["first", "second"]
    assert list(pod_logs(cluster, namespace, LogQuery(components=("scheduler",)))) == []
