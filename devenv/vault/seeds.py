"""The seeds: what this environment generated, and the secrets that its user gave, from which Vault is filled.

They lie in a 0600 file in the user's data folder, outside of every repository. `[vault] seeds` may name a
second file, which devenv reads and never writes. In either, a value may be a command that prints it:

    [secrets."kyuubi/database"]
    KYUUBI_USER = "ada"
    KYUUBI_PASSWORD = { command = ["op", "read", "op://dev/kyuubi/password"] }

    [connections]
    postgres_default = "postgresql://ada:secret@db.example.com/shop"

    [variables]
    region = "eu"

On a cluster, the Secret `vault-seed` holds the same, and is the truth for what was generated: the file may be lost.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Union

from devenv import process
from devenv.errors import CommandFailed, DevenvError
from devenv.files import exclusive, read_regular, write_whole
from devenv.project import Project
from devenv.vault import layout, platform_secrets
from devenv.vault.errors import SeedCommandFailed, SeedsInvalid, SeedsUnsafe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECRET_NAME = "vault-seed"  # noqa: S105 (the name of a Kubernetes Secret)
DOCUMENT_KEY = "seed.json"
TOKEN_KEY = "root-token"  # noqa: S105

_LARGEST = 8 * 1_048_576
COMMAND_SECONDS = 60.0
"""How long a password manager may ask its user."""


@dataclass(frozen=True)
class Command:
    """A program that prints a value."""

    arguments: tuple[str, ...]


Value = Union[str, Command]  # noqa: UP007 (evaluated at run time, also by Python 3.10's isinstance)
Values = Mapping[str, Mapping[str, Value]]
"""Path → key → value."""


@dataclass(frozen=True)
class Seeds:
    """What Vault is filled from.

    Attributes:
        generated: random per environment, kept for its life; the names are those of `generate`.
        kept: what `devenv secrets` was given.
        file: what the file of `[vault] seeds` gives; it goes over `kept`.
        adopted: what Kubernetes Secrets say that somebody else made (see `devenv.vault.mirrored`); it goes over both.
        other: what the file holds beside these, as a newer devenv wrote it; it is written back.
    """

    generated: Mapping[str, str] = field(repr=False)
    kept: Values = field(default_factory=dict, repr=False)
    file: Values = field(default_factory=dict, repr=False)
    adopted: Values = field(default_factory=dict, repr=False)
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def root_token(self) -> str:
        """The token of Vault's owner, who is the user of the laptop."""
        return self.generated["root_token"]

    def login(self, role: str) -> dict[str, str]:
        """The two halves of a local process's AppRole login."""
        secret = hmac.new(self.generated["login_key"].encode(), role.encode(), hashlib.sha256).hexdigest()
        return {"role_id": f"devenv-{role}", "secret_id": secret}

    def given(self) -> dict[str, dict[str, Value]]:
        """The user's values, by path and key, commands not yet run."""
        merged: dict[str, dict[str, Value]] = {path: dict(values) for path, values in self.kept.items()}
        for layer in (self.file, self.adopted):
            for path, values in layer.items():
                merged.setdefault(path, {}).update(values)
        return merged

    def with_values(self, path: str, values: Mapping[str, Value]) -> Seeds:
        """These seeds with values set."""
        return replace(self, kept={**self.kept, path: {**self.kept.get(path, {}), **values}})

    def without(self, path: str, key: str | None = None) -> Seeds:
        """These seeds without a key, or without the whole path."""
        kept = {each: dict(values) for each, values in self.kept.items()}
        if key is None:
            kept.pop(path, None)
        else:
            kept.get(path, {}).pop(key, None)
        return replace(self, kept={each: values for each, values in kept.items() if values})


def load_or_create(project: Project, existing: Mapping[str, Any] | None = None) -> Seeds:
    """The seeds of an environment; what is missing is generated, and the file on the laptop written.

    Args:
        project: whose.
        existing: the Secret `vault-seed` as the cluster has it, when it has one: the truth for what was generated,
            and for the user's values where the laptop's file is gone.

    Raises:
        SeedsUnsafe: others can read a file with seeds, or it lies in a repository.
        SeedsInvalid: such a file cannot be read.
    """
    path = kept_file(project)
    with locked(project):
        known: dict[str, Any] = {}
        if path.exists():
            _require_private(path)
            known = _read(path)
        document = decode_secret(existing) if existing is not None else {}
        noted = _generated(known.get("generated", {}), path)
        generated = {**platform_secrets.generate(), **noted, **document.get("generated", {})}
        kept = _values(known["secrets"], path) if "secrets" in known else _recovered(project, generated, document)
        other = {name: value for name, value in known.items() if name not in ("generated", "secrets")}
        seeds = Seeds(generated=generated, kept=kept, file=_user_file(project), other=other)
        if noted != generated or "secrets" not in known:
            save(project, seeds)
    return seeds


@contextlib.contextmanager
def locked(project: Project) -> Iterator[None]:
    """Whoever changes the seeds holds this from reading to writing them: no change is lost to another.

    Raises:
        SeedsInvalid: the lock cannot be made: the folder is read-only, or the disk is full.
    """
    path = kept_file(project).with_suffix(".lock")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path))
        except OSError as error:
            hint = f"ls -ld {path.parent}; df {path.parent}"
            raise SeedsInvalid(f"cannot write {path}: {error.strerror}", hint=hint) from error
        yield


def kept_file(project: Project) -> Path:
    """Where devenv keeps the seeds on the laptop."""
    return project.data_folder / "seeds.json"


def save(project: Project, seeds: Seeds) -> None:
    """Writes the file on the laptop, 0600, whole or not at all; the version before stays beside it.

    The caller holds `locked` since it read the seeds.

    Raises:
        SeedsInvalid: there is no room, or no right.
    """
    path = kept_file(project)
    content = {
        **seeds.other,
        "generated": dict(seeds.generated),
        "secrets": {
            each: {
                key: value if isinstance(value, str) else {"command": list(value.arguments)}
                for key, value in values.items()
            }
            for each, values in seeds.kept.items()
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        _keep_before(path)
        write_whole(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        hint = f"nothing was changed; df {path.parent}"
        raise SeedsInvalid(f"cannot write {path}: {error.strerror}", hint=hint) from error


def before_file(path: Path) -> Path:
    """Where the version before the last change of the seeds is."""
    return path.with_name(f"{path.name}.before")


def _keep_before(path: Path) -> None:
    """A link to what is about to be replaced: it costs no room."""
    if path.exists():
        before = before_file(path)
        before.unlink(missing_ok=True)
        os.link(path, before)


def resolve(
    seeds: Seeds, variables: Mapping[str, str] | None = None, *, only: str | None = None
) -> dict[str, dict[str, str]]:
    """The user's values, commands run; each command once.

    Args:
        seeds: of the environment.
        variables: the commands' environment.
        only: this path, so that no command of another one runs.

    Raises:
        SeedCommandFailed: one failed or printed nothing.
    """
    printed: dict[Command, str] = {}
    resolved: dict[str, dict[str, str]] = {}
    for path, values in seeds.given().items():
        if only not in (None, path):
            continue
        for key, value in values.items():
            if isinstance(value, Command):
                if value not in printed:
                    printed[value] = _print(value, f"{path} {key}", variables)
                text = printed[value]
            else:
                text = value
            resolved.setdefault(path, {})[key] = text
    return resolved


def _print(command: Command, what: str, variables: Mapping[str, str] | None) -> str:
    program = command.arguments[0]
    hint = f"Log in to {program}, then: devenv secrets seed"
    try:
        done = process.run(command.arguments, timeout=COMMAND_SECONDS, variables=variables)
    except CommandFailed as error:
        # Only what it said about the failure: its output may be half a secret.
        raise SeedCommandFailed(
            f"{program} was to print {what} and ended with exit code {error.returncode}", hint=hint
        ) from error
    except DevenvError as error:
        raise SeedCommandFailed(f"{program} was to print {what}: {error.message}", hint=hint) from error
    text = done.stdout.rstrip("\r\n")
    if not text:
        raise SeedCommandFailed(f"{program} was to print {what} and printed nothing", hint=hint)
    return text


def all_secrets(project: Project, seeds: Seeds, database: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """Everything that Vault holds: the platform's values, with the user's over them.

    Raises:
        SeedCommandFailed: a command that should print one failed.
    """
    merged = platform_secrets.values(project.settings, seeds.generated, database)
    for path, values in resolve(seeds, project.environment.variables).items():
        merged.setdefault(path, {}).update(values)
    return merged


def secrets_at(project: Project, seeds: Seeds, path: str, database: Mapping[str, str] | None = None) -> dict[str, str]:
    """As `all_secrets`, of one path: the commands of other paths do not run.

    Raises:
        SeedCommandFailed: a command of this path failed.
    """
    platform = platform_secrets.values(project.settings, seeds.generated, database).get(path, {})
    return {**platform, **resolve(seeds, project.environment.variables, only=path).get(path, {})}


def known_values(project: Project, seeds: Seeds) -> list[str]:
    """Every value that must not be shown, for scrubbing; those that a command prints are not among them."""
    values = [*seeds.generated.values()]
    for given in seeds.given().values():
        values += [value for value in given.values() if isinstance(value, str)]
    listing = layout.secrets_list(project.settings.vault, project.settings.parts)
    return [*values, *(seeds.login(role)["secret_id"] for role in layout.roles(listing))]


def printed_by_commands(seeds: Seeds) -> list[tuple[str, str]]:
    """Path and key of each value that a command prints."""
    return [
        (path, key)
        for path, values in seeds.given().items()
        for key, value in values.items()
        if isinstance(value, Command)
    ]


def seed_document(
    project: Project,
    seeds: Seeds,
    *,
    auth: Literal["kubernetes", "approle"] = "kubernetes",
    database: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What `seed_vault.py` applies, with the generated keys beside it.

    Raises:
        SeedCommandFailed: a command that should print a value failed.
    """
    listing = layout.secrets_list(project.settings.vault, project.settings.parts)
    document = layout.document(
        listing,
        all_secrets(project, seeds, database),
        revision_key=seeds.generated["revision_key"],
        auth=auth,
        namespace=project.settings.kubernetes.namespace,
        logins={role: seeds.login(role) for role in layout.roles(listing)},
    )
    return {**document, "generated": dict(seeds.generated)}


def seed_secret(project: Project, seeds: Seeds) -> dict[str, Any]:
    """The Kubernetes Secret `vault-seed`, which only Vault's pod mounts.

    Raises:
        SeedCommandFailed: a command that should print a value failed.
    """
    return encode_secret(project, seed_document(project, seeds), seeds.root_token)


def encode_secret(project: Project, document: Mapping[str, Any], root_token: str) -> dict[str, Any]:
    """The Secret's object for a document."""
    data = {DOCUMENT_KEY: json.dumps(document, sort_keys=True), TOKEN_KEY: root_token}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": SECRET_NAME,
            "namespace": project.settings.kubernetes.namespace,
            "labels": {
                "app.kubernetes.io/name": "airflow",
                "app.kubernetes.io/component": "vault",
                "app.kubernetes.io/managed-by": "devenv",
                "devenv.io/environment": project.identifier,
            },
            "annotations": {"devenv.io/folder": str(project.folder)},
        },
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def decode_secret(secret: Mapping[str, Any]) -> dict[str, Any]:
    """The document in the Secret as the API server gives it.

    Raises:
        SeedsInvalid: it is not what devenv writes.
    """
    try:
        document = json.loads(base64.b64decode(secret["data"][DOCUMENT_KEY]))
        return dict(document)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SeedsInvalid(
            f"The Secret {SECRET_NAME} in the cluster is damaged: {type(error).__name__}",
            hint=f"Delete it, then `devenv up`: kubectl delete secret {SECRET_NAME}",
        ) from error


def _recovered(
    project: Project, generated: Mapping[str, str], document: Mapping[str, Any]
) -> dict[str, dict[str, Value]]:
    """The user's values from what a cluster still knows: everything that the platform did not put there itself."""
    platform = platform_secrets.values(project.settings, generated)
    recovered: dict[str, dict[str, Value]] = {}
    for path, values in document.get("secrets", {}).items():
        own = {key: text for key, text in values.items() if platform.get(path, {}).get(key) != text}
        if own:
            recovered[path] = own
    return recovered


def _user_file(project: Project) -> dict[str, dict[str, Value]]:
    """What the file of `[vault] seeds` gives; nothing when there is no such setting."""
    named = project.settings.vault.seeds
    if named is None:
        return {}
    path = Path(named)
    if path.parts[:1] == ("~",):
        path = project.environment.home.joinpath(*path.parts[1:])
    path = project.folder / path
    if not path.is_file():
        raise SeedsInvalid(
            f"There is no file {path}, which [vault] seeds names", hint=f"touch {path}; chmod 600 {path}"
        )
    _require_private(path)
    _require_outside(path, project.folder)
    content = _read(path)
    unknown = sorted(set(content) - {"secrets", "connections", "variables"})
    if unknown:
        raise SeedsInvalid(
            f"{path}: unknown table {unknown[0]!r}", hint="The tables are secrets, connections and variables."
        )
    if not isinstance(content.get("secrets", {}), Mapping):
        raise SeedsInvalid(f"{path}: `secrets` must be a table of paths")
    raw = dict(content.get("secrets", {}))
    for folder, key in ((layout.CONNECTIONS, layout.CONNECTION_KEY), (layout.VARIABLES, layout.VARIABLE_KEY)):
        named_values = content.get(folder, {})
        if not isinstance(named_values, Mapping):
            raise SeedsInvalid(f"{path}: `{folder}` must be a table of names")
        for name, value in named_values.items():
            raw[f"{folder}/{name}"] = {key: value}
    return _values(raw, path)


def _values(raw: object, path: Path) -> dict[str, dict[str, Value]]:
    """Path → key → value out of parsed JSON or TOML.

    Raises:
        SeedsInvalid: it has another shape.
    """
    if not isinstance(raw, Mapping):
        raise SeedsInvalid(f"{path}: `secrets` must be a table of paths")
    found: dict[str, dict[str, Value]] = {}
    for secret, values in raw.items():
        if not isinstance(values, Mapping):
            raise SeedsInvalid(f"{path}: {secret} must be a table of keys and values")
        found[str(secret)] = {str(key): _value(value, f"{path}: {secret} {key}") for key, value in values.items()}
    return found


def _value(raw: object, where: str) -> Value:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, (str, int, float)):
        return str(raw)
    command = raw.get("command") if isinstance(raw, Mapping) and len(raw) == 1 else None
    if isinstance(command, list) and command and all(isinstance(part, str) for part in command):
        return Command(tuple(command))
    raise SeedsInvalid(f'{where} must be text, or {{ command = ["program", "argument"] }}')


def _generated(raw: object, path: Path) -> dict[str, str]:
    if isinstance(raw, Mapping) and all(isinstance(text, str) for text in raw.values()):
        return {str(name): str(text) for name, text in raw.items()}
    raise SeedsInvalid(f"{path}: `generated` must hold names and texts", hint=_way_back(path))


def _way_back(path: Path) -> str:
    """What to type where the file is damaged."""
    before = before_file(path)
    if before.is_file():
        return f"cp {before} {path}"
    return f"correct it, or set it aside and start with none: mv {path} {path}.damaged"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_regular(path, _LARGEST)
        if found is None:
            largest = f"{_LARGEST // 1_048_576} MiB"
            raise SeedsInvalid(f"{path} is no regular file of at most {largest}", hint=_way_back(path))
        text = found.decode()
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        # A parser's message names line and column, and no value.
        raise SeedsInvalid(f"Cannot read {path}: {error}", hint=_way_back(path)) from error
    except RecursionError as error:
        raise SeedsInvalid(f"Cannot read {path}: it is nested too deeply", hint=_way_back(path)) from error
    if not isinstance(content, dict):
        raise SeedsInvalid(f"{path} must hold an object", hint=_way_back(path))
    return content


def _require_private(path: Path) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SeedsUnsafe(f"{path} holds secrets and others can read it (mode {mode:04o})", hint=f"chmod 600 {path}")


def _require_outside(path: Path, project_folder: Path) -> None:
    real = path.resolve()
    if real.is_relative_to(project_folder):
        raise SeedsUnsafe(f"{path} lies in the project's folder, where it would be committed", hint="Move it to ~.")
    for parent in real.parents:
        if (parent / ".git").exists():
            raise SeedsUnsafe(f"{path} lies in the repository {parent}, where it would be committed")
