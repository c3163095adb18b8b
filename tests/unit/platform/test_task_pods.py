"""Why a task's pod was refused or ended: from what the API server and the pod say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devenv.platform.task_pods import ended_badly, refusals

INVALID = {
    "kind": "Status",
    "message": 'Pod "mount-of-nothing-write-x1" is invalid: spec.containers[0].volumeMounts[0]: Not found: "scratch"',
    "details": {"name": "mount-of-nothing-write-x1", "kind": "Pod"},
    "code": 422,
}


def test_the_answer_of_the_api_server_is_found_in_the_scheduler_s_log() -> None:
    body = json.dumps(INVALID)
    plain = f"HTTP response body: {body}"
    structured = json.dumps({"event": "failed", "exc_value": f"(422)\nHTTP response body: {body}\n"})
    for line in (plain, f"{plain}\r", structured):
        (found,) = refusals(["Traceback (most recent call last):", line, "Reason: Unprocessable Entity"])
        assert (found.pod, found.message) == (INVALID["details"]["name"], INVALID["message"])  # type: ignore[index]


@pytest.mark.parametrize(
    "line", ["HTTP response body: ", "HTTP response body: {", "HTTP response body: []", 'x {"kind": 1}']
)
def test_other_lines_are_no_refusals(line: str) -> None:
    assert list(refusals([line])) == []


def pod(status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "status": status}


def terminated(reason: str, code: int) -> dict[str, Any]:
    state = {"terminated": {"reason": reason, "exitCode": code}}
    return {"phase": "Failed", "containerStatuses": [{"name": "base", "state": state}]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (terminated("OOMKilled", 137), "over its memory limit"),
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}, "low on memory"),
        ({"phase": "Failed", "reason": "NodeLost"}, "ended with its node"),
    ],
)
def test_a_pod_that_was_ended_from_outside(status: dict[str, Any], words: str) -> None:
    found = ended_badly(pod(status))
    assert found is not None
    assert words in found.text


@pytest.mark.parametrize("status", [terminated("Error", 1), terminated("Completed", 0), {"phase": "Running"}])
def test_a_pod_whose_own_program_ended_it_explains_nothing(status: dict[str, Any]) -> None:
    assert ended_badly(pod(status)) is None
