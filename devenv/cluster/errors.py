"""What can go wrong between devenv and a cluster."""

from __future__ import annotations

from devenv.errors import ExitCode, PlatformError, RefusedError, UsageError


class ClusterError(PlatformError):
    """The cluster answered with an error that devenv has no better explanation for.

    The message is the API server's own. `status` is the HTTP status, 0 when there was no answer.
    """

    code = "DEVENV-300"

    def __init__(self, message: str, *, status: int = 0, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message, hint=hint, detail=detail)
        self.status = status


class ContextMissing(UsageError):
    """The kubeconfig has no such context, or the files that it names are gone.

    devenv never falls back to the current context: it opens just the one it was told.
    """

    code = "DEVENV-301"
    of_silence = True


class ClusterUnreachable(ClusterError):
    """Nothing answers at the cluster's address: it is stopped, still starting, or the network is in the way.

    With minikube, `devenv up` starts it again.
    """

    code = "DEVENV-302"
    of_silence = True


class AccessDenied(ClusterError):
    """The cluster knows you, or does not, and will not do this: a token that expired, or a role that is missing."""

    code = "DEVENV-303"


class ApplyConflict(RefusedError):
    """An object of that name exists and somebody else made it or manages the fields that devenv would set.

    devenv overwrites only what carries its own environment's label.
    """

    code = "DEVENV-304"


class ObjectRejected(ClusterError):
    """The API server (or an admission policy of the cluster) refuses an object of the platform."""

    code = "DEVENV-305"


class PodFailed(PlatformError):
    """A pod of the platform cannot start: its image, its node, a probe, an init container or the program itself.

    The message says which; the last lines of its log stand below.
    """

    code = "DEVENV-306"


class ForwardFailed(PlatformError):
    """A port of 127.0.0.1 could not be joined to a pod's."""

    code = "DEVENV-307"
    exit_code = ExitCode.MISSING


class ExecRefused(ClusterError):
    """A program could not be started in a pod: the pod is not running, or exec is not allowed there."""

    code = "DEVENV-308"
