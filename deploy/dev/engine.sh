# shellcheck shell=bash
# A container engine that answers: the one of DOCKER_HOST or the usual sockets, else Debian's, started here.

socket=/var/run/docker.sock

# Debian's client rather than another that may stand before it in PATH.
docker() {
    if [ -x /usr/bin/docker ]; then
        /usr/bin/docker "$@"
    else
        command docker "$@"
    fi
}

engine_answers() {
    has docker && timeout 20 bash -c "$(declare -f docker); docker version --format '{{.Server.Version}}'" >/dev/null 2>&1
}

wait_for_engine() {
    local deadline=$((SECONDS + $1))
    until engine_answers; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.3
    done
}

ensure_engine() {
    if engine_answers; then
        return
    fi
    [ -z "${DOCKER_HOST:-}" ] || die "DOCKER_HOST is $DOCKER_HOST, and no container engine answers there.
Start it, or unset DOCKER_HOST to use a local one."
    if [ -S $socket ] && [ ! -w $socket ]; then
        die "a container engine is at $socket, but $(id -un) may not use it.
Somebody who may has to run:
    sudo usermod -aG docker $(id -un)
and you have to log in again."
    fi
    # One that is starting needs a moment.
    if is_alive dockerd; then
        say "waiting for the container engine that is starting"
        wait_for_engine 15 && return
    fi
    if ! may_be_root; then
        die "no container engine answers at $socket.
Somebody who may has to run:
    sudo apt-get install docker.io && sudo systemctl start docker && sudo usermod -aG docker $(id -un)
and you have to log in again."
    fi
    has dockerd || die "no container engine answers, and there is no dockerd to start"
    start_engine
    engine_answers || die "the container engine runs, but $(id -un) may not use it. Run:
    sudo usermod -aG docker $(id -un)
and log in again."
}

# Starts dockerd by the init system where one runs, else by hand. What a killed one left behind (pid files of
# processes that are gone) would keep a new one from starting, so it is removed first.
start_engine() {
    if [ -d /run/systemd/system ]; then
        say "starting the container engine with systemd"
        as_root systemctl reset-failed docker 2>/dev/null || true
        as_root systemctl start docker
        wait_for_engine 60 || engine_failed "journalctl -u docker"
        return
    fi
    say "starting the container engine (log: /var/log/reactorcide-dockerd.log)"
    remove_stale_pid /var/run/docker.pid dockerd
    remove_stale_pid /var/run/docker/containerd/containerd.pid containerd
    mount_cgroups
    # Without icc containers of the default network cannot reach each other, so a job needs no network of its own.
    as_root bash -c 'setsid nohup dockerd --icc=false >/var/log/reactorcide-dockerd.log 2>&1 </dev/null &'
    wait_for_engine 90 || [ "$(id -u)" -ne 0 ] || engine_failed "cat /var/log/reactorcide-dockerd.log"
}

engine_failed() {
    as_root tail -n 5 /var/log/reactorcide-dockerd.log >&2 2>/dev/null || true
    die "the container engine did not start. See: $1"
}

# Whether a program of that name runs, with that pid where one is given. One that has ended and was not reaped
# does not.
is_alive() {
    local pid
    for pid in ${2:-/proc/[0-9]*}; do
        pid=${pid#/proc/}
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && ! grep -qs '^State:.Z' "/proc/$pid/status"; then
            return 0
        fi
    done
    return 1
}

# A pid file whose process is gone, or is another program by now, goes; a containerd that outlived its dockerd
# is stopped, since a new dockerd starts its own.
remove_stale_pid() {
    local file=$1 program=$2 pid
    [ -e "$file" ] || return 0
    pid=$(as_root cat "$file" 2>/dev/null || true)
    if [ -n "$pid" ] && is_alive "$program" "$pid"; then
        [ "$program" = containerd ] || return 0
        say "stopping a containerd that outlived its dockerd"
        as_root kill "$pid" 2>/dev/null || true
    fi
    say "removing $file, left behind by a killed $program"
    as_root rm -f "$file"
}

# Without an init system the cgroup file systems may not be mounted.
mount_cgroups() {
    if ! mountpoint -q /sys/fs/cgroup; then
        as_root mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true
    fi
}
