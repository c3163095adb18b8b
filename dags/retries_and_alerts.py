"""Retries, and an alert to Slack when a task has failed for good.

The webhook is a secret: an init container has written `slack.env`, from Vault's `slack/webhook`, to the folder
that DEVENV_SECRETS_FOLDER names. Without a webhook the callback says so in the task's log.
"""

from __future__ import annotations

import json
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.decorators import dag, task
from env_files import read_env


def alert(context: dict[str, Any]) -> None:
    """Tells Slack which task of which run failed; a callback must not fail itself."""
    instance = context["task_instance"]
    webhook = read_env("slack.env").get("SLACK_WEBHOOK_URL")
    if not webhook:
        print("no SLACK_WEBHOOK_URL in slack.env: no alert was sent")
        return
    text = f"{instance.dag_id}.{instance.task_id} failed in {context['run_id']}"
    request = urllib.request.Request(
        webhook, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10):
            print("alert sent")
    except OSError as error:
        print(f"no alert was sent: {type(error).__name__}")


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={
        "owner": "data",
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": False,
        "email_on_failure": False,
        "on_failure_callback": alert,
    },
    params={"fail": False},
    tags=["example"],
)
def retries_and_alerts():
    @task
    def flaky(**context: Any) -> str:
        """Fails at its first try; succeeds at the second unless the run was asked to fail."""
        if context["params"]["fail"]:
            raise RuntimeError("asked to fail: devenv run retries_and_alerts --conf '{\"fail\": true}'")
        if context["ti"].try_number == 1:
            raise RuntimeError("the first try always fails")
        return "fine"

    flaky()


retries_and_alerts()
