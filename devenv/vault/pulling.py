"""Reads the secrets of a deployed environment: a Vault, a Kubernetes Secret or ConfigMap, Airflow's REST API.

Nothing there is written: only reading requests are sent.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devenv.environment import Environment
from devenv.errors import UsageError
from devenv.vault import layout
from devenv.vault.errors import PullFailed, VaultDenied, VaultUnreachable
from devenv.vault.importing import Pool, connection_uri, from_variables, is_name, is_path

_SECONDS = 15.0
_PAGE = 100
_LARGEST = 10_000
_MASKED = "***"
"""What Airflow 3's API has in place of a password, or of a value that looks like one by its name."""
FORMS = "vault:MOUNT/PATH, secret:CONTEXT/NAMESPACE/NAME, configmap:CONTEXT/NAMESPACE/NAME or https://AIRFLOW"


class PullUnknown(UsageError):
    """What `devenv secrets pull` is to read from is written in no form that it knows."""

    code = "DEVENV-614"


@dataclass(frozen=True)
class Pulled:
    """What a deployed environment has.

    Attributes:
        secrets: path → key → value, connections and variables among them.
        pools: for Airflow.
        incomplete: paths of connections that came without their password.
        left: what it has besides, each with the reason why it is not taken.
    """

    secrets: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    pools: tuple[Pool, ...] = ()
    incomplete: frozenset[str] = frozenset()
    left: tuple[str, ...] = ()


def pull(source: str, environment: Environment, at: str | None = None) -> Pulled:
    """What a source has.

    Args:
        source: in one of the forms of `FORMS`.
        environment: for `VAULT_…`, `AIRFLOW_…` and `KUBECONFIG`.
        at: the path in the dev Vault for keys of a Secret that are no connections and no variables.

    Raises:
        PullUnknown: the source is written otherwise.
        PullFailed: it does not answer, denies it, or there is nothing.
        ImportInvalid: a connection there is not understood.
        ContextMissing, ClusterError: of the kubeconfig and the cluster.
    """
    kind, _, rest = source.partition(":")
    if kind in ("http", "https") and rest.startswith("//"):
        return _of_airflow(source.rstrip("/"), environment.variables)
    if kind == "vault" and rest.strip("/"):
        return _of_vault(rest.strip("/"), environment)
    parts = rest.split("/")
    if kind in ("secret", "configmap") and len(parts) >= 3:
        # A context may hold slashes: arn:aws:eks:eu-west-1:1:cluster/shop
        return _of_cluster(kind, ("/".join(parts[:-2]), parts[-2], parts[-1]), environment, at)
    raise PullUnknown(f"{source!r} is no source of secrets", hint=f"one of {FORMS}")


# Vault


def _of_vault(place: str, environment: Environment) -> Pulled:
    """All below a path; the folder's last name stays, where it is one that Airflow's backend reads (`connections`)."""
    import hvac

    from devenv.vault.store import SecretStore

    variables = environment.variables
    address = variables.get("VAULT_ADDR")
    if not address:
        raise PullFailed("VAULT_ADDR is not set", hint="export VAULT_ADDR=https://vault.example.com")
    mount, _, folder = place.partition("/")
    client = hvac.Client(
        url=address,
        token=variables.get("VAULT_TOKEN") or _kept_token(environment.home),
        namespace=variables.get("VAULT_NAMESPACE"),
        timeout=int(_SECONDS),
    )
    store = SecretStore(client, mount)
    try:
        paths = store.paths(f"{folder}/" if folder else "")
        found = {path: store.read(path) for path in paths} or {folder: store.read(folder) if folder else None}
    except (VaultDenied, VaultUnreachable) as error:
        raise PullFailed(error.message, hint="check VAULT_ADDR and VAULT_TOKEN: vault token lookup") from error
    kept = {path: values for path, values in found.items() if values}
    if not kept:
        raise PullFailed(f"there is nothing at {place} in {address}", hint=f"vault kv list {place}")
    secrets: dict[str, dict[str, str]] = {}
    left = []
    for path, values in kept.items():
        name = _own_path(path, folder)
        if is_name(name.partition("/")[2]) if name.startswith(_LIVE) else is_path(name):
            secrets[name] = values
        else:
            left.append(f"{path}: no path in the dev Vault can be called so")
    return Pulled(secrets, left=tuple(left))


_LIVE = (f"{layout.CONNECTIONS}/", f"{layout.VARIABLES}/")


def _own_path(path: str, folder: str) -> str:
    """Where it lies in the dev Vault: `airflow/prod/connections/x` is `connections/x`, others lie below the folder."""
    parts = path.split("/")
    for kind in (layout.CONNECTIONS, layout.VARIABLES):
        if kind in parts[:-1]:
            return "/".join(parts[parts.index(kind) :])
    below = path[len(folder) :].strip("/")
    return below or parts[-1]


def _kept_token(home: Path) -> str:
    """What `vault login` has kept."""
    with contextlib.suppress(OSError):
        return (home / ".vault-token").read_text(encoding="utf-8").strip()
    return ""


# Kubernetes


def _of_cluster(kind: str, place: Sequence[str], environment: Environment, at: str | None) -> Pulled:
    context, namespace, name = place
    from devenv.cluster.connection import Cluster

    with contextlib.closing(Cluster.open(context, environment)) as cluster:
        found = cluster.get("Secret" if kind == "secret" else "ConfigMap", name, namespace)
    if found is None:
        what = "Secret" if kind == "secret" else "ConfigMap"
        hint = f"kubectl --context {context} --namespace {namespace} get {kind}s"
        raise PullFailed(f"there is no {what} {name} in the namespace {namespace} of {context}", hint=hint)
    data: Mapping[str, str] = found.get("data") or {}
    texts = {key: _decoded(raw) if kind == "secret" else raw for key, raw in data.items()}
    values = {key: text for key, text in texts.items() if text is not None}
    left = [f"{key}: it is not text" for key in texts.keys() - values.keys()]
    imported, others = from_variables(Path(f"{kind}/{name}"), values, at)
    left += [f"{key}: it is no AIRFLOW_CONN_ and no AIRFLOW_VAR_; --path says where it goes" for key in sorted(others)]
    return Pulled(imported.secrets, left=tuple(left))


def _decoded(raw: str) -> str | None:
    try:
        return base64.b64decode(raw).decode()
    except ValueError:
        return None


# Airflow's REST API


def _of_airflow(address: str, variables: Mapping[str, str]) -> Pulled:
    api = _Api(address, variables)
    secrets: dict[str, dict[str, str]] = {}
    incomplete = set()
    left = []
    for one in api.all("variables", "variables"):
        name, value = str(one.get("key")), one.get("value")
        if not isinstance(value, str) or value == _MASKED or not is_name(name):
            left.append(f"variables/{name}: Airflow's API hides its value" if is_name(name) else f"variables/{name!r}")
            continue
        secrets[f"{layout.VARIABLES}/{name}"] = {layout.VARIABLE_KEY: value}
    for one in api.all("connections", "connections"):
        name = str(one.get("connection_id"))
        if not is_name(name):
            left.append(f"connections/{name!r}: no connection can be called so here")
            continue
        extra = one.get("extra")
        path = f"{layout.CONNECTIONS}/{name}"
        given = {key: value for key, value in one.items() if key != "password"}
        if isinstance(extra, str) and _MASKED in extra:
            given["extra"] = None
        secrets[path] = {layout.CONNECTION_KEY: connection_uri(given)}
        incomplete.add(path)
    pools = tuple(
        Pool(str(one["name"]), int(one["slots"]), str(one.get("description") or ""))
        for one in api.all("pools", "pools")
        if one.get("name") != "default_pool" and isinstance(one.get("slots"), int)
    )
    return Pulled(secrets, pools, frozenset(incomplete), tuple(left))


class _Api:
    """A session with a deployed Airflow: `/api/v2` with a token from 3.0 on, else `/api/v1`."""

    def __init__(self, address: str, variables: Mapping[str, str]) -> None:
        import requests

        self._address = address
        self._session = requests.Session()
        user, password, token = (variables.get(f"AIRFLOW_{name}", "") for name in ("USER", "PASSWORD", "TOKEN"))
        if not token and not (user and password):
            raise PullFailed(
                "who asks Airflow is not known", hint="export AIRFLOW_TOKEN, or AIRFLOW_USER and AIRFLOW_PASSWORD"
            )
        self._base = "/api/v1"
        if not token:
            token = self._token(user, password)
            self._session.auth = None if token else (user, password)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        if self._status("/api/v2/version") == 200:
            self._base = "/api/v2"

    def all(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        """The entries of a list, page by page."""
        for offset in range(0, _LARGEST, _PAGE):
            answer = self._get(f"{self._base}/{path}?limit={_PAGE}&offset={offset}")
            entries = answer.get(key) if isinstance(answer, dict) else None
            if not isinstance(entries, list):
                raise PullFailed(f"{self._address} answers {path} with something else than Airflow would")
            yield from (one for one in entries if isinstance(one, dict))
            if len(entries) < _PAGE:
                return

    def _token(self, user: str, password: str) -> str:
        """From 3.0 on the API takes a token only; "" where there is none to be had."""
        answer = self._ask("POST", "/auth/token", json={"username": user, "password": password})
        if answer.status_code in (200, 201):
            with contextlib.suppress(ValueError, AttributeError):
                return str(answer.json().get("access_token") or "")
        return ""

    def _status(self, path: str) -> int:
        return int(self._ask("GET", path).status_code)

    def _get(self, path: str) -> Any:
        answer = self._ask("GET", path)
        if answer.status_code != 200:
            raise PullFailed(
                f"{self._address} answers {path.partition('?')[0]} with {answer.status_code} {answer.reason}",
                hint="check AIRFLOW_TOKEN, or AIRFLOW_USER and AIRFLOW_PASSWORD, and what this user may read",
            )
        try:
            return answer.json()
        except ValueError as error:
            raise PullFailed(f"{self._address} answers with something else than JSON") from error

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        import requests

        try:
            return self._session.request(method, self._address + path, timeout=_SECONDS, allow_redirects=False, **more)
        except requests.RequestException as error:
            raise PullFailed(f"{self._address} does not answer: {type(error).__name__}") from error
