"""Vault for the user of the laptop: an `hvac.Client`, and its failures in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from devenv.vault.errors import VaultDenied, VaultSealed, VaultUnreachable

if TYPE_CHECKING:
    import hvac


def open_client(address: str, token: str) -> hvac.Client:
    """A client that is logged in; nothing is sent yet.

    Args:
        address: "http://127.0.0.1:8200".
        token: the root token of the seeds.
    """
    import hvac
    import requests

    session = requests.Session()
    session.trust_env = False  # no proxy and no ~/.netrc on the way to 127.0.0.1
    return hvac.Client(url=address, token=token, timeout=10, session=session)


@contextlib.contextmanager
def explained(client: hvac.Client) -> Iterator[None]:
    """Turns what hvac raises into errors with cause and next command.

    Raises:
        VaultUnreachable, VaultSealed, VaultDenied: as they say.
    """
    import hvac.exceptions
    import requests

    try:
        yield
    except requests.exceptions.RequestException as error:
        raise VaultUnreachable(f"Vault does not answer at {client.url}", hint="devenv up") from error
    except hvac.exceptions.VaultDown as error:
        if "sealed" in str(error):
            raise VaultSealed(
                f"Vault at {client.url} is sealed; it is restarted and seeded again by itself",
                hint="devenv logs vault",
            ) from error
        raise VaultUnreachable(f"Vault at {client.url} is not ready: {_said(error)}", hint="devenv status") from error
    except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized) as error:
        raise VaultDenied(
            f"Vault at {client.url} does not accept this environment's token; another Vault may answer there",
            hint="devenv secrets seed",
        ) from error
    except hvac.exceptions.VaultError as error:
        raise VaultDenied(f"Vault at {client.url} refused: {_said(error)}", hint="devenv logs vault") from error


def _said(error: Exception) -> str:
    """The message of hvac without its request line."""
    return str(error).partition(", on ")[0]
