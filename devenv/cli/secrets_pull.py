"""`devenv secrets pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import console, session
from devenv.cli.secrets_desk import Desk, set_pools
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.vault.pulling import Pulled


def pull_secrets(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A Vault, a Secret or ConfigMap, or an Airflow.")],
    *,
    path: Annotated[str | None, typer.Option("--path", help="Where other keys of a Secret go.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and take nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to what would be asked.")] = False,
    no_restart: Annotated[bool, typer.Option("--no-restart", help="Leave pods running with the old value.")] = False,
) -> None:
    """Takes connections and variables from a deployed environment, which it only reads.

    What may be taken stands in devenv.toml ([vault] pull); what would change is shown first, without values. VAULT_ADDR
    and VAULT_TOKEN, the kubeconfig, or AIRFLOW_TOKEN (AIRFLOW_USER and AIRFLOW_PASSWORD) say who asks.

    Examples:
      devenv secrets pull vault:secret/airflow --dry-run
      devenv secrets pull secret:prod/airflow/connections
      devenv secrets pull https://airflow.example.com
    """
    from devenv.vault.editor import place_of
    from devenv.vault.pulling import pull

    if path is not None:
        place_of(path, None)
    pulled = pull(source, session().environment, path)
    desk = Desk()
    wanted = _show_pulled(desk, pulled)
    if not wanted:
        console().report(Notice("info", "nothing is to be taken"))
        return
    if dry_run or not console().confirm(f"Take {len(wanted)} of them into the dev Vault?", yes=yes):
        return
    desk.editor.set_all({each: pulled.secrets[each] for each in wanted})
    desk.say_where(f"took {len(wanted)} from {source}")
    if pulled.pools:
        set_pools(desk, pulled.pools)
    desk.bring_to_pods(restart=not no_restart)


def _show_pulled(desk: Desk, pulled: Pulled) -> list[str]:
    """Prints what taking it would do, without values; returns the paths that would change."""
    from fnmatch import fnmatchcase

    allowed = desk.project.settings.vault.pull
    given = desk.editor.read_given()
    out = console()
    rows = []
    wanted = []
    for path, values in sorted(pulled.secrets.items()):
        before = given.get(path)
        if not any(fnmatchcase(path, pattern) for pattern in allowed):
            action = "not allowed"
        elif before == values:
            action = "same"
        elif before is not None and path in pulled.incomplete:
            action = "kept: the source does not give its password"
        else:
            wanted.append(path)
            action = ("new" if before is None else "changes") + (
                ", without its password" if path in pulled.incomplete else ""
            )
        rows.append((path, ", ".join(sorted(values)), action))
        out.record("secret.pulled", {"path": path, "keys": sorted(values), "action": action})
    out.table(("path", "keys", "what happens"), rows)
    for one in pulled.left:
        out.print(f"left: {one}")
    if any(action == "not allowed" for _path, _keys, action in rows):
        hint = 'pull = ["connections/*", "variables/*"] below [vault] in devenv.toml'
        out.report(Notice("info", "what may be taken must be listed", hint))
    return wanted
