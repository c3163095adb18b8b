"""A probe: ends with 0 when a job of this container sent a heartbeat lately. `heartbeat.py TriggererJob [SECONDS]`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from metadata_database import connect, connection_url

FRESH_SECONDS = 30.0
_START_TIME = 19
"""Of what stands behind the name in `/proc/PID/stat` (proc_pid_stat(5): 22nd field)."""


def container_seconds() -> float:
    """How long this container has been running: the age of its first process."""
    fields = Path("/proc/1/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return uptime - int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")


def seconds_since_heartbeat(job_type: str, hostname: str, started_within: float) -> float:
    """How old the last heartbeat of a running job is; infinite when there is none.

    Args:
        job_type: "SchedulerJob", "TriggererJob", "DagProcessorJob".
        hostname: of the pod.
        started_within: seconds; a job that is older was killed with the container before, and did not say so.
    """
    with connect(connection_url()).cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job WHERE job_type = %s AND hostname = %s "
            "AND state = 'running' AND start_date > now() - make_interval(secs => %s)",
            (job_type, hostname, started_within),
        )
        seconds = cursor.fetchone()[0]
    return float(seconds) if seconds is not None else float("inf")


if __name__ == "__main__":
    limit = float(sys.argv[2]) if len(sys.argv) > 2 else FRESH_SECONDS
    age = seconds_since_heartbeat(sys.argv[1], socket.gethostname(), container_seconds())
    if age > limit:
        sys.exit(f"{sys.argv[1]}: the last heartbeat is {age:.0f} s old, the limit is {limit:.0f} s")
