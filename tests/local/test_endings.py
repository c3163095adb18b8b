"""However `devenv up` ends, nothing is left running and nothing is lost; the next one goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devenv.boot.runner import run_steps
from devenv.errors import DevenvError
from devenv.events import Notice
from devenv.local import postgres
from devenv.local import session as local_session
from devenv.local.session import LocalSession
from devenv.sync.lock import holder

from .conftest import HELLO, World, eventually, is_healthy, left, world

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.write("hello.py", HELLO)
        yield made


@contextlib.contextmanager
def driven(made: World, until: str, what: str = "watch") -> Iterator[subprocess.Popen[str]]:
    """`devenv up` in a process of its own, which has just begun the step `until`."""
    driver = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("driver.py"), made.folder, what],
        env=made.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert driver.stdout is not None
        seen = []
        for line in driver.stdout:
            seen.append(line.strip())
            if seen[-1] == until:
                break
        assert until in seen, (seen, driver.stderr.read() if driver.stderr else "")
        yield driver
    finally:
        driver.kill()
        driver.communicate()


def family(made: World, driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything that this `up` started: the agent below it, the environment below its supervisor."""
    return [*psutil.Process(driver.pid).children(recursive=True), *made.processes()]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_the_watch_ends_and_the_environment_goes_on(shop: World, ending: signal.Signals) -> None:
    with driven(shop, "watching") as driver:
        eventually(lambda: shop.backend().airflow().dags())
        driver.send_signal(ending)
        code = driver.wait(120)
    assert code == (130 if ending == signal.SIGINT else -ending)
    assert holder(shop.project.state_folder) is None
    assert shop.backend().status().state == "up"
    processes = shop.processes()
    run_steps(shop.backend().down_steps(), shop.events.append)
    eventually(lambda: not left(processes))


def test_up_that_is_killed_before_all_runs_leaves_nothing(shop: World) -> None:
    with driven(shop, "airflow") as driver:
        eventually(lambda: len(family(shop, driver)) > 3)
        processes = family(shop, driver)
        driver.kill()
        driver.wait(120)
    eventually(lambda: not left(processes))
    assert shop.backend().status().state == "stopped"


def test_the_supervisor_of_a_detached_environment_is_killed(shop: World) -> None:
    with driven(shop, "let-go", "detach") as driver:
        assert driver.wait(120) == 0
    eventually(lambda: len(left(shop.processes())) > 10)  # it goes on without devenv
    processes = shop.processes()
    os.kill(processes[0].pid, signal.SIGKILL)
    eventually(lambda: not left(processes))
    shop.up()
    assert eventually(lambda: shop.backend().status().state == "up")


@pytest.mark.parametrize("phase", ["preflight", "vault", "database", "airflow"])
def test_ctrl_c_in_each_phase_leaves_nothing_and_the_next_up_goes_on(shop: World, phase: str) -> None:
    with driven(shop, phase) as driver:
        processes = family(shop, driver)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 130
    eventually(lambda: not left(processes))
    eventually(lambda: not shop.processes())
    if phase == "database":
        shop.up()
        assert shop.backend().status().state == "up"


def test_ctrl_c_while_airflow_is_being_installed(shop: World, tmp_path: Path) -> None:
    shop.variables["DEVENV_CACHE"] = str(tmp_path / "cache")
    with driven(shop, "airflow-packages") as driver:
        eventually(lambda: list((tmp_path / "cache" / "airflow").glob("*/pyvenv.cfg")))
        processes = family(shop, driver)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 130
    eventually(lambda: not left(processes))
    assert shop.backend().status().state == "stopped"
    installer = LocalSession(shop.project).installer
    python = installer.airflow("2.7.2", shop.folder / "requirements.txt", lambda _line: None)
    subprocess.run([python, "-c", "import airflow, psycopg2"], check=True, env=shop.variables)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_disk_is_named_and_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Path(tempfile.mkdtemp(prefix="devenv-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", disk], check=True)
    monkeypatch.setattr(postgres, "_SYSTEM_DATA", disk / "system")
    filler = disk / "filler"

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while stream.write(b"x" * 4096):
                pass

    try:
        with world(disk) as made:
            made.write("hello.py", HELLO)
            fill()
            with pytest.raises(DevenvError) as failed:
                made.up()
            assert "space" in f"{failed.value.message} {failed.value.detail}".lower()
            filler.unlink()
            backend = made.up()
            run_id = backend.airflow().runs("hello")
            fill()
            table = "CREATE TABLE too_large AS SELECT generate_series(1, 1000000)"
            child = backend.command("postgres", ["psql", "-c", table], interactive=False)
            _, said = child.communicate()
            assert b"No space left on device" in said
            time.sleep(3)  # the components meet it too
            filler.unlink()
            eventually(lambda: is_healthy(made))
            assert made.backend().airflow().runs("hello") == run_id
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        disk.rmdir()


def test_sqlite_where_there_is_no_postgres(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_session, "has_wheel", lambda: False)
    backend = shop.up()
    assert any("SQLite" in notice.message for notice in shop.of(Notice))
    status = backend.status()
    assert status.state == "up"
    assert "postgres" not in {part.name for part in status.components}
    assert backend.airflow().dags() == ()
