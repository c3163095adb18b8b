"""What a person is told of pods while devenv watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from devenv.cluster.connection import Cluster
from devenv.errors import DevenvError
from devenv.events import Event, Notice
from devenv.platform.pod_problems import PodTroubles


class Silent(Cluster):
    """A cluster that is away: what a notice needs from it is left out."""

    def __init__(self) -> None:
        pass

    def list(self, *_arguments: Any, **_more: Any) -> NoReturn:
        raise DevenvError("it is away")

    def logs(self, *_arguments: Any, **_more: Any) -> NoReturn:
        raise DevenvError("it is away")


class Told:
    """The notices, and the looks that are due."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.due: list[Callable[[], None]] = []
        self.troubles = PodTroubles(Silent(), self.heard.append, self._later)

    def _later(self, _seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        self.due.append(action)
        return lambda: self.due.remove(action)

    def wait(self) -> None:
        """The seconds pass."""
        due, self.due[:] = list(self.due), []
        for action in due:
            action()

    @property
    def lines(self) -> list[str]:
        return [notice.message for notice in self.heard if isinstance(notice, Notice)]


def task(*, pending: bool) -> dict[str, Any]:
    metadata = {
        "uid": "1",
        "name": "sales-load-x",
        "namespace": "airflow",
        "labels": {"app.kubernetes.io/component": "task"},
        "annotations": {"dag_id": "sales", "task_id": "load"},
    }
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient cpu."}
    ready = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]
    return {"metadata": metadata, "status": {"phase": "Pending", "conditions": [unscheduled] if pending else ready}}


def scheduler(restarts: int, **state: Any) -> dict[str, Any]:
    metadata = {"uid": "2", "name": "scheduler-0", "namespace": "airflow"}
    labels = {"labels": {"app.kubernetes.io/component": "scheduler"}}
    last = {"terminated": {"exitCode": 9}} if restarts else {}
    entry = {"name": "scheduler", "restartCount": restarts, "lastState": last, "state": state or {"running": {}}}
    return {"metadata": metadata | labels, "status": {"phase": "Running", "containerStatuses": [entry]}}


def test_a_task_that_stays_pending_is_explained_once() -> None:
    told = Told()
    told.troubles.see("ADDED", task(pending=True))
    assert told.lines == []
    told.wait()
    told.troubles.see("MODIFIED", task(pending=True))
    told.wait()
    assert told.lines == [
        "sales-load-x, of task load of DAG sales, cannot start: there is not enough cpu left on the node\nit is away"
    ]


def test_a_task_that_only_waited_for_the_one_before_is_no_news() -> None:
    told = Told()
    told.troubles.see("ADDED", task(pending=True))
    told.troubles.see("MODIFIED", task(pending=False))
    told.wait()
    assert told.lines == []


def test_a_restart_is_told_each_time_and_a_crash_loop_once() -> None:
    told = Told()
    told.troubles.see("ADDED", scheduler(1))
    told.troubles.see("MODIFIED", scheduler(1))
    assert told.lines == []
    told.troubles.see("MODIFIED", scheduler(2))
    told.wait()
    assert told.lines == ["scheduler ended (exit code 9) and was started again"]
    for restarts in (2, 3, 4):
        told.troubles.see("MODIFIED", scheduler(restarts, waiting={"reason": "CrashLoopBackOff"}))
        told.wait()
    assert [line.split(":")[0] for line in told.lines[1:]] == ["scheduler cannot start"]


def test_a_node_that_was_away_is_no_crash_of_what_ran_on_it() -> None:
    told = Told()
    told.troubles.see("ADDED", scheduler(0))
    told.troubles.see("ADDED", scheduler(1))
    assert told.lines == []


def test_nothing_is_looked_at_after_the_end() -> None:
    told = Told()
    told.troubles.see("ADDED", task(pending=True))
    told.troubles.close()
    assert told.due == []


def test_an_image_is_brought_as_soon_as_this_machine_has_it() -> None:
    told = Told()
    here: list[str] = []
    told.troubles = PodTroubles(Silent(), told.heard.append, told._later, bring_image=here.__contains__)
    pod = task(pending=False)
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    pod["status"]["containerStatuses"] = [{"name": "base", "image": "etl:1", "state": {"waiting": waiting}}]
    told.troubles.see("ADDED", pod)
    told.wait()
    assert told.lines[0].startswith("sales-load-x, of task load of DAG sales, cannot start: image etl:1: ")
    told.wait()
    assert len(told.lines) == 1
    here.append("etl:1")
    told.wait()
    assert told.lines[1] == (
        "image etl:1 was loaded from this machine's Docker, for sales-load-x, of task load of DAG sales"
    )
    told.wait()
    assert len(told.lines) == 2
