"""kubectl, for what only it can do: kustomize, a terminal joined to a pod, sessions through proxies."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from devenv.duplex import DuplexClosed
from devenv.errors import ProgramMissing
from devenv.process import start, stop, which

_READ = 64 * 1024
_LAST_WORDS = 16 * 1024


def kubectl_command(
    context: str,
    variables: Mapping[str, str] | None = None,
    *,
    minikube_profile: str | None = None,
    kubeconfig: Path | None = None,
) -> list[str]:
    """The words with which kubectl is called for a context, never for the current one.

    Args:
        context: the context's name.
        variables: where PATH is looked up; without it, devenv's own.
        kubeconfig: the file that has the context; without it, those of the user.
        minikube_profile: where kubectl is not installed, `minikube kubectl` of this profile serves as one.

    Raises:
        ProgramMissing: there is neither.
    """
    flags = [*(["--kubeconfig", str(kubeconfig)] if kubeconfig else []), "--context", context]
    if which("kubectl", variables):
        return ["kubectl", *flags]
    if minikube_profile is not None and which("minikube", variables):
        return ["minikube", "-p", minikube_profile, "kubectl", "--", *flags]
    raise ProgramMissing("kubectl", hint="Install it: https://kubernetes.io/docs/tasks/tools/")


class KubectlDuplex:
    """`kubectl exec -i` as a duplex: 200 ms slower to open than the WebSocket, but kubectl goes through proxies.

    Args:
        kubectl: as `kubectl_command` gives it.
        namespace: the pod's.
        pod: its name.
        container: "" where it has only one.
        command: the program and its arguments.
        variables: kubectl's environment; without it, devenv's own.

    Raises:
        ProgramMissing: kubectl is not there.
    """

    def __init__(
        self,
        kubectl: Sequence[str],
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        chosen = ["-c", container] if container else []
        self._child = start(
            [*kubectl, "-n", namespace, "exec", "-i", pod, *chosen, "--", *command],
            stdin=subprocess.PIPE,
            variables=variables,
        )
        self._stderr = bytearray()
        self._closed = threading.Event()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(1024)
        self._words = threading.Thread(target=self._keep_last_words, name=f"kubectl-stderr-{pod}", daemon=True)
        self._words.start()
        threading.Thread(target=self._receive, name=f"kubectl-{pod}", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Sends bytes to the program's standard input.

        Raises:
            DuplexClosed: kubectl or the program has ended.
        """
        stdin = self._child.stdin
        if stdin is None or self._closed.is_set():
            raise DuplexClosed(self._reason())
        try:
            stdin.write(data)
            stdin.flush()
        except (OSError, ValueError) as error:
            raise DuplexClosed(self._reason()) from error

    def read(self, timeout: float | None = None) -> bytes:
        """The next bytes of its standard output; b"" when none came in time.

        Raises:
            DuplexClosed: it ended and everything was read.
        """
        try:
            data = self._chunks.get(timeout=timeout)
        except queue.Empty:
            return b""
        if data is None:
            self._chunks.put(None)
            raise DuplexClosed(self._reason())
        return data

    def close(self) -> None:
        """Ends kubectl and with it the program; never raises, may be called from another thread."""
        self._closed.set()
        stop(self._child, grace=1.0)

    def _receive(self) -> None:
        stdout = self._child.stdout
        while stdout is not None and not self._closed.is_set():
            try:
                data = os.read(stdout.fileno(), _READ)
            except (OSError, ValueError):
                break
            if not data:
                break
            self._offer(data)
        self._words.join(1.0)
        self._offer(None)

    def _offer(self, data: bytes | None) -> None:
        """Waits while nobody reads, so that a flood stays in the pod; gives up when closed."""
        while True:
            try:
                self._chunks.put(data, timeout=0.5)
            except queue.Full:
                if self._closed.is_set():
                    return
                continue
            return

    def _keep_last_words(self) -> None:
        stderr = self._child.stderr
        while stderr is not None:
            try:
                data = os.read(stderr.fileno(), 4096)
            except (OSError, ValueError):
                return
            if not data:
                return
            self._stderr += data
            del self._stderr[:-_LAST_WORDS]

    def _reason(self) -> str:
        words = bytes(self._stderr).decode("utf-8", "replace").strip()
        code = self._child.poll()
        ended = "kubectl exec was closed" if code is None else f"kubectl exec ended with exit code {code}"
        return ended + (f"\n{words}" if words else "")
