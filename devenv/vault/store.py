"""The secrets in a running Vault, by path, for `devenv secrets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from devenv.vault import programs
from devenv.vault.client import explained

if TYPE_CHECKING:
    import hvac


class SecretStore:
    """The KV mount of one Vault. Every method raises the errors of `client.explained`."""

    def __init__(self, client: hvac.Client, mount: str) -> None:
        self._client = client
        self._mount = mount

    def read(self, path: str) -> dict[str, str] | None:
        """Keys and values at a path; None where there is nothing."""
        import hvac.exceptions

        with explained(self._client):
            try:
                answer = self._client.secrets.kv.v2.read_secret_version(
                    path, mount_point=self._mount, raise_on_deleted_version=True
                )
            except hvac.exceptions.InvalidPath:
                return None
        text_of = programs.load("fetch_secrets").text_of
        return {str(key): text_of(value) for key, value in answer["data"]["data"].items()}

    def write(self, path: str, values: Mapping[str, Any]) -> None:
        """Makes a path hold just these values."""
        with explained(self._client):
            self._client.secrets.kv.v2.create_or_update_secret(path, secret=dict(values), mount_point=self._mount)

    def remove(self, path: str) -> None:
        """Removes a path with all its versions."""
        with explained(self._client):
            self._client.secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point=self._mount)

    def paths(self, folder: str = "") -> list[str]:
        """Every path below a folder, sorted; devenv's own notes left out."""
        import hvac.exceptions

        found: list[str] = []
        with explained(self._client):
            try:
                answer = self._client.secrets.kv.v2.list_secrets(folder, mount_point=self._mount)
            except hvac.exceptions.InvalidPath:
                return []
        for name in answer["data"]["keys"]:
            path = f"{folder}{name}"
            if path == "devenv/":
                continue
            found += self.paths(path) if name.endswith("/") else [path]
        return sorted(found)

    def read_all(self) -> dict[str, dict[str, str]]:
        """Everything that is there."""
        found = {path: self.read(path) for path in self.paths()}
        return {path: values for path, values in found.items() if values is not None}
