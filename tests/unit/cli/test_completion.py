"""Names of DAGs and tasks at the prompt, as each shell asks for them."""

from __future__ import annotations

from pathlib import Path

from devenv.cli import app
from devenv.cli.context import session_of
from devenv.dag_names import dag_names
from devenv.environment import Environment, Session

DAG_FILE = """
@dag(schedule=None)
def shop():
    @task
    def extract(): ...
    @task.branch()
    def choose(): ...

@dag("named")
def other(): ...

with DAG("classic", schedule=None):
    Thing(task_id="load")
DAG(dag_id=f"made_{x}")
"""


def test_names_as_the_files_spell_them(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(DAG_FILE)
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "binary.py").write_bytes(b"\x00\xff")
    tasks = ("choose", "extract", "load")
    assert dag_names(tmp_path) == {"classic": tasks, "named": tasks, "shop": tasks}


def complete(folder: Path, command: str, words: list[str], parameter: str, incomplete: str) -> list[str]:
    found = app.load_command(command)
    with session_of(Session(Environment(cwd=folder, variables={}))):
        context = found.make_context(command, words, resilient_parsing=True)
        param = next(param for param in found.params if param.name == parameter)
        return [item.value for item in param.shell_complete(context, incomplete)]


def test_dags_and_their_tasks(project_folder: Path) -> None:
    (project_folder / "dags" / "a.py").write_text(DAG_FILE)
    assert complete(project_folder, "run", [], "dag", "s") == ["shop"]
    assert complete(project_folder, "test", ["shop"], "task", "e") == ["extract"]
    names = next(param.name for param in app.load_command("logs").params if param.param_type_name == "argument")
    assert complete(project_folder, "logs", [], names, "s") == ["scheduler", "shop"]
    assert complete(project_folder, "logs", ["shop"], names, "l") == ["load"]


def test_outside_a_project_there_is_nothing_and_no_error(tmp_path: Path) -> None:
    assert complete(tmp_path, "run", [], "dag", "") == []
