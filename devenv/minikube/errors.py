"""What can go wrong between a laptop and a running minikube."""

from __future__ import annotations

from devenv.errors import MissingError, PlatformError, RefusedError, UsageError


class MinikubeFailed(PlatformError):
    """minikube ended with an error; the message carries its own words and the remedy that is known for it.

    The table of reasons is minikube's own (`pkg/minikube/reason`); its last output stands below the message.
    """

    code = "DEVENV-200"


class DockerMissing(MissingError):
    """Docker is not installed, and minikube's docker driver needs it.

    `devenv up --backend local` runs Airflow without Docker.
    """

    code = "DEVENV-201"


class DockerNotRunning(MissingError):
    """Docker is installed and its engine does not answer: it is not started, or this user may not use it."""

    code = "DEVENV-202"


class MinikubeMissing(MissingError):
    """minikube is not installed, or not on PATH."""

    code = "DEVENV-203"


class NotEnoughMemory(MissingError):
    """This machine, Docker's virtual machine, or the memory that was asked for, is too small for the platform."""

    code = "DEVENV-204"


class NotEnoughDisk(MissingError):
    """There is too little room left where Docker keeps images and volumes."""

    code = "DEVENV-205"


class ProfileNotOurs(RefusedError):
    """A minikube profile of this name exists and devenv did not make it; devenv never touches such a one."""

    code = "DEVENV-207"


class ProfileOwned(RefusedError):
    """The minikube profile belongs to the environment of another project folder.

    One profile holds one environment. Give this one a profile of its own, or destroy the other.
    """

    code = "DEVENV-208"


class SeveralNodes(RefusedError):
    """The minikube profile has more than one node.

    Its volumes are folders of one node (hostPath), so pods on two nodes would not see the same DAG folder, and
    images would have to be loaded into each.
    """

    code = "DEVENV-209"


class ImagesNotLoaded(PlatformError):
    """Images that the laptop's Docker engine has could not be brought into minikube's node."""

    code = "DEVENV-210"


class NotEnoughProcessors(MissingError):
    """minikube's node needs two processors at least, and no more than Docker has."""

    code = "DEVENV-211"


class PortTaken(MissingError):
    """A port of 127.0.0.1 that the environment needs is held by another program, which the message names."""

    code = "DEVENV-212"


class KubeconfigUnwritable(MissingError):
    """The kubeconfig that devenv keeps for minikube cannot be written.

    minikube resets a cluster, with everything in it, when it cannot write the kubeconfig at a start, so it is not
    started. The file lies in the environment's data folder (`DEVENV_DATA`).
    """

    code = "DEVENV-213"


class ProfileDamaged(PlatformError):
    """A file in which minikube keeps what it knows of the profile is damaged or missing.

    minikube would make the profile anew. Its node and the data in it may well be whole: with the file brought back,
    from a backup or from another profile's with the names changed, everything is there again.
    """

    code = "DEVENV-214"


class DriverDiffers(UsageError):
    """The profile was made with another driver than the settings ask for."""

    code = "DEVENV-215"
