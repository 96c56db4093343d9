//! What a unit's end means for the whole of Aether, and when a job has taken too long.

use super::*;

const FAILED: ExitStatus = ExitStatus::Exited(3);

fn with(change: impl FnOnce(&mut Unit)) -> Bench {
    let mut unit = service("a.service");
    change(&mut unit);
    Bench::new([unit])
}

fn action(word: &str) -> Option<Action> {
    let found = Action::WORDS.iter().find(|(known, _)| *known == word);
    found.unwrap().1
}

impl Bench {
    /// What is to be done with Aether, and its exit status.
    fn acts(&self) -> Vec<(String, u8)> {
        let act = |e: &Effect| match e {
            Effect::Act { action, status, .. } => Some((action.to_string(), *status)),
            _ => None,
        };
        self.out.iter().filter_map(act).collect()
    }
}

#[test]
fn a_failure_and_a_success_have_an_action_each() {
    // The exit status is that of the main process, unless another is written.
    let mut b = with(|unit| {
        unit.settings.actions.failure = action("exit");
        unit.settings.actions.success = action("poweroff-force");
        unit.settings.actions.success_status = Some(9);
    });
    b.run("a.service")
        .exit("a.service", FAILED, None)
        .empty("a.service");
    assert_eq!(b.acts(), [("exit".to_owned(), 3)]);
    b.run("a.service")
        .exit("a.service", OK, None)
        .empty("a.service");
    assert_eq!(b.acts(), [("poweroff-force".to_owned(), 9)]);
}

#[test]
fn a_failure_counts_though_it_is_followed_by_a_restart() {
    // As in systemd: between the two the unit has failed; not with RestartMode=direct.
    for (direct, count) in [(false, 1), (true, 0)] {
        let mut b = with(|unit| {
            unit.settings.actions.failure = action("exit");
            let service = unit.service.as_mut().unwrap();
            service.restart = Restart::Always;
            service.restart_direct = direct;
        });
        b.run("a.service")
            .exit("a.service", ExitStatus::Killed(9), None)
            .empty("a.service");
        assert_eq!(b.acts(), vec![("exit".to_owned(), 255); count]);
        b.stop("a.service", false).unwrap();
        assert_eq!(b.acts(), []);
    }
}

#[test]
fn what_was_not_tried_has_not_succeeded() {
    let mut b = with(|unit| {
        unit.settings.actions.success = action("exit");
        unit.conditions = vec![Condition {
            kind: ConditionKind::PathExists,
            argument: "/srv".into(),
            negate: false,
            triggering: false,
            assert: false,
        }];
    });
    b.start("a.service").unwrap();
    let unmet = b.engine.definition(&name("a.service")).unwrap().conditions[0].clone();
    b.tell(Event::Checked {
        unit: name("a.service"),
        unmet: Some(unmet),
    });
    assert_eq!(b.acts(), []);
}

#[test]
fn one_start_too_many_has_an_action() {
    let mut b = with(|unit| {
        unit.settings.actions.start_limit = action("reboot");
        unit.start_limit.burst = 1;
    });
    b.run("a.service")
        .exit("a.service", OK, None)
        .empty("a.service");
    b.start("a.service").unwrap();
    assert_eq!(b.acts(), [("reboot".to_owned(), 0)]);
}

#[test]
fn a_job_that_takes_too_long_has_an_action() {
    let mut b = with(|unit| {
        unit.service.as_mut().unwrap().start = StartType::Notify;
        unit.service.as_mut().unwrap().timeout_start = None;
        unit.settings.job_timeout = Some(Duration::from_secs(5));
        unit.settings.actions.job_timeout = action("exit-force");
    });
    b.run("a.service").fire();
    assert_eq!(b.ended(), Some(JobResult::Timeout));
    assert_eq!(b.acts(), [("exit-force".to_owned(), 0)]);
    // The unit is what it was: only nobody waits for it any more.
    assert_eq!(b.view("a.service").active, ActiveState::Activating);
}

#[test]
fn the_nearer_end_of_a_job_holds() {
    // JobRunningTimeoutSec= never makes JobTimeoutSec= longer.
    for (all, running) in [(5, 100), (100, 5)] {
        let mut b = with(|unit| {
            unit.service.as_mut().unwrap().start = StartType::Notify;
            unit.service.as_mut().unwrap().timeout_start = None;
            unit.settings.job_timeout = Some(Duration::from_secs(all));
            unit.settings.job_running_timeout = Some(Duration::from_secs(running));
        });
        b.start("a.service").unwrap();
        let (_, at) = b.engine.records[&name("a.service")]
            .core
            .timers()
            .next()
            .unwrap();
        assert_eq!(at - b.now, 5_000_000);
    }
}

#[test]
fn a_direct_restart_is_not_seen_by_those_that_wait_for_the_start() {
    // RestartMode=direct: the job goes on over the restart, and who requires the unit waits.
    for (direct, ended) in [(true, None), (false, Some(JobResult::Failed))] {
        let mut other = service("b.service");
        other.relations.requires = vec![name("a.service")];
        other.relations.after = vec![name("a.service")];
        let mut unit = service("a.service");
        let own = unit.service.as_mut().unwrap();
        own.start = StartType::Notify;
        own.restart = Restart::Always;
        own.restart_direct = direct;
        unit.relations.on_failure = vec![name("c.service")];
        let mut b = Bench::new([unit, other, service("c.service")]);
        b.start("b.service").unwrap();
        b.up("a.service")
            .exit("a.service", FAILED, None)
            .empty("a.service");
        assert_eq!(b.ended(), ended);
        b.fire().up("a.service");
        b.tell(Event::Notified {
            unit: name("a.service"),
            notice: Notice::Ready,
        });
        assert_eq!(b.view("a.service").active, ActiveState::Active);
        let started = b.spawns().iter().any(|(unit, ..)| unit == "b.service");
        assert_eq!(started, direct);
        assert_eq!(b.view("c.service").active, ActiveState::Inactive);
    }
}
