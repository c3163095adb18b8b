"""The client against an API server of a few lines: apply, ownership, watches that break, errors in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from devenv.cluster.access import Access
from devenv.cluster.connection import Cluster
from devenv.cluster.errors import AccessDenied, ApplyConflict, ClusterError, ClusterUnreachable, ObjectRejected
from devenv.cluster.streams import Stop

Answer = tuple[int, Any]
Handler = Callable[[str, str, dict[str, str], Any], Answer]


class Server:
    """Answers with what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Handler = lambda _method, _path, _query, _body: (404, {"message": "not found"})
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Request(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                outer.asked.append((self.command, parts.path, query))
                status, answer = outer.answer(self.command, parts.path, query, body)
                if isinstance(answer, list):  # a watch: a line each, then the server ends it
                    data = b"".join(json.dumps(line).encode() + b"\n" for line in answer)
                else:
                    data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.cluster = Cluster("test", Access(f"http://127.0.0.1:{self.http.server_port}", None, dict))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.cluster.close()
    server.http.shutdown()
    server.http.server_close()


def thing(kind: str, name: str, version: str = "v1", *, owner: str = "", resource: str = "1") -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "airflow",
            "uid": name,
            "resourceVersion": resource,
            "labels": {"devenv.io/environment": owner},
        },
    }


def test_what_starts_pods_is_applied_last_and_by_server_side_apply(server: Server) -> None:
    server.answer = lambda method, _path, _query, body: (200, body) if method == "PATCH" else (404, {})
    server.cluster.apply(
        [thing("Deployment", "web", "apps/v1"), thing("Secret", "seed"), thing("Namespace", "airflow")], owner="me"
    )
    patched = [(path, query) for method, path, query in server.asked if method == "PATCH"]
    assert [path for path, _ in patched] == [
        "/api/v1/namespaces/airflow",
        "/api/v1/namespaces/airflow/secrets/seed",
        "/apis/apps/v1/namespaces/airflow/deployments/web",
    ]
    assert patched[0][1] == {"fieldManager": "devenv", "force": "true"}


def test_an_api_server_that_moved_to_another_port_is_found_there(server: Server) -> None:
    """minikube's, after `minikube stop` and `start`, where Docker is in a virtual machine."""
    here = server.cluster.access
    gone = replace(here, server="http://127.0.0.1:1")
    kubeconfig = [gone]
    cluster = Cluster("test", gone, lambda: kubeconfig[0])
    with pytest.raises(ClusterUnreachable):
        cluster.get("Secret", "seed", "airflow")
    kubeconfig[0] = here
    assert cluster.get("Secret", "seed", "airflow") is None
    assert server.asked
    assert cluster.access.server == here.server
    cluster.close()


def test_somebody_elses_object_is_never_applied_over(server: Server) -> None:
    server.answer = lambda _method, _path, _query, _body: (200, thing("Secret", "seed", owner="other"))
    with pytest.raises(ApplyConflict, match=r"Secret seed exists already .* environment other"):
        server.cluster.apply([thing("Secret", "seed")], owner="me")
    assert [method for method, _, _ in server.asked] == ["GET"]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, AccessDenied, "does not accept this login"),
        (403, AccessDenied, "Not allowed"),
        (422, ObjectRejected, "Secret seed was refused: too long"),
        (409, ApplyConflict, "Secret seed: too long"),
        (500, ClusterError, "too long"),
    ],
)
def test_errors_in_words(server: Server, status: int, kind: type[ClusterError], words: str) -> None:
    server.answer = lambda _method, _path, _query, _body: (status, {"message": "too long"})
    with pytest.raises(kind, match=words):
        server.cluster.apply([thing("Secret", "seed")])


def test_an_overloaded_server_is_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devenv.cluster.connection._PAUSES", (0.001, 0.001))
    answers = iter([(500, {"message": "etcdserver: request timed out"}), (429, {}), (200, thing("Pod", "p"))])
    server.answer = lambda _method, _path, _query, _body: next(answers)
    found = server.cluster.get("Pod", "p", "airflow")
    assert found is not None
    assert found["metadata"]["name"] == "p"


def test_an_object_that_is_not_there_is_none_and_a_dead_server_is_named(server: Server) -> None:
    assert server.cluster.get("Pod", "p", "airflow") is None
    server.http.shutdown()
    server.http.server_close()
    server.cluster.close()  # the connection that is kept
    with pytest.raises(ClusterUnreachable, match="context 'test' does not answer"):
        server.cluster.list("Pod")


def test_a_watch_goes_on_after_its_end_and_lists_anew_when_its_version_is_gone(server: Server) -> None:
    lists = iter(
        [
            ([thing("Pod", "a", resource="1"), thing("Pod", "b", resource="2")], "2"),
            ([thing("Pod", "b", resource="7")], "9"),
        ]
    )
    streams = iter(
        [
            [{"type": "MODIFIED", "object": thing("Pod", "a", resource="3")}],
            [{"type": "BOOKMARK", "object": thing("Pod", "", resource="5")}],
            [{"type": "ERROR", "object": {"code": 410}}],
            [{"type": "DELETED", "object": thing("Pod", "b", resource="10")}],
        ]
    )
    asked_from: list[str] = []

    def answer(_method: str, _path: str, query: dict[str, str], _body: Any) -> Answer:
        if "watch" not in query:
            items, version = next(lists)
            return 200, {"items": items, "metadata": {"resourceVersion": version}}
        asked_from.append(query["resourceVersion"])
        return 200, next(streams)

    server.answer = answer
    stop = Stop()
    seen: list[tuple[str, str]] = []
    for event, item in server.cluster.watch("Pod", "airflow", stop=stop):
        seen.append((event, item["metadata"]["name"]))
        if len(seen) == 6:
            stop()
    assert seen == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("MODIFIED", "b"),
        ("DELETED", "b"),
    ]
    assert asked_from == ["2", "3", "5", "9"]


def test_a_kind_of_somebody_elses_is_looked_up_once(server: Server) -> None:
    resource = {"name": "prometheusrules", "kind": "PrometheusRule", "namespaced": True}
    server.answer = lambda _method, path, _query, _body: (
        (200, {"resources": [resource]}) if path.endswith("/v1") else (404, {})
    )
    for _ in range(2):
        assert server.cluster.get("PrometheusRule", "r", "airflow", api_version="monitoring.coreos.com/v1") is None
    paths = [path for _, path, _ in server.asked]
    assert paths.count("/apis/monitoring.coreos.com/v1") == 1
    assert paths[-1] == "/apis/monitoring.coreos.com/v1/namespaces/airflow/prometheusrules/r"
