"""Bringing an environment up: an ordered list of steps, and what runs them."""
