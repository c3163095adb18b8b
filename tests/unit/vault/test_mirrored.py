"""`airflow-ui-creds` and `airflow-variables`: what is in them, and where."""

import base64
from pathlib import Path

from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, Settings
from devenv.vault import mirrored

SECRETS = {
    "airflow/admin": {"AIRFLOW_ADMIN_USER": "admin", "AIRFLOW_ADMIN_PASSWORD": "pw"},
    "variables/data-region": {"value": "eu"},
    "connections/shop": {"conn_uri": "postgresql://db"},
}


def project(folder: Path, **airflow: object) -> Project:
    return Project(folder, Settings(airflow=AirflowSettings.model_validate(airflow)), Environment(variables={}))


def test_nothing_is_made_unless_it_is_switched_on(tmp_path: Path) -> None:
    assert mirrored.wanted(project(tmp_path), SECRETS) == []


def test_both_lie_in_the_namespace_of_the_tools_and_say_whose_they_are(tmp_path: Path) -> None:
    wanting = project(tmp_path, ui_credentials_secret=True, variables_secret=True, secrets_namespace="tools")
    credentials, variables = mirrored.wanted(wanting, SECRETS)
    for secret, name, values in (
        (credentials, "airflow-ui-creds", {"username": "admin", "password": "pw"}),
        (variables, "airflow-variables", {"AIRFLOW_VAR_DATA_REGION": "eu"}),
    ):
        assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == (name, "tools")
        assert secret["metadata"]["labels"]["devenv.io/environment"] == wanting.identifier
        assert {key: base64.b64decode(text).decode() for key, text in secret["data"].items()} == values
