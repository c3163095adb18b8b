#!/usr/bin/env bash
# Brings the DAG volume in step with dags/.
#
# In the sync-dags Job (minikube/components/flux), where the claim's folder `dags` is mounted at /mnt/dags: by rsync. The
# Job and devenv's agent refuse each other: each takes its own lock in the claim and then looks at the other's.
# On a laptop: by `devenv sync`, into the environment that `devenv up` made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

volume=${DEVENV_DAG_VOLUME:-/mnt/dags}
state=${DEVENV_DAG_STATE:-/mnt/devenv}

if [[ ! -d $volume ]]; then
  exec devenv sync "$@"
fi

if [[ -d $state ]]; then
  exec 8>>"$state/job.lock"
  if ! flock --nonblock 8; then
    echo "sync-dags: another sync-dags Job is writing to this claim" >&2
    exit 1
  fi
  touch "$state/agent.lock"
  if ! flock --nonblock "$state/agent.lock" true; then
    echo "sync-dags: devenv's agent is writing to this claim; end the watch, or let it do the work:" >&2
    head -c 4096 "$state/agent.lock" >&2
    exit 1
  fi
fi

if [[ ! -d dags || -z $(find dags -type f -print -quit) ]]; then
  echo "sync-dags: dags/ is missing or empty; nothing was deleted" >&2
  exit 1
fi
# The volume's own folder may be root's: neither its time nor its mode can be set, and they need not.
rsync -av --omit-dir-times --no-perms --executability --delete dags/ "$volume"
