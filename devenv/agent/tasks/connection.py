"""Tests a connection from where tasks run: with the hook that its type has in the release's providers."""

from __future__ import annotations

import os

from devenv.agent.tasks.life import FAILED, Streams, Warm, finish
from devenv.agent.tasks.log_output import log_to_output
from devenv.agent.tasks.outcome import Events
from devenv.agent.tasks.private_database import PrivateDatabase
from devenv.agent.tasks.request import ConnectionRequest


def live(warm: Warm, request: ConnectionRequest, database: str, streams: Streams) -> None:
    """Tests it, and ends the process: 0 when it works, 1 when not.

    Args:
        warm: what is ready.
        request: which connection.
        database: where this run's copy of the template goes.
        streams: to the laptop.
    """
    events = Events(streams.result)
    finish(events, lambda: _test(warm, request, database, events))


def _test(warm: Warm, request: ConnectionRequest, database: str, events: Events) -> int:
    os.environ.update(request.variables)
    os.environ["AIRFLOW__CORE__TEST_CONNECTION"] = "Enabled"
    log_to_output(verbose=False)
    PrivateDatabase(warm.template, database, warm.configured).copy()
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection

    try:
        connection = Connection.get_connection_from_secrets(request.conn_id)
    except AirflowNotFoundException as error:
        events.send("connection", found=False, message=str(error))
        return FAILED
    works, message = connection.test_connection()
    events.send("connection", found=True, type=connection.conn_type or "", works=bool(works), message=str(message))
    return 0 if works else FAILED
