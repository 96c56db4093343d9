//! Examples: one sentence each, one engine, no world.

mod action;
mod collect;
mod late;

use std::time::Duration;

use crate::engine::event::*;
use crate::engine::view::{ActiveState, FreezerState, Outcome, View};
use crate::engine::{Engine, INPUT_LIMIT, LOST};
use crate::name::{JobId, UnitName};
use crate::plan::{Enforcement, Failure};
use crate::runtime::{TurnResult, Verdict};
use crate::unit::*;

pub(super) fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

pub(super) fn command(program: &str) -> Command {
    Command {
        program: program.into(),
        argv: vec![program.into()],
        ..Command::default()
    }
}

pub(super) fn service(text: &str) -> Unit {
    let mut unit = Unit::unwritten(name(text));
    if let Some(service) = &mut unit.service {
        service.exec_start = vec![command("main")];
        service.timeout_stop = Some(Duration::from_secs(80));
        service.timeout_abort = service.timeout_stop;
        service.timeout_start = Some(Duration::from_secs(90));
    }
    unit
}

pub(super) fn agent(text: &str) -> Unit {
    let mut unit = service(text);
    let own = unit.service.as_mut().unwrap();
    own.exec_start = vec![];
    own.restart = Restart::OnFailure;
    unit.agent.as_mut().unwrap().runtime = RuntimeKind::ClaudeCode;
    unit
}

/// An engine with a clock and what came out of it last.
struct Bench {
    engine: Engine,
    now: u64,
    out: Vec<Effect>,
}

impl Bench {
    fn new(units: impl IntoIterator<Item = Unit>) -> Self {
        let mut bench = Self {
            engine: Engine::new(),
            now: 1_000_000,
            out: vec![],
        };
        for unit in units {
            bench.tell(Event::Defined(Box::new(unit)));
        }
        bench
    }

    fn tell(&mut self, event: Event) -> &mut Self {
        let now = Now {
            monotonic: self.now,
            realtime: 0,
        };
        self.out = self.engine.handle(now, event);
        self
    }

    fn ask(&mut self, request: Request) -> Result<Answer, Refusal> {
        let id = RequestId(7);
        self.tell(Event::Requested { id, request });
        let answer = |e: &Effect| match e {
            Effect::Answer { answer, .. } => Some(answer.clone()),
            _ => None,
        };
        self.out.iter().find_map(answer).unwrap()
    }

    fn start(&mut self, unit: &str) -> Result<Answer, Refusal> {
        let mode = JobMode::Replace;
        self.ask(Request::Start {
            unit: name(unit),
            mode,
        })
    }

    fn stop(&mut self, unit: &str, force: bool) -> Result<Answer, Refusal> {
        let mode = JobMode::Replace;
        self.ask(Request::Stop {
            unit: name(unit),
            mode,
            force,
        })
    }

    fn pause(&mut self, unit: &str) -> Result<Answer, Refusal> {
        self.ask(Request::Pause {
            unit: name(unit),
            reason: "tea".into(),
        })
    }

    fn send(&mut self, unit: &str) -> Result<Answer, Refusal> {
        self.ask(Request::Send {
            unit: name(unit),
            text: "hello".into(),
        })
    }

    fn spawns(&self) -> Vec<(String, SpawnId, Role)> {
        let spawn = |e: &Effect| match e {
            Effect::Spawn {
                unit, spawn, role, ..
            } => Some((unit.to_string(), *spawn, *role)),
            _ => None,
        };
        self.out.iter().filter_map(spawn).collect()
    }

    fn last_spawn(&self) -> SpawnId {
        SpawnId(self.engine.counters().spawn)
    }

    /// The youngest process comes up.
    fn up(&mut self, unit: &str) -> &mut Self {
        let (unit, spawn) = (name(unit), self.last_spawn());
        self.tell(Event::Spawned {
            unit: unit.clone(),
            spawn,
            pid: 42,
        });
        self.tell(Event::Executed {
            unit,
            spawn,
            enforcement: Enforcement::default(),
        })
    }

    fn run(&mut self, unit: &str) -> &mut Self {
        self.start(unit).unwrap();
        self.up(unit)
    }

    /// The youngest process ends.
    fn exit(&mut self, unit: &str, status: ExitStatus, verdict: Option<Verdict>) -> &mut Self {
        let spawn = self.last_spawn();
        self.tell(Event::Exited {
            unit: name(unit),
            spawn,
            status,
            verdict,
        })
    }

    fn empty(&mut self, unit: &str) -> &mut Self {
        self.tell(Event::Emptied { unit: name(unit) })
    }

    fn fire(&mut self) -> &mut Self {
        let (timer, _) = self.engine.timers.first_key_value().expect("a timer");
        let timer = *timer;
        self.tell(Event::TimerFired { timer })
    }

    fn view(&self, unit: &str) -> View {
        self.engine.view(&name(unit)).unwrap()
    }

    fn has(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.out.iter().any(wanted)
    }

    fn ended(&self) -> Option<JobResult> {
        self.out.iter().find_map(|e| match e {
            Effect::JobEnded { result, .. } => Some(*result),
            _ => None,
        })
    }
}

fn killed(e: &Effect) -> bool {
    matches!(e, Effect::KillAll { .. })
}

fn turn(unit: &str) -> Event {
    Event::TurnEnded {
        unit: name(unit),
        result: TurnResult::default(),
    }
}

const OK: ExitStatus = ExitStatus::Exited(0);

#[test]
fn exec_is_active_when_executed() {
    // Type=exec is not active while the process merely exists.
    let mut b = Bench::new([service("a.service")]);
    b.start("a.service").unwrap();
    let spawn = b.last_spawn();
    b.tell(Event::Spawned {
        unit: name("a.service"),
        spawn,
        pid: 1,
    });
    assert_eq!(b.view("a.service").active, ActiveState::Activating);
    b.up("a.service");
    assert_eq!(
        (b.view("a.service").sub.as_str(), b.ended()),
        ("running", Some(JobResult::Done))
    );
}

#[test]
fn a_clean_end_still_sweeps_out_what_is_left() {
    // Background children are the rule, so they are asked to end after exit 0 too, and killed when
    // they do not.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service").exit("a.service", OK, None);
    assert!(b.has(|e| matches!(e, Effect::Sweep { signals, .. } if signals == &[15, 18])));
    b.fire();
    assert!(b.has(killed));
    b.empty("a.service");
    assert!(b.has(|e| matches!(e, Effect::Release { .. })));
    assert_eq!(b.view("a.service").active, ActiveState::Failed);
}

#[test]
fn completed_is_inactive_and_says_so() {
    // The verdict, not the exit code, makes an agent completed.
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent")
        .exit("a.agent", OK, Some(Verdict::Completed))
        .empty("a.agent");
    let view = b.view("a.agent");
    assert_eq!(
        (view.sub.as_str(), view.outcome),
        ("completed", Outcome::Completed)
    );
}

#[test]
fn a_failure_restarts_and_resumes_after_the_delay() {
    // Restart=on-failure waits RestartSec= and resumes the session.
    let mut b = Bench::new([agent("a.agent")]);
    let failed = Some(Verdict::Failed {
        reason: "api".into(),
    });
    b.run("a.agent")
        .exit("a.agent", OK, failed)
        .empty("a.agent");
    assert_eq!(b.view("a.agent").restart_at, Some(b.now + 100_000));
    b.fire();
    assert!(b.has(|e| matches!(e, Effect::Spawn { resume: true, .. })));
    assert_eq!(b.view("a.agent").restarts, 1);
}

#[test]
fn a_final_verdict_is_not_tried_again() {
    // A bad credential does not get better by restarting.
    let mut b = Bench::new([agent("a.agent")]);
    let verdict = Some(Verdict::Final {
        reason: "401".into(),
    });
    b.run("a.agent")
        .exit("a.agent", OK, verdict)
        .empty("a.agent");
    assert_eq!(b.view("a.agent").active, ActiveState::Failed);
    assert_eq!(b.view("a.agent").why, "401");
}

#[test]
fn a_lost_session_is_begun_afresh_once() {
    // The second loss is an ordinary failure.
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent")
        .exit("a.agent", OK, Some(Verdict::SessionLost))
        .empty("a.agent");
    assert!(b.has(|e| matches!(e, Effect::Spawn { resume: false, .. })));
    b.up("a.agent")
        .exit("a.agent", OK, Some(Verdict::SessionLost))
        .empty("a.agent");
    assert!(b.spawns().is_empty());
    assert!(b.view("a.agent").restart_at.is_some());
    // And it is not resumed in vain once more.
    b.fire();
    assert!(b.has(|e| matches!(e, Effect::Spawn { resume: false, .. })));
}

#[test]
fn the_start_limit_gives_up_and_counts_every_start() {
    // After the burst it is failed; a start by hand works when the failure is forgiven.
    let mut unit = service("a.service");
    let own = unit.service.as_mut().unwrap();
    own.restart = Restart::Always;
    own.restart_sec = Duration::ZERO;
    let mut b = Bench::new([unit]);
    b.run("a.service");
    for _ in 0..4 {
        b.exit("a.service", OK, None)
            .empty("a.service")
            .up("a.service");
    }
    b.exit("a.service", ExitStatus::Exited(3), None)
        .empty("a.service");
    assert_eq!(b.view("a.service").outcome, Outcome::ExitCode);
    assert_eq!(
        b.view("a.service").why,
        "it was started too often; the last time: exited with code 3"
    );
    assert_eq!(b.view("a.service").active, ActiveState::Failed);
    b.start("a.service").unwrap();
    assert_eq!(b.ended(), Some(JobResult::Failed));
    let unit = Some(name("a.service"));
    b.ask(Request::ResetFailed { unit }).unwrap();
    b.run("a.service");
    assert_eq!(
        (
            b.view("a.service").restarts,
            b.view("a.service").sub.as_str()
        ),
        (0, "running")
    );
}

#[test]
fn a_lost_start_is_not_charged() {
    // A daemon that died in the middle of a start is not the unit's fault.
    let mut b = Bench::new([agent("a.agent")]);
    b.start("a.agent").unwrap();
    let failure = Failure {
        step: LOST.into(),
        errno: 0,
        detail: "gone".into(),
        help: None,
    };
    let spawn = b.last_spawn();
    b.tell(Event::SpawnFailed {
        unit: name("a.agent"),
        spawn,
        failure,
    })
    .empty("a.agent")
    .fire();
    assert_eq!((b.spawns().len(), b.view("a.agent").restarts), (1, 0));
}

#[test]
fn stop_of_an_agent_interrupts_first_then_signals_then_kills() {
    // Each step has its share of TimeoutStopSec=: a quarter, then the rest.
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent").stop("a.agent", false).unwrap();
    assert!(b.has(|e| matches!(e, Effect::Interrupt { .. })));
    assert!(b.has(|e| matches!(e, Effect::SetTimer { at, .. } if *at == 21_000_000)));
    b.fire();
    assert!(b.has(|e| matches!(e, Effect::Signal { signal: 15, .. })));
    assert!(b.has(|e| matches!(e, Effect::Signal { signal: 18, .. })));
    assert!(b.has(|e| matches!(e, Effect::SetTimer { at, .. } if *at == 61_000_000)));
    b.fire();
    assert!(b.has(killed));
    b.exit("a.agent", ExitStatus::Killed(9), None)
        .empty("a.agent");
    assert_eq!(
        (b.ended(), b.view("a.agent").outcome),
        (Some(JobResult::Done), Outcome::Timeout)
    );
}

#[test]
fn a_stop_during_a_start_wins_even_before_the_process_exists() {
    // The late process is killed again, and only then the stop is done.
    let mut b = Bench::new([service("a.service")]);
    b.start("a.service").unwrap();
    b.stop("a.service", false).unwrap();
    assert!(b.has(|e| matches!(
        e,
        Effect::JobEnded {
            result: JobResult::Canceled,
            ..
        }
    )));
    b.empty("a.service");
    assert_eq!(b.ended(), None);
    b.up("a.service")
        .exit("a.service", ExitStatus::Killed(9), None);
    assert_eq!(b.ended(), None);
    b.empty("a.service");
    assert_eq!(b.ended(), Some(JobResult::Done));
}

#[test]
fn requirements_start_first_and_in_order() {
    // With After= the second waits for the first.
    let mut second = service("b.service");
    second.relations.requires = vec![name("a.service")];
    second.relations.after = vec![name("a.service")];
    let mut b = Bench::new([service("a.service"), second]);
    b.start("b.service").unwrap();
    assert_eq!(b.spawns().len(), 1);
    assert_eq!(b.spawns()[0].0, "a.service");
    b.up("a.service");
    assert_eq!(b.spawns()[0].0, "b.service");
}

#[test]
fn a_failed_requirement_fails_what_needs_it() {
    // The waiting start ends with `dependency`.
    let mut second = service("b.service");
    second.relations.requires = vec![name("a.service")];
    second.relations.after = vec![name("a.service")];
    let mut b = Bench::new([service("a.service"), second]);
    b.start("b.service").unwrap();
    let failure = Failure {
        step: "exec".into(),
        errno: 2,
        detail: "no".into(),
        help: None,
    };
    let spawn = b.last_spawn();
    b.tell(Event::SpawnFailed {
        unit: name("a.service"),
        spawn,
        failure,
    })
    .empty("a.service");
    assert!(b.has(|e| matches!(
        e,
        Effect::JobEnded {
            result: JobResult::Dependency,
            ..
        }
    )));
    // It was not tried, so it has not failed.
    let view = b.view("b.service");
    assert_eq!(view.active, ActiveState::Inactive);
    assert!(view.why.contains("something it requires"), "{}", view.why);
}

#[test]
fn stopping_what_is_needed_is_refused_and_named() {
    // Without force nothing happens; with it both stop, the dependent one first.
    let mut second = service("b.service");
    second.relations.requires = vec![name("a.service")];
    second.relations.after = vec![name("a.service")];
    let mut b = Bench::new([service("a.service"), second]);
    b.start("b.service").unwrap();
    b.up("a.service").up("b.service");
    let refused = b.stop("a.service", false).unwrap_err();
    assert!(matches!(refused, Refusal::NeededBy { dependents, .. } if dependents.len() == 1));
    b.stop("a.service", true).unwrap();
    let signalled =
        |e: &Effect| matches!(e, Effect::Signal { unit, .. } if unit.as_str() == "b.service");
    assert!(b.has(signalled));
    assert!(!b.has(|e| matches!(e, Effect::Signal { unit, .. } if unit.as_str() == "a.service")));
}

#[test]
fn unknown_wants_are_skipped_and_unknown_requirements_refused() {
    // Wants= is a wish; Requires= is a condition.
    let mut one = service("a.service");
    one.relations.wants = vec![name("no.service")];
    let mut two = service("b.service");
    two.relations.requires = vec![name("no.service")];
    let mut b = Bench::new([one, two]);
    assert!(b.start("a.service").is_ok());
    assert!(matches!(
        b.start("b.service"),
        Err(Refusal::MissingRequirement { .. })
    ));
    assert!(matches!(b.start("c.service"), Err(Refusal::NoSuchUnit(_))));
}

#[test]
fn a_needed_cycle_is_refused_and_a_wanted_one_broken() {
    // A refusal names the path; nothing was started.
    let pair = |wanted: bool| {
        let mut one = service("a.service");
        one.relations.after = vec![name("b.service")];
        let list = vec![name("b.service")];
        if wanted {
            one.relations.wants = list;
        } else {
            one.relations.requires = list;
        }
        let mut two = service("b.service");
        two.relations.after = vec![name("a.service")];
        Bench::new([one, two])
    };
    let mut b = pair(false);
    assert!(matches!(b.start("a.service"), Err(Refusal::Cycle { units }) if units.len() == 2));
    assert!(b.spawns().is_empty());
    let mut b = pair(true);
    b.start("a.service").unwrap();
    assert_eq!(b.spawns().len(), 1);
}

#[test]
fn conflicts_stop_the_other_first() {
    // The new one starts when the old one is gone.
    let mut second = service("b.service");
    second.relations.conflicts = vec![name("a.service")];
    let mut b = Bench::new([service("a.service"), second]);
    b.run("a.service").start("b.service").unwrap();
    assert!(b.spawns().is_empty());
    b.exit("a.service", ExitStatus::Killed(15), None)
        .empty("a.service");
    assert_eq!(b.spawns()[0].0, "b.service");
}

#[test]
fn a_restart_is_one_job() {
    // It ends once, when the new process runs.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service");
    let unit = name("a.service");
    let answer = b.ask(Request::Restart {
        unit,
        mode: JobMode::Replace,
    });
    assert_eq!(answer, Ok(Answer::Job(JobId(2))));
    b.exit("a.service", ExitStatus::Killed(15), None)
        .empty("a.service");
    assert_eq!((b.ended(), b.spawns().len()), (None, 1));
    b.up("a.service");
    assert_eq!(b.ended(), Some(JobResult::Done));
}

#[test]
fn a_restart_goes_on_with_the_session_and_a_start_does_not() {
    // Whether the agent is at work or has ended makes no difference.
    let resumes = |b: &Bench| b.has(|e| matches!(e, Effect::Spawn { resume: true, .. }));
    let restart = Request::Restart {
        unit: name("a.agent"),
        mode: JobMode::Replace,
    };
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent");
    b.ask(restart.clone()).unwrap();
    b.exit("a.agent", OK, None).empty("a.agent");
    assert!(resumes(&b));
    b.up("a.agent")
        .exit("a.agent", OK, Some(Verdict::Completed))
        .empty("a.agent");
    b.ask(restart).unwrap();
    assert!(resumes(&b));
    b.up("a.agent")
        .exit("a.agent", OK, Some(Verdict::Completed))
        .empty("a.agent");
    b.start("a.agent").unwrap();
    assert!(b.spawns().len() == 1 && !resumes(&b));
}

#[test]
fn a_pause_is_done_when_the_kernel_says_so() {
    // And its clock stands still until the thaw is confirmed.
    let mut unit = agent("a.agent");
    unit.service.as_mut().unwrap().runtime_max = Some(Duration::from_secs(10));
    let mut b = Bench::new([unit]);
    b.run("a.agent");
    b.now += 4_000_000;
    b.pause("a.agent").unwrap();
    assert_eq!(b.ended(), None);
    assert!(b.has(|e| matches!(e, Effect::DropTimer { .. })));
    b.tell(Event::Frozen {
        unit: name("a.agent"),
    });
    assert_eq!(
        (b.ended(), b.view("a.agent").sub.as_str()),
        (Some(JobResult::Done), "paused")
    );
    assert!(matches!(b.pause("a.agent"), Err(Refusal::AlreadyPaused(_))));
    b.now += 100_000_000;
    b.ask(Request::Resume {
        unit: name("a.agent"),
    })
    .unwrap();
    b.tell(Event::Thawed {
        unit: name("a.agent"),
    });
    let at = b.now + 6_000_000;
    assert!(b.has(|e| matches!(e, Effect::SetTimer { at: due, .. } if *due == at)));
}

#[test]
fn a_message_sent_while_paused_is_delivered_on_resume() {
    // Not before the thaw is confirmed.
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent").pause("a.agent").unwrap();
    b.tell(Event::Frozen {
        unit: name("a.agent"),
    });
    b.send("a.agent").unwrap();
    let delivers = |e: &Effect| matches!(e, Effect::Deliver { .. });
    assert!(!b.has(delivers));
    b.ask(Request::Resume {
        unit: name("a.agent"),
    })
    .unwrap();
    assert!(!b.has(delivers));
    b.tell(Event::Thawed {
        unit: name("a.agent"),
    });
    assert!(b.has(delivers));
}

#[test]
fn stop_of_a_paused_unit_acts_at_once() {
    // It is thawed as part of the stop.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service").pause("a.service").unwrap();
    b.tell(Event::Frozen {
        unit: name("a.service"),
    });
    b.stop("a.service", false).unwrap();
    assert!(matches!(b.out[0], Effect::Thaw { .. }));
    assert!(matches!(b.out[1], Effect::Signal { .. }));
}

#[test]
fn what_dies_while_paused_is_restarted_on_resume_only() {
    // The restart's delay is held.
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent").pause("a.agent").unwrap();
    b.tell(Event::Frozen {
        unit: name("a.agent"),
    });
    b.exit("a.agent", ExitStatus::Killed(9), None)
        .empty("a.agent");
    assert!(b.engine.timers.is_empty());
    assert_eq!(b.view("a.agent").freezer, FreezerState::Frozen);
    b.ask(Request::Resume {
        unit: name("a.agent"),
    })
    .unwrap();
    b.tell(Event::Thawed {
        unit: name("a.agent"),
    })
    .fire();
    assert_eq!(b.spawns().len(), 1);
}

#[test]
fn a_pause_before_the_process_exists_is_refused() {
    // There is nothing to freeze.
    let mut b = Bench::new([agent("a.agent")]);
    assert!(matches!(b.pause("a.agent"), Err(Refusal::Inactive(_))));
    b.start("a.agent").unwrap();
    assert!(matches!(
        b.pause("a.agent"),
        Err(Refusal::NotApplicable { .. })
    ));
}

#[test]
fn the_input_is_closed_after_the_last_turn() {
    // Not while a message that was delivered is not taken up.
    let closes = |e: &Effect| matches!(e, Effect::CloseInput { .. });
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent").tell(Event::InputConsumed {
        unit: name("a.agent"),
    });
    b.send("a.agent").unwrap();
    b.tell(Event::InputDelivered {
        unit: name("a.agent"),
        input: InputId(1),
    });
    b.tell(turn("a.agent"));
    assert!(!b.has(closes));
    b.tell(Event::InputConsumed {
        unit: name("a.agent"),
    })
    .tell(turn("a.agent"));
    assert!(b.has(closes));
}

#[test]
fn a_message_after_the_close_starts_a_completed_agent_again() {
    // It resumes its session and reads the message.
    let mut b = Bench::new([agent("a.agent")]);
    b.run("a.agent")
        .tell(turn("a.agent"))
        .send("a.agent")
        .unwrap();
    b.exit("a.agent", OK, Some(Verdict::Completed))
        .empty("a.agent");
    assert!(b.has(|e| matches!(e, Effect::Spawn { resume: true, .. })));
    b.up("a.agent");
    assert!(b.has(|e| matches!(e, Effect::Deliver { .. })));
}

#[test]
fn the_message_queue_has_a_limit() {
    // The message that is too much is refused, not dropped.
    let mut b = Bench::new([agent("a.agent")]);
    b.start("a.agent").unwrap();
    for _ in 0..INPUT_LIMIT {
        b.send("a.agent").unwrap();
    }
    assert!(matches!(
        b.send("a.agent"),
        Err(Refusal::InputQueueFull { limit: 64, .. })
    ));
}

#[test]
fn messages_not_delivered_are_dropped_aloud_at_the_end() {
    // The log says how many.
    let mut b = Bench::new([agent("a.agent")]);
    b.start("a.agent").unwrap();
    b.send("a.agent").unwrap();
    b.stop("a.agent", false).unwrap();
    b.up("a.agent")
        .exit("a.agent", ExitStatus::Killed(9), None)
        .empty("a.agent");
    assert!(b.has(|e| matches!(e, Effect::Log { text, .. } if text.contains("1 messages"))));
    assert!(matches!(b.send("a.agent"), Err(Refusal::Inactive(_))));
}

#[test]
fn out_of_memory_is_named_in_either_order() {
    // Before or after the end of the main process, the outcome is the same.
    for before in [true, false] {
        let mut b = Bench::new([agent("a.agent")]);
        b.run("a.agent");
        let oom = Event::OutOfMemory {
            unit: name("a.agent"),
        };
        if before {
            b.tell(oom.clone());
        }
        b.exit("a.agent", ExitStatus::Killed(9), None);
        if !before {
            b.tell(oom);
        }
        b.empty("a.agent");
        let view = b.view("a.agent");
        assert_eq!(
            (view.outcome, view.sub.as_str()),
            (Outcome::OomKill, "auto-restart")
        );
    }
}

#[test]
fn oom_policy_continue_leaves_the_main_process_alone() {
    // A child was killed; the unit says so and goes on.
    let mut unit = service("a.service");
    unit.service.as_mut().unwrap().oom_policy = OomPolicy::Continue;
    let mut b = Bench::new([unit]);
    b.run("a.service").tell(Event::OutOfMemory {
        unit: name("a.service"),
    });
    assert_eq!(b.view("a.service").sub, "running");
}

#[test]
fn a_start_that_takes_too_long_fails_with_timeout() {
    // READY=1 never came.
    let mut unit = service("a.service");
    unit.service.as_mut().unwrap().start = StartType::Notify;
    let mut b = Bench::new([unit]);
    b.run("a.service").fire();
    b.exit("a.service", ExitStatus::Killed(15), None)
        .empty("a.service");
    assert_eq!(
        (b.ended(), b.view("a.service").outcome),
        (Some(JobResult::Failed), Outcome::Timeout)
    );
}

#[test]
fn oneshot_runs_its_commands_in_sequence() {
    // The start is done when the last has ended.
    let mut unit = service("a.service");
    let own = unit.service.as_mut().unwrap();
    own.start = StartType::Oneshot;
    own.exec_start = vec![command("one"), command("two")];
    own.remain_after_exit = true;
    let mut b = Bench::new([unit]);
    b.run("a.service").exit("a.service", OK, None);
    assert_eq!(b.spawns()[0].2, Role::Main(1));
    b.up("a.service").exit("a.service", OK, None);
    assert_eq!(
        (b.ended(), b.view("a.service").sub.as_str()),
        (Some(JobResult::Done), "exited")
    );
}

#[test]
fn every_step_up_and_down_has_its_turn() {
    // StartPre, main, StartPost, Stop, main ends, StopPost.
    let mut unit = service("a.service");
    let own = unit.service.as_mut().unwrap();
    own.exec_start_pre = vec![command("pre")];
    own.exec_start_post = vec![command("post")];
    own.exec_stop = vec![command("stop")];
    own.exec_stop_post = vec![command("after")];
    let mut b = Bench::new([unit]);
    b.start("a.service").unwrap();
    let mut roles = vec![b.spawns()[0].2];
    b.up("a.service").exit("a.service", OK, None);
    roles.push(b.spawns()[0].2);
    let main = b.last_spawn();
    b.up("a.service");
    roles.push(b.spawns()[0].2);
    b.up("a.service")
        .exit("a.service", OK, None)
        .stop("a.service", false)
        .unwrap();
    roles.push(b.spawns()[0].2);
    b.up("a.service").exit("a.service", OK, None);
    let (unit, status) = (name("a.service"), ExitStatus::Killed(15));
    b.tell(Event::Exited {
        unit,
        spawn: main,
        status,
        verdict: None,
    });
    roles.push(b.spawns()[0].2);
    b.up("a.service")
        .exit("a.service", OK, None)
        .empty("a.service");
    assert_eq!(b.ended(), Some(JobResult::Done));
    let wanted = [
        Role::StartPre(0),
        Role::Main(0),
        Role::StartPost(0),
        Role::Stop(0),
        Role::StopPost(0),
    ];
    assert_eq!(roles, wanted);
}

#[test]
fn an_undefined_unit_is_forgotten_once_it_is_dead() {
    // What runs goes on meanwhile.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service").tell(Event::Undefined(name("a.service")));
    assert_eq!(b.view("a.service").sub, "running");
    b.exit("a.service", OK, None).empty("a.service");
    assert!(b.has(|e| matches!(e, Effect::Forget { .. })));
    assert!(b.engine.view(&name("a.service")).is_none());
}

#[test]
fn an_agent_gives_itself_no_time() {
    // A service may.
    for (unit, longer) in [(agent("a.agent"), false), (service("b.service"), true)] {
        let unit_name = unit.name.clone();
        let text = unit_name.as_str();
        let mut b = Bench::new([unit]);
        b.run(text).stop(text, false).unwrap();
        let before = b.engine.timers.clone();
        b.tell(Event::Notified {
            unit: unit_name.clone(),
            notice: Notice::ExtendTimeout(u64::MAX / 2),
        });
        assert_eq!(b.engine.timers != before, longer, "{text}");
    }
}

#[test]
fn an_answer_counts_though_the_asking_process_is_gone() {
    let mut unit = service("a.service");
    let own = unit.service.as_mut().unwrap();
    own.start = StartType::Forking;
    own.pid_file = Some("/run/a.pid".into());
    let mut b = Bench::new([unit]);
    b.start("a.service").unwrap();
    b.up("a.service");
    let approval = |waiting| Event::Approval {
        unit: name("a.service"),
        waiting,
    };
    b.tell(approval(true));
    b.exit("a.service", OK, None);
    assert!(b.view("a.service").waits_for_approval);
    b.tell(approval(false));
    assert!(!b.view("a.service").waits_for_approval);
    // The time for the start goes on.
    assert!(b.has(|e| matches!(e, Effect::SetTimer { .. })));
}

#[test]
fn a_stale_timer_is_ignored() {
    // Its number is in force no more.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service")
        .tell(Event::TimerFired { timer: TimerId(1) });
    assert!(b.out.is_empty());
}

#[test]
fn mode_fail_refuses_what_is_in_the_way() {
    // The running stop stays.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service").stop("a.service", false).unwrap();
    let request = Request::Start {
        unit: name("a.service"),
        mode: JobMode::Fail,
    };
    assert!(matches!(
        b.ask(request),
        Err(Refusal::Conflicting { job: JobId(2), .. })
    ));
}

#[test]
fn a_start_of_what_runs_is_done_at_once() {
    // The job is made and ends.
    let mut b = Bench::new([service("a.service")]);
    b.run("a.service").start("a.service").unwrap();
    assert_eq!((b.ended(), b.spawns().len()), (Some(JobResult::Done), 0));
}

#[test]
fn a_target_comes_after_its_members_unless_they_come_after_it() {
    let mut target = service("t.target");
    target.relations.wants = vec![name("a.service"), name("b.service")];
    target.relations.members = target.relations.wants.clone();
    let mut late = service("b.service");
    late.relations.after = vec![name("t.target")];
    let mut b = Bench::new([service("a.service"), late, target]);
    b.start("t.target").unwrap();
    let started: Vec<String> = b.spawns().into_iter().map(|(unit, ..)| unit).collect();
    // The one waits for the target, the target for the other; nothing is dropped.
    assert_eq!(started, ["a.service"]);
    b.up("a.service");
    assert_eq!(b.view("t.target").active, ActiveState::Active);
    assert_eq!(b.spawns()[0].0, "b.service");
}
