"""Seeds of secrets for a project of a test: a connection, variables, an env file, the alerts' webhook."""

from __future__ import annotations

import os
from pathlib import Path

_SEEDS = """\
[connections]
warehouse = "postgresql://reader:{connection}@db.example.com/shop"
[variables]
region = "eu-west"
hidden = "{variable}"
[secrets."kyuubi/database"]
KYUUBI_PASSWORD = "{kyuubi}"
[secrets."slack/webhook"]
SLACK_WEBHOOK_URL = "http://{receiver}/{webhook}"
"""


def canaries() -> dict[str, str]:
    """Values that are nowhere else, so that where they are found, a secret is."""
    return {name: f"canary-{name}-{os.urandom(9).hex()}" for name in ("connection", "variable", "kyuubi", "webhook")}


def write_seeds(path: Path, receiver: str, canary: dict[str, str]) -> None:
    """Writes the seeds, readable by their owner only; `receiver` is "HOST:PORT" in place of Slack's."""
    path.touch(mode=0o600)
    path.write_text(_SEEDS.format(receiver=receiver, **canary))
