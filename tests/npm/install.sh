#!/bin/sh
# Installs the real programs that the contract tests run, pinned by package-lock.json, into a
# cache outside the tree, and prints the path of the claude binary on standard output (the npm
# tree is the directory above node_modules in it). Safe to run again and at the same time.
#
#   tests/npm/install.sh          install where needed, print the path
#   tests/npm/install.sh --path   print the path only; fails when nothing is installed
#
# AETHER_TEST_CACHE moves the cache. Root's default is not below its home: agents run as other
# users, who cannot enter it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
say() { printf 'tests/npm/install.sh: %s\n' "$*" >&2; }

if [ -n "${AETHER_TEST_CACHE:-}" ]; then
    cache=$AETHER_TEST_CACHE
elif [ "$(id -u)" = 0 ]; then
    cache=/var/cache/aether-tests
else
    cache=$HOME/.cache/aether-tests
fi
hash=$(sha256sum "$here/package-lock.json" | cut -c1-16)
tree=$cache/npm-$hash

case $(uname -m) in
x86_64) platform=linux-x64 ;;
aarch64) platform=linux-arm64 ;;
*) say "no claude binary is published for $(uname -m)"; exit 1 ;;
esac
for loader in /lib/ld-musl-*; do
    if [ -e "$loader" ]; then platform=$platform-musl; fi
done
# The platform package's own file: the claude-code package only links to it, by an install script.
claude=$tree/node_modules/@anthropic-ai/claude-code-$platform/claude

installed() { [ -e "$tree/.complete" ] && [ -x "$claude" ]; }

if [ "${1:-}" = --path ]; then
    if installed; then printf '%s\n' "$claude"; exit 0; fi
    say "the programs are not installed in $tree; run tests/npm/install.sh"
    exit 1
fi

umask 022
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if installed; then
    say "already installed in $tree"
else
    say "installing into $tree"
    rm -rf "$tree.partial" "$tree"
    mkdir "$tree.partial"
    cp "$here/package.json" "$here/package-lock.json" "$tree.partial/"
    (cd "$tree.partial" && npm ci --ignore-scripts --no-audit --no-fund) >&2
    : >"$tree.partial/.complete"
    mv "$tree.partial" "$tree"
    installed || { say "npm did not install $claude"; exit 1; }
    say "done: $("$claude" --version)"
fi
printf '%s\n' "$claude"
