"""The main job, as a user does it: install the wheel, `up` from nothing, run, break, repair, read the log, remove."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.dap import DapClient
from tests.support.program import Program
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.cluster, pytest.mark.main, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def has_run(main_job: Program) -> None:
    """A DAG has run to success."""
    main_job.run("sync")
    main_job.run("run", "taskflow_example", "--wait", seconds=420)


@pytest.mark.usefixtures("has_run")
def test_a_dag_runs_in_task_pods_and_its_log_is_read(main_job: Program) -> None:
    assert "total 5.30, best 3.20" in main_job.run("logs", "taskflow_example", "load")


def test_a_dag_uses_all_secrets_without_a_manual_step(main_job: Program, slack: Receiver) -> None:
    with main_job.watching():
        main_job.run("run", "secrets_example", "--wait", seconds=420)
    assert slack.texts
    assert slack.texts[-1].startswith("secrets_example.query_spark succeeded in manual__")
    spark = main_job.run("logs", "secrets_example", "query_spark")
    assert "jdbc:hive2://kyuubi:10009/default as airflow, a password of " in spark
    assert "the sales of ***" in spark  # what came from the seeds is not shown


def test_a_task_is_tested_in_a_pod_like_its_own(main_job: Program) -> None:
    count = ("psql", "-At", "-c", "select count(*) from dag_run")
    before = main_job.run(*count)
    whole = main_job.run("test", "taskflow_example", seconds=300)
    assert "total 5.30, best 3.20" in whole
    assert "taskflow_example passed: 3 success" in whole
    saved = main_job.folder / "dags" / "saved_alone.py"  # nothing watches: it is synced first
    text = (main_job.folder / "dags" / "taskflow_example.py").read_text()
    saved.write_text(text.replace("taskflow_example", "saved_alone").replace("total ", "the total "))
    assert "the total 5.30" in main_job.run("test", "saved_alone", "load", "--from-start", seconds=300)
    saved.unlink()
    main_job.run("sync")
    assert main_job.run(*count) == before


def test_an_editor_stops_a_task_in_its_pod(main_job: Program) -> None:
    file = main_job.folder / "dags" / "taskflow_example.py"
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "print(" in text)
    asked = ("debug", "taskflow_example", "load", "--from-start", "--port", "15678")
    with main_job.watching(*asked, first="devenv.debug.waiting") as debug, DapClient(15678) as editor:
        editor.attach(debug.seen[-1].data["mappings"], {str(file): [line]})
        thread = editor.event("stopped")["threadId"]
        assert editor.frame(thread)["source"]["path"] == str(file)
        editor.request("continue", {"threadId": thread})
        assert debug.until(lambda told: told.type == "devenv.test.finished").data["state"] == "success"


def test_a_second_up_does_nothing(main_job: Program) -> None:
    lines = main_job.json("up", "--detach")
    steps = [line.data for line in lines if line.type == "devenv.step.finished"]
    assert steps
    assert all(step["skipped"] for step in steps)


def test_a_save_that_breaks_a_dag_shows_the_error_and_the_repair_clears_it(main_job: Program) -> None:
    path = main_job.folder / "dags" / "taskflow_example.py"
    good = path.read_text()
    with main_job.watching() as watch:
        watch.verdict("dags/taskflow_example.py", ok=True)  # of the start: what disappears is what was there
        path.write_text(
            good.replace("from airflow.decorators import dag", "import pandaz\nfrom airflow.decorators import dag")
        )
        broken = watch.verdict("dags/taskflow_example.py", ok=False)
        (problem,) = [problem for problem in broken["problems"] if problem["severity"] == "error"]
        assert problem["type"] == "ModuleNotFoundError"
        assert "pandaz" in problem["message"]
        assert problem["line"] == good[: good.index("from airflow.decorators")].count("\n") + 1
        assert any("import pandaz" in line for line in problem["excerpt"])
        assert broken["removed"] == ["taskflow_example"]
        watch.parsed("dags/taskflow_example.py")
        path.write_text(good)
        repaired = watch.verdict("dags/taskflow_example.py", ok=True)
        assert repaired["dag_ids"] == ["taskflow_example"]
        watch.parsed("dags/taskflow_example.py")
        assert watch.interrupt() == 130


def test_a_new_file_is_listed_and_a_deleted_one_disappears(main_job: Program) -> None:
    new = main_job.folder / "dags" / "fresh.py"
    with main_job.watching() as watch:
        new.write_text(
            (main_job.folder / "dags" / "taskflow_example.py").read_text().replace("taskflow_example", "fresh")
        )
        assert watch.verdict("dags/fresh.py", ok=True)["added"] == ["fresh"]
        watch.parsed("dags/fresh.py")
        assert "fresh" in main_job.run("dags")
        new.unlink()
        gone = watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == "dags/fresh.py")
        assert gone.data["dag_ids"] == ["fresh"]


GREEDY = """
from datetime import datetime

from airflow.decorators import dag, task
from kubernetes.client import models as k8s

LARGE = k8s.V1ResourceRequirements(requests={"cpu": "64"})
POD = k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", resources=LARGE)]))


@dag(start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
def greedy():
    @task(executor_config={"pod_override": POD})
    def take():
        pass

    take()


greedy()
"""


def test_a_task_that_cannot_be_scheduled_is_explained_in_the_watch(main_job: Program) -> None:
    path = main_job.folder / "dags" / "greedy.py"
    with main_job.watching() as watch:
        path.write_text(GREEDY)
        watch.parsed("dags/greedy.py")
        main_job.run("run", "greedy")
        told = watch.until(lambda line: line.type == "devenv.notice" and "of DAG greedy" in line.data["message"])
        assert "not enough cpu left on the node: it needs 64000m cpu and" in told.data["message"]
        path.unlink()
        watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == "dags/greedy.py")
    main_job.run("airflow", "dags", "delete", "--yes", "greedy")


def test_another_folder_on_the_same_profile_is_refused(main_job: Program, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "dags").mkdir(parents=True)
    shutil.copy(main_job.folder / "devenv.toml", other)
    elsewhere = Program(main_job.command, other, {**main_job.variables, "DEVENV_DATA": str(tmp_path / "data")})
    refusal = elsewhere.json("up", "--detach", code=5)[-1].data
    assert str(main_job.folder) in refusal["message"]
    assert "--profile" in refusal["hint"]
    elsewhere.run("destroy", "--yes", code=5)
    assert "running" in main_job.run("status")


@pytest.mark.usefixtures("has_run")
def test_down_keeps_the_data_and_up_brings_it_back(main_job: Program) -> None:
    main_job.run("down")
    main_job.run("up", "--detach", seconds=900)
    assert "total 5.30, best 3.20" in main_job.run("logs", "taskflow_example", "load")
    main_job.run("sync", "--check")


TROUBLED = """
from datetime import datetime

from airflow.decorators import dag, task
from kubernetes.client import models as k8s


def pod(**container):
    account = container.pop("account", None)
    return k8s.V1Pod(
        spec=k8s.V1PodSpec(service_account_name=account, containers=[k8s.V1Container(name="base", **container)])
    )


def memory(asked, most):
    return k8s.V1ResourceRequirements(requests={"memory": asked}, limits={"memory": most})


def make(name, override):
    @dag(name, start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
    def made():
        @task(executor_config={"pod_override": override})
        def go():
            pass

        go()

    made()


make("mount_of_nothing", pod(volume_mounts=[k8s.V1VolumeMount(name="scratch", mount_path="/scratch")]))
make("tight_limit", pod(resources=memory("64Mi", "110Mi")))
"""


def test_a_task_that_dies_without_a_log_gets_its_reason(main_job: Program) -> None:
    path = main_job.folder / "dags" / "troubled.py"
    with main_job.watching() as watch:
        path.write_text(TROUBLED)
        watch.parsed("dags/troubled.py")
        for dag, reason in (
            ("mount_of_nothing", 'volumeMounts[4].name: Not found: "scratch"'),
            ("tight_limit", "its pod was over its memory limit (OOMKilled)"),
        ):
            ended = main_job.json("run", dag, "--wait", code=1, seconds=300)[-1].data
            assert reason in ended["message"]
            asked = main_job.json("logs", dag, "go", code=None)[-1].data
            assert reason in asked["message"]  # there is no log, and no circle
        told = watch.until(
            lambda line: line.type == "devenv.notice" and "over its memory limit" in str(line.data.get("message"))
        )
        assert "task go of DAG tight_limit" in told.data["message"]
        path.unlink()
        watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == "dags/troubled.py")
    for dag in ("mount_of_nothing", "tight_limit"):
        main_job.run("airflow", "dags", "delete", "--yes", dag)
