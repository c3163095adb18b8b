"""What can go wrong with the supervisor."""

from __future__ import annotations

from devenv.errors import PlatformError


class SupervisorFailed(PlatformError):
    """The process that keeps the local components running did not start or does not answer."""

    code = "DEVENV-405"
