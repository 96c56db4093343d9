//! The units of the simulated world: every type, every service type, every relation at least once.

use std::time::Duration;

use crate::name::UnitName;
use crate::unit::{
    Action, Actions, Command, Condition, ConditionKind, FailureMode, JobMode, KillMode, Restart,
    RuntimeKind, Service, StartType, TimerBase, Unit,
};

fn name(text: &str) -> Option<UnitName> {
    text.parse().ok()
}

fn names(texts: &[&str]) -> Vec<UnitName> {
    texts.iter().filter_map(|text| name(text)).collect()
}

fn command(program: &str) -> Command {
    Command {
        program: program.into(),
        argv: vec![program.into()],
        ..Command::default()
    }
}

fn unit(text: &str, change: impl FnOnce(&mut Unit)) -> Option<Unit> {
    let mut unit = Unit::unwritten(name(text)?);
    if let Some(service) = &mut unit.service {
        service.exec_start = vec![command("main")];
    }
    change(&mut unit);
    Some(unit)
}

fn service(text: &str, start: StartType, change: impl FnOnce(&mut Unit)) -> Option<Unit> {
    unit(text, |unit| {
        edit(unit, |service| service.start = start);
        change(unit);
    })
}

fn edit(unit: &mut Unit, change: impl FnOnce(&mut Service)) {
    if let Some(service) = &mut unit.service {
        change(service);
    }
}

fn agent(text: &str, change: impl FnOnce(&mut Unit)) -> Option<Unit> {
    unit(text, |unit| {
        edit(unit, |service| {
            service.exec_start = vec![];
            service.restart = Restart::OnFailure;
            service.watchdog = Some(Duration::from_secs(20));
        });
        if let Some(agent) = &mut unit.agent {
            agent.runtime = RuntimeKind::ClaudeCode;
            agent.goal = "mend it".into();
        }
        change(unit);
    })
}

/// All of them; the actions name them by index.
pub(super) fn units() -> Vec<Unit> {
    let second = Duration::from_secs;
    [
        service("a.service", StartType::Simple, |unit| {
            edit(unit, |service| {
                service.restart = Restart::Always;
                service.runtime_max = Some(second(40));
                service.exec_reload = vec![command("reload")];
            });
            unit.relations.propagates_reload_to = names(&["n.service"]);
        }),
        agent("b.agent", |unit| {
            unit.relations.requires = names(&["a.service"]);
            unit.relations.after = names(&["a.service"]);
        }),
        service("c.service", StartType::Notify, |unit| {
            unit.relations.wants = names(&["b.agent"]);
            unit.relations.after = names(&["b.agent"]);
            edit(unit, |service| {
                service.kill_mode = KillMode::Mixed;
                service.exec_condition = vec![command("condition")];
                service.exec_start_pre = vec![command("pre")];
                service.exec_stop = vec![command("stop")];
                service.exec_stop_post = vec![command("post")];
                service.restart = Restart::OnFailure;
                service.restart_direct = true;
                service.restart_sec = Duration::ZERO;
                service.watchdog = Some(second(15));
            });
        }),
        service("d.service", StartType::Oneshot, |unit| {
            unit.relations.conflicts = names(&["c.service"]);
            unit.relations.part_of = names(&["a.service"]);
            unit.relations.on_failure = names(&["o.service"]);
            unit.relations.on_success = names(&["o.service"]);
            unit.settings.on_failure_job_mode = JobMode::Replace;
            edit(unit, |service| {
                service.exec_start_post = vec![command("after")]
            });
        }),
        service("f.service", StartType::Forking, |unit| {
            edit(unit, |service| {
                service.restart = Restart::OnAbnormal;
                service.final_kill_signal = 3;
                service.send_sighup = true;
            });
        }),
        service("g.service", StartType::Forking, |unit| {
            unit.relations.binds_to = names(&["f.service"]);
            unit.relations.after = names(&["f.service"]);
            edit(unit, |service| service.pid_file = Some("/run/g.pid".into()));
        }),
        service("i.service", StartType::Idle, |unit| {
            unit.relations.requisite = names(&["f.service"]);
            unit.relations.after = names(&["f.service"]);
        }),
        service("n.service", StartType::NotifyReload, |unit| {
            unit.settings.job_timeout = Some(second(120));
            edit(unit, |service| service.restart = Restart::OnWatchdog);
        }),
        service("o.service", StartType::Oneshot, |unit| {
            edit(unit, |service| service.remain_after_exit = true);
            unit.settings.stop_when_unneeded = true;
            unit.conditions = vec![Condition {
                kind: ConditionKind::PathExists,
                argument: "/srv".into(),
                negate: false,
                triggering: false,
                assert: true,
            }];
        }),
        service("u.service", StartType::Dbus, |unit| {
            edit(unit, |service| {
                service.bus_name = Some("org.example.U".into())
            });
        }),
        unit("t.target", |unit| {
            unit.relations.requires = names(&["c.service"]);
            unit.relations.wants = names(&["o.service"]);
            unit.relations.upholds = names(&["u.service"]);
            unit.relations.members = names(&["o.service", "u.service"]);
            unit.relations.after = names(&["c.service"]);
            unit.settings.allow_isolate = true;
        }),
        unit("s.slice", |unit| {
            if let Some(limits) = &mut unit.slice_limits {
                limits.max_concurrent = Some(1);
            }
        }),
        agent("x.agent", in_slice),
        agent("y.agent", in_slice),
        unit("w.timer", |unit| {
            unit.relations.triggers = names(&["d.service"]);
            unit.relations.before = names(&["d.service"]);
            if let Some(timer) = &mut unit.timer {
                timer.monotonic = vec![
                    (TimerBase::Active, second(5)),
                    (TimerBase::UnitInactive, second(30)),
                ];
                timer.randomized_delay = second(3);
            }
        }),
        service("e.service", StartType::Exec, |unit| {
            edit(unit, |service| {
                service.exit_cgroup = true;
                service.stop_failure_mode = FailureMode::Abort;
                service.exec_stop = vec![command("stop")];
                service.exec_stop_post = vec![command("post")];
                service.runtime_max = Some(second(30));
                service.runtime_extra = second(30);
                service.restart = Restart::OnFailure;
            });
        }),
        service("h.service", StartType::Notify, |unit| {
            let word = |at: usize| Action::WORDS.get(at).and_then(|(_, action)| *action);
            unit.settings.actions = Actions {
                failure: word(1),
                success: word(3),
                start_limit: word(5),
                job_timeout: word(7),
                ..Actions::default()
            };
            // Longer than any stop takes, which would otherwise go on without its job.
            unit.settings.job_timeout = Some(second(600));
            unit.settings.job_running_timeout = Some(second(400));
            edit(unit, |service| {
                service.start_failure_mode = FailureMode::Abort;
                service.timeout_start = Some(second(5));
                service.stop_failure_mode = FailureMode::Kill;
                service.kill_mode = KillMode::Mixed;
                service.exec_start_pre = vec![command("pre")];
                service.exec_stop_post = vec![command("post")];
            });
        }),
        service("r.service", StartType::Exec, |unit| unit.transient = true),
        service("v.service", StartType::Oneshot, |unit| {
            unit.settings.collect_failed = true;
            unit.relations.part_of = names(&["t.target"]);
        }),
        service("q@1.service", StartType::Exec, |unit| {
            unit.relations.on_failure = names(&["v.service"]);
            unit.relations.on_success = names(&["r.service"]);
        }),
        unit("l.socket", |unit| {
            unit.relations.wants = names(&["q@1.service"]);
            if let Some(socket) = &mut unit.socket {
                socket.accept = true;
                socket.service = "l@.service".into();
            }
        }),
        unit("k.socket", |unit| {
            unit.relations.triggers = names(&["n.service"]);
            unit.relations.before = names(&["n.service"]);
        }),
        unit("p.path", |unit| {
            unit.relations.triggers = names(&["y.agent"]);
            unit.relations.before = names(&["y.agent"]);
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What serves one connection of `l.socket`.
pub(super) fn connection(number: u64) -> Option<Unit> {
    service(&format!("l@{number}.service"), StartType::Exec, |unit| {
        edit(unit, |service| {
            service.restart = Restart::OnAbnormal;
            service.runtime_max = Some(Duration::from_secs(60));
        });
    })
}

fn in_slice(unit: &mut Unit) {
    unit.slice = name("s.slice");
    unit.relations.requires = names(&["s.slice"]);
    unit.relations.after = names(&["s.slice"]);
}
