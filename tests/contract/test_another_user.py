"""What another user of this machine gets: a ticket on a browser's command line is worth nothing to them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from devenv.ui.server import PageServer

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs Linux, and to become another user"),
]
NOBODY = 65_534
REDEEM = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
connection.request("POST", "/api/ticket", headers={"Authorization": "Ticket " + sys.argv[2]})
print(connection.getresponse().status)
"""


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer(cast("Any", SimpleNamespace())) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()


def interpreter() -> str:
    """A Python that another user may run; that of the tests often lies in root's own folder."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with contextlib.suppress(OSError):
            if subprocess.run([candidate, "-c", ""], user=NOBODY, cwd="/", check=False).returncode == 0:
                return candidate
    pytest.skip("no Python here that another user may run")


def redeem(server: PageServer, ticket: str, user: int) -> str:
    command = [interpreter(), "-c", REDEEM, str(server.port), ticket]
    return subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


def test_a_ticket_is_redeemed_by_its_own_user_only(server: PageServer) -> None:
    ticket = server.ticket_url().partition("#ticket=")[2]
    assert redeem(server, ticket, NOBODY) == "401"
    assert redeem(server, ticket, os.getuid()) == "200"  # it was not used up
    assert redeem(server, ticket, os.getuid()) == "401"
