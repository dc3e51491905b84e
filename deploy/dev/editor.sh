# shellcheck shell=bash
# The YAML language server that editors use, from npm, for the tests of what editors show. It lies in target/editor.

ensure_editor() {
    local to=target/editor
    if [ -e "$to/node_modules/.package-lock.json" ] && cmp -s tests/editor/package-lock.json "$to/package-lock.json"; then
        return 0
    fi
    say "installing the YAML language server from npm, into $to"
    rm -rf "$to"
    mkdir -p "$to"
    cp tests/editor/package.json tests/editor/package-lock.json "$to"
    (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
        die "npm could not install the YAML language server: see above; is the npm registry reachable?"
}
