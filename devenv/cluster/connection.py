"""One cluster, opened by the name of its context, with objects as plain dictionaries.

Requests go over urllib3, which is what the `kubernetes` package uses underneath: its models cost 0.6 to
1.4 s to import (37.0.2) and add nothing to objects that come from kustomize as dictionaries anyway.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devenv.cluster.access import Access, kubeconfig_paths, open_access, proxy_of_environment
from devenv.cluster.errors import (
    AccessDenied,
    ApplyConflict,
    ClusterError,
    ClusterUnreachable,
    ObjectRejected,
)
from devenv.cluster.kinds import KINDS, Kind, apply_rank
from devenv.cluster.objects import Object, Objects, environment_of
from devenv.cluster.streams import Stop, Stream, WatchEvent, watch_objects
from devenv.errors import DevenvError

if TYPE_CHECKING:
    import urllib3

    from devenv.environment import Environment

FIELD_MANAGER = "devenv"
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_APPLY_AT_ONCE = 8
_PAUSES = (0.5, 1.0, 2.0)
"""Seconds before a request is tried again that an overloaded API server or etcd turned away."""
_GONE_WATCH_SECONDS = 3.0
"""A deletion that fell between a look and a watch is seen by the next look, this much later."""


class Cluster:
    """One cluster. Cheap to make: it reads the kubeconfig and connects with the first request. Thread-safe.

    Args:
        context: the context's name; never the current one by default.
        access: how to reach it, see `Cluster.open`.
        read_again: reads how to reach it anew, see `Cluster.moved`.
    """

    def __init__(self, context: str, access: Access, read_again: Callable[[], Access] | None = None) -> None:
        self.context = context
        self.access = access
        self._read_again = read_again
        self._discovered: dict[tuple[str, str], Kind] = {}
        self._lock = threading.Lock()
        self._pool_made: urllib3.PoolManager | None = None

    @classmethod
    def open(cls, context: str, environment: Environment, *, kubeconfig: Path | None = None) -> Cluster:
        """The cluster of a context of the kubeconfig (that of `KUBECONFIG`, or `~/.kube/config`).

        Raises:
            ContextMissing: there is no such context.
        """
        paths = [kubeconfig] if kubeconfig else kubeconfig_paths(environment.variables, environment.home)

        def read() -> Access:
            access = open_access(context, paths)
            proxy = access.proxy or proxy_of_environment(access.server, environment.variables)
            return replace(access, proxy=proxy)

        return cls(context, read(), read)

    def moved(self) -> bool:
        """Whether the kubeconfig names another address now, which is then used; asked when nothing answers.

        Where Docker is in a virtual machine (macOS, Windows), minikube's API server has another port after each start.
        """
        if self._read_again is None:
            return False
        try:
            access = self._read_again()
        except DevenvError:
            return False  # minikube is rewriting it, or the context is gone: the caller says what it saw
        with self._lock:
            if access.server == self.access.server:
                return False
            self.access, self._pool_made = access, None
        return True

    # --- objects ---

    def get(self, kind: str, name: str, namespace: str | None = None, *, api_version: str = "") -> Object | None:
        """One object, or None when there is none of that name.

        Raises:
            ClusterError: the cluster does not answer, or denies it.
        """
        found = self.kind(kind, api_version)
        try:
            return self.request("GET", found.path(namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = "", api_version: str = ""
    ) -> Objects:
        """The objects of a kind, in one namespace or in all.

        Args:
            kind: "Pod", "Deployment" …
            namespace: None for all.
            labels: a label selector: "app.kubernetes.io/component=scheduler".
            fields: a field selector: "status.phase=Running".
            api_version: for a kind that is not Kubernetes' own: "monitoring.coreos.com/v1".
        """
        return self._list(self.kind(kind, api_version), namespace, labels, fields)[0]

    def _list(self, kind: Kind, namespace: str | None, labels: str, fields: str) -> tuple[Objects, str]:
        answer = self.request("GET", kind.path(namespace), query={"labelSelector": labels, "fieldSelector": fields})
        items = answer.get("items") or []
        for item in items:
            item.setdefault("kind", kind.kind)
            item.setdefault("apiVersion", kind.api_version)
        return items, str(answer.get("metadata", {}).get("resourceVersion", ""))

    def apply(self, objects: Iterable[Object], *, owner: str = "") -> Objects:
        """Server-side apply: makes the objects so, and leaves fields alone that were never set by devenv.

        What others need comes first, what starts pods last; within a round several are sent at once. Where one is
        somebody else's, none is sent.

        Args:
            objects: what should be; a namespaced one names its namespace.
            owner: the environment that an existing object's label must name; devenv then rules over every
                field of it, and an object of somebody else is refused. Without it, a conflict is an error.

        Returns:
            The objects as the cluster now has them.

        Raises:
            ApplyConflict: an object exists and is not ours.
            ObjectRejected: the API server refuses one.
        """
        wanted = list(objects)
        applied: Objects = []
        with ThreadPoolExecutor(max_workers=_APPLY_AT_ONCE, thread_name_prefix="apply") as pool:
            if owner:
                list(pool.map(lambda item: self._require_own(item, owner), wanted))
            for rank in sorted({apply_rank(str(item.get("kind"))) for item in wanted}):
                batch = [item for item in wanted if apply_rank(str(item.get("kind"))) == rank]
                applied += pool.map(lambda item: self._apply_one(item, owner), batch)
        return applied

    def _require_own(self, wanted: Object, owner: str) -> None:
        """Refuses an object that exists as somebody else's."""
        metadata = wanted["metadata"]
        live = self.get(
            str(wanted["kind"]), metadata["name"], metadata.get("namespace"), api_version=str(wanted["apiVersion"])
        )
        if live is not None and environment_of(live) != owner:
            raise ApplyConflict(
                f"{wanted['kind']} {metadata['name']} exists already and is not devenv's"
                + (f": it belongs to environment {environment_of(live)}" if environment_of(live) else ""),
                hint="Rename or remove it, or set another namespace for this environment: [kubernetes] namespace.",
            )

    def _apply_one(self, wanted: Object, owner: str) -> Object:
        kind = self.kind(str(wanted["kind"]), str(wanted["apiVersion"]))
        metadata = wanted["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"])
        label = f"{kind.kind} {metadata['name']}"
        try:
            return self._patch(path, wanted, force=bool(owner))
        except ClusterError as error:
            if error.status == 409 and not owner:
                raise ApplyConflict(f"{label}: {error.message}") from error
            if error.status == 422 and owner and "immutable" in error.message and kind.kind in _REPLACEABLE:
                self.delete(kind.kind, metadata["name"], metadata.get("namespace"), wait_seconds=60)
                return self._patch(path, wanted, force=True)
            if error.status in (400, 422):
                raise ObjectRejected(f"{label} was refused: {error.message}", status=error.status) from error
            raise

    def _patch(self, path: str, wanted: Object, *, force: bool) -> Object:
        return self.request(
            "PATCH",
            path,
            query={"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"},
            body=wanted,
            content_type="application/apply-patch+yaml",
        )

    def merge(self, kind: str, name: str, namespace: str | None, patch: Object, *, api_version: str = "") -> Object:
        """Changes a few fields of an existing object (a JSON merge patch)."""
        return self.request(
            "PATCH",
            self.kind(kind, api_version).path(namespace, name),
            query={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type="application/merge-patch+json",
        )

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        api_version: str = "",
        grace_seconds: int | None = None,
        wait_seconds: float = 0,
    ) -> bool:
        """Deletes an object and what it owns; False when there was none.

        Args:
            kind: "Pod", "Namespace" …
            name: its name.
            namespace: its namespace.
            api_version: for a kind that is not Kubernetes' own.
            grace_seconds: how long its containers may take to end; 0 kills.
            wait_seconds: when above 0, returns once it is gone, or after this time.
        """
        found = self.kind(kind, api_version)
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if wait_seconds and kind in _REPLACEABLE else "Background",
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            gone = self.request("DELETE", found.path(namespace, name), body=options)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        if wait_seconds:
            self._wait_until_gone(found, namespace, name, gone, wait_seconds)
        return True

    def _wait_until_gone(self, kind: Kind, namespace: str | None, name: str, deleted: Object, seconds: float) -> None:
        """Returns once the object that a DELETE answered with is no more, or after so many seconds."""
        uid = (deleted.get("details") or deleted.get("metadata") or {}).get("uid")
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            live = self.get(kind.kind, name, namespace, api_version=kind.api_version)
            if live is None or (uid and live["metadata"]["uid"] != uid):
                return
            for event, _item in self.watch(
                kind.kind,
                namespace,
                fields=f"metadata.name={name}",
                api_version=kind.api_version,
                timeout=min(left, _GONE_WATCH_SECONDS),
            ):
                if event == "DELETED":
                    return

    # --- what happens ---

    def watch(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        api_version: str = "",
        timeout: float | None = None,
        stop: Stop | None = None,
    ) -> Iterator[WatchEvent]:
        """What there is (as ADDED), then every change, until `timeout` seconds are over or `stop` is called.

        A watch that the server ends goes on from the last version seen; one that is too old (410) lists
        anew and tells what differs, deletions included. An object may be told twice, never missed.

        Raises:
            ClusterError: the cluster does not answer or denies it; the caller decides whether to try again.
        """
        found = self.kind(kind, api_version)
        return watch_objects(
            list_all=lambda: self._list(found, namespace, labels, fields),
            open_stream=lambda version, seconds: self.stream(
                found.path(namespace),
                query={
                    "watch": "true",
                    "labelSelector": labels,
                    "fieldSelector": fields,
                    "resourceVersion": version,
                    "allowWatchBookmarks": "true",
                    "timeoutSeconds": str(max(1, int(seconds + 0.999))),
                },
                read_timeout=seconds + 10,
            ),
            timeout=timeout,
            stop=stop or Stop(),
        )

    def logs(
        self,
        pod: str,
        namespace: str,
        container: str = "",
        *,
        follow: bool = False,
        since_seconds: float | None = None,
        tail: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
    ) -> Stream:
        """The log of a container, line by line.

        Args:
            pod: its name.
            namespace: its namespace.
            container: may be left out where there is one only.
            follow: go on as it is written; close the stream to end.
            since_seconds: only what was written in the last so many seconds.
            tail: only the last so many lines.
            previous: of the container before its last restart.
            timestamps: each line starts with its time (RFC 3339, nanoseconds) and a space.

        Raises:
            ClusterError: there is no such pod, or its container has not started.
        """
        query = {
            "container": container,
            "follow": "true" if follow else "",
            "sinceSeconds": str(max(1, int(since_seconds))) if since_seconds is not None else "",
            "tailLines": str(tail) if tail is not None else "",
            "previous": "true" if previous else "",
            "timestamps": "true" if timestamps else "",
        }
        path = f"{KINDS['Pod'].path(namespace, pod)}/log"
        return self.stream(path, query=query, read_timeout=None if follow else _READ_SECONDS)

    def can_i(self, verb: str, resource: str, namespace: str | None = None, *, group: str = "") -> bool:
        """Whether this access may do it: `can_i("create", "pods/exec", "airflow")`."""
        name, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource}
        if namespace:
            attributes["namespace"] = namespace
        review = self.request(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            },
        )
        return bool(review.get("status", {}).get("allowed"))

    def version(self) -> str:
        """Kubernetes' release: "v1.34.4"."""
        return str(self.request("GET", "/version").get("gitVersion", ""))

    # --- requests ---

    def kind(self, kind: str, api_version: str = "") -> Kind:
        """Where objects of a kind live; a kind that is not Kubernetes' own is looked up in the cluster."""
        known = KINDS.get(kind)
        if known is not None and api_version in ("", known.api_version):
            return known
        if not api_version:
            raise ClusterError(f"devenv knows no kind {kind!r} without its apiVersion")
        with self._lock:
            cached = self._discovered.get((api_version, kind))
        if cached is not None:
            return cached
        root = "/api/" if "/" not in api_version else "/apis/"
        resources = self.request("GET", f"{root}{api_version}").get("resources", [])
        for resource in resources:
            if resource["kind"] == kind and "/" not in resource["name"]:
                found = Kind(kind, api_version, resource["name"], namespaced=bool(resource["namespaced"]))
                with self._lock:
                    self._discovered[(api_version, kind)] = found
                return found
        raise ClusterError(f"The cluster has no kind {kind} in {api_version}", status=404)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: float = _READ_SECONDS,
    ) -> Object:
        """One request with a JSON answer ({} where it is none). Empty values of `query` are left out.

        Raises:
            ClusterUnreachable: no answer.
            AccessDenied: 401 or 403.
            ClusterError: any other error, with the server's message and its `status`.
        """
        for pause in (*_PAUSES, 0.0):
            response = self._send(method, path, query, body, content_type, read_timeout=timeout, preload=True)
            if not pause or not _is_overloaded(response.status, response.data):
                break
            time.sleep(pause)
        if response.status >= 400:
            raise self._error(response.status, response.data)
        try:
            answer = json.loads(response.data)
        except ValueError:  # /readyz answers "ok"
            return {}
        return answer if isinstance(answer, dict) else {}

    def stream(self, path: str, *, query: Mapping[str, str], read_timeout: float | None) -> Stream:
        """A request whose answer arrives line by line; errors as in `request`."""
        response = self._send("GET", path, query, None, "", read_timeout=read_timeout, preload=False)
        if response.status >= 400:
            data = response.read()
            response.close()
            raise self._error(response.status, data)
        return Stream(response)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        *,
        read_timeout: float | None,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        import urllib3

        given = {key: value for key, value in (query or {}).items() if value}
        url = self.access.server + path + (f"?{urllib.parse.urlencode(given)}" if given else "")
        headers = {"Accept": "application/json", **self.access.headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            return self._pool().request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_timeout),
                preload_content=preload,
                redirect=False,
                # A kept connection that the server has closed meanwhile is tried once more.
                retries=urllib3.Retry(total=1, connect=0, read=1, redirect=0, status=0, allowed_methods=None),
            )
        except urllib3.exceptions.HTTPError as error:
            if self.moved():
                return self._send(method, path, query, body, content_type, read_timeout=read_timeout, preload=preload)
            raise ClusterUnreachable(
                f"The cluster of context {self.context!r} does not answer at {self.access.server}: {_cause(error)}",
                hint="`devenv status` shows what runs; `devenv up` starts what does not.",
            ) from error

    def _pool(self) -> urllib3.PoolManager:
        import urllib3

        with self._lock:
            if self._pool_made is None:
                options: dict[str, Any] = {"maxsize": _APPLY_AT_ONCE, "num_pools": 1}
                if self.access.tls is not None:
                    options["ssl_context"] = self.access.tls
                    if self.access.server_name:
                        options["server_hostname"] = options["assert_hostname"] = self.access.server_name
                self._pool_made = (
                    urllib3.ProxyManager(self.access.proxy, **options)
                    if self.access.proxy
                    else urllib3.PoolManager(**options)
                )
            return self._pool_made

    def _error(self, status: int, data: bytes) -> ClusterError:
        try:
            message = str(json.loads(data).get("message") or "")
        except (ValueError, AttributeError):
            message = data.decode("utf-8", "replace").strip()[:500]
        if status == 401:
            return AccessDenied(
                f"The cluster of context {self.context!r} does not accept this login: {message or 'unauthorized'}",
                status=status,
                hint="Log in to the cluster again, as for kubectl.",
            )
        if status == 403:
            return AccessDenied(f"Not allowed in context {self.context!r}: {message}", status=status)
        return ClusterError(message or f"the API server answered {status}", status=status)

    def close(self) -> None:
        """Closes kept connections."""
        with self._lock:
            if self._pool_made is not None:
                self._pool_made.clear()


_REPLACEABLE = ("Deployment", "StatefulSet", "Job", "DaemonSet")
"""Kinds that hold no data of their own: made anew when a field differs that cannot be changed."""


def _is_overloaded(status: int, data: bytes) -> bool:
    """Whether the server did not do it and says that it may do so later: a laptop that boots everything at once."""
    return status in (429, 503, 504) or (status == 500 and b"etcdserver:" in data)


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed connection, without urllib3's wrapping: "Connection refused"."""
    reason = getattr(error, "reason", None) or error
    inner = reason.__cause__ or reason.__context__
    if isinstance(inner, OSError) and inner.strerror:
        return str(inner.strerror)
    return str(reason).rpartition(": ")[2]
