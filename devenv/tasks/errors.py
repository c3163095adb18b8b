"""What keeps a test run from beginning, or ends it."""

from __future__ import annotations

from devenv.errors import PlatformError, UsageError


class NothingToTest(UsageError):
    """The DAG, task, run or map index that was asked for does not exist; the message names what there is."""

    code = "DEVENV-740"


class TaskProcessFailed(PlatformError):
    """The process that runs tasks did not start, or ended early: Airflow's own words are shown."""

    code = "DEVENV-741"
