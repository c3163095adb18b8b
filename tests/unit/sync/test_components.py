"""The parts of the platform that concern sync, as plain files."""

from __future__ import annotations

import io
import runpy
import tarfile
from pathlib import Path

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


def test_the_repository_s_archive_leaves_its_folder_by_no_way(tmp_path: Path) -> None:
    inside, outside = tmp_path / "repository", tmp_path / "outside"
    inside.mkdir()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("dags/a.py", "../outside", str(outside)):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("dags/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
    program = runpy.run_path(str(PLATFORM / "components" / "flux" / "job" / "fetch_repository.py"))
    assert program["unpack"](packed.getvalue(), inside) == 1
    assert sorted(path.relative_to(inside).as_posix() for path in inside.rglob("*")) == ["dags", "dags/a.py"]
    assert not outside.exists()
