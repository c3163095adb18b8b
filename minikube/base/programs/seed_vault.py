"""Keeps a dev Vault seeded: the side-car `seeder` in Vault's pod, and the same program on the local backend.

Vault's dev server forgets everything when it restarts. This program compares, once a second, what Vault
says it was seeded with (a marker) with the document that it has, and restores mount, policies, secrets,
auth method and roles when they differ. The document comes from the Secret `vault-seed`, so no devenv needs to run; a
changed document is applied when the kubelet brings it. Nothing secret is printed.

    VAULT_ADDR           http://127.0.0.1:8200
    DEVENV_SEED_FOLDER   holds `seed.json` (see `devenv/vault/layout.py`) and `root-token`
    DEVENV_SEEDED_FILE   is touched when Vault is seeded; a startup probe looks for it

Standard library only, Python 3.8. `fetch_secrets.py` lies beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Mapping

sys.path.insert(0, str(Path(__file__).parent))
from fetch_secrets import REVISION_KEY_PATH, Fault, Vault, errors_of

MARKER_PATH = "devenv/seeded"
"""Says which document was applied, and which paths came from it."""


def write(vault: Vault, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request that must succeed.

    Raises:
        Fault: it did not.
    """
    status, answer = vault.call(method, path, body)
    if status >= 400:
        raise Fault(
            f"Vault refused to write {path}: {errors_of(answer) or f'status {status}'}",
            "devenv logs vault",
            passing=True,
        )
    return answer


def current(vault: Vault, mount: str, path: str) -> dict[str, Any] | None:
    """What is at a path now; None where there is nothing.

    Raises:
        Fault: Vault does not let us look.
    """
    status, answer = vault.call("GET", f"{mount}/data/{path}")
    if status == 403:
        raise Fault("Vault does not accept the root token of the seeds", "devenv secrets seed", passing=True)
    if status != 200:
        return None
    data = (answer.get("data") or {}).get("data")
    return data if isinstance(data, dict) else None


def digest(document: Mapping[str, Any]) -> str:
    """Names a document's content, keyed with the random key that it holds."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def is_seeded(vault: Vault, document: Mapping[str, Any], *, mark: str = "") -> bool:
    """Whether Vault holds what this document says (by its marker).

    Raises:
        Fault: Vault does not answer.
    """
    marker = current(vault, document["mount"], MARKER_PATH)
    return marker is not None and marker.get("digest") == (mark or digest(document))


def apply(vault: Vault, document: Mapping[str, Any]) -> int:
    """Makes Vault hold what the document says; gives back how many secrets were written or removed.

    Roles come last: who can log in finds everything there.

    Raises:
        Fault: Vault does not answer, or refuses.
    """
    mount = document["mount"]
    mounts = write(vault, "GET", "sys/mounts", {})
    if mount + "/" not in mounts:
        write(vault, "POST", "sys/mounts/" + mount, {"type": "kv", "options": {"version": "2"}})
    marker = current(vault, mount, MARKER_PATH) or {}
    changed = 0
    secrets = dict(document["secrets"])
    secrets[REVISION_KEY_PATH] = {"key": document["revision_key"]}
    for path, data in secrets.items():
        if current(vault, mount, path) != data:
            write(vault, "POST", f"{mount}/data/{path}", {"data": data})
            changed += 1
    for path in marker.get("paths") or []:
        if path not in secrets:
            write(vault, "DELETE", f"{mount}/metadata/{path}", {})
            changed += 1
    for name, policy in document["policies"].items():
        write(vault, "PUT", "sys/policies/acl/" + name, {"policy": policy})
    auth = document["auth"]
    make(
        vault,
        "sys/auth/" + auth["type"],
        {"type": auth["type"]},
        lambda: auth["type"] + "/" in write(vault, "GET", "sys/auth", {}),
    )
    if auth.get("config"):
        write(vault, "POST", "auth/{}/config".format(auth["type"]), auth["config"])
    for name, role in auth["roles"].items():
        write_role(vault, "auth/{}/role/{}".format(auth["type"], name), role)
    write(
        vault,
        "POST",
        f"{mount}/data/{MARKER_PATH}",
        {"data": {"digest": digest(document), "paths": sorted(secrets)}},
    )
    return changed


def write_role(vault: Vault, path: str, role: Mapping[str, Any]) -> None:
    """Writes a role, and for AppRole the two halves of its login.

    Raises:
        Fault: Vault refuses.
    """
    role = dict(role)
    role_id, secret_id = role.pop("role_id", None), role.pop("secret_id", None)
    write(vault, "POST", path, role)
    if role_id is None:
        return
    write(vault, "POST", path + "/role-id", {"role_id": role_id})

    def known() -> bool:
        status, found = vault.call("POST", path + "/secret-id/lookup", {"secret_id": secret_id})
        return status == 200 and bool(found.get("data"))

    make(vault, path + "/custom-secret-id", {"secret_id": secret_id}, known)


def make(vault: Vault, path: str, body: Mapping[str, Any], exists: Callable[[], bool]) -> None:
    """Makes what Vault refuses to make twice, unless it exists; another seeder may make it at the same time.

    Raises:
        Fault: Vault refuses, and it does not exist.
    """
    if exists():
        return
    try:
        write(vault, "POST", path, body)
    except Fault:
        if not exists():
            raise


class SeedFolder:
    """Where the document and the root token come from: the mounted Secret."""

    def __init__(self, folder: str) -> None:
        self._document = Path(folder, "seed.json")
        self._token = Path(folder, "root-token")

    def signature(self) -> tuple[int, ...]:
        """Differs when `load` would give something else.

        Raises:
            OSError: there is nothing yet.
        """
        state = self._document.stat()
        return (state.st_mtime_ns, state.st_ino)

    def load(self) -> tuple[dict[str, Any], str]:
        """The document and the root token.

        Raises:
            OSError, ValueError: not there, or half written.
        """
        return json.loads(self._document.read_text(encoding="utf-8")), self._token.read_text(encoding="utf-8").strip()


def keep_seeded(
    vault: Vault,
    source: Any,
    ended: threading.Event,
    seeded: Callable[[int, float], None],
    waiting: Callable[[str], None],
) -> None:
    """Looks once a second until `ended`.

    Args:
        vault: which.
        source: gives the document, as `SeedFolder` does.
        ended: set to end.
        seeded: told when Vault was seeded: how many secrets were written, in how many seconds.
        waiting: told why Vault is not seeded, once per reason.
    """
    document: dict[str, Any] = {}
    mark = said = ""
    signature: tuple[int, ...] = ()
    while not ended.is_set():
        pause = 1.0
        try:
            now = source.signature()
            if now != signature:
                document, vault.token = source.load()
                mark, signature = digest(document), now
            if not is_seeded(vault, document, mark=mark):
                start = time.monotonic()
                changed = apply(vault, document)
                seeded(changed, time.monotonic() - start)
            said = ""
        except (Fault, OSError, ValueError) as error:
            message = error.cause if isinstance(error, Fault) else f"cannot read the seeds: {error}"
            if message != said:
                waiting(message)
            said, pause = message, 0.2
        ended.wait(pause)
    vault.close()


def main(variables: Mapping[str, str]) -> int:
    """Runs until SIGTERM; see the module."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    file = variables.get("DEVENV_SEEDED_FILE", "")
    if file:
        with contextlib.suppress(FileNotFoundError):
            Path(file).unlink()

    def seeded(changed: int, seconds: float) -> None:
        print(f"seeded Vault: {changed} secrets written in {seconds:.2f} s", flush=True)
        if file:
            Path(file).touch()

    def waiting(reason: str) -> None:
        print("waiting: " + reason, file=sys.stderr, flush=True)

    vault = Vault(variables.get("VAULT_ADDR", "http://127.0.0.1:8200"))
    keep_seeded(vault, SeedFolder(variables.get("DEVENV_SEED_FOLDER", "/devenv/seed")), ended, seeded, waiting)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
