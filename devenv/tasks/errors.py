"""What keeps a test run from beginning, or ends it."""

from __future__ import annotations

from devenv.errors import MissingError, PlatformError, UsageError


class NothingToTest(UsageError):
    """The DAG, task, run or map index that was asked for does not exist; the message names what there is."""

    code = "DEVENV-740"


class TaskProcessFailed(PlatformError):
    """The process that runs tasks did not start, or ended early: Airflow's own words are shown."""

    code = "DEVENV-741"


class PackageMissing(MissingError):
    """debugpy or pytest, which devenv sends to where tasks run, cannot be had from the package index.

    It is kept once it was fetched, so that a network is needed only for the first time.
    """

    code = "DEVENV-742"


class DebugPortTaken(MissingError):
    """Something else uses the port on 127.0.0.1 at which the editor would attach. Name another with `--port`."""

    code = "DEVENV-745"
