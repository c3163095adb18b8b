"""Flower, and what a Celery worker's pod asks of the broker; none of it needs Airflow or its database.

    broker.py flower    serves Flower on port 5555, behind the login in airflow.cfg
    broker.py wait      ends when the broker answers: a worker that had to retry may connect and take no task
    broker.py ping      ends with 0 when the worker of this host answers over the broker

The broker's address and the login come from `airflow.cfg`, never from an argument or an environment variable.
"""

from __future__ import annotations

import configparser
import socket
import sys
from urllib.parse import unquote

from celery import Celery

CONFIGURATION = "/etc/airflow/airflow.cfg"
PING_SECONDS = 5.0
WAIT_SECONDS = 300.0


def celery_section() -> configparser.SectionProxy:
    """The options of Celery, as the init container `secrets` has rendered them."""
    config = configparser.ConfigParser()
    config.read(CONFIGURATION, encoding="utf-8")
    return config["celery"]


def serve_flower(app: Celery, login: str) -> None:
    """Runs Flower until it is ended; its options do not reach the process's command line."""
    user, _, password = login.partition(":")
    app.start(["flower", "--port=5555", f"--basic-auth={unquote(user)}:{unquote(password)}"])


def wait(app: Celery) -> None:
    """Returns when the broker answers; raises kombu's OperationalError when it does not within five minutes."""
    # A packet to a pod that is gone is not answered: better ask again.
    with app.connection_for_read(transport_options={"socket_connect_timeout": 2.0}) as connection:
        connection.ensure_connection(interval_start=0.2, interval_step=0, interval_max=0.2, timeout=WAIT_SECONDS)


def answers(app: Celery, hostname: str) -> bool:
    """Whether the worker of a host answers a ping."""
    return bool(app.control.ping(destination=["celery@" + hostname], timeout=PING_SECONDS))


if __name__ == "__main__":
    section = celery_section()
    application = Celery(broker=section["broker_url"])
    if sys.argv[1] == "flower":
        serve_flower(application, section["flower_basic_auth"])
    elif sys.argv[1] == "wait":
        wait(application)
    elif not answers(application, socket.gethostname()):
        sys.exit(f"the worker does not answer over the broker within {PING_SECONDS:.0f} s")
