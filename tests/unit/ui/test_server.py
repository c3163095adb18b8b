"""The server of `devenv ui`: who is let in, what is told, and that no secret's value is."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devenv.airflow.model import Dag, ImportProblem
from devenv.backends.base import Component, EnvironmentStatus, LogQuery
from devenv.environment import Environment
from devenv.errors import ExitCode
from devenv.events import FileSynced, LogLine, VerdictReached, WatchStarted
from devenv.journal import Journal
from devenv.project import Project
from devenv.sync.lock import WatchLock
from devenv.ui import server as server_module
from devenv.ui.feed import Feed
from devenv.ui.server import PageServer
from devenv.vault import seeds
from devenv.vault.errors import VaultUnreachable
from devenv.vault.keeper import SeedKeeper
from devenv.verdict import Problem, Verdict


class FakeAirflow:
    def dags(self) -> tuple[Dag, ...]:
        return (Dag("shop", "/opt/airflow/dags/shop.py"), Dag("daily", "/opt/airflow/dags/shop.py", paused=True))

    def import_errors(self) -> tuple[ImportProblem, ...]:
        return (ImportProblem("/opt/airflow/dags/team/bad.py", "Traceback …\nNameError: x"),)

    def runs(self, **_: object) -> tuple[()]:
        return ()

    def health(self) -> dict[str, object]:
        return {}

    def close(self) -> None:
        pass


class FakeBackend:
    name = "local"

    def __init__(self, project: Project) -> None:
        self.project = project
        self.password = ""

    def status(self) -> EnvironmentStatus:
        failed = Component("scheduler", "failed", f"could not log in with {self.password}", 3)
        return EnvironmentStatus("local", "shop-1", "partly", (failed,), {"webserver": "http://127.0.0.1:8080"})

    def airflow(self) -> FakeAirflow:
        return FakeAirflow()

    def stale_secrets(self) -> tuple[()]:
        return ()

    def seed_keeper(self) -> SeedKeeper:
        return SeedKeeper(self.project)

    def vault(self) -> object:
        raise VaultUnreachable("Vault does not run")

    def known_secrets(self) -> list[str]:
        return list(seeds.known_values(self.project, seeds.load_or_create(self.project)))

    def logs(self, query: LogQuery) -> Iterator[LogLine]:
        yield LogLine("scheduler", "scheduler", 1.0, "first")
        yield LogLine("vault", "vault", 2.0, "second")
        threading.Event().wait()


class Served:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.backend = FakeBackend(project)
        self.feed = Feed(project, self.backend)  # type: ignore[arg-type]
        self.server = PageServer(self.feed)
        self.open: list[http.client.HTTPConnection] = []

    def ask(self, path: str, *, method: str = "GET", token: bool = True, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        self.open.append(connection)
        given = {"Authorization": f"Bearer {self.server.token}"} if token else {}
        connection.request(method, path, headers={**given, **headers})
        return connection.getresponse()

    def events(self, path: str = "/api/events") -> Iterator[tuple[str, Any]]:
        answer, name = self.ask(path), ""
        assert answer.getheader("Content-Type") == "text/event-stream"
        while line := answer.readline().decode().rstrip("\n") or "…":
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    def told(self, wanted: str, path: str = "/api/events") -> Any:
        return next(data for name, data in self.events(path) if name == wanted)


@pytest.fixture
def served(project_folder: Path, tmp_path: Path) -> Iterator[Served]:
    from devenv.settings.schema import Settings

    variables = {"DEVENV_DATA": str(tmp_path / "data"), "DEVENV_CACHE": str(tmp_path / "cache")}
    project = Project(project_folder, Settings(), Environment(variables=variables, cwd=project_folder))
    project.make_state_folder()
    made = Served(project)
    made.feed.start()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.feed.stop()
    for connection in made.open:
        connection.close()
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


@pytest.mark.parametrize("path", ["/api/events", "/api/logs", "/api/", "/../../etc/passwd", "/%2e%2e/server.py"])
def test_without_the_token_there_is_only_the_empty_page(served: Served, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"token={served.server.token}"}):
        assert served.ask(path, token=False, **headers).status == 401
    assert served.ask(f"{path}?token={served.server.token}", token=False).status == 401
    assert served.ask("/nothing").status == 404


def test_the_page_itself_is_for_everybody_and_may_run_nothing_foreign(served: Served) -> None:
    for path in ("/", "/app.js", "/app.css", "/icon.svg"):
        answer = served.ask(path, token=False)
        assert answer.status == 200
        assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
        assert served.server.token not in answer.read().decode()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_name_for_this_address_is_refused(served: Served, host: str) -> None:
    given = host.format(port=served.server.port)
    assert served.ask("/", Host=given).status == 421
    assert served.ask("/api/events", Host=given).status == 421
    assert served.ask("/api/ticket", method="POST", Host=given).status == 421


def test_another_page_is_refused(served: Served) -> None:
    assert served.ask("/api/events", Origin="http://127.0.0.1:8080").status == 403
    assert served.ask("/", Origin="null").status == 403
    assert served.ask("/", Origin=f"http://localhost:{served.server.port}").status == 200


def test_a_ticket_gives_the_token_once(served: Served) -> None:
    ticket = served.server.ticket_url().partition("#ticket=")[2]
    wrong = served.ask("/api/ticket", method="POST", token=False, Authorization="Ticket wrong")
    assert wrong.status == 401
    first = served.ask("/api/ticket", method="POST", token=False, Authorization=f"Ticket {ticket}")
    assert json.loads(first.read()) == {"token": served.server.token}
    assert served.ask("/api/ticket", method="POST", token=False, Authorization=f"Ticket {ticket}").status == 401


def test_without_a_watch_it_tells_what_airflow_knows(served: Served) -> None:
    watch = served.told("watch")
    assert watch["pid"] is None
    assert served.told("saves") == []
    files = next(data["changed"] for name, data in served.events() if name == "files" and data["changed"])
    assert {(state["file"], state["ok"], tuple(state["dag_ids"])) for state in files} == {
        ("dags/shop.py", True, ("shop", "daily")),
        ("dags/team/bad.py", False, ()),
    }
    environment = served.told("environment")
    assert environment["dags"] == {"active": 1, "paused": 1}
    assert environment["components"][0]["restarts"] == 3


def test_a_watch_is_followed_as_it_writes(served: Served) -> None:
    folder = served.project.state_folder
    with WatchLock(folder):
        journal = Journal(folder, served.project.environment.now)
        journal.report(WatchStarted("dags", 1, "agent", "inotify", 0.1))
        events = served.events()
        assert (
            next(data for name, data in events if name == "watch" and data["started"])["started"]["target"] == "agent"
        )
        journal.report(FileSynced("dags/shop.py", "changed", 10, 4.0))
        problem = Problem("name-error", "error", "name 'x' is not defined", excerpt=("x",), line=1, excerpt_line=1)
        journal.report(VerdictReached(Verdict("dags/shop.py", problems=(problem,)), 61.0))

        def broken(data: Any) -> bool:
            return any(state["file"] == "dags/shop.py" and not state["ok"] for state in data["changed"])

        files = next(data for name, data in events if name == "files" and broken(data))
        shop = next(state for state in files["changed"] if state["file"] == "dags/shop.py")
        assert shop["problems"][0]["excerpt"] == ["x"]
        again = served.told("saves")
        assert [(save["path"], save["volume"]) for save in again] == [("dags/shop.py", 4.0)]
        journal.close()


def test_names_of_secrets_are_told_and_no_value_anywhere(served: Served) -> None:
    values = [value for value in served.backend.known_secrets() if len(value) >= 8]
    assert values
    served.backend.password = values[0]  # as if a component's last words held it
    told: dict[str, Any] = {}
    events = served.events()
    while not {"secrets", "environment", "files"} <= told.keys():
        name, data = next(events)
        told[name] = data
    assert "airflow/core" in {entry["path"] for entry in told["secrets"]["entries"]}
    assert told["secrets"]["silent"] == "Vault does not run"
    assert "FERNET_KEY" in json.dumps(told)
    assert [value for value in values if value in json.dumps(told)] == []
    assert "could not log in with ***" in json.dumps(told)


def test_a_value_in_a_line_of_code_is_hidden_also_when_it_becomes_a_secret_later(served: Served) -> None:
    folder = served.project.state_folder
    with WatchLock(folder):
        journal = Journal(folder, served.project.environment.now)
        journal.report(WatchStarted("dags", 1, "agent", "inotify", 0.1))
        problem = Problem("name-error", "error", "x", excerpt=("password = 'correct horse battery'",), line=1)
        journal.report(VerdictReached(Verdict("dags/shop.py", problems=(problem,)), 61.0))
        known = served.backend.known_secrets()
        served.backend.known_secrets = lambda: [*known, "correct horse battery"]  # type: ignore[method-assign]
        excerpts = (
            state["problems"][0]["excerpt"]
            for name, data in served.events()
            if name == "files"
            for state in data["changed"]
            if state["file"] == "dags/shop.py" and state["problems"]
        )
        assert "password = '***'" in (excerpt[0] for excerpt in excerpts)
        journal.close()


def test_the_logs_of_one_component_or_of_all(served: Served) -> None:
    def texts(path: str, wanted: int) -> list[str]:
        found: list[str] = []
        events = served.events(path)
        while len(found) < wanted:
            found += [line["text"] for line in next(events)[1]]
        return found

    assert texts("/api/logs?component=vault", 1) == ["second"]
    assert texts("/api/logs?component=", 2) == ["first", "second"]


def test_nobody_is_asked_while_nobody_looks(project_folder: Path, served: Served) -> None:
    asked = threading.Event()
    status = served.backend.status

    def counted() -> EnvironmentStatus:
        asked.set()
        return status()

    served.backend.status = counted  # type: ignore[method-assign]
    assert not asked.wait(0.3)
    served.told("environment")
    assert asked.is_set()


def test_the_command(devenv, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    taken = devenv("ui", "--no-open", "--port", str(served.server.port), variables={"DEVENV_BACKEND": "local"})
    assert taken.exit_code == ExitCode.MISSING
    assert "DEVENV-902" in taken.stderr

    def interrupted(self: PageServer, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server_module.PageServer, "serve_forever", interrupted)
    opened: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr("webbrowser.open", opened.put)
    ended = devenv("ui", variables={"DEVENV_BACKEND": "local", "DISPLAY": ":0"})
    assert ended.exit_code == ExitCode.INTERRUPTED
    assert ended.stdout.startswith("http://127.0.0.1:")
    assert "#token=" in ended.stdout
    assert "devenv watch" in ended.stderr
    assert "#ticket=" in opened.get(timeout=60), "the token does not stand on a browser's command line"
