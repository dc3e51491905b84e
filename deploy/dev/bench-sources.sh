#!/usr/bin/env bash
# A checkout of 5,000 files: by `git clone --depth 1`, and as the source of a job, for the first time and again. What a
# job without code takes is measured beside it and taken off.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
cargo build --quiet --release --locked --package reactorcide
reactorcide=$PWD/target/release/reactorcide
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
git init --quiet -b main repo
/usr/bin/python3 - <<'PYTHON'
import os, random
random.seed(1)
for n in range(5000):
    path = f"repo/src/d{n % 100}/f{n}.txt"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write("".join(random.choice("abcdefgh \n") for _ in range(2000)))
PYTHON
git -C repo add -A
git -C repo -c user.name=x -c user.email=x@example.com commit --quiet -m one
ms() { local from to; from=$(date +%s%N); "$@" >/dev/null 2>&1; to=$(date +%s%N); echo $(((to - from) / 1000000)); }
clone() { rm -rf clone && git clone --quiet --depth 1 "file://$work/repo" clone; }
job() { "$reactorcide" run --image reactorcide/busybox:local --pull never --job-command true "$@"; }
none() { job --source-type none; }
with() { job --git-url "$work/repo" --git-ref main; }
cold() { rm -rf .reactorcide-state/sources && with; }
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
several() { local all=(); for _ in 1 2 3 4 5; do all+=("$(ms "$1")"); done; median "${all[@]}"; }
none >/dev/null 2>&1
base=$(several none)
printf 'git clone --depth 1: %s ms\n' "$(several clone)"
printf 'a job without code: %s ms\n' "$base"
printf 'cold, the cache is empty: %s ms more\n' $(($(several cold) - base))
with >/dev/null 2>&1
printf 'warm, the commit is in the cache: %s ms more\n' $(($(several with) - base))
