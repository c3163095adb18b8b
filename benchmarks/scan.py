"""What watching a folder of 10,000 files costs: the first look, later looks, a save, idle CPU and memory, 10,000 saves.

python benchmarks/scan.py [FILES]
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from devenv.events import FileSynced, WatchStarted
from devenv.sync.announce import LISTED
from devenv.sync.ignore import Ignore
from devenv.sync.model import Root
from devenv.sync.scan import Scanner
from devenv.sync.targets.folder import FolderTarget
from devenv.sync.watch import NativeWatcher
from tests.support.sync import OWNER, Watching, project_at

_IDLE_SECONDS = 20.0
_SAVES = 10_000


def main(files: int) -> None:
    """Prints a line per figure."""
    with tempfile.TemporaryDirectory(prefix="devenv-bench-") as place:
        project, volume = project_at(Path(place, "project")), Path(place, "volume")
        dags = project.dag_folder
        volume.mkdir()
        for number in range(files):
            folder = dags / f"team{number % 100}"
            folder.mkdir(exist_ok=True)
            (folder / f"dag_{number}.py").write_bytes(b"from airflow import DAG\n" + b"x = %d\n" % number * 250)
        scanner = Scanner([Root("dags", dags)], Ignore())
        tell(f"first scan of {files} files", timed(scanner.scan))
        time.sleep(2.1)  # until no file is so young that it must be read again
        scanner.scan()
        looks = sorted(timed(scanner.scan) for _ in range(20))
        tell("scan again, p50", looks[10])
        tell("scan again, max", looks[-1])
        one = dags / "team7" / "dag_7.py"
        one.write_text("changed")
        tell("scan of one saved file", timed(lambda: scanner.scan([one])))
        watch_costs(project, volume, files)


def watch_costs(project: object, volume: Path, files: int) -> None:
    """The loop with the real watcher and a folder as its target."""
    watcher = NativeWatcher([Root("dags", project.dag_folder)], Ignore())  # type: ignore[attr-defined]
    me = psutil.Process()
    with Watching(project, lambda _listener: FolderTarget(volume, ["dags"], OWNER), watcher) as watch:  # type: ignore[arg-type]
        began = time.perf_counter()
        started = watch.events.wait(WatchStarted, timeout=120)[0]
        tell(f"first sync of {files} files into a folder", time.perf_counter() - began)
        assert started.files == files
        time.sleep(5)
        before = me.cpu_times()
        time.sleep(_IDLE_SECONDS)
        after = me.cpu_times()
        used = after.user + after.system - before.user - before.system
        print(f"{'idle CPU':50} {used / _IDLE_SECONDS:8.2%} of a core")
        print(f"{'memory (RSS)':50} {me.memory_info().rss / 1e6:8.1f} MB")
        many_saves(watch, project, me)
    print(f"{'peak memory':50} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:8.1f} MB")


def many_saves(watch: Watching, project: object, me: psutil.Process) -> None:
    """Ten thousand saves, twenty files at a time (as many as are told one by one), each twenty waited for."""
    synced = threading.Semaphore(0)

    def hear(event: object) -> None:
        if isinstance(event, FileSynced):
            synced.release()

    watch.loop._report = hear  # noqa: SLF001 (the list of the tests' reporter would itself grow)
    watch.events.clear()
    chance = random.Random(1)
    memory, times = [], []
    for number in range(0, _SAVES, LISTED):
        folder = project.dag_folder / f"team{chance.randrange(100)}"  # type: ignore[attr-defined]
        began = time.perf_counter()
        for one in range(LISTED):
            (folder / f"saved{one}.py").write_text(f"version = {number}\n" * 20)
        for _ in range(LISTED):
            if not synced.acquire(timeout=120):
                raise SystemExit(f"save {number} was not synced")
        times.append(time.perf_counter() - began)
        if number % 1_000 == 1_000 - LISTED:
            memory.append(me.memory_info().rss / 1e6)
    times.sort()
    tell(f"{LISTED} files saved at once, until all are there, p50", times[len(times) // 2])
    print(f"{'memory after 1,000 saves and after all':50} {memory[0]:8.1f} MB, {memory[-1]:.1f} MB")


def timed(action: object) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    action()  # type: ignore[operator]
    return time.perf_counter() - began


def tell(what: str, seconds: float) -> None:
    """One figure."""
    print(f"{what:50} {seconds * 1e3:8.1f} ms", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
