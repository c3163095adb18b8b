"""From a kubeconfig and the name of a context to an address, TLS and headers.

`kubernetes.config` does this too, but importing it takes 0.4 s (37.0.2), which `devenv status` does not
have. So the plain cases, which are minikube's, are read here: certificates, tokens and passwords in the
file. Everything else (exec plugins, OIDC and other auth providers) is left to the package.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import ssl
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devenv.cluster.errors import AccessDenied, ContextMissing

_PLAIN_USER_KEYS = frozenset(
    {
        "client-certificate",
        "client-certificate-data",
        "client-key",
        "client-key-data",
        "token",
        "tokenFile",
        "username",
        "password",
    }
)


@dataclass(frozen=True)
class Access:
    """How to speak to one cluster.

    Attributes:
        server: its URL, without a slash at the end.
        tls: what to verify and which certificate to show; None for plain HTTP.
        headers: makes the headers that authenticate; asked before each request, because tokens expire.
        server_name: the name in the server's certificate where that is not the host; "" otherwise.
        proxy: the URL of the proxy that the kubeconfig names; "" for none.
        namespace: the context's own namespace, or "default".
    """

    server: str
    tls: ssl.SSLContext | None
    headers: Callable[[], Mapping[str, str]]
    server_name: str = ""
    proxy: str = ""
    namespace: str = "default"


def kubeconfig_paths(variables: Mapping[str, str], home: Path) -> list[Path]:
    """The files that kubectl would read: those of `KUBECONFIG`, or `~/.kube/config`."""
    named = [Path(part).expanduser() for part in variables.get("KUBECONFIG", "").split(":") if part]
    return named or [home / ".kube" / "config"]


def context_names(paths: list[Path]) -> list[str]:
    """The contexts that these files hold; none where no file exists."""
    return [name for _folder, name, _context in _entries(_read(paths), "contexts")]


def open_access(context: str, paths: list[Path]) -> Access:
    """Reads how to reach the cluster of a context.

    Raises:
        ContextMissing: no such context, or a file that it names is gone.
        AccessDenied: a plugin that should log in failed.
    """
    documents = _read(paths)
    where = ", ".join(str(path) for path in paths)
    names = [name for _folder, name, _context in _entries(documents, "contexts")]
    chosen = _named(documents, "contexts", context)
    if chosen is None:
        raise ContextMissing(
            f"There is no context {context!r} in {where}",
            hint=f"The contexts there are: {', '.join(names)}" if names else "No context is configured at all.",
        )
    about = chosen[1].get("context") or {}
    cluster = _named(documents, "clusters", str(about.get("cluster", "")))
    if cluster is None or not (cluster[1].get("cluster") or {}).get("server"):
        raise ContextMissing(f"Context {context!r} in {where} names a cluster that is not there")
    user = _named(documents, "users", str(about.get("user", "")))
    namespace = str(about.get("namespace") or "default")
    user_entry = (user[1].get("user") or {}) if user else {}
    if not set(user_entry) <= _PLAIN_USER_KEYS:
        return _by_package(context, paths, namespace)
    return _plain(cluster[0], cluster[1]["cluster"], user[0] if user else cluster[0], user_entry, namespace)


def _plain(
    cluster_folder: Path, cluster: Mapping[str, Any], user_folder: Path, user: Mapping[str, Any], namespace: str
) -> Access:
    """The access that needs nobody's help: everything stands in the file or in files beside it."""
    server = str(cluster["server"]).rstrip("/")
    tls: ssl.SSLContext | None = None
    if server.startswith("https:"):
        authority = _material(cluster_folder, cluster, "certificate-authority")
        tls = ssl.create_default_context(cadata=authority.decode("utf-8", "replace") if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        _show_certificate(
            tls, _material(user_folder, user, "client-certificate"), _material(user_folder, user, "client-key")
        )
    return Access(
        server=server,
        tls=tls,
        headers=_plain_headers(user_folder, user),
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        namespace=namespace,
    )


def _plain_headers(folder: Path, user: Mapping[str, Any]) -> Callable[[], Mapping[str, str]]:
    """A token from the file is read anew each time: it is renewed by whoever wrote it."""
    if user.get("token"):
        return lambda: {"Authorization": f"Bearer {user['token']}"}
    if user.get("tokenFile"):
        token_file = folder / str(user["tokenFile"])
        return lambda: {"Authorization": f"Bearer {token_file.read_text(encoding='utf-8').strip()}"}
    if user.get("username") and "password" in user:
        pair = base64.b64encode(f"{user['username']}:{user['password']}".encode()).decode()
        return lambda: {"Authorization": f"Basic {pair}"}
    return dict


def _by_package(context: str, paths: list[Path], namespace: str) -> Access:
    """The access that the `kubernetes` package works out: exec plugins, OIDC."""
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, load_kube_config

    configuration = type.__call__(Configuration)
    try:
        load_kube_config(
            config_file=":".join(str(path) for path in paths),
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
    except ConfigException as error:
        raise AccessDenied(f"Logging in to context {context!r} failed: {error}") from error
    tls: ssl.SSLContext | None = None
    if configuration.host.startswith("https:"):
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if not configuration.verify_ssl:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)

    def headers() -> Mapping[str, str]:
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        token = configuration.api_key.get("BearerToken")
        return {"Authorization": token} if token else {}

    return Access(
        server=configuration.host.rstrip("/"),
        tls=tls,
        headers=headers,
        server_name=configuration.tls_server_name or "",
        proxy=configuration.proxy or "",
        namespace=namespace,
    )


def _show_certificate(tls: ssl.SSLContext, certificate: bytes | None, key: bytes | None) -> None:
    """Loads the client's certificate; `ssl` reads it from files only, so they exist for that moment, 0600."""
    if certificate is None or key is None:
        return
    with tempfile.TemporaryDirectory(prefix="devenv-") as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(certificate + b"\n" + key)
        tls.load_cert_chain(pair)


def _material(folder: Path, entry: Mapping[str, Any], key: str) -> bytes | None:
    """A certificate or a key: base64 in the kubeconfig, or a file that it names."""
    data = entry.get(f"{key}-data")
    if data:
        return base64.b64decode(str(data))
    name = entry.get(key)
    if not name:
        return None
    path = folder / str(name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContextMissing(
            f"The kubeconfig names {path}, which cannot be read: {error.strerror}",
            hint="If this is minikube's, `minikube delete -p PROFILE` and `devenv up` make it anew.",
        ) from error


def _read(paths: list[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """The kubeconfig files that exist, each with the folder against which its file names are meant."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents: list[tuple[Path, dict[str, Any]]] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ContextMissing(f"The kubeconfig {path} cannot be read: {error.strerror}") from error
        try:
            document = yaml.load(text, Loader=loader)  # noqa: S506 (a safe loader, in C where there is one)
        except yaml.YAMLError as error:
            raise ContextMissing(f"The kubeconfig {path} is not YAML: {error}") from error
        if isinstance(document, dict):
            documents.append((path.resolve().parent, document))
    return documents


def _entries(documents: list[tuple[Path, dict[str, Any]]], kind: str) -> list[tuple[Path, str, dict[str, Any]]]:
    return [
        (folder, str(entry.get("name", "")), entry)
        for folder, document in documents
        for entry in (document.get(kind) or [])
        if isinstance(entry, dict)
    ]


def _named(documents: list[tuple[Path, dict[str, Any]]], kind: str, name: str) -> tuple[Path, dict[str, Any]] | None:
    """The first entry of that name: as with kubectl, the first file wins."""
    for folder, entry_name, entry in _entries(documents, kind):
        if entry_name == name:
            return folder, entry
    return None


def proxy_of_environment(server: str, variables: Mapping[str, str]) -> str:
    """The proxy that kubectl would use: `HTTPS_PROXY` unless `NO_PROXY` names the host; never for this machine."""
    parts = urllib.parse.urlsplit(server)
    host = parts.hostname or ""
    lower = {key.lower(): value for key, value in variables.items()}
    proxy = lower.get(f"{parts.scheme}_proxy", "")
    if not proxy or host in ("localhost", "127.0.0.1", "::1"):
        return ""
    skip = lower.get("no_proxy", "")
    return "" if any(_excepts(part.strip().lower(), host.lower()) for part in skip.split(",")) else proxy


def _excepts(part: str, host: str) -> bool:
    """Whether an entry of `NO_PROXY` means this host; networks ("192.168.49.0/24") count, minikube asks for them."""
    if part == "*" or (part and (host == part.lstrip(".") or host.endswith("." + part.lstrip(".")))):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(part)
    return False


def single_context(context: str, namespace: str, paths: list[Path]) -> str:
    """A kubeconfig with one context only, which is its current one; files that it names by absolute paths.

    Raises:
        ContextMissing: there is no such context.
    """
    import yaml

    documents = _read(paths)
    chosen = _named(documents, "contexts", context)
    if chosen is None:
        raise ContextMissing(f"There is no context {context!r} in {', '.join(str(path) for path in paths)}")
    about = chosen[1].get("context") or {}
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {**about, "namespace": namespace}}],
    }
    for kind, key in (("clusters", "cluster"), ("users", "user")):
        found = _named(documents, kind, str(about.get(key, "")))
        if found is not None:
            document[kind] = [{**found[1], key: _absolute(found[0], found[1].get(key) or {})}]
    return str(yaml.safe_dump(document, sort_keys=False))


def context_entries(context: str, paths: list[Path]) -> dict[str, dict[str, Any]] | None:
    """A context's `cluster` and `user`, files that they name by absolute paths; None where there is none of that name.

    Raises:
        ContextMissing: a file cannot be read.
    """
    documents = _read(paths)
    chosen = _named(documents, "contexts", context)
    if chosen is None:
        return None
    about = chosen[1].get("context") or {}
    entries: dict[str, dict[str, Any]] = {}
    for kind, key in (("clusters", "cluster"), ("users", "user")):
        found = _named(documents, kind, str(about.get(key, "")))
        entry = _absolute(found[0], found[1].get(key) or {}) if found else {}
        entries[key] = {name: value for name, value in entry.items() if name != "extensions"}
    return entries


def _absolute(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    names = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return {key: str(folder / value) if key in names and value else value for key, value in entry.items()}
