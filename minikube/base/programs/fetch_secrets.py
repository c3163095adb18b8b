"""Fetches a pod's secrets from Vault and writes them as files: the init container `secrets`.

Logs in by Kubernetes auth (or AppRole on the local backend), reads the paths that `secrets.json` lists
for its role, writes each as an env file or a single value, and renders `airflow.cfg`. Nothing secret
is printed, and nothing secret comes in by an argument or an environment variable.

    VAULT_ADDR                http://vault:8200
    DEVENV_COMPONENT          scheduler, webserver, task, postgres …: the role to log in for
    DEVENV_VAULT_AUTH         kubernetes (default) or approle
    DEVENV_VAULT_CREDENTIALS  the service account's token; for approle, a folder with `role-id` and `secret-id`
    DEVENV_VAULT_PATIENCE     seconds to wait for a Vault that starts (default 120)
    DEVENV_SECRETS_LIST       which secrets there are (default: secrets.json beside this file)
    DEVENV_SECRETS_FOLDER     where the files go (default /etc/airflow), in memory
    DEVENV_CONFIG_TEMPLATE    airflow.cfg with ${SQL_ALCHEMY_CONN} and the like; without it none is rendered.
                              ${VAULT_BACKEND_ARGUMENTS} stands for `[secrets] backend_kwargs` of this component

Ends with 0, or with 1 and the cause and the next command on standard error. Standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Mapping
from urllib.parse import quote, urlsplit

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
TERMINATION_LOG = Path("/dev/termination-log")
REVISION_KEY_PATH = "devenv/revision"
"""Where every role finds the key of `revision`."""
CONNECT_SECONDS = 2.0
"""Vault is a neighbour: what takes longer goes to a pod that is gone, and the next try to its successor."""
ANSWER_SECONDS = 10.0
SETTLED_PATIENCE = 8.0
"""Seconds to retry what a starting Vault does not explain: a missing path, a denial."""


class Fault(Exception):
    """Why there are no secrets yet, and the next command.

    Attributes:
        passing: a Vault that starts explains it, so waiting is worth while.
    """

    def __init__(self, cause: str, hint: str, *, passing: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint
        self.passing = passing


class Vault:
    """Vault's HTTP API over one kept connection; proxies do not apply, Vault is a neighbour."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.token = ""
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection: Any = kind(parts.hostname or "127.0.0.1", parts.port or 8200, timeout=CONNECT_SECONDS)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Sends a request; gives back the status and the decoded answer.

        Raises:
            Fault: Vault does not answer, or is sealed.
        """
        headers = {"X-Vault-Request": "true"}
        if self.token:
            headers["X-Vault-Token"] = self.token
        data = None if body is None else json.dumps(body)
        try:
            closed = self._connection.sock is None
            if closed:
                self._connection.connect()
                self._connection.sock.settimeout(ANSWER_SECONDS)
            self._connection.request(method, "/v1/" + quote(path), data, headers)
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Fault(
                f"Vault does not answer at {self.address}: {error or type(error).__name__}",
                "devenv status",
                passing=True,
            ) from error
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if response.status >= 500:
            said = errors_of(answer) or f"status {response.status}"
            if "sealed" in said:
                raise Fault(
                    f"Vault at {self.address} is sealed; it is restarted and seeded again by itself",
                    "devenv logs vault",
                    passing=True,
                )
            raise Fault(f"Vault at {self.address} failed: {said}", "devenv logs vault", passing=True)
        return response.status, answer

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def errors_of(answer: Mapping[str, Any]) -> str:
    """What Vault's answer says went wrong, on one line."""
    return "; ".join(" ".join(str(error).split()) for error in answer.get("errors") or [])


def log_in(vault: Vault, auth: str, role: str, credentials: str) -> dict[str, Any]:
    """Logs in and leaves the token in `vault`; gives back how Airflow's `VaultBackend` does the same.

    Raises:
        Fault: refused, or not possible yet.
    """
    vault.token = ""
    body: dict[str, str]
    arguments: dict[str, str]
    if auth == "approle":
        body = arguments = {
            "role_id": read_credential(str(Path(credentials, "role-id"))),
            "secret_id": read_credential(str(Path(credentials, "secret-id"))),
        }
    else:
        body = {"role": role, "jwt": read_credential(credentials)}
        arguments = {"kubernetes_role": role, "kubernetes_jwt_path": credentials}
    status, answer = vault.call("POST", f"auth/{auth}/login", body)
    if status == 200:
        vault.token = str(answer["auth"]["client_token"])
        return {"url": vault.address, "auth_type": auth, **arguments}
    said = errors_of(answer) or f"status {status}"
    if auth == "approle" and status == 400:
        raise Fault(
            f"Vault refused the AppRole login of {role!r} ({said}): it has not been seeded, or with other seeds",
            "devenv secrets seed",
            passing=True,
        )
    if status == 404 or "invalid role name" in said:
        raise Fault(
            f"Vault does not know the role {role!r} yet ({said}): it has not been seeded",
            "devenv secrets seed",
            passing=True,
        )
    if "not authorized" in said:
        raise Fault(f"Vault's role {role!r} does not admit this pod's service account: {said}", "devenv secrets seed")
    raise Fault(
        f"Vault refused the login of this pod's service account for the role {role!r}: {said}. "
        "The token has expired, or Vault may not review tokens",
        "devenv up",
    )


def read_credential(path: str) -> str:
    """The content of a credential's file.

    Raises:
        Fault: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Fault(f"cannot read {path} to log in to Vault: {error.strerror}", "devenv up") from error


def read_secret(vault: Vault, mount: str, path: str) -> dict[str, str] | None:
    """The keys and values at a path of the KV version 2 mount; None where there is nothing.

    Raises:
        Fault: denied, or the login has expired.
    """
    status, answer = vault.call("GET", f"{mount}/data/{path}")
    if status == 200:
        data = (answer.get("data") or {}).get("data")
        return None if data is None else {str(key): text_of(value) for key, value in data.items()}
    if status == 404:
        return None
    if status == 403:
        alive, _ = vault.call("GET", "auth/token/lookup-self")
        if alive == 403:
            raise Fault(f"the login to Vault has expired before {path} was read", "devenv secrets seed", passing=True)
        raise Fault(
            f"Vault's policy denies {mount}/{path} to this pod's role",
            "devenv secrets seed",
        )
    said = errors_of(answer) or f"status {status}"
    raise Fault(f"Vault did not give {mount}/{path}: {said}", "devenv logs vault", passing=True)


def text_of(value: object) -> str:
    """A value as an environment variable holds it: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def complete(secret: Mapping[str, Any], found: Mapping[str, str] | None, mount: str) -> dict[str, str]:
    """The keys of one entry of `secrets.json`: what Vault has, defaults for the rest, and URLs made from both.

    Raises:
        Fault: a path or a key is missing.
    """
    path = secret["path"]
    values = dict(secret.get("defaults") or {})
    values.update(found or {})
    wanted = list(secret.get("keys") or [])
    if secret.get("only"):
        wanted.append(secret["only"])
    missing = [key for key in wanted if key not in values]
    if missing and found is None:
        raise Fault(f"nothing is at the path {mount}/{path} in Vault", f"devenv secrets set {path}")
    if missing:
        raise Fault(
            f"{mount}/{path} in Vault lacks {', '.join(missing)}",
            f"devenv secrets set {path} {missing[0]}",
        )
    for name, url in (secret.get("urls") or {}).items():
        if name not in values:
            values[name] = substitute(url, {key: quote(value, safe="") for key, value in values.items()})
    return values


def substitute(text: str, values: Mapping[str, str]) -> str:
    """`text` with each `${NAME}` that is known replaced; others stay, they are Airflow's own."""
    return re.sub(r"\$\{(\w+)\}", lambda match: values.get(match.group(1), match.group(0)), text)


def env_file(values: Mapping[str, str]) -> str:
    """Lines that a shell can source."""
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in sorted(values.items()))


def revision(key: str, values: Mapping[str, str]) -> str:
    """A short name for a secret's content that tells nothing about it without `key`, which stays in Vault."""
    content = json.dumps(dict(values), sort_keys=True, separators=(",", ":"))
    return hmac.new(key.encode(), content.encode(), hashlib.sha256).hexdigest()[:12]


def fetch(
    vault: Vault, listing: Mapping[str, Any], auth: str, role: str, credentials: str, *, template: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Everything that this role gets: file name → content, and path → revision.

    Raises:
        Fault: with cause and next command.
    """
    mount = listing["mount"]
    backend = log_in(vault, auth, role, credentials)
    backend.update(mount_point=mount, connections_path="connections", variables_path="variables", config_path=None)
    substitutes = {"VAULT_BACKEND_ARGUMENTS": json.dumps(backend)}
    key = (read_secret(vault, mount, REVISION_KEY_PATH) or {}).get("key", "")
    files: dict[str, str] = {}
    revisions: dict[str, str] = {}
    for secret in listing["secrets"]:
        if role not in (secret.get("roles") or listing["roles"]):
            continue
        found = read_secret(vault, mount, secret["path"])
        values = complete(secret, found, mount)
        revisions[secret["path"]] = revision(key, found or {})
        substitutes.update(values)
        if secret.get("only"):
            files[secret["file"]] = values[secret["only"]]
        elif secret.get("file"):
            files[secret["file"]] = env_file(values)
    if template:
        doubled = {name: value.replace("%", "%%") for name, value in substitutes.items()}
        files["airflow.cfg"] = substitute(Path(template).read_text(encoding="utf-8"), doubled)
    return files, revisions


def write(folder: str, name: str, content: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    temporary = Path(folder, "." + name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(Path(folder, name))


def last_words(text: str) -> None:
    """Leaves at most 4 kB in the pod's status, where `devenv status` and `kubectl describe pod` show them."""
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(text[:4000], encoding="utf-8")


def main(variables: Mapping[str, str]) -> int:
    """Fetches until it succeeds or patience ends; see the module."""
    folder = variables.get("DEVENV_SECRETS_FOLDER", "/etc/airflow")
    auth = variables.get("DEVENV_VAULT_AUTH", "kubernetes")
    patience = float(variables.get("DEVENV_VAULT_PATIENCE", "120"))
    beside = Path(__file__).resolve().parent / "secrets.json"
    listing = json.loads(Path(variables.get("DEVENV_SECRETS_LIST") or beside).read_text(encoding="utf-8"))
    start = time.monotonic()
    vault = Vault(variables["VAULT_ADDR"])
    told: list[str] = []
    while True:
        try:
            files, revisions = fetch(
                vault,
                listing,
                auth,
                variables["DEVENV_COMPONENT"],
                variables.get("DEVENV_VAULT_CREDENTIALS", SERVICE_ACCOUNT_TOKEN),
                template=variables.get("DEVENV_CONFIG_TEMPLATE", ""),
            )
            break
        except Fault as fault:
            if fault.cause not in told:
                told.append(fault.cause)
                print(f"{fault.cause} (waiting)", file=sys.stderr, flush=True)
            waited = time.monotonic() - start
            if waited > (patience if fault.passing else min(patience, SETTLED_PATIENCE)):
                message = f"{fault.cause}. Next: {fault.hint}"
                last_words(message)
                print(message, file=sys.stderr, flush=True)
                return 1
            time.sleep(0.25 if waited < 10 else 1.0)
    vault.close()
    for name, content in files.items():
        write(folder, name, content)
    write(folder, "revisions.json", json.dumps(revisions))
    last_words(json.dumps({"revisions": revisions}))
    print("wrote {} to {} in {:.2f} s".format(", ".join(sorted(files)), folder, time.monotonic() - start), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
