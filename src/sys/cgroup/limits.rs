//! Limits: a unit's [`Resources`] → control files, v2 by hand and v1 through `cgroups-rs`.
//!
//! Every limit that could not be set becomes a sentence; none is dropped silently. The numbers are
//! pure functions.

use std::path::Path;

use cgroups_rs::MaxValue;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;

use super::file;
use crate::unit::Resources;

const PERIOD: u64 = 100_000;

/// Quota and period in microseconds for thousandths of one processor. The kernel refuses quotas
/// below one millisecond, so small shares get a longer period.
fn bandwidth(thousandths: u32) -> (u64, u64) {
    let quota = u64::from(thousandths) * (PERIOD / 1000);
    if quota >= 1000 {
        (quota, PERIOD)
    } else {
        (u64::from(thousandths.max(1)) * 1000, 1_000_000)
    }
}

/// `cpu.shares` that mean what a v2 weight means (100 is 1024).
fn shares(weight: u32) -> u64 {
    (u64::from(weight) * 1024 / 100).clamp(2, 262_144)
}

fn max(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |v| v.to_string())
}

/// Sets v2 limits on the group; `None` lifts a limit, which a `fresh` group does not have.
pub(super) fn set_unified(group: &Path, wanted: &Resources, fresh: bool) -> Vec<String> {
    let mut missing = vec![];
    let mut set = |directive: &str, name: &str, value: String, asked: bool| {
        let path = group.join(name);
        // Without a wish and without the file there is nothing to say.
        if !asked && (fresh || !path.exists()) {
            return;
        }
        if let Err(error) = file::write(&path, &value) {
            missing.push(format!("{directive}= is not enforced: {error}"));
        }
    };
    let r = wanted;
    // The swap limit first: lowering the memory limit may push pages out at once.
    set(
        "MemorySwapMax",
        "memory.swap.max",
        max(r.memory_swap_max),
        r.memory_swap_max.is_some(),
    );
    set(
        "MemoryHigh",
        "memory.high",
        max(r.memory_high),
        r.memory_high.is_some(),
    );
    set(
        "MemoryMax",
        "memory.max",
        max(r.memory_max),
        r.memory_max.is_some(),
    );
    let quota = r.cpu_quota.map_or_else(
        || format!("max {PERIOD}"),
        |thousandths| {
            let (quota, period) = bandwidth(thousandths);
            format!("{quota} {period}")
        },
    );
    set("CPUQuota", "cpu.max", quota, r.cpu_quota.is_some());
    let weight = r.cpu_weight.unwrap_or(100).clamp(1, 10_000).to_string();
    set("CPUWeight", "cpu.weight", weight, r.cpu_weight.is_some());
    set(
        "TasksMax",
        "pids.max",
        max(r.tasks_max),
        r.tasks_max.is_some(),
    );
    missing
}

/// Whether any limit of a v1 controller is wanted.
pub(super) const fn are_wanted(controller: &str, wanted: &Resources) -> bool {
    match controller.as_bytes() {
        b"memory" => {
            wanted.memory_high.is_some()
                || wanted.memory_max.is_some()
                || wanted.memory_swap_max.is_some()
        }
        b"cpu" => wanted.cpu_quota.is_some() || wanted.cpu_weight.is_some(),
        b"pids" => wanted.tasks_max.is_some(),
        _ => false,
    }
}

/// Sets v1 limits on the groups there are, by controller; `None` lifts a limit, which `fresh`
/// groups do not have, nor those that were never made.
pub(super) fn set_v1<'a>(
    group: impl Fn(&str) -> Option<&'a Path>,
    wanted: &Resources,
    fresh: bool,
) -> Vec<String> {
    let mut missing = vec![];
    let untouched = |controller, directory: &Path| {
        !are_wanted(controller, wanted) && (fresh || !directory.exists())
    };
    match group("memory") {
        Some(directory) if untouched("memory", directory) => {}
        Some(directory) => memory(directory, wanted, &mut missing),
        None => absent(
            "memory",
            [
                ("MemoryHigh", wanted.memory_high.is_some()),
                ("MemoryMax", wanted.memory_max.is_some()),
                ("MemorySwapMax", wanted.memory_swap_max.is_some()),
            ],
            &mut missing,
        ),
    }
    match group("cpu") {
        Some(directory) if untouched("cpu", directory) => {}
        Some(directory) => cpu(directory, wanted, &mut missing),
        None => absent(
            "cpu",
            [
                ("CPUQuota", wanted.cpu_quota.is_some()),
                ("CPUWeight", wanted.cpu_weight.is_some()),
            ],
            &mut missing,
        ),
    }
    match group("pids") {
        Some(directory) if untouched("pids", directory) => {}
        Some(directory) => {
            let value = match wanted.tasks_max {
                Some(tasks) => MaxValue::Value(i64::try_from(tasks).unwrap_or(i64::MAX)),
                None => MaxValue::Max,
            };
            let result = PidController::new(directory.to_owned(), false).set_pid_max(value);
            note("TasksMax", result, &mut missing);
        }
        None => absent(
            "pids",
            [("TasksMax", wanted.tasks_max.is_some())],
            &mut missing,
        ),
    }
    missing
}

fn memory(directory: &Path, wanted: &Resources, missing: &mut Vec<String>) {
    let memory = MemController::new(directory.to_owned(), false);
    let bytes = |value: Option<u64>| value.map_or(-1, |v| i64::try_from(v).unwrap_or(i64::MAX));
    let swap_accounting = directory.join("memory.memsw.limit_in_bytes").exists();
    // Memory plus swap may never be less than memory: lift it, set memory, then lower it again.
    if swap_accounting {
        note("MemorySwapMax", memory.set_memswap_limit(-1), missing);
    }
    note(
        "MemoryMax",
        memory.set_limit(bytes(wanted.memory_max)),
        missing,
    );
    if let Some(swap) = wanted.memory_swap_max {
        match wanted.memory_max {
            _ if !swap_accounting => missing.push(
                "MemorySwapMax= is not enforced: this kernel does not account swap (memory.memsw)"
                    .to_owned(),
            ),
            Some(max) => note(
                "MemorySwapMax",
                memory.set_memswap_limit(bytes(Some(max.saturating_add(swap)))),
                missing,
            ),
            None => missing.push(
                "MemorySwapMax= is not enforced: a v1 host limits swap only together with \
                 MemoryMax="
                    .to_owned(),
            ),
        }
    }
    if wanted.memory_high.is_some() {
        missing.push(
            "MemoryHigh= is not enforced: the v1 memory controller has nothing like it".to_owned(),
        );
    }
}

fn cpu(directory: &Path, wanted: &Resources, missing: &mut Vec<String>) {
    let cpu = CpuController::new(directory.to_owned(), false);
    let result = match wanted.cpu_quota {
        Some(thousandths) => {
            let (quota, period) = bandwidth(thousandths);
            let quota = i64::try_from(quota).unwrap_or(i64::MAX);
            // Without a quota any period is accepted, so no pair is refused on the way.
            cpu.set_cfs_quota(-1)
                .and_then(|()| cpu.set_cfs_period(period))
                .and_then(|()| cpu.set_cfs_quota(quota))
        }
        None if directory.join("cpu.cfs_quota_us").exists() => cpu.set_cfs_quota(-1),
        None => Ok(()),
    };
    note("CPUQuota", result, missing);
    let weight = shares(wanted.cpu_weight.unwrap_or(100));
    note("CPUWeight", cpu.set_shares(weight), missing);
}

fn note<E: std::error::Error>(directive: &str, result: Result<(), E>, missing: &mut Vec<String>) {
    if let Err(error) = result {
        let cause = error
            .source()
            .map_or_else(String::new, |source| format!(": {source}"));
        missing.push(format!("{directive}= is not enforced: {error}{cause}"));
    }
}

fn absent<const N: usize>(controller: &str, wishes: [(&str, bool); N], missing: &mut Vec<String>) {
    for (directive, asked) in wishes {
        if asked {
            missing.push(format!(
                "{directive}= is not enforced: there is no writable {controller} controller here"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_never_below_what_the_kernel_takes() {
        assert_eq!(bandwidth(1500), (150_000, 100_000));
        assert_eq!(bandwidth(10), (1000, 100_000));
        assert_eq!(bandwidth(9), (9000, 1_000_000));
        assert_eq!(bandwidth(0), (1000, 1_000_000));
    }

    #[test]
    fn weights_become_shares() {
        assert_eq!(
            (shares(100), shares(1), shares(10_000)),
            (1024, 10, 102_400)
        );
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_said() {
        let wanted = Resources {
            memory_max: Some(1),
            tasks_max: Some(1),
            ..Resources::default()
        };
        let nowhere = tempfile::tempdir().unwrap();
        let unified = set_unified(nowhere.path(), &wanted, false);
        assert_eq!(unified.len(), 2, "{unified:?}");
        let v1 = set_v1(|_| None, &wanted, false);
        assert_eq!(v1.len(), 2, "{v1:?}");
        assert!(v1[0].starts_with("MemoryMax= is not enforced"), "{v1:?}");
        assert!(set_unified(nowhere.path(), &Resources::default(), false).is_empty());
    }
}
