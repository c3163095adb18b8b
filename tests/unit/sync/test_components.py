"""The parts of the platform that concern sync, as plain files."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from devenv.resources import platform_folder

PLATFORM = platform_folder()


def test_task_pods_from_a_configmap_differ_from_the_base_in_nothing_else() -> None:
    base = yaml.safe_load((PLATFORM / "base" / "pod-template.yaml").read_text())
    ours = yaml.safe_load((PLATFORM / "components" / "configmap-dags" / "pod-template.yaml").read_text())
    patch = yaml.safe_load((PLATFORM / "components" / "configmap-dags" / "containers.yaml").read_text())
    assert ours["spec"]["initContainers"].pop() == patch[0]["value"]  # the same as in the long-lived pods
    for spec in (base["spec"], ours["spec"]):
        spec["volumes"] = [item for item in spec["volumes"] if not item["name"].startswith("dags")]
    assert ours == base


@pytest.mark.local
def test_the_repository_s_archive_leaves_its_folder_by_no_way(tmp_path: Path) -> None:
    inside, outside = tmp_path / "repository", tmp_path / "outside"
    inside.mkdir()
    archive = tmp_path / "latest.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for name in ("dags/a.py", "../outside", str(outside)):
            packed.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("dags/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        packed.addfile(link)
    program = PLATFORM / "components" / "flux" / "job" / "fetch_repository.py"
    done = subprocess.run(
        [sys.executable, program, inside], env={"ARTIFACT_URL": archive.as_uri()}, capture_output=True, check=True
    )
    assert b"fetched 1 files" in done.stdout
    assert sorted(path.relative_to(inside).as_posix() for path in inside.rglob("*")) == ["dags", "dags/a.py"]
    assert not outside.exists()
