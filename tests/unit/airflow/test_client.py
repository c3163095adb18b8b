"""What the client makes of answers that a real Airflow rarely gives; the rest is tested against real ones."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devenv.airflow.client import AirflowClient, BackfillRefused, ConfRefused, DagBroken, DagUnknown
from devenv.airflow.model import dag_path
from devenv.airflow.rest import AirflowLoginRefused, AirflowRefused, AirflowUnreachable, Credentials
from devenv.airflow.runs import start_run
from devenv.events import Event

Answer = tuple[int, Any] | None
"""A status and a body (text, or what becomes JSON); None closes the connection without an answer."""

LOGIN_3 = {("POST", "/auth/token"): (201, {"access_token": "t"})}


class Script:
    """An HTTP server that answers by a table, and keeps what it was asked."""

    def __init__(self, answers: dict[tuple[str, str], Answer | Callable[[int], Answer]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []


@contextmanager
def serving(
    answers: dict[tuple[str, str], Any], major: int = 3, kept: Path | None = None
) -> Iterator[tuple[AirflowClient, Script]]:
    script = Script({**LOGIN_3, **answers})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = (self.command, self.path.partition("?")[0])
            script.asked.append(key)
            found = script.answers.get(key, (404, {"detail": "Not Found"}))
            if callable(found):
                found = found(script.asked.count(key))
            if found is None:
                self.close_connection = True
                self.connection.close()
                return
            status, body = found
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, *_arguments: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ValueError, OSError):  # the connection that `None` closed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = AirflowClient(
        f"http://127.0.0.1:{server.server_port}", Credentials("admin", "pw"), "2.7.2" if major == 2 else "3.3.2", kept
    )
    try:
        yield client, script
    finally:
        client.close()
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_page_that_is_no_api_and_a_server_that_is_not_ready_are_told_apart() -> None:
    version = ("GET", "/api/v2/version")
    with serving({version: (200, "<html>grafana</html>")}) as (client, _), pytest.raises(AirflowUnreachable) as caught:
        client.version()
    assert "not Airflow's API" in caught.value.message
    with serving({version: (503, "")}) as (client, _), pytest.raises(AirflowUnreachable, match="not ready"):
        client.version()


def test_a_broken_connection_is_tried_again_for_what_changes_nothing_only() -> None:
    run = ("POST", "/api/v2/dags/sales/dagRuns")
    answers = {("GET", "/api/v2/version"): lambda time: None if time == 1 else (200, {"version": "3.3.2"}), run: None}
    with serving(answers) as (client, script):
        assert client.version() == "3.3.2"
        with pytest.raises(AirflowUnreachable):
            client.trigger("sales")
        assert script.asked.count(run) == 1


def test_an_expired_token_is_renewed_and_a_wrong_password_is_said_to_be_one() -> None:
    answers = {("GET", "/api/v2/version"): lambda time: (401, {}) if time == 1 else (200, {"version": "3.3.2"})}
    with serving(answers) as (client, script):
        assert client.version() == "3.3.2"
        assert script.asked.count(("POST", "/auth/token")) == 2
    refused = {("POST", "/auth/token"): (401, {"detail": "Invalid credentials"})}
    with serving(refused) as (client, _), pytest.raises(AirflowLoginRefused, match="'admin'"):
        client.version()


def test_a_log_in_is_kept_for_the_next_command_until_it_no_longer_holds(tmp_path: Path) -> None:
    kept, log_in, version = tmp_path / "login.json", ("POST", "/auth/token"), ("GET", "/api/v2/version")
    good = (200, {"version": "3.3.2"})
    with serving({version: good}, kept=kept) as (client, script):
        for password, log_ins in (("pw", 1), ("pw", 1), ("another", 2), ("another", 2)):
            again = AirflowClient(client.base_url, Credentials("admin", password), "3.3.2", kept)
            assert again.version() == "3.3.2"
            again.close()
            assert script.asked.count(log_in) == log_ins
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert "another" not in kept.read_text()
        script.answers[version] = lambda time: (401, {}) if time == 5 else good
        again = AirflowClient(client.base_url, Credentials("admin", "another"), "3.3.2", kept)
        assert again.version() == "3.3.2"
        again.close()
        assert script.asked.count(log_in) == 3
        kept.write_text("[]")
        assert client.version() == "3.3.2"


def test_the_password_goes_with_each_request_where_the_api_of_2_takes_no_cookie() -> None:
    pools = ("GET", "/api/v1/pools")
    answers = {
        ("GET", "/login/"): (200, '<input id="csrf_token" name="csrf_token" type="hidden" value="abc">'),
        ("POST", "/login/"): (302, ""),
        pools: lambda time: (401, {}) if time == 1 else (200, {}),
        ("GET", "/api/v1/version"): (200, {"version": "2.7.2"}),
    }
    with serving(answers, major=2) as (client, script):
        assert client.version() == "2.7.2"
        assert script.asked.count(pools) == 2


def test_what_comes_back_cannot_act_on_the_terminal_nor_be_without_end() -> None:
    evil = {
        "import_errors": [{"filename": "a.py", "stack_trace": "\x1b[2Jboom\x07" + "x" * 100_000, "timestamp": None}]
    }
    with serving({("GET", "/api/v2/importErrors"): (200, evil)}) as (client, _):
        (problem,) = client.import_errors()
        assert problem.trace.startswith("boom")
        assert len(problem.trace) <= 20_000


def test_an_unknown_dag_names_the_nearest_and_the_files_that_do_not_parse() -> None:
    answers = {
        ("GET", "/api/v2/dags"): (200, {"dags": [{"dag_id": "sales_daily"}, {"dag_id": "weather"}]}),
        ("GET", "/api/v2/importErrors"): (
            200,
            {"import_errors": [{"filename": "b.py", "stack_trace": "Traceback\nNameError: x", "timestamp": None}]},
        ),
    }
    with serving(answers) as (client, _), pytest.raises(DagUnknown) as caught:
        client.dag("sales_dialy")
    assert "did you mean sales_daily?" in caught.value.message
    assert caught.value.hint == "devenv run sales_daily"
    assert "b.py: NameError: x" in str(caught.value.detail)


def test_a_dag_that_is_listed_and_not_parsed_since_the_move_to_this_release_is_not_called_unknown() -> None:
    listed = (200, {"dags": [{"dag_id": "sales"}]})
    parsed = (200, {"dag_id": "sales", "is_paused": False, "is_stale": False})
    dag = ("GET", "/api/v2/dags/sales")
    run = {
        ("POST", "/api/v2/dags/sales/dagRuns"): (200, {"dag_run_id": "manual__1"}),
        ("GET", "/api/v2/dags/sales/dagRuns/manual__1"): (200, {"dag_run_id": "manual__1", "state": "queued"}),
    }
    unparsed = serving({("GET", "/api/v2/dags"): listed})
    with unparsed as (client, _), pytest.raises(DagUnknown, match="has not parsed the file of DAG 'sales' yet"):
        client.dag("sales")
    answers = {("GET", "/api/v2/dags"): listed, dag: lambda time: (404, {}) if time == 1 else parsed, **run}
    told: list[Event] = []
    with serving(answers) as (client, _):
        assert start_run(client, "sales", {}, lambda: ["sales.py"], told.append).run_id == "manual__1"


def test_why_a_run_or_backfill_was_not_made() -> None:
    run = ("POST", "/api/v2/dags/sales/dagRuns")
    invalid = {run: (422, {"detail": [{"loc": ["body", "conf"], "msg": "Input should be a dictionary"}]})}
    with serving(invalid) as (client, _), pytest.raises(ConfRefused, match="conf: Input should be a dictionary"):
        client.trigger("sales")
    broken = {
        run: (400, {"detail": "DAG with dag_id: 'sales' has import errors and cannot be triggered"}),
        ("GET", "/api/v2/dags/sales"): (200, {"dag_id": "sales", "fileloc": "/opt/airflow/dags/a/s.py"}),
        ("GET", "/api/v2/importErrors"): (
            200,
            {"import_errors": [{"filename": "a/s.py", "stack_trace": "Tr\nNameError: y", "timestamp": None}]},
        ),
    }
    with serving(broken) as (client, _), pytest.raises(DagBroken, match="NameError: y"):
        client.trigger("sales")
    with serving({("POST", "/api/v2/backfills"): (409, {"detail": "There is already a running backfill"})}) as (
        client,
        _,
    ):
        from datetime import datetime, timezone

        day = datetime(2026, 1, 1, tzinfo=timezone.utc)
        with pytest.raises(BackfillRefused, match="already a running backfill"):
            client.create_backfill("sales", day, day)
    with serving({run: (500, "oops")}) as (client, _), pytest.raises(AirflowRefused, match="HTTP 500"):
        client.trigger("sales")


def test_a_run_id_is_one_part_of_the_path() -> None:
    run_id = "manual__2026-11-22T06:23:52.641823+00:00/../x"
    quoted = "manual__2026-11-22T06%3A23%3A52.641823%2B00%3A00%2F..%2Fx"
    answers = {("GET", f"/api/v2/dags/a%20b/dagRuns/{quoted}"): (200, {"dag_run_id": run_id, "state": "success"})}
    with serving(answers) as (client, _):
        assert client.run("a b", run_id).finished


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/opt/airflow/dags/etl.py", "dags/etl.py"),
        ("/opt/airflow/dags/billing/dags/daily.py", "dags/billing/dags/daily.py"),
        ("/home/ana/dags/shop/.devenv/airflow/dags/search/dags/daily.py", "dags/search/dags/daily.py"),
        ("/usr/local/airflow/dags/a/dags/b.py", "dags/a/dags/b.py"),
        ("team/etl.py", "team/etl.py"),
    ],
)
def test_a_file_is_named_from_the_dag_folder_on(file: str, name: str) -> None:
    assert dag_path(file) == name
