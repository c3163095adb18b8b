"""minikube and its profile, kubectl, the context."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from devenv.doctor.check import Check, Finding, Fix, failure, ok, skipped, warning
from devenv.doctor.laptop import as_object
from devenv.errors import ProgramMissing
from devenv.minikube.errors import ProfileDamaged
from devenv.minikube.kubeconfig import has_context, own_kubeconfig, prepare
from devenv.minikube.node import inspect
from devenv.minikube.profile_files import require_whole
from devenv.minikube.program import Minikube, Profile, Status

if TYPE_CHECKING:
    from devenv.doctor.machine import Machine
    from devenv.project import Project

_OLDEST = (1, 32)
"""minikube's release from which `profile list --light` and JSON events are as devenv reads them."""
_INSTALL = "https://minikube.sigs.k8s.io/docs/start/ ; or devenv up --backend local   needs none"


def checks(machine: Machine, project: Project) -> list[Check]:
    """The checks of minikube, in the order in which they build on each other."""
    name = project.settings.minikube.profile
    kubeconfig = own_kubeconfig(project)
    program = Minikube(name, machine.environment, kubeconfig)

    def look_at_profile() -> Finding:
        environment = machine.environment
        has_node = functools.partial(_has_node, name, environment.variables)
        try:
            require_whole(name, environment.variables, environment.home, has_node=has_node)
        except ProfileDamaged as error:
            return failure(error.message, error.hint or "")
        found = program.find()
        if found is None and not project.data_folder.exists():
            return skipped(f"there is no minikube profile {name} yet; devenv up makes it")
        return profile(name, found, program.status() if found else None, project.identifier, program)

    return [
        Check("minikube", "minikube", lambda: version(machine), needs=("docker",)),
        Check("profile", "minikube's profile", look_at_profile, needs=("minikube",), seconds=60),
        Check("kubectl", "kubectl", lambda: kubectl(machine, _kubernetes(program)), needs=("minikube",), seconds=60),
        Check("context", "Context", lambda: context(program), needs=("profile",)),
    ]


def version(machine: Machine) -> Finding:
    """The program is installed and new enough."""
    try:
        done = machine.run(["minikube", "version", "--short"])
    except ProgramMissing:
        return failure("minikube is not installed, or not on PATH", _INSTALL)
    numbers = re.search(r"v(\d+)\.(\d+)", done.stdout)
    if numbers is None:
        return warning("`minikube version` names no release", detail=(done.stdout + done.stderr)[-1000:])
    if (int(numbers[1]), int(numbers[2])) < _OLDEST:
        return failure(
            f"minikube {done.stdout.strip()} is older than v{_OLDEST[0]}.{_OLDEST[1]}", f"update it: {_INSTALL}"
        )
    return ok(done.stdout.strip())


def profile(name: str, found: Profile | None, status: Status | None, identifier: str, program: Minikube) -> Finding:
    """The profile: made by devenv for this project, one node, everything in it running."""
    if found is None or status is None:
        return failure(f"the minikube profile {name} is gone", "devenv up   makes it anew")
    if found.nodes > 1:
        return failure(
            f"the profile {name} has {found.nodes} nodes; devenv's claims are folders of one node",
            "set another under [minikube] profile, or: minikube delete -p " + name,
        )
    if found.owner and found.owner != identifier:
        return failure(
            f"the profile {name} belongs to the environment {found.owner}",
            'give this project a profile of its own: profile = "NAME" under [minikube] in devenv.toml',
        )
    if status.host == "Paused" or status.apiserver == "Paused" or status.kubelet == "Paused":
        return failure(
            f"the profile {name} is paused",
            f"minikube unpause -p {name}",
            fix=Fix(f"minikube unpause -p {name}", lambda: program.unpause(lambda _message, _fraction: None)),
        )
    if status.host != "Running":
        return failure(f"the profile {name} is {status.host.lower()}", "devenv up   starts it, its data is kept")
    if not status.running:
        return failure(
            f"minikube's node runs, but in it the kubelet is {status.kubelet.lower()} and the API server "
            f"{status.apiserver.lower()}, as after a restart of Docker",
            "devenv up   starts them again, data is kept",
        )
    return ok(f"{name}, Kubernetes {found.kubernetes}, {found.driver}")


def kubectl(machine: Machine, server: str) -> Finding:
    """The program may be one minor release older or newer than the cluster."""
    try:
        done = machine.run(["kubectl", "version", "--client", "-o", "json"])
    except ProgramMissing:
        return ok("not installed; `minikube kubectl --` is used")
    client = str((as_object(done.stdout).get("clientVersion") or {}).get("gitVersion") or "")
    ours, theirs = _minor(client), _minor(server)
    if ours is None:
        return warning("`kubectl version` names no release", detail=(done.stdout + done.stderr)[-1000:])
    if theirs is not None and abs(ours - theirs) > 1:
        return warning(
            f"kubectl is {client} and the cluster {server}: more than one minor release apart",
            "update kubectl; or use `minikube kubectl --`",
        )
    return ok(client)


def context(program: Minikube) -> Finding:
    """Devenv's own kubeconfig has the profile's context; the user's may lack it."""
    name = program.profile
    if has_context(program.kubeconfig, name):
        return ok(name)
    return failure(
        f"{program.kubeconfig} has no context {name}, though the profile runs",
        "devenv up   writes it, and leaves the running cluster as it is",
        fix=Fix("write the context", lambda: _write_context(program)),
    )


def _write_context(program: Minikube) -> None:
    prepare(program.kubeconfig)
    program.update_context()


def _has_node(profile: str, variables: Mapping[str, str]) -> bool:
    return bool(inspect(profile, variables).state)


def _kubernetes(program: Minikube) -> str:
    found = program.find()
    return found.kubernetes if found else ""


def _minor(release: str) -> int | None:
    numbers: Any = re.match(r"v?1\.(\d+)", release)
    return int(numbers[1]) if numbers else None
