"""What devenv sets in airflow.cfg is known to the release, and what a user sets is, too."""

from __future__ import annotations

import configparser

import pytest

from devenv.airflow.configuration import (
    ExecutorUnknown,
    OptionsUnknown,
    airflow_config,
    cluster_layout,
    render,
)
from devenv.airflow.releases import Release
from devenv.resources import platform_folder
from devenv.settings.schema import AirflowSettings, KubernetesSettings, Settings, SyncSettings

RELEASES = ("2.7.2", "2.8.4", "2.9.3", "2.10.5", "2.11.0", "3.0.6", "3.1.8", "3.2.2", "3.3.2", "3.4.0b2")
OF_PROVIDERS = {"kubernetes_executor", "fab"}


def config_of(settings: Settings, **options: object):
    return airflow_config(settings, cluster_layout(settings), **options)  # type: ignore[arg-type]


def of_release(version: str, **config: dict[str, str | int | float | bool]) -> Settings:
    return Settings(airflow=AirflowSettings(version=version, config=config))


@pytest.mark.parametrize("version", RELEASES)
def test_every_option_is_known_to_the_release(version: str) -> None:
    known = Release(version).options()
    set_by_us = {
        (section, name)
        for section, options in config_of(of_release(version)).items()
        if section not in OF_PROVIDERS
        for name in options
    }
    assert {(section, name) for section, name in set_by_us if name not in known.get(section, ())} == set()


def test_the_base_is_what_the_defaults_make() -> None:
    """`kubectl apply -k minikube/base` and `devenv up` without settings are the same platform."""
    template = (platform_folder() / "base" / "airflow.cfg.template").read_text(encoding="utf-8")
    without_heading = "".join(line for line in template.splitlines(keepends=True) if not line.startswith("#"))
    assert without_heading.strip() == render(config_of(Settings())).strip()


@pytest.mark.parametrize("version", ["2.7.2", "3.3.2"])
def test_edits_are_listed_at_once_and_unchanged_files_left_alone(version: str) -> None:
    section = "dag_processor" if Release(version).is_3 else "scheduler"
    listing = "refresh_interval" if Release(version).is_3 else "dag_dir_list_interval"
    few = config_of(of_release(version), parsed_files=10)
    many = config_of(of_release(version), parsed_files=1000)
    assert few[section][listing] == 1
    assert 1 < many[section][listing] <= 30  # type: ignore[operator]
    assert few[section]["min_file_process_interval"] == 300
    assert many[section]["min_file_process_interval"] > 1000  # type: ignore[operator]
    assert few["core"]["min_serialized_dag_update_interval"] == 0
    # One file more must not restart the pods.
    assert many == config_of(of_release(version), parsed_files=1001)


def test_the_user_goes_over_additions_and_these_over_ours() -> None:
    settings = of_release("2.7.2", core={"parallelism": 3}, smtp={"smtp_host": "mail"}, mine={"anything": True})
    config = config_of(settings, additions={"core": {"parallelism": 5, "max_active_tasks_per_dag": 6}})
    assert config["core"]["parallelism"] == 3
    assert config["core"]["max_active_tasks_per_dag"] == 6
    assert config["mine"] == {"anything": True}


@pytest.mark.parametrize(
    ("version", "section", "name", "says"),
    [
        ("2.7.2", "core", "dag_concurrency", "[core] max_active_tasks_per_dag"),
        ("3.3.2", "core", "dag_concurrency", "[core] max_active_tasks_per_dag"),
        ("3.3.2", "scheduler", "min_file_process_interval", "[dag_processor] min_file_process_interval"),
        ("3.3.2", "scheduler", "dag_dir_list_interval", "[dag_processor] refresh_interval"),
        ("3.3.2", "webserver", "secret_key", "[api] secret_key"),
        ("3.3.2", "api", "auth_backends", "this one does not"),
        ("2.7.2", "core", "paralelism", "did you mean parallelism?"),
        ("2.7.2", "core", "zzz", "no such option"),
        ("2.7.2", "schedular", "parsing_processes", "did you mean [scheduler]?"),
    ],
)
def test_an_option_that_airflow_would_ignore_is_refused(version: str, section: str, name: str, says: str) -> None:
    with pytest.raises(OptionsUnknown) as refused:
        config_of(of_release(version, **{section: {name: 1}}))
    assert says in refused.value.message


def test_all_problems_come_in_one_message() -> None:
    with pytest.raises(OptionsUnknown) as refused:
        config_of(of_release("2.7.2", core={"paralelism": 1}, webserver={"colour": "red"}))
    assert "paralelism" in refused.value.message
    assert "[webserver] colour" in refused.value.message


def test_signs_that_mean_something_to_configparser_arrive_as_they_are() -> None:
    value = "100 % of $HOME, ${UNKNOWN} = #1;\nand a second line"
    text = render(config_of(of_release("2.7.2", mine={"odd": value})), heading="one\ntwo")
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser["mine"]["odd"] == value
    assert text.startswith("# one\n# two\n")


def test_secrets_are_names_only() -> None:
    config = config_of(of_release("3.3.2"))
    assert config["core"]["fernet_key"] == "${FERNET_KEY}"
    assert config["api_auth"]["jwt_secret"] == "${JWT_SECRET}"
    assert config["database"]["sql_alchemy_conn"] == "${SQL_ALCHEMY_CONN}"


def test_settings_of_the_project_are_in_it() -> None:
    settings = Settings(
        airflow=AirflowSettings(executor="LocalExecutor"),
        kubernetes=KubernetesSettings(namespace="team-a"),
        sync=SyncSettings(folders=("plugins",)),
    )
    config = config_of(settings)
    assert config["core"]["executor"] == "LocalExecutor"
    assert config["kubernetes_executor"]["namespace"] == "team-a"
    assert config["webserver"]["update_fab_perms"] is True


def test_an_executor_that_is_gone_is_refused() -> None:
    with pytest.raises(ExecutorUnknown):
        cluster_layout(Settings(airflow=AirflowSettings(version="3.3.2", executor="SequentialExecutor")))


def test_an_option_of_a_series_that_is_not_known_yet_is_passed_on() -> None:
    assert config_of(of_release("3.9.0", api={"brand_new": 1}))["api"]["brand_new"] == 1
    with pytest.raises(OptionsUnknown):
        config_of(of_release("3.4.0", api={"brand_new": 1}))
