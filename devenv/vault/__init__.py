"""The dev Vault: a local server process, seeds, policies, and the secrets that `devenv secrets` sets."""
