#!/usr/bin/env bash
# Aether's setup. Two commands do everything on a fresh Debian or Ubuntu:
#
#   ./setup.sh          install what is missing, build, start Aether with a first agent
#   ./setup.sh test     install what the tests need, run all tests
#
# Others: ./setup.sh prepare [test]   only install what building (or testing) needs
#         ./setup.sh install          build and install, start nothing
#         ./setup.sh user             as the first, for your own user: no root, less confinement
#         ./setup.sh remove           stop Aether and remove what was installed; agents' homes stay
# -E: the trap below holds in functions too.
set -Eeuo pipefail
cd "$(dirname "$(readlink -f "$0")")"

RUST_MIN=1.89
PREFIX=${AETHER_PREFIX:-/usr/local}
began=$(date +%s)

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m'; red=$'\e[31m'; green=$'\e[32m'; plain=$'\e[0m'; else bold= red= green= plain=; fi
doing="starting"
seconds() { printf '%s' "$(($(date +%s) - began))"; }
step() {
    doing=$*
    printf '%s==>%s %s  (after %s s)\n' "$green" "$plain" "$*" "$(seconds)"
}
say() { printf '    %s\n' "$*"; }
die() { # what failed, how to mend it
    printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
    shift
    for line in "$@"; do printf '  help: %s\n' "$line" >&2; done
    trap - ERR
    exit 1
}
trap '[ "$BASH_SUBSHELL" -gt 0 ] || die "setup stopped while: $doing (line $LINENO: $BASH_COMMAND)" "the lines above say why; mend it and run the same command again: what is done is not done twice"' ERR

# ---- privileges: root, or sudo ------------------------------------------------------------------
as_root() { "$@"; }
need_root() {
    [ "$(id -u)" -eq 0 ] && return 0
    command -v sudo >/dev/null 2>&1 || die "$1 needs root, and there is no sudo" \
        "run ./setup.sh as root, or ./setup.sh user for your own user only"
    sudo true || die "$1 needs root, and sudo refused" "run ./setup.sh user for your own user only"
    # The key stays with the supervisor, which gives it to units that ask (PassEnvironment=).
    as_root() { sudo --preserve-env=ANTHROPIC_API_KEY "$@"; }
}

# ---- packages -----------------------------------------------------------------------------------
missing_packages() { # prints those that are not installed
    local name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$name"
    done
}
packages() {
    local want
    want=$(missing_packages "$@")
    [ -z "$want" ] && return 0
    need_root "installing packages"
    say "installing: $want"
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null 2>&1; then
        # An empty or old package list is the usual reason.
        as_root apt-get update -qq || die "apt-get update failed" "is this machine online? see the lines above"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null ||
            die "apt-get could not install: $want" "run: apt-get install $want"
    fi
}

rust() {
    [ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null 2>&1 && [ -n "$(apt-cache policy rustup 2>/dev/null | sed -n 's/.*Candidate: \([0-9].*\)/\1/p')" ]; then
        packages rustup
        rustup default stable >/dev/null 2>&1 || true
    fi
    command -v cargo >/dev/null 2>&1 || die "there is no Rust toolchain (cargo)" \
        "install Rust $RUST_MIN or newer with rustup, then run this again" \
        "Debian's own rustc is too old on Debian 12"
    local have
    have=$(rustc --version | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    [ "$(printf '%s\n%s\n' "$RUST_MIN" "$have" | sort -V | head -1)" = "$RUST_MIN" ] ||
        die "Rust $have is too old; Aether needs $RUST_MIN" "rustup update stable"
}

# The tests run as root; what they need is kept where the users they make can read it.
export AETHER_TEST_CACHE=${AETHER_TEST_CACHE:-/var/cache/aether-tests}

prepare() { # [test]
    command -v apt-get >/dev/null 2>&1 || die "this is not Debian or Ubuntu (no apt-get)" \
        "install a C compiler and Rust $RUST_MIN, then: cargo build --release"
    step "packages for building"
    packages gcc libc6-dev git ca-certificates
    rust
    if [ "${1:-}" = test ]; then
        step "packages for the tests"
        # dbus-send: a foreign D-Bus client. python3: nothing of ours, some units in the tests.
        # systemd, tzdata: systemctl and systemd-analyze (systemd need not run), to compare with.
        need_root "preparing the tests"
        packages dbus-bin dbus-daemon procps util-linux python3 systemd tzdata
        # A virtual machine: other kernels, pure cgroup v2, a bare Debian.
        machine=$(dpkg --print-architecture)
        [ "$machine" != amd64 ] || packages mmdebstrap e2fsprogs qemu-system-x86
        # Node only where there is none: Claude Code needs npm to be fetched, the MCP client to run.
        command -v npm >/dev/null 2>&1 || packages nodejs npm
        step "Claude Code and the MCP client, as pinned in tests/npm"
        as_root env "AETHER_TEST_CACHE=$AETHER_TEST_CACHE" tests/npm/install.sh >/dev/null ||
            die "Claude Code or the MCP client could not be fetched with npm" "the lines above say why; is this machine online?"
        [ "$machine" = amd64 ] || return 0
        step "a virtual machine image for the tests"
        as_root env "AETHER_TEST_CACHE=$AETHER_TEST_CACHE" tests/vm/image.sh >/dev/null ||
            die "the virtual machine image could not be built" "the lines above say why; it needs Debian's mirrors and 2 GB of disk"
    fi
}

# ---- building and installing ---------------------------------------------------------------------
PROGRAMS="aether-init aetherd aetherctl aether-hub aether-mcp aether-agent"
build() {
    step "building (a first build takes a few minutes)"
    command -v cc >/dev/null 2>&1 || die "there is no C compiler (cc)" "apt-get install gcc libc6-dev"
    cargo build --release --locked --quiet || die "the build failed" \
        "the lines above say why; a network that cannot reach the crates' registry is the usual reason" \
        "what was built is kept: run the same command again"
}
install_into() { # prefix, command that may write there
    local prefix=$1 program
    shift
    step "installing into $prefix"
    "$@" mkdir -p "$prefix/lib/aether/bin" "$prefix/lib/aether/units" "$prefix/lib/aether/policies" "$prefix/bin"
    for program in $PROGRAMS; do
        # A running program cannot be overwritten; it can be replaced.
        "$@" cp "target/release/$program" "$prefix/lib/aether/bin/.$program.new"
        "$@" mv -f "$prefix/lib/aether/bin/.$program.new" "$prefix/lib/aether/bin/$program"
    done
    # Only what this version has: units of an older one would be read too.
    "$@" rm -f "$prefix"/lib/aether/units/* "$prefix"/lib/aether/policies/*
    "$@" cp units/*.agent units/*.service units/*.target "$prefix/lib/aether/units/"
    "$@" cp policies/*.policy "$prefix/lib/aether/policies/"
    "$@" ln -sf "$prefix/lib/aether/bin/aetherctl" "$prefix/bin/aetherctl"
}

hello() { # command prefix…
    step "starting Aether with a first agent (hello.agent)"
    local code=0
    "$@" --quiet status >/dev/null 2>&1 || code=$?
    if [ "$code" -eq 3 ]; then
        "$@" up || die "Aether did not start" "the lines above say why"
    else
        say "an older Aether is running here: its supervisor is replaced, what runs goes on"
        "$@" reexec || die "the running Aether could not be replaced" "stop it and begin again: $* down"
        "$@" --quiet restart aether-hub.service || die "the hub did not start again" "$* status aether-hub.service"
    fi
    if ! "$@" start --follow hello.agent; then
        # Without cgroups some limits cannot hold; hello.agent has just shown which.
        "$@" status 2>/dev/null | grep -q 'cgroups: none' || die "hello.agent did not finish well" \
            "why: $* status hello.agent" "all it said: $* logs hello.agent"
        say "there are no cgroups to use here, so not everything above was refused; what is missing:"
    fi
    step "what Aether says about this machine"
    "$@" status || die "Aether does not answer any more" "$* up"
}

next_steps() { # how aetherctl is called, directory of own unit files, the supervisor was started with the key
    local ctl=$1 claude
    printf '\n%sAether is running.%s  (%s s in all)\n' "$bold" "$plain" "$(seconds)"
    printf '  where to look:  %s status\n  your units:     %s/NAME.agent\n\n' "$ctl" "$2"
    printf 'Next:\n'
    printf '  %-36s # what there is\n' "$ctl list-units --all"
    printf '  %-36s # what the first agent did, and was refused\n' "$ctl logs hello.agent"
    printf '  %-36s # its unit file, the pattern of your own\n' "$ctl cat hello.agent"
    claude=$(command -v claude 2>/dev/null) || return 0
    claude=$(readlink -f "$claude")
    case $claude in
    /usr/* | /opt/*) ;;
    *)
        printf '\nClaude Code is here (%s), but below a home, which agents cannot enter.\n' "$claude"
        printf 'For all users:  npm install -g @anthropic-ai/claude-code\n'
        return 0
        ;;
    esac
    if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
        printf '\nClaude Code and a key are here. A real agent:\n'
    else
        printf '\nClaude Code is here. With a key (export ANTHROPIC_API_KEY=…, then down and up again) a real agent is:\n'
    fi
    printf "  %s run --follow --runtime claude-code -p PassEnvironment=ANTHROPIC_API_KEY --goal 'Say hello and list your tools.'\n" "$ctl"
}

case "${1:-}" in
"")
    need_root "installing Aether for the whole system"
    prepare
    build
    install_into "$PREFIX" as_root
    if [ "$(id -u)" -eq 0 ]; then ctl="$PREFIX/bin/aetherctl"; else ctl="sudo $PREFIX/bin/aetherctl"; fi
    as_root mkdir -p /etc/aether/units
    hello as_root "$PREFIX/bin/aetherctl"
    command -v aetherctl >/dev/null 2>&1 && ctl=${ctl/$PREFIX\/bin\//}
    next_steps "$ctl" /etc/aether/units
    ;;
user)
    [ "$(id -u)" -ne 0 ] || die "root's Aether is the system's" "./setup.sh"
    step "what the build needs"
    rust
    build
    install_into "$HOME/.local" env
    mkdir -p "${XDG_CONFIG_HOME:-$HOME/.config}/aether/units"
    hello "$HOME/.local/bin/aetherctl"
    next_steps "$HOME/.local/bin/aetherctl" "${XDG_CONFIG_HOME:-$HOME/.config}/aether/units"
    ;;
prepare) prepare "${2:-}" ;;
install)
    need_root "installing Aether for the whole system"
    prepare
    build
    install_into "$PREFIX" as_root
    ;;
test)
    prepare test
    step "building the tests"
    cargo build --locked --quiet --bins --tests
    step "running every test"
    # They make cgroups and users. Only the tests run as root: cargo's own files stay yours.
    if [ "$(id -u)" -ne 0 ]; then
        triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
        export "CARGO_TARGET_${triple}_RUNNER=sudo -E env PATH=$PATH"
    fi
    if command -v cargo-nextest >/dev/null 2>&1; then
        cargo nextest run --locked --profile "${AETHER_TEST_PROFILE:-ci}" || failed=yes
    else
        cargo test --locked --quiet --no-fail-fast || failed=yes
    fi
    [ -z "${failed:-}" ] || die "some tests failed (see above; after $(seconds) s)" \
        "one alone: cargo test --test it NAME" "in the library: cargo test --lib NAME"
    step "all tests passed"
    ;;
remove)
    need_root "removing Aether"
    [ -x "$PREFIX/bin/aetherctl" ] && { as_root "$PREFIX/bin/aetherctl" down || true; }
    as_root rm -rf "$PREFIX/lib/aether" "$PREFIX/bin/aetherctl"
    say "agents' homes and logs stay in /var/lib/aether and /var/log/aether"
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
