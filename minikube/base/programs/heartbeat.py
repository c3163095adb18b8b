"""A probe: ends with 0 when a job of this host has sent a heartbeat lately. `heartbeat.py TriggererJob [SECONDS]`."""

from __future__ import annotations

import socket
import sys

from metadata_database import connect, connection_url

FRESH_SECONDS = 30.0


def seconds_since_heartbeat(job_type: str, hostname: str) -> float:
    """How old the last heartbeat of a running job is; infinite when there is none."""
    with connect(connection_url()).cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job "
            "WHERE job_type = %s AND hostname = %s AND state = 'running'",
            (job_type, hostname),
        )
        seconds = cursor.fetchone()[0]
    return float(seconds) if seconds is not None else float("inf")


if __name__ == "__main__":
    limit = float(sys.argv[2]) if len(sys.argv) > 2 else FRESH_SECONDS
    age = seconds_since_heartbeat(sys.argv[1], socket.gethostname())
    if age > limit:
        sys.exit(f"{sys.argv[1]}: the last heartbeat is {age:.0f} s old, the limit is {limit:.0f} s")
