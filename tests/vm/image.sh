#!/usr/bin/env bash
# Builds the virtual machine's kernel, initrd and root disk, once per suite, outside the tree.
# Prints the directory. Needs mmdebstrap and e2fsprogs; root, or a user namespace.
set -euo pipefail

. /etc/os-release
suite=${VERSION_CODENAME:-bookworm}
# The same place as tests/npm/install.sh uses.
if [ "$(id -u)" -eq 0 ]; then own=/var/cache; else own=${XDG_CACHE_HOME:-$HOME/.cache}; fi
cache=${AETHER_TEST_CACHE:-$own/aether-tests}
# The recipe is part of the key: a changed script makes a new image.
key=$(sha256sum "$0" | cut -c1-12)
image=$cache/vm-$suite-$key
mkdir -p "$cache"

exec 9>"$cache/vm.lock"
flock 9
if [ ! -e "$image/done" ]; then
    echo "building a virtual machine image of $suite (about a minute)" >&2
    rm -rf "$image"
    work=$(mktemp -d "$cache/vm-work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mode=root
    [ "$(id -u)" -eq 0 ] || mode=unshare
    # The machine's own mirrors serve the image too.
    sources=()
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
        [ -s "$file" ] && sources+=("$file")
    done
    case $(dpkg --print-architecture) in
        amd64) kernel=linux-image-cloud-amd64 ;;
        arm64) kernel=linux-image-cloud-arm64 ;;
        *) kernel=linux-image-generic ;;
    esac
    [ "${ID:-}" = ubuntu ] && kernel=linux-image-virtual
    cat >"$work/vm-init" <<'INIT'
#!/bin/sh
# The guest's first process: the API file systems, then the test's own script from the second disk.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /payload
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,rw / 2>/dev/null
mount -o ro /dev/vdb /payload || echo "VM: no payload"
/bin/sh /payload/test.sh </dev/null >/dev/console 2>&1
echo "VM: end" >/dev/console
sync
echo o >/proc/sysrq-trigger
while :; do sleep 10; done
INIT
    # The same guest with systemd as its first process (init=/lib/systemd/systemd): one unit runs the
    # test. It survives `systemctl isolate`, and reads from memory, for a mount would not.
    cat >"$work/vm-test.service" <<'UNIT'
[Unit]
DefaultDependencies=no
IgnoreOnIsolate=yes
[Service]
ExecStart=/bin/sh /sbin/vm-test
UNIT
    cat >"$work/vm-test" <<'TEST'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -o ro /dev/vdb /mnt && cp -r /mnt /run/payload && umount /mnt || echo "VM: no payload" >/dev/console
/bin/sh /run/payload/test.sh </dev/null >/dev/console 2>&1
echo "VM: end" >/dev/console
echo o >/proc/sysrq-trigger
TEST
    chmod 755 "$work/vm-init"
    mmdebstrap --quiet --mode="$mode" --variant=minbase \
        --include="$kernel,python3-minimal,procps,iproute2,systemd" \
        --customize-hook="copy-in $work/vm-init $work/vm-test /sbin" \
        --customize-hook="copy-in $work/vm-test.service /etc/systemd/system" \
        --customize-hook='cd "$1/lib/systemd" && rm -rf system-generators/* system/*.target.wants/*' \
        --customize-hook='rm -rf "$1"/var/cache/apt/*.bin "$1"/usr/share/doc "$1"/usr/share/locale' \
        "$suite" "$work/root.tar" "${sources[@]}" >&2
    mkdir "$work/root" "$work/out"
    tar -C "$work/root" -xf "$work/root.tar" --exclude='./dev/*'
    cp "$work"/root/boot/vmlinuz-* "$work/out/vmlinuz"
    cp "$work"/root/boot/initrd.img-* "$work/out/initrd"
    rm -rf "$work"/root/boot/*
    mke2fs -q -t ext4 -d "$work/root" "$work/out/root.img" 1500M >&2
    touch "$work/out/done"
    mv "$work/out" "$image"
fi
echo "$image"
