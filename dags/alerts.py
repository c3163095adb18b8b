"""A helper of two DAG files: tells a Slack channel how a task ended.

The webhook is a secret: an init container has written `slack.env`, from Vault's `slack/webhook`, to the folder
that DEVENV_SECRETS_FOLDER names. Without a webhook the callback says so in the task's log.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from env_files import read_env


def failed(context: dict[str, Any]) -> None:
    """An `on_failure_callback`: which task of which run failed."""
    _send(context, "failed")


def succeeded(context: dict[str, Any]) -> None:
    """An `on_success_callback`: which task of which run succeeded."""
    _send(context, "succeeded")


def _send(context: dict[str, Any], how: str) -> None:
    """A callback must not fail itself, and never prints the webhook."""
    instance = context["task_instance"]
    webhook = read_env("slack.env").get("SLACK_WEBHOOK_URL")
    if not webhook:
        print("no SLACK_WEBHOOK_URL in slack.env: no alert was sent")
        return
    text = f"{instance.dag_id}.{instance.task_id} {how} in {context['run_id']}"
    request = urllib.request.Request(
        webhook, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10):
            print("alert sent")
    except OSError as error:
        print(f"no alert was sent: {type(error).__name__}")
