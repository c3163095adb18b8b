"""The platform's own secrets, which let a fresh environment run, from the `secrets.json` of base and components.

An entry's `values` are plain words (`${user}` is the admin user of the settings); its `generated` are random, kept by
name among the environment's seeds.
"""

from __future__ import annotations

import base64
import secrets as random
from collections.abc import Mapping

from devenv.components import BY_NAME, secret_entries
from devenv.settings.schema import Settings

_OWN = {"root_token": 20, "login_key": 32, "revision_key": 16}
"""Keys of Vault itself, which no pod fetches → random bytes in each."""


def generate() -> dict[str, str]:
    """Random keys and passwords for a new environment, of all components; safe in URLs and in `airflow.cfg`."""
    made = {name: random.token_hex(count) for name, count in _OWN.items()}
    for entry in secret_entries(BY_NAME):
        for about in entry.get("generated", {}).values():
            made[about["name"]] = _random(about["bytes"], about.get("form", "hex"))
    return made


def values(
    settings: Settings, generated: Mapping[str, str], database: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Path → key → value, for the components that are switched on.

    Args:
        settings: the project's.
        generated: see `generate`.
        database: where the metadata database is when it is not the cluster's: `POSTGRES_HOST`, `POSTGRES_PORT`, or
            a whole `SQL_ALCHEMY_CONN`.
    """
    found: dict[str, dict[str, str]] = {}
    for entry in secret_entries(settings.parts):
        plain = {key: value.replace("${user}", settings.airflow.user) for key, value in entry.get("values", {}).items()}
        random_values = {key: generated[about["name"]] for key, about in entry.get("generated", {}).items()}
        if plain or random_values:
            found.setdefault(entry["path"], {}).update({**plain, **random_values})
    found["postgres/airflow"].update(database or {})
    return found


def _random(count: int, form: str) -> str:
    if form == "base64":
        return base64.urlsafe_b64encode(random.token_bytes(count)).decode()
    return random.token_hex(count)
