"""Dynamic DAGs: one DAG for each file in `config/`, checked, with the file and the line in the error.

A new file is a new DAG; an edited one changes its DAG. No Python is written for either.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml
from airflow import DAG
from airflow.decorators import task

CONFIG = Path(__file__).parent / "config"
KEYS = {"schedule": (str, type(None)), "owner": str, "retries": int, "tables": list}
REQUIRED = {"owner", "tables"}


class ConfigError(ValueError):
    """A file in `config/` is not as it must be; the message starts with its name and line."""


def read(file: Path) -> dict[str, Any]:
    """The checked content of a file.

    Raises:
        ConfigError: naming the file, the line, and what is wrong.
    """
    text = file.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"config/{file.name}:{line}: {error.problem}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"config/{file.name}:1: must be keys and values")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    config = yaml.safe_load(text)
    for key, value in config.items():
        if key not in KEYS:
            raise ConfigError(f"config/{file.name}:{lines[key]}: unknown key {key!r}; there are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise ConfigError(f"config/{file.name}:{lines[key]}: {key} must not be {value!r}")
    missing = REQUIRED - config.keys()
    if missing:
        raise ConfigError(f"config/{file.name}:1: {', '.join(sorted(missing))} missing")
    return config


@task
def load(table: str) -> None:
    """Loads one table."""
    print(f"loading {table}")


def build(name: str, config: dict[str, Any]) -> DAG:
    """A DAG with one task for each table."""
    with DAG(
        f"load_{name}",
        schedule=config.get("schedule"),
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        default_args={
            "owner": config["owner"],
            "retries": config.get("retries", 2),
            "retry_delay": timedelta(seconds=10),
            "email_on_failure": False,
        },
        tags=["example", "generated"],
    ) as dag:
        for table in config["tables"]:
            load.override(task_id=f"load_{table}")(table)
    return dag


for config_file in sorted(CONFIG.glob("*.yaml")):
    built = build(config_file.stem, read(config_file))
    globals()[built.dag_id] = built
