"""Where the bytes of a save go: one module per transport."""
