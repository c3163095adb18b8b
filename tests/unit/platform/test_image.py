"""What goes into the project's image, and that its name tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.platform.image import ProjectImage
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, ImageSettings, Settings, SyncSettings


def image(folder: Path, settings: Settings | None = None) -> ProjectImage:
    return ProjectImage(Project(folder, settings or Settings(), Environment(variables={})))


def test_without_anything_to_add_the_release_runs_as_it_is(project_folder: Path) -> None:
    (project_folder / "requirements.txt").write_text("# nothing yet\n\n")
    (project_folder / "plugins").mkdir()
    assert image(project_folder).name == "apache/airflow:2.7.2"
    assert not image(project_folder).is_built


def test_packages_as_root_requirements_as_airflow_with_the_release_pinned(project_folder: Path) -> None:
    (project_folder / "packages.txt").write_text("jq # for the hooks\n")
    (project_folder / "requirements.txt").write_text("pandas\n")
    (project_folder / "plugins").mkdir()
    (project_folder / "plugins" / "hook.py").write_text("")
    settings = Settings(images=ImageSettings(build_arguments={"PIP_INDEX_URL": "https://pypi.example.com"}))
    lines = image(project_folder, settings).dockerfile().splitlines()
    assert lines[:3] == ["FROM apache/airflow:2.7.2", "ARG PIP_INDEX_URL", "USER root"]
    assert lines.index("USER airflow") < lines.index("COPY requirements.txt /tmp/requirements.txt")
    assert any('"apache-airflow==2.7.2" -r /tmp/requirements.txt' in line for line in lines)
    assert lines[-1] == "COPY --chown=airflow:0 plugins /opt/airflow/plugins"


def test_pip_trusts_whom_this_machine_trusts_and_the_image_is_the_same_in_every_terminal(project_folder: Path) -> None:
    (project_folder / "requirements.txt").write_text("pandas\n")
    certificates = project_folder / "corporate.pem"
    certificates.write_text("-----BEGIN CERTIFICATE-----\n")
    variables = {"REQUESTS_CA_BUNDLE": str(certificates), "PIP_CERT": "/no/such/file"}
    trusting = ProjectImage(Project(project_folder, Settings(), Environment(variables=variables)))
    assert "ARG PIP_CERT=/tmp/certificates.pem" in trusting.dockerfile().splitlines()
    assert trusting.name == image(project_folder).name


CONSOLE = AirflowSettings(config={"openlineage": {"transport": '{"type": "console"}'}})


@pytest.mark.parametrize("settings", [Settings(components=("lineage",)), Settings(airflow=CONSOLE)])
def test_lineage_brings_its_provider_beside_a_requirement_with_a_version(
    project_folder: Path, settings: Settings
) -> None:
    alone = image(project_folder, settings)
    assert alone.is_built
    (install,) = [line for line in alone.dockerfile().splitlines() if "pip install" in line]
    assert install.endswith('"apache-airflow==2.7.2" apache-airflow-providers-openlineage')
    (project_folder / "requirements.txt").write_text("apache-airflow-providers-openlineage==1.1.1\n")
    (install,) = [line for line in image(project_folder, settings).dockerfile().splitlines() if "pip install" in line]
    assert install.endswith("apache-airflow-providers-openlineage -r /tmp/requirements.txt")


def test_what_pip_cannot_do_beside_airflow_is_done_before(project_folder: Path) -> None:
    (project_folder / "requirements.txt").write_text("six==1.16.0 --hash=sha256:1e61\n")
    lines = image(project_folder).dockerfile().splitlines()
    assert [line for line in lines if "pip install" in line] == [
        "RUN pip install --no-cache-dir -r /tmp/requirements.txt",
        'RUN pip install --no-cache-dir "apache-airflow==2.7.2"',
    ]
    assert not any("apt-get" in line for line in lines)
    (project_folder / "requirements.txt").write_text("x @ git+https://git.example.com/x.git\n")
    (install,) = [line for line in image(project_folder).dockerfile().splitlines() if "apt-get" in line]
    assert "apt-get install -y --no-install-recommends git &&" in install


def test_plugins_that_are_synced_are_not_built_in(project_folder: Path) -> None:
    (project_folder / "plugins").mkdir()
    (project_folder / "plugins" / "hook.py").write_text("")
    assert image(project_folder).is_built
    assert not image(project_folder, Settings(sync=SyncSettings(folders=("plugins",)))).is_built


@pytest.mark.parametrize("change", ["requirements", "argument", "release"])
def test_another_content_is_another_name_and_the_same_is_the_same(project_folder: Path, change: str) -> None:
    (project_folder / "requirements.txt").write_text("pandas\n")
    before = image(project_folder).name
    assert image(project_folder).name == before
    settings = Settings()
    if change == "requirements":
        (project_folder / "requirements.txt").write_text("polars\n")
    elif change == "argument":
        settings = Settings(images=ImageSettings(build_arguments={"A": "1"}))
    else:
        settings = Settings(images=ImageSettings(airflow="registry.example.com/airflow:2.7.2"))
    assert image(project_folder, settings).name != before
