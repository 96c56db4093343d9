//! The operating system: the only room with unsafe code and direct system calls.
//!
//! Each file owns one thing of the kernel and says what it refuses to do. `clone` and `process`
//! start and watch processes; `descriptor`, `identity`, `limits`, `capability` and `landlock` are
//! what the stage's steps are made of; `cgroup` and `watch` are the groups; `pipe`, `poll`,
//! `socket`, `fdstore` and `peer` are how processes talk, and `closing` how they part. `condition`, `listen` and `paths` look,
//! listen and wait for units. Nothing here decides: plans do ([`crate::plan`]).

#![expect(
    clippy::disallowed_methods,
    reason = "this is the room that touches files, clocks and processes"
)]

pub mod capability;
pub mod cgroup;
pub mod clock;
pub mod clone;
pub mod closing;
pub mod condition;
pub mod descriptor;
pub mod fdstore;
pub mod file;
pub mod glob;
pub mod host;
pub mod identity;
pub mod landlock;
pub mod limits;
pub mod linkfile;
pub mod listen;
pub mod notify;
pub mod paths;
pub mod peer;
pub mod pipe;
pub mod policyfile;
pub mod poll;
pub mod process;
pub mod pty;
pub mod random;
pub mod ready;
pub mod reaper;
pub mod reboot;
pub mod socket;
pub mod trusted;
pub mod unitfile;
pub mod user;
pub mod watch;
pub mod zone;
