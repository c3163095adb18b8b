"""Logs: following pods and task logs, merging them in time order, keeping secrets out of them."""
