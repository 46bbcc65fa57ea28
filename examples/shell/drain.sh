#!/bin/sh
# Gives a worker no new work and waits until what it runs has ended: before its machine goes down, as a preStop hook, ...
#   LUIGI_HA_SCHEDULER_URL=http://scheduler:8082 drain.sh [--undo] [WORKER_ID]       default: $WORKER_ID, or this host's name
# Exit code 0: it runs nothing. 1: it still does after $DRAIN_SECONDS (600); it gets no new work all the same.
# It stays so, also when it is started again, until --undo: then it gets work again.
# LUIGI_HA_TOKEN_FILE names a file with a token of role worker, if the scheduler wants one.
set -eu
what=drain
[ "${1:-}" != --undo ] || { what=undrain; shift; }
url=${LUIGI_HA_SCHEDULER_URL:-${LUIGI_HA_URL:-http://localhost:8082}} worker=${1:-${WORKER_ID:-$(hostname)}}
end=$(($(date +%s) + ${DRAIN_SECONDS:-600}))
header=$(mktemp)
trap 'rm -f "$header"' EXIT
[ -z "${LUIGI_HA_TOKEN_FILE:-}" ] || printf 'Authorization: Bearer %s\n' "$(cat "$LUIGI_HA_TOKEN_FILE")" >"$header"

# The quotes of JSON around the shell's: "$worker" must be seen by the shell. Asking again is harmless, and tells what runs.
while running=$(curl -sS --fail-with-body -m 30 --retry 5 --retry-connrefused -H "@$header" -H 'Content-Type: application/json' \
    -d "{\"worker_id\": \"$worker\"}" "$url/api/worker/$what"); do
    [ "$what" = drain ] || exit 0
    case $running in *'"running": []'* | *'"running":[]'*) exit 0 ;; esac
    [ "$(date +%s)" -lt "$end" ] || break
    sleep 1
done
echo "$worker: $running" >&2
exit 1
