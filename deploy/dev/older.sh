# shellcheck shell=bash
# A worker of an earlier version, for the test that it works for today's server: built once, into target/older.

# Before anything that a worker of the next version may not know of; moved on with each release.
older_commit=0e96465

ensure_older() {
    if ! git -C "$root" cat-file -e "$older_commit^{commit}" 2>/dev/null; then
        say "the commit $older_commit is not in this clone: no earlier worker is tried"
        return 0
    fi
    local tree=$root/target/older/tree
    export REACTORCIDE_TEST_OLDER=$root/target/older/build/debug/reactorcide
    if [ "$(cat "$root/target/older/commit" 2>/dev/null)" = "$older_commit" ] && [ -x "$REACTORCIDE_TEST_OLDER" ]; then
        return 0
    fi
    say "building a worker of $older_commit"
    rm -rf "$tree"
    mkdir -p "$tree"
    git -C "$root" archive "$older_commit" | tar -x -C "$tree"
    (cd "$tree" && CARGO_TARGET_DIR=$root/target/older/build cargo build --locked --package reactorcide)
    rm -rf "$tree"
    printf '%s\n' "$older_commit" >"$root/target/older/commit"
}
