//! Aether beside its peers: the same batch of services, in the same run, on the same machine.
//!
//! `cargo bench --bench peers [NAME…]`, as root, with a cgroup2 mount and a C compiler; a NAME is a
//! part of a row's name. Every service of every row is the same program, which reads the clock as
//! its first instruction, tells it through a FIFO, and sleeps (`tests/bench/stamp.c`; no shell, no
//! C library: what is measured is the supervisor). Two tables are printed:
//!
//! - **here**: bare (posix_spawn by this program), Aether, s6, runit, supervisord, dinit;
//! - **in a virtual machine** (`tests/vm/image.sh`, software emulation, so only ratios count):
//!   bare, Aether, systemd as the first process, dinit.
//!
//! The columns:
//!
//! - *ready*: start of the supervisor until it answers, where that comes before the batch;
//! - *running*: the batch's command, until the last of N services has executed its first
//!   instruction; median of the rounds, its ratio to bare, and the *best* round, which on a machine
//!   with other work says more. The command is `aetherctl start`, `systemctl start`, `dinitctl start` of one unit
//!   that wants all N, none of which has been read before; of s6, runit and supervisord the start of
//!   the supervisor itself, which starts what it finds;
//! - *said*: until the supervisor itself has said that all N run: its command ended. For systemd
//!   that is when it has forked, before the program runs. `ok` where it must be asked for
//!   (s6-svstat, sv, supervisorctl) and was so when asked;
//! - *own*, *RSS*, *PSS*: the supervisor's processes without the services, and their memory;
//! - *PSS each*: what a service more costs: the slope between the two sizes;
//! - *wake-ups*: how often all these processes went to sleep in the seconds of `AETHER_BENCH_IDLE`,
//!   with N services and nothing to do;
//! - *replaced*: SIGKILL of one service until the first instruction of its replacement. Once for
//!   *old* services, which have run for longer than a second, and once for *new* ones, killed as
//!   soon as they run. Each supervisor waits as little as it can be told to: Aether and systemd
//!   `RestartSec=0`, dinit `restart-delay = 0` with `smooth-recovery`, supervisord `startsecs=0`.
//!   s6 and runit have no setting: runit waits a second after a service that ran for less than one;
//!   s6 leaves a second between two starts, and waits one as well after the death of a service that
//!   had not said that it is ready, so it has two rows.
//!
//! What the rows do for a service beyond starting it is not the same. Aether and systemd make a
//! control group, Aether and supervisord capture its output; the others leave it (as systemd does
//! here, for no journal runs in the guest). That is what each does when its manual's plain service
//! is written. `confined` is Aether's `Policy=service`, and for systemd thirteen options that ask
//! for about the same.
//!
//! `tests/bench/peers/fetch.sh` unpacks the Debian packages; this program runs it. They are seen
//! through an overlay over `/usr` in a mount namespace of each supervisor's own; the machine's own
//! mounts stay as they are. Debian has no package of dinit: `AETHER_BENCH_DINIT` is a directory with
//! `dinit` and `dinitctl`, built from its source (`./configure && make`; with
//! `LDFLAGS="-static-libstdc++ -static-libgcc"`, for the guest has no C++ library). A peer that is
//! not there is a row that says so.
//!
//! Nothing is asserted. `AETHER_BENCH_MANY` (1000) services here, and a tenth of them (how the cost
//! grows); `AETHER_BENCH_GUEST` (100) in the guest, 0 for no guest; `AETHER_BENCH_ROUNDS` (3),
//! `AETHER_BENCH_RUNS` (20) replacements, `AETHER_BENCH_IDLE` (10) seconds.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reads clocks, starts processes, prints, and ends where a step fails"
)]

use std::path::{Path, PathBuf};

mod dinit;
mod found;
mod guest;
mod measure;
mod ours;
mod table;

#[expect(
    dead_code,
    reason = "the live tests' fixture; a part of it is used here"
)]
#[path = "../../it/live.rs"]
mod live;
#[path = "../process.rs"]
mod process;
#[expect(dead_code, reason = "the benchmarks' own; a part of it is used here")]
#[path = "../stamp.rs"]
mod stamp;
#[expect(dead_code, reason = "the virtual machine's tests; a part is used here")]
#[path = "../../it/vm.rs"]
mod vm;

use measure::Kind;
use stamp::setting;

/// The rows of the table of this machine.
const HERE: [Kind; 8] = [
    Kind::new("bare: posix_spawn", ours::bare),
    Kind::new("Aether", ours::unconfined),
    Kind::new("Aether, confined", ours::confined),
    Kind::new("s6", found::s6),
    Kind::new("s6, service says ready", found::s6_ready),
    Kind::new("runit", found::runit),
    Kind::new("supervisord", found::supervisord),
    Kind::new("dinit", dinit::dinit),
];

/// The rows of the table of the guest.
const GUEST: [Kind; 6] = [
    Kind::new("bare: posix_spawn", ours::bare),
    Kind::new("Aether", ours::unconfined),
    Kind::new("Aether, confined", ours::confined),
    Kind::new("systemd", guest::systemd),
    Kind::new("systemd, confined", guest::systemd_confined),
    Kind::new("dinit", dinit::dinit),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    // What a supervisor leaves behind becomes a child of this program, which ends it.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let place = tempfile::tempdir().unwrap();
    if let Some(program) = std::env::var_os(guest::INSIDE) {
        let count = setting("AETHER_BENCH_MANY", 100);
        let rows = table::measured(&GUEST, &wanted, Path::new(&program), count);
        rows.lines()
            .for_each(|line| println!("{}{line}", guest::MARK));
        return;
    }
    let program: PathBuf = stamp::build(place.path());
    let count = setting("AETHER_BENCH_MANY", 1_000);
    println!("here:");
    print!("{}", table::measured(&HERE, &wanted, &program, count));
    let count = setting("AETHER_BENCH_GUEST", 100);
    if count > 0 {
        println!("\nin a virtual machine (software emulation: only ratios count):");
        print!("{}", guest::run(&program, count, &wanted));
    }
}
