"""What is where in Vault, and who may read it: plain data, applied by `minikube/base/programs/seed_vault.py`.

`minikube/base/programs/secrets.json` is the one list of the platform's secrets. Pods read from it what to fetch,
and here the policies are made from it, so that a role can read exactly what its pods fetch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from devenv.components import secret_entries
from devenv.settings.schema import VaultSettings
from devenv.vault import programs

CONNECTIONS = "connections"
VARIABLES = "variables"
CONNECTION_KEY = "conn_uri"
"""Where `VaultBackend.get_connection` looks (apache-airflow-providers-hashicorp 2.0 and later)."""
VARIABLE_KEY = "value"
"""Where `VaultBackend.get_variable` looks."""

DATABASE = "postgres/airflow"
CORE = "airflow/core"
ADMIN = "airflow/admin"

TOKEN_SECONDS = 3600
"""How long a pod's login lasts; `VaultBackend` logs in again by itself."""


def secrets_list(settings: VaultSettings, parts: Iterable[str] = ()) -> dict[str, Any]:
    """`secrets.json` with the project's mount and `[vault.secrets]`: what the pods of this environment fetch.

    Args:
        settings: the project's.
        parts: the components that are switched on (`Settings.parts`); each may have a `secrets.json` of its own.
    """
    listing: dict[str, Any] = json.loads((programs.folder() / "secrets.json").read_text(encoding="utf-8"))
    listing["secrets"] = [
        {key: value for key, value in entry.items() if key not in ("values", "generated")}
        for entry in secret_entries(parts)
    ]
    listing["mount"] = settings.mount
    for secret in settings.secrets.values():
        entry: dict[str, Any] = {"path": secret.path, "file": secret.file, "keys": list(secret.keys)}
        if secret.defaults:
            entry["defaults"] = dict(secret.defaults)
        listing["secrets"].append(entry)
    return listing


def roles(listing: Mapping[str, Any]) -> list[str]:
    """Every role: the components, which are also the names of their service accounts."""
    named = {role for secret in listing["secrets"] for role in secret.get("roles", ())}
    return sorted({*listing["roles"], *named})


def readers(listing: Mapping[str, Any], path: str) -> list[str]:
    """The components whose pods fetch this path into a file; connections and variables are read live instead."""
    found: set[str] = set()
    for secret in listing["secrets"]:
        if secret["path"] == path:
            found.update(secret.get("roles") or listing["roles"])
    return sorted(found)


def policy(listing: Mapping[str, Any], role: str) -> str:
    """What a role may do, in Vault's language: read just the paths that its pods fetch, and look at its own token."""
    mount = listing["mount"]
    revision_key_path = programs.load("fetch_secrets").REVISION_KEY_PATH
    paths = {f"{mount}/data/{revision_key_path}", "auth/token/lookup-self"}
    for secret in listing["secrets"]:
        if role in (secret.get("roles") or listing["roles"]):
            paths.add(f"{mount}/data/{secret['path']}")
    if role in listing["roles"]:
        paths |= {f"{mount}/data/{CONNECTIONS}/*", f"{mount}/data/{VARIABLES}/*"}
    return "".join(f'path "{path}" {{\n  capabilities = ["read"]\n}}\n' for path in sorted(paths))


def document(
    listing: Mapping[str, Any],
    secrets: Mapping[str, Mapping[str, str]],
    *,
    revision_key: str,
    auth: Literal["kubernetes", "approle"],
    namespace: str = "",
    logins: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """All that a Vault is seeded with.

    Args:
        listing: from `secrets_list`.
        secrets: path → key → value.
        revision_key: names contents of secrets without telling them, see `fetch_secrets.revision`.
        auth: who logs in: pods by their service accounts, or local processes by AppRole.
        namespace: of the pods.
        logins: for AppRole, role → `role_id` and `secret_id`.
    """
    policies = {f"devenv-{role}": policy(listing, role) for role in roles(listing)}
    # Without the default policy: a role reads its own paths and nothing else.
    common = {"token_ttl": TOKEN_SECONDS, "token_no_default_policy": True}
    applied: dict[str, dict[str, Any]] = {}
    for role in roles(listing):
        about: dict[str, Any] = {**common, "token_policies": [f"devenv-{role}"]}
        if auth == "kubernetes":
            about |= {"bound_service_account_names": [role], "bound_service_account_namespaces": [namespace]}
        else:
            about |= dict((logins or {})[role])
        applied[role] = about
    config = {"kubernetes_host": "https://kubernetes.default.svc"} if auth == "kubernetes" else None
    return {
        "mount": listing["mount"],
        "policies": policies,
        "secrets": {path: dict(values) for path, values in sorted(secrets.items())},
        "auth": {"type": auth, "config": config, "roles": applied},
        "revision_key": revision_key,
    }
