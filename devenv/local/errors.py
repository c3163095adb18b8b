"""What can go wrong on the local backend."""

from __future__ import annotations

from devenv.errors import MissingError, PlatformError


class InterpreterMissing(MissingError):
    """No Python that this release of Airflow runs on was found, and none could be fetched.

    Airflow 2.7 needs Python 3.8 to 3.11. Install one (`uv python install 3.11`, or your system's package) or set
    `[airflow] version` to a release that runs on the Python that you have.
    """

    code = "DEVENV-401"


class InstallFailed(PlatformError):
    """Airflow, or what `requirements.txt` asks for, could not be installed.

    The last lines of uv are shown. Without a network nothing can be fetched that uv does not have in its cache; a
    conflict in `requirements.txt` is named there, with the packages that do not agree.
    """

    code = "DEVENV-402"


class RequirementsConflict(MissingError):
    """`requirements.txt` and the release of Airflow ask for versions of a package that exclude each other.

    uv's explanation is shown: it names the package, what Airflow requires and what `requirements.txt` requires. Both
    are resolved together, so that a project's packages cannot replace what the release needs.
    """

    code = "DEVENV-412"


class NotInstalled(MissingError):
    """The project's release of Airflow was not installed on this machine yet, so there is no list of its packages."""

    code = "DEVENV-413"


class AirflowBroken(PlatformError):
    """Airflow's processes run, but its REST API answers requests with errors of its own (HTTP 500).

    Most often packages in the virtual environment do not fit the release: `requirements.txt` asks for newer ones, or
    they were installed where neither Airflow's constraints nor the day of the release were known.
    """

    code = "DEVENV-411"


class DatabaseFailed(PlatformError):
    """The local Postgres could not be made, or did not answer.

    Its log is `.devenv/logs/postgres.log`. `devenv destroy` removes the database with everything in it.
    """

    code = "DEVENV-403"


class ComponentFailed(PlatformError):
    """A component of the local environment ends again and again; its last lines are shown.

    `devenv logs COMPONENT` shows more. It is started again every few seconds, so when the cause is gone (a disk that
    was full, a setting), it comes back by itself.
    """

    code = "DEVENV-404"


class NotRunning(MissingError):
    """The local environment does not run, or the component that was asked for does not."""

    code = "DEVENV-406"
    of_silence = True


class PortsTaken(MissingError):
    """No free port was found near the one that is set."""

    code = "DEVENV-407"


class PlatformUnsupported(MissingError):
    """The local backend runs on Linux and macOS; on Windows, use WSL 2."""

    code = "DEVENV-408"


class DiskFull(MissingError):
    """No space is left for the local environment: the database, its logs, or the project's own folder.

    Nothing is lost: make room and run `devenv up` again. A running environment needs nothing at all: Postgres and
    Airflow are started again every few seconds until there is room.
    """

    code = "DEVENV-409"
