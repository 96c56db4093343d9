//! Aether from outside: real programs, real processes, real kernels. One binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic with its place, and they start programs and read files"
)]

mod action;
mod boundary;
mod bus;
mod calendar;
mod cgroup;
mod claude;
mod control;
mod ctl;
mod debian;
mod fuzz;
mod hostile;
mod hub;
mod install;
mod keeper;
mod layers;
mod live;
mod model;
mod notify;
mod replay;
mod stage;
mod story;
mod systemctl;
#[cfg(target_arch = "x86_64")]
mod systemd;
mod user;
mod verify;
#[cfg(target_arch = "x86_64")]
mod vm;
mod watch;
