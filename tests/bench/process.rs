//! What `/proc` says of processes, and their end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A number in a file of lines `name: number …`; 0 where there is none.
pub(crate) fn field(path: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .next()
        .unwrap_or(0)
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

pub(crate) fn parent(pid: u32) -> u32 {
    u32::try_from(field(&file(pid, "status"), "PPid")).unwrap()
}

/// Resident memory in KiB, and the same with shared pages divided among those that share them.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    // The sum over the mappings: VmRSS is behind by some pages for each processor.
    let sums = file(pid, "smaps_rollup");
    (field(&sums, "Rss"), field(&sums, "Pss"))
}

/// How often the process, all of its threads, went to sleep: it had been woken as often.
pub(crate) fn sleeps(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(file(pid, "task")) else {
        return 0;
    };
    threads
        .filter_map(Result::ok)
        .map(|thread| field(&thread.path().join("status"), "voluntary_ctxt_switches"))
        .sum()
}

/// Everything that descends from the process.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    for pid in all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        children.entry(parent(pid)).or_default().push(pid);
    }
    let mut found = vec![];
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        next.extend(&below);
        found.extend(below);
    }
    found
}

/// Signals a process of ours; one that is gone needs none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

/// Ends whatever still descends from this process, which is its orphans' parent.
pub(crate) fn sweep() {
    let any = Pid::from_raw(-1);
    loop {
        for pid in descendants(std::process::id()) {
            signal(pid, Signal::SIGKILL);
        }
        // One is waited for, those that have ended with it are taken; until there is no child.
        if let Err(nix::Error::ECHILD) = waitpid(any, None) {
            return;
        }
        while waitpid(any, Some(WaitPidFlag::WNOHANG)).is_ok_and(|end| end.pid().is_some()) {}
    }
}
