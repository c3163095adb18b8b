"""Logs of components and tasks: following, merging in time order, filtering."""
