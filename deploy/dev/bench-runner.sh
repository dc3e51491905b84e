#!/usr/bin/env bash
# The static runner by itself: what a step costs, how fast masked output goes through the real pipe, and how much memory
# a long log takes. Prints figures; absolute times mean little on a shared machine.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
cargo build --quiet --release --locked --package reactorcide
runner=$(find target/runner-static -name reactorcide-runner -path '*runner/reactorcide-runner' | head -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A spec: the work, and how many secrets.
spec() {
    /usr/bin/python3 - "$work" "$1" "$2" <<'PYTHON'
import json, sys
directory, work, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
print(json.dumps({"v": 1, "run_id": "r", "job": "j", "attempt": 1, "work": work, "working_dir": directory, "workspace": directory,
                  "grace_ms": 1000, "mask": [f"secret-number-{n:04}-of-many" for n in range(count)]}))
PYTHON
}
seconds() { local from to; from=$(date +%s%N); "$@"; to=$(date +%s%N); echo $(((to - from) / 1000000)); }

printf 'size of the static runner: %s bytes\n' "$(stat -c %s "$runner")"

steps=300
noop=$(/usr/bin/python3 -c "import json; print(json.dumps({'steps': [{'name': f's{n}', 'run': {'exec': ['/bin/true']}} for n in range($steps)]}))")
spec "$noop" 0 >"$work/noop.json"
spec '{"command": {"exec": ["/bin/true"]}}' 0 >"$work/one.json"
all() { "$runner" exec <"$work/noop.json" >/dev/null; }
plain() { for _ in $(seq $steps); do /bin/true; done; }
one() { "$runner" exec <"$work/one.json" >/dev/null; }
all
whole=$(seconds all)
bare=$(seconds plain)
printf 'a no-op step: %s us more than the bare command (%s steps in %s ms; as commands of a shell %s ms)\n' \
    $(((whole - bare) * 1000 / steps)) $steps "$whole" "$bare"
printf 'a job of one no-op: %s ms\n' "$(seconds one)"

megabytes=1024
script="i=0; while [ \$i -lt $((megabytes / 8)) ]; do cat $work/block; i=\$((i + 1)); done"
/usr/bin/python3 -c "
line = b'2026-11-21T12:00:00Z INFO a line of a build log, as long as such lines are, with some numbers 12345\n'
open('$work/block', 'wb').write((line * (8 * 1024 * 1024 // len(line) + 1))[:8 * 1024 * 1024])"
for secrets in 0 100; do
    spec "{\"command\": {\"script\": \"$script\"}}" $secrets >"$work/log.json"
    /usr/bin/python3 - "$runner" "$work/log.json" $megabytes $secrets <<'PYTHON'
import subprocess, sys, threading, time
runner, spec, megabytes, secrets = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
child = subprocess.Popen([runner, "exec"], stdin=open(spec), stdout=subprocess.PIPE)
begun, total, highest = time.monotonic(), 0, 0
status = f"/proc/{child.pid}/status"
while True:
    piece = child.stdout.read(1 << 20)
    if not piece:
        break
    total += len(piece)
    try:
        highest = max(int(line.split()[1]) for line in open(status) if line.startswith("VmHWM"))
    except (OSError, ValueError):
        pass
child.wait()
took = time.monotonic() - begun
print(f"{megabytes} MB of log, {secrets} secrets: {megabytes / took:.0f} MB/s through the pipe, {total / 2**20:.0f} MB of frames, {highest / 1024:.1f} MB resident at most")
PYTHON
done
