"""Parses the project's DAG files as the agent does, without writing anything."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from devenv import process
from devenv.check.surroundings import furnish, give_database, variables_of
from devenv.errors import MissingError, PlatformError, UsageError
from devenv.events import Notice, Reporter
from devenv.project import Project
from devenv.sync.roots import DagFolderMissing, roots_of
from devenv.verdict import Verdict

_AIRFLOW = "from importlib.metadata import version; print(version('apache-airflow'))"
_SECONDS = 60.0


class NoAirflow(MissingError):
    """The Python that was named for `devenv check` has no Airflow."""

    code = "DEVENV-540"


class NotADagPath(UsageError):
    """A path given to `devenv check` does not exist, or does not lie in a synced folder."""

    code = "DEVENV-541"


class CheckBroke(PlatformError):
    """Airflow could not be imported, so nothing was checked; its own words are shown."""

    code = "DEVENV-542"


def check(
    project: Project, names: Sequence[str], *, python: Path, safe_mode: bool | None, report: Reporter
) -> list[Verdict]:
    """What Airflow says of the DAG files that concern these files and folders, or (none given) of all, sorted.

    All DAG files are parsed in any case: two files may define the same DAG id, and a helper breaks others.

    Args:
        project: its DAG folder and policies.
        names: from `names_of`.
        python: an interpreter with Airflow; see `find_python`.
        safe_mode: False also parses files that do not name both "dag" and "airflow"; None: as configured.
        report: told when nothing can be said.

    Raises:
        CheckBroke: Airflow does not start.
    """
    verdicts = _parse(project, python, safe_mode=safe_mode)
    broken = verdicts.pop("dags", None)
    if broken is not None:
        raise CheckBroke(f"Airflow in {python} does not start", detail="\n".join(p.message for p in broken.problems))
    found = [
        dataclasses.replace(verdict, speaker="check")
        for verdict in sorted(verdicts.values(), key=lambda verdict: verdict.file)
        if not names or _concerns(verdict, names)
    ]
    if not found:
        report(Notice("info", "no DAG files to check"))
    return found


def names_of(project: Project, paths: Sequence[Path]) -> list[str]:
    """What paths on the laptop are called in verdicts: `dags/etl.py`.

    Raises:
        DagFolderMissing: there is no DAG folder.
        NotADagPath: a path is wrong.
    """
    if not project.dag_folder.is_dir():
        raise DagFolderMissing(f"there is no DAG folder {project.dag_folder}", hint="devenv init")
    return [_name(project, path) for path in paths]


def find_python(project: Project, named: Path | None, report: Reporter) -> Path:
    """A Python that has Airflow: the named one, the current environment's, or a virtual environment made for it.

    Raises:
        NoAirflow: the named one has none.
        DevenvError: the virtual environment could not be made.
    """
    environment, release = project.environment, project.settings.airflow.version
    asked = "version" in project.settings.airflow.model_fields_set or any(
        one.path == ("airflow", "version") for one in project.found
    )
    if named is not None:
        found = process.which(str(named), environment.variables) or str(environment.cwd / named)
        if not airflow_of(Path(found)):
            raise NoAirflow(f"{named} has no Airflow", hint="devenv check without --python makes an environment")
        return Path(found)
    active = environment.variables.get("VIRTUAL_ENV")
    candidates = [
        Path(process.interpreter()),
        *([Path(active) / "bin" / "python"] if active else []),
        *(Path(path) for path in [process.which("python3", environment.variables)] if path),
    ]
    for candidate in dict.fromkeys(candidates):
        there = airflow_of(candidate)
        if there and (there == release or not asked):
            report(Notice("info", f"checked by Airflow {there} of {candidate}"))
            return candidate
    from devenv.local.virtualenv import Installer

    installer = Installer(environment)
    if installer.airflow_folder(release, project.requirements) is None:
        report(Notice("info", f"Airflow {release} is installed into the cache for this check"))
    return installer.airflow(release, project.requirements, lambda _line: None)


def airflow_of(python: Path) -> str:
    """The release of Airflow that an interpreter has; "" when it has none."""
    if not python.is_file():
        return ""
    # Isolated from the working folder: a folder `airflow` in a project would pass for the package.
    done = process.run([python, "-I", "-c", _AIRFLOW], check=False, timeout=_SECONDS)
    return done.stdout.strip() if done.returncode == 0 else ""


class _Collector:
    """The last verdict on each file."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self._guard = threading.Lock()

    def verdict(self, verdict: Verdict) -> None:
        with self._guard:
            self.verdicts[verdict.file] = verdict

    def lost(self, _reason: str) -> None:
        """`parse` raises it."""


def _parse(project: Project, python: Path, *, safe_mode: bool | None) -> dict[str, Verdict]:
    from devenv.agent_program import agent_command
    from devenv.sync.model import TargetLost
    from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner
    from devenv.sync.targets.child import ChildDuplex

    folders = {root.name: str(root.folder) for root in roots_of(project)}
    collector = _Collector()
    options = AgentOptions(
        claim=None,
        airflow=str(project.folder),
        folders=folders,
        check=project.settings.check,
        safe_mode=safe_mode,
        parallel=max(1, min(8, os.cpu_count() or 1)),
        linger=0.0,
        vault_mount=project.settings.vault.mount,
    )
    with tempfile.TemporaryDirectory(prefix="devenv-check-") as folder:
        home = Path(folder)
        furnish(home, folders)
        variables = variables_of(project, home, folders)
        try:
            target = AgentTarget(
                lambda: ChildDuplex(agent_command(str(python)), variables=variables, cwd=home),
                collector,
                Owner(project.identifier, "", "", str(project.folder)),
                list(folders),
                options,
            )
            try:
                target.parse()
                asking = [verdict.file for verdict in collector.verdicts.values() if verdict.rule("database-access")]
                if asking and give_database(
                    home, python, airflow_of(python), variables, project.environment.cache_folder
                ):
                    target.parse(asking)
            finally:
                target.close()
        except TargetLost as error:
            raise CheckBroke(f"the check in {python} ended early: {error}") from error
    return collector.verdicts


def _name(project: Project, path: Path) -> str:
    """The name of a path below a synced folder: `dags/etl.py`, or `dags` for the folder itself."""
    whole = (project.environment.cwd / path).resolve()
    if not whole.exists():
        raise NotADagPath(f"there is no {path}")
    for root in roots_of(project):
        folder = root.folder.resolve()
        if whole == folder or folder in whole.parents:
            return "/".join([root.name, *whole.relative_to(folder).parts])
        if whole in folder.parents:
            return root.name
    raise NotADagPath(f"{path} does not lie in a synced folder", hint=f"the DAG folder is {project.settings.sync.dags}")


def _concerns(verdict: Verdict, wanted: Sequence[str]) -> bool:
    files = {verdict.file, *(problem.file for problem in verdict.problems)}
    return any(file == name or file.startswith(name + "/") for file in files for name in wanted)
