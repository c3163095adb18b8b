"""Filling a running Vault anew: the seeder does it, as soon as it finds its marker gone."""

from __future__ import annotations

import time

from devenv.errors import TimedOut
from devenv.vault import programs
from devenv.vault.keeper import SeedKeeper
from devenv.vault.store import SecretStore

SECONDS = 120.0
"""How long a kubelet may take to bring a changed Secret into the seeder's pod (its sync period and cache, 90 s)."""


def seed_again(keeper: SeedKeeper, store: SecretStore, *, seconds: float = SECONDS) -> float:
    """Publishes the seeds, removes the marker and waits until the seeder has applied them; gives back the seconds.

    Raises:
        TimedOut: the seeder does not run.
        DevenvError: the seeds cannot be read, a command failed, Vault or the cluster does not answer.
    """
    seed_vault = programs.load("seed_vault")
    start = time.monotonic()
    digest = keeper.publish(keeper.load())
    with keeper.locked():  # what was set while commands ran stays
        keeper.save(keeper.load())
    store.remove(seed_vault.MARKER_PATH)
    while True:
        marker = store.read(seed_vault.MARKER_PATH)
        if marker is not None and digest in ("", marker.get("digest")):
            return time.monotonic() - start
        if time.monotonic() - start > seconds:
            raise TimedOut(f"Vault was not seeded within {seconds:.0f} s", hint="devenv logs vault")
        time.sleep(0.2)  # Vault has no way to be watched
