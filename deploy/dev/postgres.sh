# shellcheck shell=bash
# A PostgreSQL for the tests: a cluster of its own, reached by a socket that nobody else may use. Tests look for it at
# that socket, or where REACTORCIDE_TEST_POSTGRES says.

postgres_sockets=/tmp/reactorcide-postgres-$(id -u)

# PostgreSQL refuses to run as root: there its own user runs it.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    else
        "$@"
    fi
}

postgres_answers() {
    "$postgres_programs/pg_isready" --quiet --host "$postgres_sockets" --timeout 5
}

ensure_postgres() {
    [ -z "${REACTORCIDE_TEST_POSTGRES:-}" ] || return 0
    postgres_programs=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin | sort -V | tail -1)
    [ -n "$postgres_programs" ] || die "PostgreSQL is missing: sudo apt-get install postgresql"
    local data
    if [ "$(id -u)" -eq 0 ]; then
        data=/var/lib/reactorcide-test-postgres
    else
        data=${XDG_CACHE_HOME:-$HOME/.cache}/reactorcide-test-postgres
    fi
    if ! postgres_answers; then
        start_postgres "$data"
    fi
    # What tests left behind; each in a transaction of its own, since one holds only so many locks.
    "$postgres_programs/psql" --host "$postgres_sockets" --username reactorcide --dbname postgres --quiet --no-psqlrc \
        --set ON_ERROR_STOP=1 >/dev/null <<'EOT' || die "the PostgreSQL of the tests does not work; its log: $data.log"
set client_min_messages = error;
select format('drop schema %I cascade', nspname) from pg_namespace where nspname like 'test\_%' \gexec
EOT
}

start_postgres() {
    local data=$1
    mkdir -p "$postgres_sockets" "$(dirname "$data")"
    if [ "$(id -u)" -eq 0 ]; then
        install -d -o postgres -g postgres -m 700 "$data"
        install -o postgres -g postgres -m 600 /dev/null "$data.log"
        chown postgres:postgres "$postgres_sockets"
    fi
    if [ ! -f "$data/PG_VERSION" ]; then
        say "making a PostgreSQL cluster for the tests in $data"
        as_postgres "$postgres_programs/initdb" --pgdata "$data" --username reactorcide --auth trust --encoding UTF8 \
            --locale C >/dev/null
    fi
    # One that was killed leaves its pid file, and its children need a moment to notice.
    local pid
    pid=$(head -1 "$data/postmaster.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && ! { [ -r "/proc/$pid/comm" ] && grep -q '^postgres' "/proc/$pid/comm"; }; then
        say "removing $data/postmaster.pid, left behind by a killed PostgreSQL"
        rm -f "$data/postmaster.pid"
    fi
    say "starting the PostgreSQL of the tests (log: $data.log)"
    # One that puts itself right after it was killed may take longer than is waited for, and goes on meanwhile.
    local attempt
    for attempt in {1..60}; do
        if postgres_answers || (cd / && as_postgres "$postgres_programs/pg_ctl" start --pgdata "$data" --log "$data.log" --wait --timeout 60 --silent \
            --options "-k $postgres_sockets -c listen_addresses= -c unix_socket_permissions=0700 -c max_connections=200" >/dev/null 2>&1); then
            return
        fi
        [ "$attempt" -eq 60 ] || sleep 2
    done
    die "the PostgreSQL of the tests does not start; its log: $data.log"
}
