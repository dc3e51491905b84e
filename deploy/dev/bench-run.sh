#!/usr/bin/env bash
# Compares `reactorcide run` of a job that does nothing with `docker run` of the same image and command, in turn,
# so that both see the same machine. Prints the median of each and the ratio.
#
#   deploy/dev/bench-run.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
rounds=${1:-15}
reactorcide=$PWD/target/release/reactorcide
image=reactorcide/busybox:local
[ -x "$reactorcide" ] || { echo "build it first: ./dev build" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/.reactorcide"
cat >"$work/.reactorcide/noop.yaml" <<EOT
apiVersion: reactorcide/v1
kind: Project
metadata: {name: bench}
spec: {}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: noop, project: bench}
spec:
  jobs:
    noop: {image: "$image", source: {none: true}, command: ["true"]}
EOT
cd "$work"
"$reactorcide" apply --auto-approve >/dev/null

REACTORCIDE=$reactorcide IMAGE=$image ROUNDS=$rounds python3 - <<'EOT'
import os, statistics, subprocess, time

ours = [os.environ["REACTORCIDE"], "run", "noop"]
theirs = ["/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker",
          "run", "--rm", os.environ["IMAGE"], "true"]


def seconds(command):
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


seconds(ours), seconds(theirs)
pairs = [(seconds(ours), seconds(theirs)) for _ in range(int(os.environ["ROUNDS"]))]
print(f"reactorcide run  median {statistics.median(a for a, _ in pairs) * 1000:7.1f} ms")
print(f"docker run       median {statistics.median(b for _, b in pairs) * 1000:7.1f} ms")
print(f"ratio            median {statistics.median(a / b for a, b in pairs):7.2f}   ({len(pairs)} pairs)")
EOT
