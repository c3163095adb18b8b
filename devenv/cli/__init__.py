"""One module per command: it reads flags, calls a room below, and prints. No logic lives here."""
