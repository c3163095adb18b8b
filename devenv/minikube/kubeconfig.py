"""devenv's own kubeconfig for its minikube, and the same context added to the user's.

minikube writes the kubeconfig at every start, makes its context the current one where the file lacks it, and resets a
healthy cluster when the file cannot be written (kubernetes/minikube#5714, #12655). So it is given a file of devenv's
own. The user's file gets the context by `kubectl config`, which leaves the current context alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devenv.cluster.access import context_entries, context_names, kubeconfig_paths
from devenv.cluster.errors import ContextMissing
from devenv.errors import CommandFailed, ProgramMissing, TimedOut
from devenv.minikube.errors import KubeconfigUnwritable
from devenv.process import run
from devenv.project import Project

_KUBECTL_SECONDS = 20.0


def own_kubeconfig(project: Project) -> Path:
    """The file (0600) that minikube writes and devenv reads."""
    return project.data_folder / "kubeconfig"


def prepare(path: Path) -> None:
    """Makes the file's folder, and proves that the file can be written.

    Raises:
        KubeconfigUnwritable: it cannot; minikube must not be started then.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("ab"):
            path.chmod(0o600)
        probe = path.with_name(f"{path.name}.lock.probe")  # minikube and kubectl write a lock file beside it
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise KubeconfigUnwritable(
            f"{path}, the kubeconfig that devenv keeps for minikube, cannot be written: {error.strerror}",
            hint=f"ls -ld {path.parent}",
        ) from error


def has_context(path: Path, name: str) -> bool:
    """Whether the file has a context of this name; a damaged file has none."""
    try:
        return name in context_names([path])
    except ContextMissing:
        return False


def share(context: str, own: Path, kubectl: Sequence[str], variables: Mapping[str, str], home: Path) -> str:
    """Adds the context to the user's kubeconfig, or brings it up to date there; never changes the current one.

    Args:
        context: its name.
        own: devenv's kubeconfig.
        kubectl: how to run kubectl, without `--kubeconfig` and `--context`.
        variables: kubectl's environment, with the user's `KUBECONFIG`.
        home: the user's home folder.

    Returns:
        Why it could not be added, or "".
    """
    try:
        wanted = context_entries(context, [own])
        if wanted is None:
            return ""
        present = context_entries(context, kubeconfig_paths(variables, home))
        if present == wanted:
            return ""
        if present is not None and present["user"] != wanted["user"]:
            return f"it has a context {context} of another cluster"
        if "client-key" not in wanted["user"]:
            return "the certificates are embedded"  # a key does not go over a command line
        for command in _commands(context, wanted):
            run([*kubectl, "config", *command], variables=variables, timeout=_KUBECTL_SECONDS)
    except CommandFailed as error:
        return (error.output.strip().splitlines() or [error.message])[-1]
    except (ContextMissing, ProgramMissing, TimedOut) as error:
        return error.message
    return ""


def unshare(context: str, own: Path, kubectl: Sequence[str], variables: Mapping[str, str], home: Path) -> None:
    """Takes back what `share` added, before the cluster is deleted; an entry that differs is somebody else's."""
    with contextlib.suppress(CommandFailed, ContextMissing, ProgramMissing, TimedOut):
        ours = context_entries(context, [own])
        if ours is None or context_entries(context, kubeconfig_paths(variables, home)) != ours:
            return
        for kind in ("context", "cluster", "user"):
            run([*kubectl, "config", f"delete-{kind}", context], variables=variables, timeout=_KUBECTL_SECONDS)


def _commands(context: str, wanted: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    def flags(kind: str, *names: str) -> list[str]:
        return [f"--{name}={wanted[kind][name]}" for name in names]

    return [
        ["set-cluster", context, *flags("cluster", "server", "certificate-authority")],
        ["set-credentials", context, *flags("user", "client-certificate", "client-key")],
        ["set-context", context, f"--cluster={context}", f"--user={context}", "--namespace=default"],
    ]
