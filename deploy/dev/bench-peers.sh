#!/usr/bin/env bash
# Queues of others on this machine, with the questions that `cargo bench -p reactorcide-server --bench queue` asks of
# ours: jobs accepted a second by 1 and by 64 clients, and jobs taken and ended a second. graphile-worker keeps its jobs in
# the PostgreSQL that `./dev setup` starts, BullMQ in a Redis that syncs each write to the disk and in one that syncs each
# second, Dask in memory. What cannot be had is said and left out. Run it beside ours, in the same minutes.
#
#   deploy/dev/bench-peers.sh [JOBS]
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")/peers
jobs=${1:-20000}
work=$(mktemp -d)
trap 'kill $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null || true; rm -rf "$work"' EXIT
postgres=${REACTORCIDE_TEST_POSTGRES:-postgres://reactorcide@localhost/postgres?host=/tmp/reactorcide-postgres-0}
cd "$work"

if command -v npm >/dev/null && npm install --silent --no-fund --no-audit graphile-worker@0.16 bullmq@5 pg@8 >npm.log 2>&1; then
    cp "$here"/*.mjs .
    node graphile.mjs "$postgres" "$jobs" || echo "graphile-worker: not measured"
    if command -v redis-server >/dev/null; then
        for sync in always everysec; do
            mkdir "$sync"
            redis-server --port 0 --unixsocket "$work/$sync.sock" --dir "$work/$sync" --appendonly yes \
                --appendfsync "$sync" --save '' --daemonize yes --pidfile "$work/$sync.pid" --logfile "$work/$sync.log"
            for _ in $(seq 100); do [ -S "$work/$sync.sock" ] && break; sleep 0.1; done
            node bullmq.mjs "$work/$sync.sock" "$jobs" "appendfsync $sync" || echo "BullMQ: not measured"
            kill "$(cat "$work/$sync.pid")"
        done
    else
        echo "Redis is not installed (redis-server): BullMQ is left out"
    fi
else
    echo "npm is not installed or has no registry: graphile-worker and BullMQ are left out"
fi
if python3 -m venv dask >/dev/null 2>&1 && dask/bin/pip install --quiet 'dask[distributed]' >pip.log 2>&1; then
    dask/bin/python "$here/dask_queue.py" "$jobs"
else
    echo "Dask cannot be installed: it is left out"
fi
