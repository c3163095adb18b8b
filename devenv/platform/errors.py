"""What can go wrong on both cluster backends."""

from __future__ import annotations

from devenv.errors import UsageError


class NotDeployed(UsageError):
    """There is no such component in this environment, or the environment is not up.

    `devenv status` lists the components; `devenv up` brings the environment up.
    """

    code = "DEVENV-231"
    of_silence = True
