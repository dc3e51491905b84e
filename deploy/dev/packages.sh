# shellcheck shell=bash
# What must be installed, each as COMMAND-OR-FILE:PACKAGE. Looked for by file, so that a tool that came in
# another way is left alone.

needed=(
    gcc:gcc
    ld:binutils
    make:make
    git:git
    pkg-config:pkg-config
    /usr/bin/python3:python3
    /usr/lib/python3/dist-packages/pytest:python3-pytest
    hg:mercurial
    curl:curl
    node:nodejs
    npm:npm
    socat:socat
    svn:subversion
    busybox:busybox-static
    docker-registry:docker-registry
    strace:strace
    ip:iproute2
    iptables:iptables
    /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1:libfaketime
    sqlite3:sqlite3
    /usr/lib/postgresql:postgresql
    /usr/lib/x86_64-linux-gnu/libc.a:libc6-dev
)

# Runs a command as root: directly, or by sudo where it asks for no password. Fails where neither may.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n -- "$@"
    fi
}

may_be_root() {
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

has() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

ensure_packages() {
    local missing=() entry
    for entry in "${needed[@]}"; do
        has "${entry%%:*}" || missing+=("${entry#*:}")
    done
    # An engine is installed only where none answers.
    if ! engine_answers && ! has dockerd; then
        missing+=(docker.io iptables)
    fi
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "these Debian packages are missing, and there is no apt-get here: ${missing[*]}"
    may_be_root || die "these Debian packages are missing: ${missing[*]}
Somebody who may has to run:
    sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
    say "installing from Debian's packages: ${missing[*]}"
    as_root apt-get update -qq
    # A freshly installed engine is started below, in one way on every machine.
    as_root apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
}
