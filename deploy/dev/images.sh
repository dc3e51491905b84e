# shellcheck shell=bash
# The local images of the examples and tests, made from Debian's packages: nothing is pulled.
#
#   reactorcide/busybox:local      a shell and small tools; 2 MB
#   reactorcide/debian-make:local  Debian with sh, coreutils, make, gcc and Python, without git; about 290 MB, about a
#                                  minute to make
#   reactorcide/static:local       one static program and nothing else: no shell, no libc
#
# Each carries the hash of its recipe in a label; one whose hash is right is left as it is.

ensure_images() {
    ensure_image busybox "$(hash_of deploy/dev/images.sh /bin/busybox)" make_busybox
    ensure_image static "$(hash_of deploy/dev/images.sh tests/images/static/program.c)" make_static
    ensure_image debian-make "$(hash_of deploy/dev/images.sh)" make_debian
}

hash_of() {
    cat "$@" | sha256sum | cut -c1-16
}

ensure_image() {
    local name=reactorcide/$1:local recipe=$2 maker=$3 tree
    if [ "$(docker image inspect --format '{{index .Config.Labels "reactorcide.recipe"}}' "$name" 2>/dev/null)" = "$recipe" ]; then
        return
    fi
    say "building the image $name"
    tree=$(mktemp -d)
    "$maker" "$tree"
    tar -C "$tree" --numeric-owner --owner=0 --group=0 -c . |
        docker import --change "LABEL reactorcide.recipe=$recipe" \
            --change 'ENV PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            --change "CMD [\"$image_command\"]" - "$name" >/dev/null
    rm -rf "$tree"
}

make_skeleton() {
    mkdir -p "$1"/{etc,tmp,root,dev,proc,sys}
    chmod 1777 "$1/tmp"
    printf 'root:x:0:0:root:/root:/bin/sh\njob:x:1001:1001:job:/tmp:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\njob:x:1001:\n' >"$1/etc/group"
}

make_busybox() {
    local tool
    image_command=/bin/sh
    make_skeleton "$1"
    mkdir -p "$1/bin"
    cp /bin/busybox "$1/bin/busybox"
    for tool in $(/bin/busybox --list); do
        [ "$tool" = busybox ] || ln -s busybox "$1/bin/$tool"
    done
}

make_static() {
    image_command=/program
    mkdir -p "$1/tmp"
    chmod 1777 "$1/tmp"
    gcc -O1 -static -o "$1/program" tests/images/static/program.c
}

# The packages are unpacked without running their scripts: a few links that those would make are made here.
make_debian() {
    local tree=$1 packages cache
    image_command=/bin/sh
    make_skeleton "$tree"
    mkdir -p "$tree"/usr/{bin,sbin,lib,lib64} "$tree"/var/tmp
    local directory
    for directory in bin sbin lib lib64; do
        ln -s "usr/$directory" "$tree/$directory"
    done
    cache=$(mktemp -d)
    packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances dash coreutils grep sed findutils diffutils make gcc libc6-dev python3 |
        grep '^[a-z0-9]' | grep -Ev ':i386$|^(debconf.*|perl.*|cdebconf.*|dpkg|tar|install-info)$' | sort -u)
    packages=$(for_real_packages "$packages")
    # shellcheck disable=SC2086
    (cd "$cache" && apt-get download -qq $packages >/dev/null 2>&1) || die "apt-get download failed: run apt-get update and try again"
    local archive
    for archive in "$cache"/*.deb; do
        dpkg-deb --fsys-tarfile "$archive" | tar -C "$tree" --keep-directory-symlink --no-same-owner \
            --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' -x
    done
    rm -rf "$cache"
    ln -sf dash "$tree/usr/bin/sh"
    ln -sf gcc "$tree/usr/bin/cc"
    chroot_works "$tree" || die "the image debian-make does not work: sh, gcc or python3 does not start in it"
}

# Those names that are packages and not virtual ones.
for_real_packages() {
    local name
    for name in $1; do
        # Not grep -q: it leaves before apt-cache has said everything, which then counts as a failure.
        apt-cache show --no-all-versions "$name" 2>/dev/null | grep -c '^Filename:' >/dev/null && printf '%s\n' "$name"
    done
    return 0
}

chroot_works() {
    may_be_root || return 0
    as_root chroot "$1" /bin/sh -c 'gcc --version && make --version && python3 -c "import json, socket, subprocess" && echo ok | grep -q ok' >/dev/null
}
