# shellcheck shell=bash
# Sends a server what its OpenAPI document allows, and what it does not, for some minutes: `./dev schemathesis [SECONDS]`.

SCHEMATHESIS=4.32.5
# The routes that only jobs may use are refused to everybody else, so that not all operations can be answered with 2xx.
SCHEMATHESIS_LEAST=90

ensure_schemathesis() {
    local venv=$root/target/schemathesis-$SCHEMATHESIS
    if [ ! -x "$venv/bin/schemathesis" ]; then
        say "installing schemathesis $SCHEMATHESIS into target/"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$SCHEMATHESIS"
    fi
}

# A part of a path that may be any text has no value that is wrong, so that most of what is made up for it is left out.
run_schemathesis() {
    local seconds=${1:-300} port=${SCHEMATHESIS_PORT:-7429} work server
    ensure_schemathesis
    cargo build --locked --package reactorcide
    work=$(mktemp -d)
    local reactorcide=$root/target/debug/reactorcide
    cp tests/schemathesis/fixtures.yaml "$work/"
    (cd "$work" && "$reactorcide" apply --auto-approve >/dev/null)
    (cd "$work" && exec "$reactorcide" server --listen "127.0.0.1:$port" >server.log 2>&1) &
    server=$!
    # shellcheck disable=SC2064
    trap "kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf '$work'" EXIT
    local tries=0
    until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz"; do
        kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; die "the server ended"; }
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || die "the server is not ready"
        sleep 0.1
    done
    REACTORCIDE_TOKEN=$(grep --only-matching --max-count 1 'rct_[0-9a-f]*_[A-Za-z0-9_-]*' "$work/server.log")
    export REACTORCIDE_TOKEN
    export REACTORCIDE_SERVER=http://127.0.0.1:$port
    export REACTORCIDE_FIXTURES=$work/fixtures.yaml REACTORCIDE_ANSWERED=$work/answered.json
    local outcome=0
    SCHEMATHESIS_HOOKS=hooks PYTHONPATH=tests/schemathesis \
        "$root/target/schemathesis-$SCHEMATHESIS/bin/schemathesis" \
        --config-file tests/schemathesis/schemathesis.toml \
        run "$REACTORCIDE_SERVER/api/v1/openapi.json" \
        --max-time "$seconds" --request-timeout 30 --suppress-health-check filter_too_much --generation-database none --no-color || outcome=$?
    python3 - "$REACTORCIDE_ANSWERED" "$SCHEMATHESIS_LEAST" <<'EOT' || outcome=1
import json, sys
answered = json.load(open(sys.argv[1]))
never = sorted(name for name, done in answered.items() if not done)
share = 100 * (len(answered) - len(never)) / max(1, len(answered))
print(f"{share:.0f} % of {len(answered)} operations were answered with 2xx; never: {', '.join(never) or 'none'}")
sys.exit(share < float(sys.argv[2]))
EOT
    return "$outcome"
}
