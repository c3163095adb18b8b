#!/bin/bash
# Makes the database on an empty claim, and sets its password to the one in Vault on every start. It runs in an init
# container of its own, so that the server's container has no password in its environment.
set -euo pipefail

password=$(<"$DEVENV_PASSWORD_FILE")

# The image's entrypoint makes the database before it starts `postgres`, which prints one setting here and ends.
POSTGRES_PASSWORD=$password docker-entrypoint.sh postgres -C data_directory >/dev/null

# Single-user mode needs no password and no network; Postgres refuses to run as root.
printf "ALTER ROLE \"%s\" PASSWORD '%s';\n" "$POSTGRES_USER" "${password//\'/\'\'}" |
  setpriv --reuid postgres --regid postgres --clear-groups "$(command -v postgres)" --single -D "$PGDATA" postgres >/dev/null
