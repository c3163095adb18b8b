from __future__ import annotations

from typing import Any

from devenv.logs.pods import _containers, _stamped


def pod(labels: dict[str, str], *statuses: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u", "labels": labels}, "status": {"containerStatuses": list(statuses)}}


RUNNING = {"name": "base", "restartCount": 2, "state": {"running": {}}}
BACKING_OFF = {
    "name": "base",
    "restartCount": 5,
    "state": {"waiting": {}},
    "lastState": {"terminated": {"exitCode": 1}},
}
NOT_STARTED = {"name": "base", "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}


def test_who_has_a_log_and_what_it_is_called() -> None:
    (task,) = _containers(pod({"dag_id": "sales", "kubernetes_executor": "True"}, RUNNING), ())
    assert (task.component, task.source, task.life) == ("task", "p", ("u", "base", 2))
    assert [found.running for found in _containers(pod({"app.kubernetes.io/component": "vault"}, BACKING_OFF), ())] == [
        False
    ]
    assert list(_containers(pod({"app.kubernetes.io/component": "vault"}, NOT_STARTED), ())) == []
    assert list(_containers(pod({"app.kubernetes.io/component": "vault"}, RUNNING), ("scheduler",))) == []
    assert list(_containers(pod({"of": "somebody else"}, RUNNING), ())) == []


def test_lines_have_their_time_and_cannot_act_on_the_terminal() -> None:
    lines: Any = [b"2026-11-22T06:23:57.123456789Z one\x1b[2J", b"half a line", b"2026-11-22T08:23:58+02:00 \xfftwo"]
    assert list(_stamped(lines)) == [
        (1795328637_123456789, "one"),
        (1795328637_123456789, "half a line"),
        (1795328638_000000000, "�two"),
    ]
