"""Why a task did not run, said where a person looks; the inputs were made after public reports."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hvac
import pytest

from tests.support import many_lines
from tests.support.deployed import Deployed
from tests.support.program import Program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
HEAD = """
import time
from datetime import datetime

from airflow.decorators import dag, task
from kubernetes.client import models as k8s


def pod(account=None, volumes=None, sidecar=None, **container):
    containers = [k8s.V1Container(name="base", **container)]
    if sidecar:
        containers.append(k8s.V1Container(name="proxy", image=sidecar))
    return k8s.V1Pod(spec=k8s.V1PodSpec(service_account_name=account, volumes=volumes, containers=containers))


def make(name, override, seconds=0):
    @dag(name, start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
    def made():
        @task(executor_config={"pod_override": override})
        def go():
            time.sleep(seconds)
            print("it ran")

        go()

    made()
"""
STUCK = {
    # apache/airflow#37795, airflow-helm/charts#871
    "account_of_nobody": (
        'make("account_of_nobody", pod(account="etl-runner"))',
        'serviceaccount "etl-runner" not found',
    ),
    # apache/airflow#29025, #15218
    "claim_of_nobody": (
        """
lake = k8s.V1PersistentVolumeClaimVolumeSource(claim_name="team-lake")
volumes = [k8s.V1Volume(name="lake", persistent_volume_claim=lake)]
mounts = [k8s.V1VolumeMount(name="lake", mount_path="/lake")]
make("claim_of_nobody", pod(volumes=volumes, volume_mounts=mounts))
""",
        "team-lake",
    ),
    "image_of_nobody": (
        'make("image_of_nobody", pod(image="registry.invalid/team/etl:1"))',
        "image registry.invalid/team/etl:1: the registry cannot be reached from the node",
    ),
    "sidecar_of_nobody": (
        'make("sidecar_of_nobody", pod(sidecar="registry.invalid/team/proxy:1"), seconds=90)',
        "image registry.invalid/team/proxy:1: the registry cannot be reached from the node",
    ),
    "secret_of_nobody": (
        """
key = k8s.V1SecretKeySelector(name="not-there", key="token")
token = k8s.V1EnvVar(name="TOKEN", value_from=k8s.V1EnvVarSource(secret_key_ref=key))
make("secret_of_nobody", pod(env=[token]))
""",
        'secret "not-there" not found',
    ),
}


@contextmanager
def dag_file(program: Program, dag_id: str, text: str) -> Iterator[None]:
    """A DAG that the scheduler has listed; gone at the end, with its runs."""
    path = program.folder / "dags" / f"{dag_id}.py"
    with program.watching() as watch:
        path.write_text(text)
        watch.parsed(f"dags/{dag_id}.py")
        try:
            yield
        finally:
            path.unlink()
            watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == f"dags/{dag_id}.py")
    program.run("airflow", "dags", "delete", "--yes", dag_id, code=None)  # it may still run


@pytest.mark.parametrize("dag_id", STUCK)
def test_a_task_that_cannot_start_is_explained_while_one_waits(
    main_job: Program, deployed: Deployed, dag_id: str
) -> None:
    made, reason = STUCK[dag_id]
    with dag_file(main_job, dag_id, f"{HEAD}\n{made}\n"):
        with main_job.watching("run", dag_id, "--wait", first="devenv.step.started") as run:
            told = run.until(lambda line: reason in str(line.data.get("message", "")), seconds=90)
            assert told.type == "devenv.step.progress"
            assert run.interrupt() == 130
        (status,) = [line.data for line in main_job.json("status") if line.type == "devenv.status"]
        (trouble,) = [each for each in status["troubles"] if each["dag_id"] == dag_id]
        assert reason in trouble["text"]
        if dag_id != "sidecar_of_nobody":  # its task runs, and has a log
            asked = main_job.json("logs", dag_id, "go", code=None)[-1].data
            assert reason in asked["message"]
    deployed.kubectl("delete", "pod", "-l", "kubernetes_executor=True", "--wait=false")  # it takes cpu until it ends


ENDED = {
    # apache/airflow#22191, #41436
    "prepare_fails": (
        """
prepare = k8s.V1Container(name="prepare", image="IMAGE", command=["sh", "-c", "echo no license here; exit 3"])
spec = k8s.V1PodSpec(containers=[k8s.V1Container(name="base")], init_containers=[prepare])
make("prepare_fails", k8s.V1Pod(spec=spec))
""",
        "its init container prepare ended with exit code 3: no license here",
    ),
    # apache/airflow#54539
    "evicted": (
        """
limits = k8s.V1ResourceRequirements(limits={"ephemeral-storage": "20Mi"})


@dag("evicted", start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
def evicted():
    @task(executor_config={"pod_override": pod(resources=limits)})
    def go():
        with open("/tmp/big", "wb") as file:
            file.write(bytes(60 << 20))
        time.sleep(120)

    go()


evicted()
""",
        "its pod was evicted from its node: Pod ephemeral local storage usage exceeds",
    ),
    # apache/airflow#15374, #27622
    "broken_in_the_pod": (
        """
import os

if os.environ.get("AIRFLOW_IS_K8S_EXECUTOR_POD"):
    raise RuntimeError("no such share in this pod")
make("broken_in_the_pod", pod())
""",
        "its pod ended before the task began: ",
    ),
}


@pytest.mark.parametrize("dag_id", ENDED)
def test_a_task_whose_pod_ended_before_it_began_is_explained(
    main_job: Program, deployed: Deployed, dag_id: str
) -> None:
    made, reason = ENDED[dag_id]
    image = deployed.kubectl(
        "get", "deploy", "scheduler", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    ).strip()
    with dag_file(main_job, dag_id, f"{HEAD}\n{made.replace('IMAGE', image)}\n"):
        ended = main_job.json("run", dag_id, "--wait", code=1, seconds=300)[-1].data
        assert reason in ended["message"]
        if dag_id != "evicted":  # its task began, and has a log
            asked = main_job.json("logs", dag_id, "go", code=None)[-1].data
            assert reason in asked["message"]
        (status,) = [line.data for line in main_job.json("status") if line.type == "devenv.status"]
        assert any(reason in each["text"] for each in status["troubles"] if each["dag_id"] == dag_id)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium")
def test_the_page_says_why_a_task_waits(main_job: Program, deployed: Deployed) -> None:
    """In a real browser, within seconds of the task's start."""
    from playwright.sync_api import expect, sync_playwright

    made, reason = STUCK["secret_of_nobody"]
    with dag_file(main_job, "secret_of_nobody", f"{HEAD}\n{made}\n"):
        main_job.run("run", "secret_of_nobody")
        served = subprocess.Popen(
            [*main_job.command, "ui", "--no-open"],
            cwd=main_job.folder,
            env={**os.environ, **main_job.variables},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert served.stdout is not None
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
                page = browser.new_page()
                page.goto(served.stdout.readline().strip())
                waits = page.locator("#troubles li", has_text="secret_of_nobody")
                expect(waits).to_contain_text(reason, timeout=60_000)
                browser.close()
        finally:
            served.send_signal(signal.SIGINT)
            assert served.wait(60) == 130
            served.stdout.close()
    deployed.kubectl("delete", "pod", "-l", "kubernetes_executor=True", "--wait=false")


@pytest.fixture
def only_here() -> Iterator[str]:
    """An image that no registry has, in the Docker engine of this machine: a release's own, under another name."""
    command = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    names = [name for name in listed if name.startswith("apache/airflow:2")]
    if not names:
        pytest.skip("no image of Airflow 2 in Docker")
    name = "team.invalid/only-here:1"
    subprocess.run(["docker", "tag", names[0], name], check=True)
    yield name
    subprocess.run(["docker", "rmi", name], check=False, capture_output=True)


def test_an_image_that_only_this_machine_has_is_loaded_when_a_task_needs_it(main_job: Program, only_here: str) -> None:
    text = f'{HEAD}\nmake("needs_image", pod(image="{only_here}"))\n'
    with dag_file(main_job, "needs_image", text):
        lines = main_job.json("run", "needs_image", "--wait", seconds=300)
        said = [str(line.data.get("message", "")) for line in lines if line.type == "devenv.step.progress"]
        assert f"image {only_here} was loaded from this machine's Docker; the node tries again" in said


def test_a_log_that_is_followed_has_every_line_once_the_error_too(main_job: Program) -> None:
    """apache/airflow#48710, #21452, #31054"""
    with dag_file(main_job, many_lines.DAG_ID, many_lines.DAG):
        many_lines.assert_whole(main_job.run("run", many_lines.DAG_ID, "--logs", code=1, seconds=300))
        many_lines.assert_whole(main_job.run("logs", many_lines.DAG_ID, "load"))


TWIN = """
from datetime import datetime

from airflow import DAG
from airflow.operators.empty import EmptyOperator

with DAG("twin", schedule=None, start_date=datetime(2024, 1, 1)):
    EmptyOperator(task_id="a")
"""


def test_what_only_devenv_knows_is_not_repaired_by_the_scheduler(main_job: Program) -> None:
    """apache/airflow#60559, #29321, #24701"""
    first, second = (main_job.folder / "dags" / name for name in ("twin.py", "twin_copy.py"))
    with main_job.watching() as watch:
        first.write_text(TWIN)
        watch.parsed("dags/twin.py")
        second.write_text(TWIN)
        watch.verdict("dags/twin_copy.py", ok=False)
        watch.verdict("dags/twin.py", ok=False)
        watch.parsed("dags/twin_copy.py")
        broken = {line.data["file"] for line in main_job.json("dags", "--broken") if "file" in line.data}
        assert {"dags/twin.py", "dags/twin_copy.py"} <= broken
        (status,) = [line.data for line in main_job.json("status") if line.type == "devenv.status"]
        assert {verdict["file"] for verdict in status["judged"]} == {"dags/twin.py", "dags/twin_copy.py"}
        second.unlink()
        assert watch.verdict("dags/twin.py", ok=True)["dag_ids"] == ["twin"]
        first.unlink()
        watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == "dags/twin.py")


def test_folders_of_the_dag_folders_name_keep_their_paths(main_job: Program, deployed: Deployed) -> None:
    """The layout of apache/airflow#42111, for several teams."""
    teams = main_job.folder / "dags" / "teams"
    with main_job.watching() as watch:
        for team in ("billing", "search"):
            path = teams / team / "dags" / "daily.py"
            path.parent.mkdir(parents=True)
            path.write_text(f"import {team}.nothing_here\nfrom airflow import DAG\n")
            watch.verdict(f"dags/teams/{team}/dags/daily.py", ok=False)
        watch.parsed("dags/teams/search/dags/daily.py")
        listed = main_job.run("dags", "--broken", code=None)
        assert "dags/teams/billing/dags/daily.py" in listed
        assert "dags/teams/search/dags/daily.py" in listed
        shutil.rmtree(teams)
        watch.until(
            lambda line: line.type == "devenv.verdict.cleared" and "search" in line.data["path"],
        )
    assert deployed.run("ls", "/opt/airflow/dags").count("teams") == 0


ODD = """
from datetime import datetime

from airflow import DAG
from airflow.operators.bash import BashOperator


def on_start(pod):
    return pod


with DAG("odd_function", schedule=None, start_date=datetime(2024, 1, 1), catchup=False):
    BashOperator(task_id="go", bash_command="echo started", executor_config={"on_start": on_start})
"""


def test_a_file_on_which_the_scheduler_ends_is_named(main_job: Program, deployed: Deployed) -> None:
    """apache/airflow#47700"""
    path = main_job.folder / "dags" / "odd_function.py"
    with main_job.watching() as watch:
        path.write_text(ODD)
        (problem,) = watch.verdict("dags/odd_function.py", ok=False)["problems"]
        assert problem["rule"] == "invalid-executor-config"
        listed = "SELECT 1 FROM serialized_dag WHERE dag_id = 'odd_function'"
        deployed.until(lambda: bool(deployed.sql(listed)), "odd_function is parsed")
        main_job.run("run", "odd_function", code=None)  # over the API, which reads what the scheduler cannot: HTTP 500
        told = watch.until(
            lambda line: line.type == "devenv.notice" and "the scheduler ends on" in line.data["message"]
        )
        assert told.data["message"].startswith("the scheduler ends on what the DAG file odd_function.py gives it")
        path.unlink()
        watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == "dags/odd_function.py")
    deployed.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=scheduler")
    deployed.kubectl("wait", "--for=condition=Available", "deploy/scheduler", "--timeout=300s")
    main_job.run("airflow", "dags", "delete", "--yes", "odd_function")


def test_an_executor_config_that_is_no_pod_is_an_error_at_the_save(main_job: Program) -> None:
    """apache/airflow#67643, #14182"""
    path = main_job.folder / "dags" / "a_dict_for_a_pod.py"
    with main_job.watching() as watch:
        path.write_text(f'{HEAD}\nmake("a_dict_for_a_pod", {{"spec": {{}}}})\n')
        (problem,) = watch.verdict("dags/a_dict_for_a_pod.py", ok=False)["problems"]
        assert problem["rule"] == "invalid-executor-config"
        assert "dict" in problem["message"]
        head = HEAD.replace('"pod_override": override', '"pod_template_file": override')
        path.write_text(f'{head}\nmake("a_dict_for_a_pod", "/nowhere/template.yaml")\n')
        watch.until(lambda line: "pod_template_file /nowhere/template.yaml" in str(line.data.get("problems")))
        path.unlink()
        watch.until(lambda line: line.type == "devenv.verdict.cleared" and "a_dict" in line.data["path"])


def test_a_virtual_environment_in_the_dag_folder_is_left_out_and_named(main_job: Program, deployed: Deployed) -> None:
    """lightdash/lightdash#26594, tilt-dev/tilt#5651"""
    venv = main_job.folder / "dags" / "venv"
    (venv / "lib").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (venv / "lib" / "module.py").write_text("from airflow import DAG\n")
    with main_job.watching() as watch:
        skipped = [line.data for line in watch.seen if line.type == "devenv.file.skipped"]
        assert [(each["path"], "virtual environment" in each["reason"]) for each in skipped] == [("dags/venv", True)]
    assert "venv" not in deployed.run("ls", "/opt/airflow/dags")
    shutil.rmtree(venv)


def test_a_dag_folder_that_is_a_link_is_followed_where_it_points_now(main_job: Program, tmp_path: Path) -> None:
    """kubernetes/git-sync#799, #314: a checkout is swapped by pointing a link elsewhere."""
    dags = main_job.folder / "dags"
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(dags, first)
    shutil.copytree(dags, second)
    dags.rename(main_job.folder / "dags.kept")
    try:
        dags.symlink_to(first)
        with main_job.watching("watch", "--yes") as watch:
            watch.verdict("dags/taskflow_example.py", ok=True)
            dags.unlink()
            dags.symlink_to(second)
            path = second / "swapped.py"
            path.write_text(TWIN.replace("twin", "swapped"))
            watch.verdict("dags/swapped.py", ok=True)
            path.write_text(TWIN.replace("twin", "swapped") + "\n")
            saved = watch.until(lambda line: line.type == "devenv.file.synced" and line.data["change"] == "changed")
            assert saved.data["path"] == "dags/swapped.py"
            path.unlink()
            watch.until(lambda line: line.type == "devenv.verdict.cleared" and "swapped" in line.data["path"])
    finally:
        dags.unlink()
        (main_job.folder / "dags.kept").rename(dags)
    main_job.run("sync", "--yes")


def test_vaults_words_fit_what_is_there(main_job: Program) -> None:
    """apache/airflow#55015, #38901, #14569: another key, a name with a slash, a URI that would be read otherwise"""
    main_job.run("secrets", "set", "variable", "team/region", stdin="eu\n")
    assert main_job.run("secrets", "get", "variable", "team/region", "--reveal").strip() == "eu"
    main_job.run("secrets", "set", "connection", "erp", stdin="postgresql://ana:p@ss/w:rd#1@db.example.com/x\n", code=2)
    main_job.run("secrets", "get", "connection", "erp", code=2)
    exports = dict(re.findall(r"export (VAULT_\w+)=[\"']?([^\"'\n]+)", main_job.run("env", "--reveal")))
    vault = hvac.Client(url=exports["VAULT_ADDR"], token=exports["VAULT_TOKEN"])
    vault.secrets.kv.v2.create_or_update_secret("variables/region_hand", secret={"region": "eu"}, mount_point="secret")
    path = main_job.folder / "dags" / "by_hand.py"
    with main_job.watching() as watch:
        path.write_text("from airflow.models import Variable\n\nVariable.get('region_hand')  # airflow dag\n")
        (problem,) = watch.verdict("dags/by_hand.py", ok=False)["problems"]
        said = f"{problem['message']} {problem['hint']}"
        assert "secret/variables/region_hand in Vault has no key 'value' (its keys: region)" in said
        path.unlink()
        watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == "dags/by_hand.py")
    main_job.run("secrets", "rm", "variable", "team/region")
