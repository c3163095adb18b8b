"""A kubeconfig is read without the current context, files beside it are found, and proxies are kubectl's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from devenv.cluster.access import kubeconfig_paths, open_access, proxy_of_environment, single_context
from devenv.cluster.errors import ContextMissing

CONFIG = """
apiVersion: v1
kind: Config
current-context: production
contexts:
  - {name: production, context: {cluster: far, user: far}}
  - {name: devenv, context: {cluster: near, user: near, namespace: shop}}
  - {name: broken, context: {cluster: nowhere, user: near}}
clusters:
  - {name: far, cluster: {server: "https://far.example.com"}}
  - {name: near, cluster: {server: "http://127.0.0.1:8001/"}}
users:
  - {name: far, user: {token: far-token}}
  - {name: near, user: {tokenFile: token}}
"""


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "token").write_text("first\n")
    return [tmp_path / "missing", tmp_path / "config"]


def test_only_the_named_context_and_a_token_that_is_renewed(paths: list[Path]) -> None:
    access = open_access("devenv", paths)
    assert (access.server, access.tls, access.namespace) == ("http://127.0.0.1:8001", None, "shop")
    assert access.headers() == {"Authorization": "Bearer first"}
    (paths[1].parent / "token").write_text("second")
    assert access.headers() == {"Authorization": "Bearer second"}


@pytest.mark.parametrize(
    ("context", "message"),
    [("staging", "no context 'staging'"), ("broken", "names a cluster that is not there")],
)
def test_a_context_that_is_not_there(paths: list[Path], context: str, message: str) -> None:
    with pytest.raises(ContextMissing, match=message):
        open_access(context, paths)


def test_a_certificate_that_is_gone_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        CONFIG.replace('"http://127.0.0.1:8001/"', '"https://192.168.49.2:8443", certificate-authority: ca.crt')
    )
    with pytest.raises(ContextMissing, match=r"ca\.crt, which cannot be read"):
        open_access("devenv", [config])


def test_a_kubeconfig_for_other_programs_has_one_context_and_absolute_files(paths: list[Path]) -> None:
    document = yaml.safe_load(single_context("devenv", "airflow", paths))
    assert document["current-context"] == "devenv"
    assert [entry["name"] for entry in document["contexts"]] == ["devenv"]
    assert document["contexts"][0]["context"]["namespace"] == "airflow"
    assert document["users"] == [{"name": "near", "user": {"tokenFile": str(paths[1].parent.resolve() / "token")}}]


def test_several_files_as_kubectl_reads_them(tmp_path: Path) -> None:
    assert kubeconfig_paths({}, tmp_path) == [tmp_path / ".kube" / "config"]
    assert kubeconfig_paths({"KUBECONFIG": "/a:/b"}, tmp_path) == [Path("/a"), Path("/b")]


@pytest.mark.parametrize(
    ("server", "no_proxy", "proxy"),
    [
        ("https://far.example.com", "", "http://proxy:3128"),
        ("https://far.example.com", ".example.com", ""),
        ("https://192.168.49.2:8443", "192.168.49.0/24", ""),
        ("https://192.168.49.2:8443", "10.0.0.0/8,localhost", "http://proxy:3128"),
        ("https://127.0.0.1:32771", "", ""),
    ],
)
def test_the_proxy_is_that_of_kubectl(server: str, no_proxy: str, proxy: str) -> None:
    assert proxy_of_environment(server, {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": no_proxy}) == proxy
