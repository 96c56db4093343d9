#!/usr/bin/env bash
# Unpacks the packages of Aether's peers into a cache outside the tree and prints that directory.
# Nothing is installed and no maintainer's script runs: runit's would touch this machine's init.
#
# Needs Debian or Ubuntu (apt, dpkg). Only what the machine does not have is downloaded, from its
# own apt sources. A package that they do not have is reported and left out; dinit is none of
# Debian's (12, 13) and is looked for in case it becomes one. AETHER_TEST_CACHE moves the cache.
set -euo pipefail

say() { printf 'tests/bench/peers/fetch.sh: %s\n' "$*" >&2; }
if [ "$(id -u)" -eq 0 ]; then own=/var/cache; else own=${XDG_CACHE_HOME:-$HOME/.cache}; fi
cache=${AETHER_TEST_CACHE:-$own/aether-tests}
. /etc/os-release
key=$(sha256sum "$0" | cut -c1-12)
tree=$cache/peers-${VERSION_CODENAME:-unknown}-$key

umask 022
mkdir -p "$cache"
exec 9>"$cache/peers.lock"
flock 9
if [ ! -e "$tree/done" ]; then
    work=$(mktemp -d "$cache/peers-work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/debs" "$work/out/usr"
    wanted=()
    for package in s6 runit supervisor dinit; do
        if [ -n "$(apt-cache policy "$package" | sed -n 's/ *Candidate: \([0-9].*\)/\1/p')" ]; then
            wanted+=("$package")
        else
            say "the apt sources have no package $package"
        fi
    done
    [ ${#wanted[@]} -gt 0 ] || { say "run apt-get update"; exit 1; }
    # What installing them would bring, each with its dependencies.
    apt-get -s --no-install-recommends install "${wanted[@]}" |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p' >"$work/names"
    # apt's own user could not write here.
    (cd "$work/debs" && xargs -r apt-get -qq -o APT::Sandbox::User=root download <"$work/names") >&2
    for deb in "$work"/debs/*.deb; do
        [ -e "$deb" ] && dpkg -x "$deb" "$work/out"
    done
    : >"$work/out/done"
    rm -rf "$tree"
    mv "$work/out" "$tree"
fi
echo "$tree"
