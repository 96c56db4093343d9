#!/bin/sh
# Downloads the packages that `packages` names from this machine's own apt sources, keeps their
# unit files in a cache outside the tree, and prints that directory on standard output:
#
#   DIRECTORY/PACKAGE/{lib,usr/lib}/systemd/{system,user}/…
#
# Needs Debian 12 or 13 (apt, dpkg). Safe to run again and at the same time. A package that the
# sources do not have is reported; fewer than 150 packages are a failure. AETHER_TEST_CACHE moves
# the cache.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
least=150
say() { printf 'tests/debian/fetch.sh: %s\n' "$*" >&2; }

if [ -n "${AETHER_TEST_CACHE:-}" ]; then
    cache=$AETHER_TEST_CACHE
elif [ "$(id -u)" = 0 ]; then
    cache=/var/cache/aether-tests
else
    cache=$HOME/.cache/aether-tests
fi
for program in apt-get apt-cache dpkg-deb flock xargs; do
    command -v "$program" >/dev/null || { say "$program is missing; this needs Debian"; exit 1; }
done
release=$(sed -n 's/^VERSION_ID="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release)
hash=$(cat "$here/packages" "$here/fetch.sh" | sha256sum | cut -c1-16)
tree=$cache/debian${release:-}-$hash

umask 022
mkdir -p "$cache"
exec 9>"$cache/.debian.lock"
flock 9
if [ -e "$tree/.complete" ]; then
    printf '%s\n' "$tree"
    exit 0
fi
say "downloading into $tree"
rm -rf "$tree" "$tree.partial"
mkdir -p "$tree.partial/.debs"
cd "$tree.partial"

sed '/^#/d; /^$/d' "$here/packages" | sort -u >.wanted
# One name that is unknown would spoil the download of all.
xargs apt-cache --no-all-versions show <.wanted 2>/dev/null |
    sed -n 's/^Package: //p' | sort -u | comm -12 .wanted - >.there
if [ "$(wc -l <.there)" -lt "$least" ]; then
    say "the apt sources have $(wc -l <.there) of $(wc -l <.wanted) packages; run apt-get update"
    exit 1
fi
comm -23 .wanted .there | while read -r package; do
    say "this release has no package $package"
done

# apt's own user could not write here.
(cd .debs && xargs -n 16 -P 4 apt-get -qq -o APT::Sandbox::User=root download <../.there) >&2 ||
    say "not everything could be downloaded"

units='^\./\(usr/\)\{0,1\}lib/systemd/\(system\|user\)/.'
for deb in .debs/*.deb; do
    package=$(basename "$deb" | cut -d_ -f1)
    dpkg-deb --fsys-tarfile "$deb" >.tar
    tar -tf .tar | grep "$units" | grep -v '/$' >.names || continue
    mkdir -p "$package"
    tar -xf .tar -C "$package" --no-same-owner -T .names
done
rm -rf .debs .tar .names

while read -r package; do
    [ -d "$package" ] || say "$package has no unit files here, or could not be downloaded"
done <.there
count=$(find . -mindepth 1 -maxdepth 1 -type d | wc -l)
if [ "$count" -lt "$least" ]; then
    say "only $count packages with unit files; at least $least are needed"
    exit 1
fi
cd "$cache"
: >"$tree.partial/.complete"
mv "$tree.partial" "$tree"
say "unit files of $count packages"
printf '%s\n' "$tree"
