"""The supervisor and the guardian with small programs in place of Airflow: restarts, order, and nobody left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from devenv.backends.base import LogQuery
from devenv.local import logs
from devenv.supervisor.client import SupervisorClient
from devenv.supervisor.component import ComponentSpec

pytestmark = pytest.mark.local


def eventually(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true value of `what`."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return value


def program(name: str, text: str, **options: Any) -> ComponentSpec:
    return ComponentSpec(name, (sys.executable, "-u", "-c", text), {"PATH": os.defpath}, **options)


SLEEPER = "import time; time.sleep(600)"
# A grandchild in a session of its own, as Airflow's task runner starts one, and nothing that would end it.
BROOD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); time.sleep(600)"])
print("grandchild", child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[SupervisorClient]:
    client = SupervisorClient.connect_or_start(tmp_path / "data", tmp_path / "logs")
    yield client
    client.close()
    last = SupervisorClient.connect(tmp_path / "data")
    if last is not None:
        last.stop(lambda _name: None)
        last.close()


def lines(folder: Path, component: str) -> list[str]:
    return [line.text for line in logs.read(folder, LogQuery((component,)), str, time.time())]


def component_pid(client: SupervisorClient, name: str) -> int:
    """The process below the guardian."""

    def look() -> int:
        (state,) = [state for state in client.status().components if state.name == name]
        children = psutil.Process(state.pid).children() if state.pid else []
        return children[0].pid if children else 0

    return int(eventually(look))


def grandchild(folder: Path) -> int:
    found = eventually(lambda: [line for line in lines(folder, "brood") if line.startswith("grandchild")])
    return int(found[-1].split()[1])


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_killed_component_takes_its_children_along_and_is_started_again(
    supervisor: SupervisorClient, tmp_path: Path
) -> None:
    supervisor.apply([program("brood", BROOD)])
    child, first = grandchild(tmp_path / "logs"), component_pid(supervisor, "brood")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.status().components[0].restarts == 1)
    assert component_pid(supervisor, "brood") != first
    eventually(lambda: gone(child))
    assert supervisor.status().components[0].exit_code == 128 + signal.SIGKILL


def test_a_crash_loop_is_told_once_with_the_last_lines(supervisor: SupervisorClient, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    listener = SupervisorClient.connect(tmp_path / "data")
    assert listener is not None
    threading.Thread(target=listener.listen, args=(told.append,), daemon=True).start()
    supervisor.apply([program("broken", "raise SystemExit('no such file: airflow.cfg')")])
    eventually(lambda: any(message.get("looping") for message in told))
    crashes = [message for message in told if message["event"] == "crashed"]
    assert [message["looping"] for message in crashes] == [False, False, True]
    assert crashes[-1]["lines"] == ["no such file: airflow.cfg"]
    assert supervisor.status().components[0].state == "looping"
    listener.close()


def test_the_highest_tier_ends_first_and_a_stubborn_one_is_killed(supervisor: SupervisorClient, tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    base = program("base", SLEEPER)
    supervisor.apply([base, program("top", stubborn, tier=2, grace=0.5)])
    eventually(lambda: "deaf" in lines(tmp_path / "logs", "top"))
    pids = [component_pid(supervisor, "base"), component_pid(supervisor, "top")]
    turns: list[str] = []
    supervisor.stop(turns.append)
    assert turns == ["top", "base"]
    eventually(lambda: all(gone(pid) for pid in [*pids, supervisor.pid]))


def test_only_what_changed_is_started_again(supervisor: SupervisorClient) -> None:
    supervisor.apply([program("one", SLEEPER), program("two", SLEEPER)])
    before = {name: component_pid(supervisor, name) for name in ("one", "two")}
    supervisor.apply([program("one", SLEEPER), program("two", SLEEPER, revision="later")])
    assert component_pid(supervisor, "one") == before["one"]
    assert component_pid(supervisor, "two") != before["two"]


@pytest.mark.parametrize("victim", ["supervisor", "guardian"])
def test_nothing_outlives_a_kill(supervisor: SupervisorClient, tmp_path: Path, victim: str) -> None:
    supervisor.apply([program("brood", BROOD)])
    child, pid = grandchild(tmp_path / "logs"), component_pid(supervisor, "brood")
    guardian = supervisor.status().components[0].pid
    os.kill(supervisor.pid if victim == "supervisor" else guardian, signal.SIGKILL)
    if victim == "supervisor":
        eventually(lambda: gone(child) and gone(pid) and gone(guardian), 5.0)
    elif sys.platform == "linux":
        eventually(lambda: gone(pid), 5.0)
        os.kill(child, signal.SIGKILL)  # beyond reach: its guardian was to adopt it


def test_losing_the_one_who_holds_it_ends_the_environment(tmp_path: Path) -> None:
    holder = SupervisorClient.connect_or_start(tmp_path / "data", tmp_path / "logs")
    holder.apply([program("one", SLEEPER)])
    pid = component_pid(holder, "one")
    holder.hold()
    holder.release()
    holder.hold()
    holder.close()
    eventually(lambda: gone(pid) and gone(holder.pid), 5.0)
    assert SupervisorClient.connect(tmp_path / "data") is None


def test_one_supervisor_per_environment(supervisor: SupervisorClient, tmp_path: Path) -> None:
    again = SupervisorClient.connect_or_start(tmp_path / "data", tmp_path / "logs")
    assert again.pid == supervisor.pid
    again.close()


def test_a_stranger_without_the_token_is_not_served(supervisor: SupervisorClient, tmp_path: Path) -> None:
    import json
    import socket

    record = json.loads((tmp_path / "data" / "supervisor.json").read_text())
    assert (tmp_path / "data" / "supervisor.json").stat().st_mode & 0o777 == 0o600
    with socket.create_connection(("127.0.0.1", record["port"]), timeout=60) as stranger:
        stranger.sendall(b'{"do": "stop", "token": "guess"}\n')
        assert stranger.recv(100) == b""
    assert supervisor.status().pid == supervisor.pid


def test_logs_are_merged_in_time_order_and_followed(supervisor: SupervisorClient, tmp_path: Path) -> None:
    supervisor.apply([program("a", "print('a1')\n" + SLEEPER), program("b", "print('b1')\n" + SLEEPER)])
    folder = tmp_path / "logs"
    eventually(lambda: lines(folder, "a") and lines(folder, "b"))
    following = logs.read(folder, LogQuery(follow=True), str, time.time())
    first = [next(following), next(following)]
    assert {line.text for line in first} == {"a1", "b1"}
    assert first == sorted(first, key=lambda line: line.time)
    supervisor.apply([program("c", "print('c1')\n" + SLEEPER)])
    assert next(following).component == "c"
