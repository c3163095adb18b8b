"""Sessions to the agent beside the DAG volume, by the transport of the settings."""

from __future__ import annotations

import getpass
import os
import platform
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from devenv.cluster.errors import AccessDenied, ClusterError, ExecRefused
from devenv.duplex import DuplexClosed
from devenv.events import Notice
from devenv.platform.errors import NotDeployed

if TYPE_CHECKING:
    from devenv.duplex import Duplex
    from devenv.platform.backend import PlatformBackend
    from devenv.sync.model import Listener, Target

AGENT = "agent"
_SESSIONS = 4
_SESSIONS_SECONDS = 20.0


class AgentSessions:
    """Opens sessions to the agent, and falls back to `kubectl cp` where they keep breaking."""

    def __init__(self, backend: PlatformBackend) -> None:
        self._backend = backend
        self._sessions: deque[tuple[float, str]] = deque(maxlen=_SESSIONS)

    def open_target(self, listener: Listener, *, take_over: bool = False, verdicts: bool = True) -> Target:
        """See `Backend`; `kubectl cp`, with a notice, where sessions to one and the same pod keep breaking."""
        from devenv.sync.roots import roots_of
        from devenv.sync.targets.agent import AgentOptions, AgentTarget, ClaimBusy, Owner
        from devenv.sync.targets.configmap import ConfigMapTarget
        from devenv.sync.targets.kubectl_cp import KubectlCopyTarget

        settings, identifier = self._backend.project.settings, self._backend.project.identifier
        roots = [root.name for root in roots_of(self._backend.project)]
        if settings.sync.transport == "configmap":
            return ConfigMapTarget(self._backend.cluster(), self._backend.namespace, identifier, roots)
        owner = Owner(identifier, platform.node(), _user(), str(self._backend.project.folder))
        if settings.sync.transport == "kubectl-cp" or self._sessions_break():
            return KubectlCopyTarget(
                self._backend.kubectl(),
                self._backend.namespace,
                lambda: self._backend.pod_of(AGENT),
                AGENT,
                owner,
                roots=roots,
                take_over=take_over,
            )
        options = AgentOptions(
            claim="/devenv/claim",
            airflow="/opt/airflow",
            verdicts=verdicts,
            check=settings.check,
            take_over=take_over,
            vault_mount=settings.vault.mount,
        )
        try:
            return AgentTarget(self._agent_session, listener, owner, roots, options)
        except ClaimBusy:
            self._sessions.clear()  # the session held; it is the claim that did not
            raise

    def _sessions_break(self) -> bool:
        """Whether several sessions to one pod began within a short time: something between cuts them.

        Sessions that could not even begin do not count: the API server or the node is starting again.
        """
        if len(self._sessions) < _SESSIONS:
            return False
        (first, pod), (last, other) = self._sessions[0], self._sessions[-1]
        breaks = pod == other and last - first < _SESSIONS_SECONDS
        if breaks:
            self._backend.report(
                Notice("warning", "no session to the agent can be held open; syncing by `kubectl cp`, slower")
            )
        self._sessions.clear()
        return breaks

    def _agent_session(self) -> Duplex:
        """A session beside the DAG volume: the WebSocket, or, with a notice, kubectl's where that is not possible."""
        from devenv.agent_program import agent_command
        from devenv.cluster.exec import exec_duplex
        from devenv.cluster.kubectl import KubectlDuplex

        variables = self._backend.project.environment.variables
        try:
            pod = self._backend.pod_of(AGENT)
            session: Duplex | None = None
            if self._backend.project.settings.sync.transport == "agent":
                try:
                    session = exec_duplex(self._backend.cluster(), self._backend.namespace, pod, AGENT, agent_command())
                except ExecRefused as error:
                    if not self._backend.cluster().access.proxy:
                        raise
                    self._backend.report(Notice("info", f"{error.message}; syncing over `kubectl exec`"))
            if session is None:
                session = KubectlDuplex(
                    self._backend.kubectl(), self._backend.namespace, pod, AGENT, agent_command(), variables=variables
                )
            self._sessions.append((self._backend.project.environment.monotonic(), pod))
            return session
        except AccessDenied:
            raise
        except (ClusterError, NotDeployed) as error:
            raise DuplexClosed(error.message) from error


def _user() -> str:
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.getuid())
