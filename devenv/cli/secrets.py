"""`devenv secrets`."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from devenv.cli.context import backend_from, console, project_from, session
from devenv.cli.secrets_desk import Desk, set_pools
from devenv.cli.secrets_pull import pull_secrets
from devenv.errors import UsageError
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.vault.editor import Place
    from devenv.vault.seeds import Value

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Connections, variables and secrets in Vault.

    Values come by a prompt or on standard input, never on the command line; they are masked unless you say --reveal.

    Examples:
      devenv secrets set connection postgres_default
      devenv secrets set variable region
      echo "$TOKEN" | devenv secrets set kyuubi/database KYUUBI_PASSWORD
      devenv secrets import airflow_settings.yaml
    """,
)

_MASK = "********"
_SOURCES = {"vault": "Vault only"}
_LARGEST_IMPORT = 8 * 1_048_576

What = Annotated[str, typer.Argument(metavar="WHAT", help="connection, variable, or a path in Vault: kyuubi/database.")]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="The connection, the variable, or the path's key.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show values.")]
NoRestart = Annotated[bool, typer.Option("--no-restart", help="Leave pods running with the old value.")]


@app.command("list")
def list_secrets() -> None:
    """What there is, without values: path, keys, who gave it, who reads it."""
    desk = Desk()
    entries = desk.editor.entries()
    rows = []
    for entry in entries:
        keys = [*entry.keys, *(f"{key} (missing)" for key in entry.missing)]
        source = _SOURCES.get(entry.source, entry.source)
        rows.append((entry.path, ", ".join(keys), source, desk.editor.readers(entry)))
        console().record(
            "secret",
            {
                "path": entry.path,
                "keys": list(entry.keys),
                "missing": list(entry.missing),
                "source": entry.source,
                "readers": list(entry.readers),
            },
        )
    console().table(("path", "keys", "from", "read by"), rows)
    by_hand = sum(entry.source == "vault" for entry in entries)
    if by_hand:
        said = f"{by_hand} of these {'is' if by_hand == 1 else 'are'} in Vault only, and lost when it restarts"
        console().report(Notice("warning", said, hint="devenv secrets keep"))
    if desk.store is None:
        console().report(Notice("info", f"Vault does not run; these are the seeds ({desk.silent})"))


@app.command()
def get(what: What, name: Name = None, *, reveal: Reveal = False) -> None:
    """Shows a connection, a variable, or what is at a path.

    Examples:
      devenv secrets get connection postgres_default --reveal
      devenv secrets get kyuubi/database
    """
    from devenv.vault.editor import place_of
    from devenv.vault.errors import SecretMissing

    place = place_of(what, name)
    values = Desk().editor.read(place.path)
    if place.key is not None:
        if place.key not in values:
            raise SecretMissing(f"{place.path} has no key {place.key}", hint=f"Its keys: {', '.join(sorted(values))}")
        values = {place.key: values[place.key]}
    shown = values if reveal else dict.fromkeys(values, _MASK)
    console().record("secret", {"path": place.path, "values": shown, "revealed": reveal})
    if place.key is not None:
        _write(shown[place.key] + "\n")
    else:
        _write("".join(f"{key}={shlex.quote(text) if reveal else text}\n" for key, text in sorted(shown.items())))


@app.command("set")
def set_secret(
    what: What,
    name: Name = None,
    *,
    command: Annotated[
        str,
        typer.Option(metavar="PROGRAM", help='A program that prints the value: "op read op://dev/kyuubi/password".'),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Also a value that should not change.")] = False,
    no_restart: NoRestart = False,
) -> None:
    """Sets a connection, a variable, or a key at a path; asks for the value, or reads it from standard input.

    A path without a key takes KEY=value lines. Pods that have the value in a file are restarted; connections and
    variables are read live.

    Examples:
      devenv secrets set connection postgres_default
      devenv secrets set kyuubi/database KYUUBI_PASSWORD < password.txt
      devenv secrets set slack/webhook SLACK_WEBHOOK_URL --command "op read op://dev/slack/url"
    """
    from devenv.vault.editor import place_of

    place = place_of(what, name)
    desk = Desk()
    values = _command_value(place, command) if command else _typed_values(place, desk)
    desk.editor.set(place.path, values, force=yes)
    desk.say_where(f"set {', '.join(f'{place.path} {key}' for key in values)}")
    if not place.live or desk.project.settings.airflow.variables_secret:
        desk.bring_to_pods(restart=not no_restart)


@app.command("rm")
def remove(what: What, name: Name = None, *, no_restart: NoRestart = False) -> None:
    """Removes a connection, a variable, a path, or a key at it; what the platform needs is generated again."""
    from devenv.vault.editor import place_of

    place = place_of(what, name)
    desk = Desk()
    desk.editor.remove(place.path, None if place.live else place.key)
    desk.say_where(f"removed {place.path}" + (f" {place.key}" if place.key and not place.live else ""))
    if not place.live or desk.project.settings.airflow.variables_secret:
        desk.bring_to_pods(restart=not no_restart)


@app.command()
def keep() -> None:
    """Keeps what was put into Vault by hand (its page, `vault kv put`), which it forgets when it restarts."""
    desk = Desk()
    if desk.store is None:
        from devenv.vault.errors import VaultUnreachable

        raise VaultUnreachable(f"There is no Vault to look into: {desk.silent}", hint="devenv up")
    kept = desk.editor.keep()
    for path, keys in kept.items():
        console().print(f"{path}  {', '.join(keys)}")
        console().record("secret.kept", {"path": path, "keys": list(keys)})
    said = f"kept {len(kept)}: they are in Vault again after its restart" if kept else "nothing is in Vault only"
    console().report(Notice("info", said))


@app.command("test")
def try_connection(
    what: Annotated[Literal["connection"], typer.Argument(metavar="connection", help="connection.")],  # noqa: ARG001
    name: Annotated[str, typer.Argument(metavar="NAME", help="The connection.")],
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Give up after this long.", min=1.0)] = 30.0,
) -> None:
    """Tests a connection from where tasks run, with the hook of its type; exit code 1 when it does not work.

    It is what Airflow's own button does, with the packages, the network and the secrets of a task.

    Example:
      devenv secrets test connection postgres_default
    """
    import threading

    from devenv import dag_environment
    from devenv.agent.tasks.request import ConnectionRequest
    from devenv.logs.scrub import Scrubber
    from devenv.tasks.model import ConnectionTested, RunEnded
    from devenv.tasks.session import TaskSession
    from devenv.vault.errors import ConnectionFails, SecretMissing

    project = project_from()
    backend = backend_from(project)
    scrub = Scrubber(backend.known_secrets())
    found, ended = None, None
    with contextlib.closing(TaskSession(backend.task_runner(console().report))) as tasks:
        late = threading.Timer(timeout, tasks.interrupt)
        late.start()
        try:
            for event in tasks.run(ConnectionRequest(name, dag_environment.variables(project))):
                found = event if isinstance(event, ConnectionTested) else found
                ended = event if isinstance(event, RunEnded) else ended
        finally:
            late.cancel()
    if found is None:
        raise ConnectionFails(f"{name} gave no answer within {timeout:.0f} s", hint="devenv logs scheduler")
    if not found.found:
        raise SecretMissing(f"there is no connection {name}", hint=f"devenv secrets set connection {name}")
    console().record("connection.tested", {"conn_id": name, "type": found.type, "works": found.works})
    if not found.works:
        said = scrub(found.message)
        raise ConnectionFails(
            f"{name} ({found.type}) does not work: {said}", hint="devenv secrets get connection " + name
        )
    console().print(f"{name} ({found.type}) works: {scrub(found.message)}")


@app.command()
def seed(*, no_restart: NoRestart = False) -> None:
    """Fills Vault anew from the seeds: secrets, policies, roles. Commands (op read …) run again."""
    from devenv.vault.seeding import seed_again

    desk = Desk()
    if desk.store is None:
        from devenv.vault.errors import VaultUnreachable

        raise VaultUnreachable(f"There is no Vault to seed: {desk.silent}", hint="devenv up")
    seconds = seed_again(desk.keeper, desk.store)
    desk.say_where(f"Vault was seeded in {seconds:.1f} s")
    desk.bring_to_pods(restart=not no_restart)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="airflow_settings.yaml, a .json, or an env file.")],
    *,
    kind: Annotated[
        Literal["connections", "variables"] | None, typer.Option("--as", help="What a JSON object of names holds.")
    ] = None,
    path: Annotated[str | None, typer.Option("--path", help="Where other keys of an env file go.")] = None,
    no_restart: NoRestart = False,
) -> None:
    """Takes over connections, variables, pools and secrets from a file.

    Examples:
      devenv secrets import airflow_settings.yaml
      airflow connections export connections.json; devenv secrets import connections.json
      devenv secrets import .env --path kyuubi/database
    """
    from devenv.files import read_regular
    from devenv.vault.editor import place_of
    from devenv.vault.errors import ImportInvalid
    from devenv.vault.importing import read_file

    if path is not None:
        place_of(path, None)
    full = session().environment.cwd / file
    try:
        content = read_regular(full, _LARGEST_IMPORT)
        text = content.decode() if content is not None else None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ImportInvalid(f"Cannot read {file}: {reason}", hint=f"ls -l {file}") from error
    if text is None:
        largest = f"{_LARGEST_IMPORT // 1_048_576} MiB"
        raise ImportInvalid(f"{file} is no regular file of at most {largest}", hint=f"ls -l {file}")
    imported = read_file(file, text, kind=kind, at=path)
    desk = Desk()
    desk.editor.set_all(imported.secrets)
    for each in imported.secrets:
        console().print(each)
        console().record("secret.imported", {"path": each})
    desk.say_where(f"imported {len(imported.secrets)} from {file}")
    if imported.pools:
        set_pools(desk, imported.pools)
    desk.bring_to_pods(restart=not no_restart)


@app.command()
def export(
    *,
    reveal: Reveal = False,
    form: Annotated[Literal["json", "env"], typer.Option("--format", help="json, or env for a shell.")] = "json",
) -> None:
    """Prints what you gave, in a form that `devenv secrets import` reads; masked without --reveal.

    Example:
      (umask 077; devenv secrets export --reveal > ~/secrets.json)
    """
    from devenv.vault import layout

    given = Desk().editor.read_given()
    if not reveal:
        given = {path: dict.fromkeys(values, _MASK) for path, values in given.items()}
    content: dict[str, dict[str, Any]] = {"connections": {}, "variables": {}, "secrets": {}}
    lines = []
    for path, values in sorted(given.items()):
        folder, _, name = path.partition("/")
        if folder == layout.CONNECTIONS and layout.CONNECTION_KEY in values:
            content["connections"][name] = values[layout.CONNECTION_KEY]
            lines.append(f"AIRFLOW_CONN_{name.upper()}={shlex.quote(values[layout.CONNECTION_KEY])}\n")
        elif folder == layout.VARIABLES and layout.VARIABLE_KEY in values:
            content["variables"][name] = values[layout.VARIABLE_KEY]
            lines.append(f"AIRFLOW_VAR_{name.upper()}={shlex.quote(values[layout.VARIABLE_KEY])}\n")
        else:
            content["secrets"][path] = values
            lines += [f"{key}={shlex.quote(text)}\n" for key, text in sorted(values.items())]
    console().record("secrets", {**content, "revealed": reveal})
    _write("".join(lines) if form == "env" else json.dumps(content, indent=2) + "\n")


def _write(text: str) -> None:
    """Values go out as they are: no wrapping, no colour, nothing replaced."""
    if not console().json:
        session().environment.stdout.write(text)


def _command_value(place: Place, command: str) -> Mapping[str, Value]:
    from devenv.vault.seeds import Command

    if place.key is None:
        raise UsageError(f"Which key at {place.path} does the command print?", hint="Name it after the path.")
    arguments = tuple(shlex.split(command))
    if not arguments:
        raise UsageError("--command is empty")
    return {place.key: Command(arguments)}


def _typed_values(place: Place, desk: Desk) -> Mapping[str, Value]:
    """What the user types, or standard input holds."""
    from devenv.vault import editor, layout
    from devenv.vault.importing import env_lines

    environment = session().environment
    if not environment.stdin.isatty():
        text = environment.stdin.read()
        if place.key is None:
            values = env_lines(text, "standard input")
        else:
            values = {place.key: text.removesuffix("\n").removesuffix("\r")}
    elif place.key is None:
        keys = next((entry for entry in desk.editor.entries() if entry.path == place.path), None)
        if keys is None:
            raise UsageError(f"Which key at {place.path}?", hint=f"devenv secrets set {place.path} KEY")
        typed = {key: _ask(f"{key} (Enter keeps it): ") for key in (*keys.keys, *keys.missing)}
        values = {key: text for key, text in typed.items() if text}
    else:
        values = {place.key: _ask(f"{place.path} {place.key}: ")}
    if not any(values.values()):
        raise UsageError("No value was given; nothing was changed")
    if place.path.startswith(f"{layout.CONNECTIONS}/") and layout.CONNECTION_KEY in values:
        name = place.path.partition("/")[2]
        values[layout.CONNECTION_KEY] = editor.checked_connection(name, values[layout.CONNECTION_KEY])
    return values


def _ask(prompt: str) -> str:
    """Asks without echo, on the terminal, not on standard output."""
    import getpass

    return getpass.getpass(prompt, stream=session().environment.stderr)


app.command("pull")(pull_secrets)
