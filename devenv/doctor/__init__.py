"""Looks for what is wrong with a laptop and an environment; each finding has a cause and a remedy."""
