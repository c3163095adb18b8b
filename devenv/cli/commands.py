"""The commands there are: name, module, one line, kind. Plain data, so that `devenv --help` imports nothing else.

The module of a command is imported when the command runs. It has either a function `command` (a typer command;
with `CONTEXT`, if need be, for its context settings) or an object `app` (a `typer.Typer` with commands of its own).
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command: where its code is, what it does in one line, and under which title the overview lists it."""

    module: str
    summary: str
    kind: str


ENVIRONMENT = "Environment"
DAGS = "DAGs"
DATA = "Secrets and settings"
TOOLS = "Tools"

COMMANDS: dict[str, Command] = {
    "up": Command("devenv.cli.up", "Start Airflow and Vault, then watch the DAG folder", ENVIRONMENT),
    "watch": Command("devenv.cli.watch", "Watch the DAG folder of a running environment", ENVIRONMENT),
    "status": Command("devenv.cli.status", "What runs, where it answers, what is broken", ENVIRONMENT),
    "down": Command("devenv.cli.down", "Stop it and keep its data", ENVIRONMENT),
    "destroy": Command("devenv.cli.destroy", "Remove it with all its data; asks first", ENVIRONMENT),
    "init": Command("devenv.cli.init", "Make this folder a project: devenv.toml, .gitignore, a first DAG", ENVIRONMENT),
    "run": Command("devenv.cli.run", "Run a DAG now", DAGS),
    "backfill": Command("devenv.cli.backfill", "Run a DAG for a span of dates", DAGS),
    "test": Command("devenv.cli.test", "Run a DAG or a task once, without the scheduler", DAGS),
    "debug": Command("devenv.cli.debug", "Run a task under your editor's debugger", DAGS),
    "pytest": Command("devenv.cli.unit_tests", "Run the project's tests with its own Airflow", DAGS),
    "rerun": Command("devenv.cli.rerun", "Run tasks again in their run: by default what failed last", DAGS),
    "dags": Command("devenv.cli.dags", "List the DAGs and how they are", DAGS),
    "check": Command("devenv.cli.check", "Say whether DAG files parse, without a cluster", DAGS),
    "upgrade": Command("devenv.cli.upgrade", "Say what breaks under another release of Airflow", DAGS),
    "logs": Command("devenv.cli.logs", "Logs of components, or of a task", DAGS),
    "sync": Command("devenv.cli.sync", "Bring the DAG volume in step once, without watching", DAGS),
    "secrets": Command("devenv.cli.secrets", "Connections, variables and secrets in Vault", DATA),
    "config": Command("devenv.cli.config", "The settings that rule, and where each came from", DATA),
    "env": Command("devenv.cli.env", "Exports for airflow, vault and kubectl on this machine", DATA),
    "ui": Command("devenv.cli.ui", "A page with verdicts, saves, components and logs", TOOLS),
    "open": Command("devenv.cli.open", "Open Airflow's or another page in the browser", TOOLS),
    "shell": Command("devenv.cli.shell", "A shell inside a component", TOOLS),
    "airflow": Command("devenv.cli.airflow", "Run an Airflow command inside the scheduler", TOOLS),
    "psql": Command("devenv.cli.psql", "The metadata database's prompt", TOOLS),
    "doctor": Command("devenv.cli.doctor", "Look for what is wrong, and put it right", TOOLS),
    "cache": Command("devenv.cli.cache", "What devenv has installed and fetched; --clean removes it", TOOLS),
    "completion": Command("devenv.cli.completion", "Completion for bash, zsh and fish", TOOLS),
}

SYNONYMS = {
    "start": "up",
    "boot": "up",
    "restart": "up",
    "apply": "up",
    "stop": "down",
    "halt": "down",
    "pause": "down",
    "ps": "status",
    "info": "status",
    "list": "dags",
    "ls": "dags",
    "lint": "check",
    "parse": "check",
    "validate": "check",
    "trigger": "run",
    "exec": "shell",
    "ssh": "shell",
    "bash": "shell",
    "log": "logs",
    "clear": "rerun",
    "retry": "rerun",
    "tail": "logs",
    "settings": "config",
    "variables": "secrets",
    "connections": "secrets",
    "secret": "secrets",
    "deploy": "sync",
    "push": "sync",
    "dev": "watch",
    "attach": "debug",
    "pdb": "debug",
    "tests": "pytest",
    "unittest": "pytest",
    "diagnose": "doctor",
    "dashboard": "ui",
    "db": "psql",
    "new": "init",
    "create": "init",
    "version": "--version",
}
"""What other tools call it → what is meant here. None leads to a command that deletes."""
REMOVING = ("rm", "remove", "delete", "kill", "clean", "purge", "prune", "uninstall", "reset")
"""Words for removing: `down` is named first, and `destroy` as what it is."""

EXAMPLES = (
    ("devenv up", "boot, show the URLs, watch dags/"),
    ("devenv up --detach", "boot and return"),
    ("devenv run taskflow_example --wait", "run a DAG to its end"),
    ("devenv logs scheduler -f", "follow a component's log"),
    ("devenv secrets set variable region", "asks for the value"),
    ("devenv destroy", "remove the environment"),
)

GLOBAL_FLAGS = (
    ("--project FOLDER", "the project; else the nearest one above this folder"),
    ("-o, --output FORMAT", "text, or json: one object per line on standard output"),
    ("-q, --quiet", "only what is important; -qq only errors"),
    ("-v, --verbose", "also the output of programs that devenv runs"),
    ("--no-color", "no colours (also NO_COLOR, TERM=dumb)"),
    ("--version", "the version"),
    ("-h, --help", "help; also after a command"),
)


def overview() -> str:
    """What `devenv --help` prints; no line is longer than 80 columns."""
    lines = [
        "Usage: devenv COMMAND [FLAGS]",
        "",
        "Airflow on Kubernetes on your laptop: save a DAG, see whether it parses.",
        "",
    ]
    lines += ["Examples:", *_columns(EXAMPLES, 38)]
    for kind in (ENVIRONMENT, DAGS, DATA, TOOLS):
        rows = [(name, command.summary) for name, command in COMMANDS.items() if command.kind == kind]
        lines += ["", f"{kind}:", *_columns(rows, 12)]
    lines += ["", "Flags of every command:", *_columns(GLOBAL_FLAGS, 21)]
    return "\n".join(lines) + "\n"


def _columns(rows: object, width: int) -> list[str]:
    return [f"  {name.ljust(width)}{text}" for name, text in rows]  # type: ignore[attr-defined]
