"""From a save to bytes in the DAG volume: watch, scan, plan, send, and the verdict that comes back.

A watcher's event is only a hint that a path may differ; what is sent is decided by comparing a scan of
the folder with what the target last acknowledged. So a lost event, a restarted pod and the first sync
are one code path.
"""
