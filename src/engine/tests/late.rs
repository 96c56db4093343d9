//! Whatever is too late: how it is ended.

use super::*;

fn signals(b: &Bench) -> Vec<i32> {
    let signal = |e: &Effect| match e {
        Effect::Signal { signal, .. } => Some(*signal),
        _ => None,
    };
    b.out.iter().filter_map(signal).collect()
}

fn with(change: impl FnOnce(&mut Service)) -> Bench {
    let mut unit = service("a.service");
    change(unit.service.as_mut().unwrap());
    Bench::new([unit])
}

#[test]
fn a_late_start_is_aborted() {
    // WatchdogSignal=, TimeoutAbortSec=, then force.
    let mut b = with(|service| {
        service.start = StartType::Notify;
        service.start_failure_mode = FailureMode::Abort;
    });
    b.run("a.service").fire();
    assert_eq!(signals(&b), [6, 18]);
    assert_eq!(b.view("a.service").sub, "stop-watchdog");
    assert_eq!(b.view("a.service").outcome, Outcome::Timeout);
    b.fire();
    assert!(b.has(killed));
}

#[test]
fn a_late_start_is_killed() {
    let mut b = with(|service| {
        service.start = StartType::Notify;
        service.start_failure_mode = FailureMode::Kill;
    });
    b.run("a.service").fire();
    assert!(b.has(killed) && signals(&b).is_empty());
}

#[test]
fn a_late_stop_is_aborted_before_it_is_killed() {
    let mut b = with(|service| service.stop_failure_mode = FailureMode::Abort);
    b.run("a.service").stop("a.service", false).unwrap();
    assert_eq!(signals(&b), [15, 18]);
    b.fire();
    assert_eq!(signals(&b), [6, 18]);
    b.fire();
    assert!(b.has(killed));
}

#[test]
fn a_late_exec_stop_post_is_asked_and_then_what_is_left() {
    // final-sigterm first for the command, then, as ever, for the rest.
    let mut b = with(|service| service.exec_stop_post = vec![command("post")]);
    b.run("a.service").exit("a.service", OK, None);
    b.empty("a.service").up("a.service").fire();
    assert_eq!(signals(&b), [15, 18]);
    assert_eq!(b.view("a.service").sub, "final-sigterm");
    b.exit("a.service", ExitStatus::Killed(15), None);
    assert!(b.has(|e| matches!(e, Effect::Sweep { .. })));
    b.empty("a.service");
    assert_eq!(b.view("a.service").active, ActiveState::Failed);
}

#[test]
fn a_late_exec_stop_post_is_aborted() {
    let mut b = with(|service| {
        service.exec_stop_post = vec![command("post")];
        service.stop_failure_mode = FailureMode::Abort;
    });
    b.run("a.service").exit("a.service", OK, None);
    b.empty("a.service").up("a.service").fire();
    assert_eq!(signals(&b), [6, 18]);
    assert_eq!(b.view("a.service").sub, "final-watchdog");
    b.fire();
    assert!(b.has(killed));
}

#[test]
fn a_run_may_be_longer_by_chance_and_never_shorter() {
    let mut b = with(|service| {
        service.runtime_max = Some(Duration::from_secs(10));
        service.runtime_extra = Duration::from_secs(10);
    });
    let mut ends = std::collections::BTreeSet::new();
    for _ in 0..4 {
        b.run("a.service");
        let (_, at) = b.engine.records[&name("a.service")]
            .core
            .timers()
            .next()
            .unwrap();
        let lasts = at - b.now;
        assert!((10_000_000..20_000_000).contains(&lasts), "{lasts}");
        ends.insert(lasts);
        b.exit("a.service", OK, None).empty("a.service");
    }
    assert_eq!(ends.len(), 4);
}

#[test]
fn what_lives_as_long_as_its_cgroup() {
    let mut b = with(|service| service.exit_cgroup = true);
    b.run("a.service").exit("a.service", OK, None);
    assert_eq!(b.view("a.service").sub, "running");
    b.empty("a.service").empty("a.service");
    assert_eq!(b.view("a.service").active, ActiveState::Inactive);
    // How the main process ended is the result; the rest goes on.
    b.run("a.service")
        .exit("a.service", ExitStatus::Exited(1), None);
    assert_eq!(b.view("a.service").sub, "running");
    b.empty("a.service").empty("a.service");
    assert_eq!(b.view("a.service").active, ActiveState::Failed);
}
