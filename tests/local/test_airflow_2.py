"""The main job on Airflow 2.7.2: boot, save, verdict, run, logs; what is killed comes back; `.devenv/` may go."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
import requests
from hvac.exceptions import VaultError

from devenv.airflow.client import AirflowClient
from devenv.backends.base import LogQuery
from devenv.boot.runner import run_steps
from devenv.events import PickedUp, StepFinished, VerdictReached
from devenv.local.errors import InstallFailed
from devenv.logs.task import TaskLogQuery, task_logs
from devenv.verdict import Verdict

from .conftest import HELLO, World, eventually, is_healthy, scheduler_speaks_for_itself, watching

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

POD = """
from datetime import datetime
from airflow import DAG
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

with DAG("pod", schedule=None, start_date=datetime(2023, 1, 1)):
    KubernetesPodOperator(task_id="alone", name="a", image="busybox")
    KubernetesPodOperator.partial(task_id="mapped", name="b").expand(image=["busybox"])
"""


@pytest.fixture(scope="module", autouse=True)
def watched(airflow_2: World) -> Iterator[None]:
    with watching(airflow_2):
        yield


def verdicts(made: World, file: str) -> list[Verdict]:
    return [event.verdict for event in made.of(VerdictReached) if event.verdict.file == file]


def run_dag(client: AirflowClient, dag_id: str) -> tuple[str, str]:
    eventually(lambda: dag_id in {dag.dag_id for dag in client.dags()})
    client.unpause(dag_id)
    run_id = client.trigger(dag_id)
    return run_id, client.wait_run(dag_id, run_id, seconds=90).state


def log_of(made: World, dag_id: str, task_id: str) -> str:
    return "\n".join(line.text for line in task_logs(made.backend(), TaskLogQuery(dag_id, task_id)))


def test_a_dag_runs_to_success_and_its_log_is_read(airflow_2: World) -> None:
    _, state = run_dag(airflow_2.backend().airflow(), "hello")
    assert state == "success"
    assert "hello from the task" in log_of(airflow_2, "hello", "greet")


def test_a_broken_save_shows_its_error_and_the_repair_clears_it(airflow_2: World) -> None:
    eventually(lambda: verdicts(airflow_2, "dags/hello.py"))
    airflow_2.write("hello.py", HELLO + "\nsum(['no', 'numbers'])\n")
    broken = eventually(lambda: [verdict for verdict in verdicts(airflow_2, "dags/hello.py") if not verdict.ok])[0]
    assert broken.problems[0].type == "TypeError"
    assert "sum(['no', 'numbers'])" in "\n".join(broken.problems[0].excerpt)
    assert broken.removed == ("hello",)
    client = airflow_2.backend().airflow()
    eventually(client.import_errors)
    airflow_2.write("hello.py", HELLO)
    eventually(lambda: verdicts(airflow_2, "dags/hello.py")[-1].ok)
    eventually(lambda: not client.import_errors())


def test_the_schedulers_own_import_errors_are_told(airflow_2: World) -> None:
    scheduler_speaks_for_itself(airflow_2)


def test_a_new_file_is_listed_by_the_scheduler(airflow_2: World) -> None:
    airflow_2.write("second.py", HELLO.replace("hello", "second"))
    eventually(lambda: [event for event in airflow_2.of(PickedUp) if event.path == "dags/second.py"])
    assert "second" in {dag.dag_id for dag in airflow_2.backend().airflow().dags()}


def test_a_task_that_needs_kubernetes_says_so_in_one_sentence(airflow_2: World) -> None:
    airflow_2.write("pod.py", POD)
    client = airflow_2.backend().airflow()
    _, state = run_dag(client, "pod")
    assert state == "failed"
    for task in ("alone", "mapped"):
        log = log_of(airflow_2, "pod", task)
        assert "needs Kubernetes, which the local backend does not have" in log
        assert "kube_config" not in log.lower()


def test_everything_listens_on_this_machine_only_and_is_private(airflow_2: World) -> None:
    listening = [
        connection.laddr.ip
        for process in airflow_2.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 4
    assert set(listening) == {"127.0.0.1"}
    secrets = airflow_2.project.state_folder / "etc" / "airflow"
    assert {path.stat().st_mode & 0o077 for path in (secrets, *secrets.iterdir())} == {0}


def test_no_secret_stands_in_an_argument_or_a_component_log(airflow_2: World) -> None:
    backend = airflow_2.backend()
    secrets = [value for value in backend.known_secrets() if len(value) > 12]
    assert len(secrets) >= 7
    arguments = "\0".join(part for process in airflow_2.processes() for part in process.cmdline())
    written = "\n".join(path.read_text() for path in (airflow_2.project.state_folder / "logs").iterdir())
    assert not [value for value in secrets if value in arguments or value in written]


def test_up_again_does_nothing(airflow_2: World) -> None:
    before = {name: airflow_2.process(name) for name in ("scheduler", "webserver", "postgres", "vault")}
    airflow_2.events.clear()
    airflow_2.variables["SHELL_OF_ANOTHER_TERMINAL"] = "yes"
    airflow_2.up()
    repeated = [event.name for event in airflow_2.of(StepFinished) if not event.skipped]
    assert repeated == ["secrets"]
    assert before == {name: airflow_2.process(name) for name in before}


@pytest.mark.parametrize("component", ["scheduler", "postgres", "webserver", "vault"])
def test_what_is_killed_comes_back(airflow_2: World, component: str) -> None:
    before = airflow_2.backend().airflow().runs("hello")
    victim = airflow_2.process(component)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: airflow_2.process(component) != victim)
    eventually(lambda: is_healthy(airflow_2))
    assert airflow_2.backend().airflow().runs("hello") == before
    if component == "vault":
        client = airflow_2.backend().vault()
        path = {"mount_point": "secret", "path": "postgres/airflow", "raise_on_deleted_version": True}

        def password() -> str:
            # Vault does not listen yet, does not know the token yet, or is not seeded yet.
            with contextlib.suppress(requests.ConnectionError, VaultError):
                return str(client.secrets.kv.v2.read_secret_version(**path)["data"]["data"]["POSTGRES_PASSWORD"])
            return ""

        eventually(password)


def test_logs_of_all_components_in_time_order(airflow_2: World) -> None:
    lines = list(airflow_2.backend().logs(LogQuery(tail=20)))
    assert {"scheduler", "webserver", "triggerer", "postgres"} <= {line.component for line in lines}
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    recent = list(airflow_2.backend().logs(LogQuery(("scheduler",), tail=3)))
    assert [line.component for line in recent] == ["scheduler"] * len(recent)


def test_two_environments_side_by_side(airflow_2: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    from .conftest import world

    with world(tmp_path_factory.mktemp("beside")) as second:
        second.up()
        ports = {url for made in (airflow_2, second) for url in made.backend().status().urls.values()}
        assert len(ports) == 4
        assert second.backend().airflow().dags() == ()
    eventually(lambda: is_healthy(airflow_2))


def test_requirements_are_installed_beside_the_running_environment(airflow_2: World) -> None:
    requirements = airflow_2.folder / "requirements.txt"
    requirements.write_text("unicodecsv\nno-such-package-of-anyone==1.0\n")
    backend = airflow_2.backend()
    with pytest.raises(InstallFailed, match=r"requirements\.txt") as failed:
        backend.reconcile(airflow_2.events.append)
    assert "no-such-package-of-anyone" in str(failed.value.detail)
    eventually(lambda: is_healthy(airflow_2))
    before = airflow_2.process("scheduler")
    requirements.write_text("unicodecsv\n")  # in uv's cache: Airflow's own
    backend.reconcile(airflow_2.events.append)
    assert airflow_2.process("scheduler") != before
    eventually(lambda: is_healthy(airflow_2))
    requirements.unlink()


def test_a_deleted_state_folder_is_made_again_and_no_run_is_lost(airflow_2: World) -> None:
    before = airflow_2.backend().airflow().runs("hello")
    folder = airflow_2.project.folder / ".devenv"
    for _ in range(50):  # Airflow goes on writing its logs into it
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
    airflow_2.up()
    eventually(lambda: is_healthy(airflow_2))
    assert {run.run_id for run in before} <= {run.run_id for run in airflow_2.backend().airflow().runs("hello")}


def test_stop_and_start_again_keeps_runs_and_password(airflow_2: World) -> None:
    backend = airflow_2.backend()
    password, before = backend.credentials().password, backend.airflow().runs("hello")
    processes = airflow_2.processes()
    run_steps(backend.down_steps(), airflow_2.events.append)
    eventually(lambda: not any(process.is_running() for process in processes))
    assert backend.status().state == "stopped"
    airflow_2.up()
    assert airflow_2.backend().credentials().password == password
    assert airflow_2.backend().airflow().runs("hello") == tuple(replace(run) for run in before)
