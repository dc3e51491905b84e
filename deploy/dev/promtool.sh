# shellcheck shell=bash
# promtool, for the tests of the alerts. Debian has it in the package of Prometheus alone, which starts a service; so only
# this one program is taken out of it. It lies in target/promtool.

ensure_promtool() {
    local to=target/promtool
    if has promtool || [ -x "$to/promtool" ]; then
        return 0
    fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        say "promtool is not there, and there is no apt-get to get it with: the tests of the alerts are passed over"
        return 0
    fi
    say "getting promtool"
    local work
    work=$(mktemp -d)
    (cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1) || {
        rm -rf "$work"
        say "promtool cannot be downloaded: the tests of the alerts are passed over"
        return 0
    }
    mkdir -p "$to"
    dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
    mv "$work/usr/bin/promtool" "$to/promtool"
    rm -rf "$work"
}
