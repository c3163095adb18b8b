"""What people have: Astro's file, env files, Airflow's exports."""

import contextlib
import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.vault.editor import checked_connection
from devenv.vault.errors import ImportInvalid, SeedsInvalid
from devenv.vault.importing import Pool, connection_uri, env_lines, read_file

ASTRO = """
airflow:
  connections:
    - conn_id:            # the empty entry of the template
      conn_type:
    - conn_id: warehouse
      conn_type: google_cloud_platform
      conn_host: db.example
      conn_login: ada@example
      conn_password: "p:ss/w%rd"
      conn_port: 5432
      conn_schema: shop
      conn_extra: {sslmode: require, nested: {a: 1}}
    - {conn_id: plain, conn_uri: "http://host"}
  variables:
    - {variable_name: region, variable_value: eu}
    - {variable_name: limits, variable_value: {a: 1}}
  pools:
    - {pool_name: small, pool_slot: 3, pool_description: few at once}
    - {pool_name: , pool_slot: }
"""


def test_astro_settings() -> None:
    found = read_file(Path("airflow_settings.yaml"), ASTRO)
    uri = urlsplit(found.secrets["connections/warehouse"]["conn_uri"])
    assert uri.scheme == "google-cloud-platform"
    assert (unquote(uri.username or ""), unquote(uri.password or "")) == ("ada@example", "p:ss/w%rd")
    assert (uri.hostname, uri.port, uri.path) == ("db.example", 5432, "/shop")
    assert json.loads(parse_qs(uri.query)["__extra__"][0]) == {"sslmode": "require", "nested": {"a": 1}}
    assert found.secrets["connections/plain"] == {"conn_uri": "http://host"}
    assert found.secrets["variables/region"] == {"value": "eu"}
    assert json.loads(found.secrets["variables/limits"]["value"]) == {"a": 1}
    assert set(found.secrets) == {
        "connections/warehouse",
        "connections/plain",
        "variables/region",
        "variables/limits",
    }
    assert found.pools == (Pool("small", 3, "few at once"),)


def test_an_env_file() -> None:
    text = (
        "# comment\nexport AIRFLOW_CONN_SHOP_DB='postgresql://db/shop'\n"
        'AIRFLOW_CONN_API={"conn_type": "http", "host": "api"}\n'
        'AIRFLOW_VAR_REGION=eu\nTOKEN="two\nlines"\n\nPLAIN=a b#c\n'
    )
    found = read_file(Path(".env"), text, at="my/tokens")
    assert found.secrets == {
        "connections/shop_db": {"conn_uri": "postgresql://db/shop"},
        "connections/api": {"conn_uri": "http://api/"},
        "variables/region": {"value": "eu"},
        "my/tokens": {"TOKEN": "two\nlines", "PLAIN": "a b#c"},
    }
    with pytest.raises(ImportInvalid, match="PLAIN, TOKEN are no AIRFLOW_CONN_"):
        read_file(Path(".env"), text)


def test_json() -> None:
    exported = json.dumps({"shop": {"conn_type": "postgres", "host": "db", "extra": None, "port": None}})
    assert read_file(Path("c.json"), exported).secrets == {"connections/shop": {"conn_uri": "postgres://db/"}}
    variables = json.dumps({"region": "eu", "limits": {"a": 1}})
    with pytest.raises(ImportInvalid, match="may hold connections or variables"):
        read_file(Path("v.json"), variables)
    assert read_file(Path("v.json"), variables, kind="variables").secrets["variables/region"] == {"value": "eu"}
    own = json.dumps({"secrets": {"a/b": {"K": "v"}}, "connections": {"c": "http://x"}, "variables": {"v": "1"}})
    assert read_file(Path("own.json"), own).secrets == {
        "a/b": {"K": "v"},
        "connections/c": {"conn_uri": "http://x"},
        "variables/v": {"value": "1"},
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "airflow: [\n", "is not YAML in line"),
        ("a.yaml", "other: 1\n", "no section `airflow`"),
        ("a.yaml", "airflow: {pools: [{pool_name: p, pool_slot: many}]}", "pool p: pool_slot must be a number"),
        ("a.json", '{"secret-value', "is not JSON"),
        ("a.env", "A=1\nsecret-value\n", "line 2 is not KEY=value"),
        ("a.env", "A='secret-value\n", "the quote that opens in line 1 is never closed"),
        ("a.env", "AIRFLOW_CONN_X=secret-value\n", "connection x must be a URI"),
        ("a.env", "AIRFLOW_CONN_X={secret-value\n", "connection x is not JSON"),
        ("a.yaml", "airflow: {variables: &a [*a]}\n", r"refers to the anchor \*a"),
        ("a.yaml", "airflow: {variables: !!python/object:os.system [secret-value]}\n", "is not YAML"),
        ("a.yaml", "airflow: \x00\n", "is not YAML"),
        ("a.yaml", "[" * 5_000 + "]" * 5_000, "is nested too deeply"),
        ("a.json", "[" * 100_000, "is nested too deeply"),
        ("a.json", '{"secrets": {"a/b": {"K": ["secret-value"]}, "c": 1}}', "a/b must be an object.*\nc must be"),
        ("a.json", '{"variables": {"../x": "secret-value", "a": "1", "b\\u001b": "2"}}', "(?s)'../x'.*b.x1b"),
        ("a.json", '{"secrets": {"devenv/core": {"K": "secret-value"}}}', "no path in Vault can be called"),
    ],
)
def test_errors_name_the_place_and_no_value(name: str, text: str, message: str) -> None:
    with pytest.raises(ImportInvalid, match=message) as caught:
        read_file(Path(name), text)
    assert "secret-value" not in caught.value.message


def test_a_name_with_a_slash_is_a_folder_in_vault() -> None:
    found = read_file(Path("a.json"), '{"variables": {"team/region": "eu"}}').secrets
    assert found == {"variables/team/region": {"value": "eu"}}


@given(st.text(max_size=200), st.sampled_from(["a.yaml", "a.json", "a.env", "airflow_settings.yml"]))
def test_any_text_is_understood_or_refused(text: str, name: str) -> None:
    with contextlib.suppress(ImportInvalid):
        read_file(Path(name), text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["connections", "variables", "secrets", "pools", "x"]), JSON, max_size=4))
def test_any_shape_is_understood_or_refused(content: dict[str, object]) -> None:
    import yaml

    for name, text in (("a.json", json.dumps(content)), ("a.yaml", yaml.safe_dump({"airflow": content}))):
        with contextlib.suppress(ImportInvalid):
            read_file(Path(name), text)


def test_a_connection_without_parts_is_still_a_uri() -> None:
    assert connection_uri({"conn_type": "aws"}) == "aws:///"
    assert env_lines("A=\nB=' x '\n", "stdin") == {"A": "", "B": " x "}


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("postgresql://ana:p%40ss@db.example:5432/shop", True),
        ("postgresql://ana:p@ss@db.example:5432/shop", True),  # read as it is meant
        ("postgresql://ana:pa/ss@db.example/shop", False),
        ("postgresql://ana:p@ss/w:rd#1@db.example:5432/shop", False),
        ("postgresql://ana:pass#1@db.example/shop", False),
        ("http://[::1]:8080/", True),
        ("https://host/path?__extra__=%7B%22mail%22%3A%22a@b%22%7D", True),
        ("aws://", True),
    ],
)
def test_a_uri_that_would_be_read_otherwise_is_refused(uri: str, taken: bool) -> None:
    if taken:
        assert checked_connection("shop", uri) == uri
    else:
        with pytest.raises(SeedsInvalid, match="as it is, and would be read as something else"):
            checked_connection("shop", uri)
