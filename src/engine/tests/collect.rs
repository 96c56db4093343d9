//! Which units are forgotten, and when.

use super::*;

const FAILED: ExitStatus = ExitStatus::Exited(1);

fn transient(text: &str) -> Unit {
    Unit {
        transient: true,
        ..service(text)
    }
}

/// `s.socket` accepts connections, each for an instance of its own.
fn listening() -> Bench {
    let mut socket = Unit::unwritten(name("s.socket"));
    socket.socket.as_mut().unwrap().accept = true;
    let mut b = Bench::new([socket]);
    b.start("s.socket").unwrap();
    b.tell(Event::Opened {
        unit: name("s.socket"),
        stamp: None,
    });
    b
}

impl Bench {
    /// Its process ends, and with it the unit.
    fn end(&mut self, unit: &str, status: ExitStatus) -> &mut Self {
        self.exit(unit, status, None).empty(unit)
    }

    /// Whether the unit is to be forgotten; everything else has been told when it is.
    fn collected(&mut self, unit: &str) -> bool {
        let unit = name(unit);
        let asked = self.has(|e| *e == Effect::Collect { unit: unit.clone() });
        let told = self.has(|e| *e == Effect::Changed { unit: unit.clone() });
        if !asked {
            return false;
        }
        assert!(told && self.engine.view(&unit).is_some());
        self.tell(Event::Collect { unit: unit.clone() });
        self.has(|e| *e == Effect::Forget { unit: unit.clone() })
            && self.engine.view(&unit).is_none()
    }
}

#[test]
fn what_was_made_on_the_spot_goes_when_it_has_ended() {
    // What has a file stays.
    let mut b = Bench::new([transient("a.service"), service("b.service")]);
    assert!(b.engine.view(&name("a.service")).is_some());
    b.run("a.service").end("a.service", OK);
    assert!(b.collected("a.service"));
    b.run("b.service").end("b.service", OK);
    assert!(!b.collected("b.service"));
}

#[test]
fn a_failure_is_kept_until_it_is_reset() {
    let mut b = Bench::new([transient("a.service")]);
    b.run("a.service").end("a.service", FAILED);
    assert!(!b.collected("a.service"));
    assert_eq!(b.view("a.service").active, ActiveState::Failed);
    let unit = Some(name("a.service"));
    b.ask(Request::ResetFailed { unit }).unwrap();
    assert!(b.collected("a.service"));
}

#[test]
fn a_failure_goes_where_collect_mode_says_so() {
    let mut unit = service("a.service");
    unit.settings.collect_failed = true;
    let mut b = Bench::new([unit]);
    b.run("a.service").end("a.service", FAILED);
    assert!(b.collected("a.service"));
}

#[test]
fn what_serves_a_connection_goes_when_it_has_ended() {
    // As in systemd a failure stays, unless CollectMode= says otherwise.
    let mut b = listening();
    let mut instance = agent("s@1.agent");
    instance.service.as_mut().unwrap().restart = Restart::No;
    for (status, goes) in [(OK, true), (FAILED, false)] {
        b.tell(Event::Defined(Box::new(instance.clone())));
        b.tell(Event::Accepted {
            unit: name("s.socket"),
            instance: name("s@1.agent"),
        });
        b.up("s@1.agent").exit(
            "s@1.agent",
            status,
            Some(Verdict::Completed).filter(|_| goes),
        );
        b.empty("s@1.agent");
        assert_eq!(b.collected("s@1.agent"), goes);
    }
}

#[test]
fn what_cannot_be_started_for_a_connection_goes() {
    let mut socket = Unit::unwritten(name("s.socket"));
    socket.relations.triggers = vec![name("s@.service")];
    let mut orphan = service("s@1.service");
    orphan.relations.requires = vec![name("missing.service")];
    let mut b = Bench::new([socket, orphan]);
    b.tell(Event::Accepted {
        unit: name("s.socket"),
        instance: name("s@1.service"),
    });
    assert!(b.has(|e| matches!(e, Effect::Collect { .. })));
}

#[test]
fn an_instance_of_a_service_goes_and_that_of_an_agent_stays() {
    // How an agent ended is what one wants to know of it.
    let mut b = Bench::new([service("a@1.service"), agent("a@1.agent")]);
    b.run("a@1.service").end("a@1.service", OK);
    assert!(b.collected("a@1.service"));
    b.run("a@1.agent")
        .exit("a@1.agent", OK, Some(Verdict::Completed))
        .empty("a@1.agent");
    assert!(!b.collected("a@1.agent"));
}

#[test]
fn what_something_that_is_up_names_is_kept_for_it() {
    let mut other = service("b.service");
    other.relations.after = vec![name("a.service")];
    let mut b = Bench::new([transient("a.service"), other]);
    b.run("b.service").run("a.service").end("a.service", OK);
    assert!(!b.collected("a.service"));
    b.stop("b.service", false).unwrap();
    let first = SpawnId(1);
    b.tell(Event::Exited {
        unit: name("b.service"),
        spawn: first,
        status: OK,
        verdict: None,
    });
    b.empty("b.service");
    // Nothing of it has changed, so there is nothing else to tell.
    assert!(b.has(|e| matches!(e, Effect::Collect { unit } if unit.as_str() == "a.service")));
}

#[test]
fn who_is_wanted_again_meanwhile_stays() {
    let mut b = Bench::new([transient("a.service")]);
    b.run("a.service").end("a.service", OK);
    assert!(b.has(|e| matches!(e, Effect::Collect { .. })));
    b.start("a.service").unwrap();
    let unit = name("a.service");
    b.tell(Event::Collect { unit });
    assert_eq!(b.view("a.service").active, ActiveState::Activating);
}

#[test]
fn who_is_named_again_meanwhile_goes_with_the_one_who_names_it() {
    let mut other = service("b.service");
    other.relations.after = vec![name("a.service")];
    let mut b = Bench::new([transient("a.service"), other]);
    b.run("a.service").end("a.service", OK);
    assert!(b.has(|e| matches!(e, Effect::Collect { .. })));
    b.run("b.service");
    let unit = name("a.service");
    b.tell(Event::Collect { unit });
    assert!(!b.has(|e| matches!(e, Effect::Forget { .. })));
    b.end("b.service", OK);
    assert!(b.has(|e| matches!(e, Effect::Collect { unit } if unit.as_str() == "a.service")));
}

#[test]
fn what_was_made_for_a_start_that_is_refused_goes() {
    let mut unit = transient("a.service");
    unit.relations.requires = vec![name("nobody.service")];
    let mut b = Bench::new([unit]);
    b.start("a.service").unwrap_err();
    assert!(b.has(|e| matches!(e, Effect::Collect { .. })));
}

#[test]
fn a_failure_without_a_file_is_kept_and_cannot_be_started() {
    let mut other = service("b.service");
    other.relations.requires = vec![name("a.service")];
    let mut b = Bench::new([service("a.service"), other]);
    b.run("a.service")
        .tell(Event::Undefined(name("a.service")))
        .end("a.service", FAILED);
    assert_eq!(b.view("a.service").active, ActiveState::Failed);
    assert!(matches!(b.start("a.service"), Err(Refusal::NoSuchUnit(_))));
    assert!(matches!(
        b.start("b.service"),
        Err(Refusal::MissingRequirement { .. })
    ));
    let unit = Some(name("a.service"));
    b.ask(Request::ResetFailed { unit }).unwrap();
    assert!(b.has(|e| matches!(e, Effect::Forget { .. })));
}

#[test]
fn of_connections_that_failed_the_last_few_are_kept() {
    let mut b = listening();
    for number in 1..=20 {
        let instance = format!("s@{number}.service");
        b.tell(Event::Defined(Box::new(service(&instance))));
        b.tell(Event::Accepted {
            unit: name("s.socket"),
            instance: name(&instance),
        });
        b.up(&instance).end(&instance, FAILED);
        let oldest = name(&format!("s@{}.service", number - 16));
        let goes = Effect::Collect {
            unit: oldest.clone(),
        };
        assert_eq!(b.has(|e| *e == goes), number > 16);
        if number > 16 {
            b.tell(Event::Collect { unit: oldest });
        }
    }
    assert_eq!(
        b.engine
            .views()
            .filter(|view| view.active == ActiveState::Failed)
            .count(),
        16
    );
}

#[test]
fn who_is_not_named_any_more_after_a_reload_goes() {
    let mut other = service("b.service");
    other.relations.after = vec![name("a.service")];
    let mut b = Bench::new([transient("a.service"), other]);
    b.run("b.service").run("a.service").end("a.service", OK);
    b.tell(Event::Defined(Box::new(service("b.service"))));
    assert!(b.has(|e| matches!(e, Effect::Collect { unit } if unit.as_str() == "a.service")));
}
