#!/bin/sh
# A worker in shell, curl and jq. It runs tasks whose family is the name of a program in $TASKS: the parameters come as
# JSON on its standard input, exit code 0 means done, and what it printed last is the error otherwise.
#   LUIGI_HA_SCHEDULER_URL=http://localhost:8082 WORKER_ID=shell-1 TASKS=./tasks ./worker.sh
# LUIGI_HA_TOKEN_FILE names a file with the token, if the scheduler wants one. SIGTERM, or `drain`, and it ends after its task.
set -u
url=${LUIGI_HA_SCHEDULER_URL:-${LUIGI_HA_URL:-http://localhost:8082}} worker=${WORKER_ID:-$(hostname)} tasks=${TASKS:-tasks}
dir=$(mktemp -d) stop=
trap 'rm -rf "$dir"' EXIT
trap 'stop=yes' TERM INT
umask 077 # a header on curl's command line would be seen by everybody who can run ps
[ -z "${LUIGI_HA_TOKEN_FILE:-}" ] || printf 'Authorization: Bearer %s\n' "$(cat "$LUIGI_HA_TOKEN_FILE")" >"$dir/header"
: >>"$dir/header"

call() { # FILE PATH BODY: the reply goes to FILE, its status to $status; asked again for as long as nobody answers
    until status=$(curl -sS -m 60 -o "$1" -w '%{http_code}' -H "@$dir/header" -d "$3" "$url$2") && [ "$status" -lt 500 ]; do
        sleep "1.$(($$ % 10))"
    done
    [ "$status" -lt 300 ] || [ "$status" = 409 ] || { jq -r .detail "$1" >&2; exit 1; }
}
report() { # FILE STATUS [ERROR]
    call "$1" /api/heartbeat "$(jq -c --arg w "$worker" --arg s "$2" --arg e "${3:-}" \
        '{worker: $w, tasks: [{task_id, attempt, run_id, status: $s} + if $s == "FAILED" then {error: $e} else {} end]}' "$dir/task")"
}
beat() { # PID: says that it still runs; ends it if the scheduler has given it to somebody else, or cancelled it
    while sleep "${BEAT:-10}"; do
        report "$dir/beat" RUNNING
        jq -e '.lost + [.commands[] | select(.name == "cancel")] == []' "$dir/beat" >"$dir/verdict" || kill "$1"
    done
}

families=$(find "$tasks" -maxdepth 1 -type f -perm -u+x -exec basename {} \; | jq -Rnc '[inputs]')
ask=$(jq -nc --arg w "$worker" --argjson f "$families" '{worker: $w, families: $f, holding: [], wait: 10}')
while [ -z "$stop" ]; do
    call "$dir/task" /api/task "$ask"
    if [ "$status" = 204 ]; then
        call "$dir/idle" /api/heartbeat "$(jq -nc --arg w "$worker" '{worker: $w}')"
        [ "$(jq -r .state "$dir/idle")" = active ] || stop=yes
        continue
    fi
    jq -c .params "$dir/task" | "$tasks/$(jq -r .family "$dir/task")" >"$dir/output" 2>&1 & pid=$!
    beat "$pid" >"$dir/beats" 2>&1 & beating=$!
    until wait "$pid"; code=$?; ! kill -0 "$pid" 2>"$dir/ignored"; do :; done
    kill "$beating"
    if [ "$code" = 0 ]; then report "$dir/done" DONE; else report "$dir/done" FAILED "exit code $code: $(tail -c 2000 "$dir/output")"; fi
    jq -r --arg s "$status" '"\(.task_id) attempt \(.attempt): \(if $s == "409" then "not ours any more" else "reported" end)"' "$dir/task"
done
