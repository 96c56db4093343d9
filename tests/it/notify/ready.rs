//! Readiness, reloads, and who may say so.

use crate::live::Aether;
use crate::notify::{heard, main_pid, make_gate, open_gate, script, service};

#[test]
fn a_reload_by_notification_waits_for_the_answer_to_its_signal() {
    let aether = Aether::start();
    make_gate(&aether, "gate");
    service(
        &aether,
        "r",
        "Type=notify-reload",
        "
def reload(*_):
    # An answer to something older is none.
    notify('RELOADING=1\\nMONOTONIC_USEC=1')
    notify('READY=1')
    barrier()
    say('asked')
    gate('gate')
    notify(f'RELOADING=1\\nMONOTONIC_USEC={time.monotonic_ns() // 1000}')
    barrier()
    say('reloading')
    gate('gate')
    notify('READY=1')
signal.signal(signal.SIGHUP, reload)
notify('READY=1')
wait()
",
    );
    aether.ctl(&["start", "r.service"]);
    let pid = main_pid(&aether, "r.service");
    for count in 1..=2 {
        let mut reload = aether.command(&["reload", "r.service"]).spawn().unwrap();
        for word in ["asked", "reloading"] {
            heard(&aether, "r.service", word, count);
            let now = aether.properties("r.service");
            assert_eq!(now.text("ActiveState"), "reloading", "{word}");
            assert!(reload.try_wait().unwrap().is_none(), "{word}");
            open_gate(&aether, "gate");
        }
        assert!(reload.wait().unwrap().success());
        aether.wait_state("r.service", "active", "running");
    }
    assert_eq!(main_pid(&aether, "r.service"), pid);
}

#[test]
fn a_reload_that_is_never_answered_fails_and_the_service_runs_on() {
    let aether = Aether::start();
    let deaf = "
signal.signal(signal.SIGHUP, lambda *_: say('asked'))
notify('READY=1')
wait()
";
    service(&aether, "d", "Type=notify-reload\nTimeoutStartSec=2s", deaf);
    aether.ctl(&["start", "d.service"]);
    let pid = main_pid(&aether, "d.service");
    let (_, error) = aether.refused(&["reload", "d.service"]);
    assert!(error.contains("d.service"), "{error}");
    heard(&aether, "d.service", "asked", 1);
    aether.wait_state("d.service", "active", "running");
    assert_eq!(main_pid(&aether, "d.service"), pid);
    assert!(aether.log("d.service").contains("TimeoutStartSec="));
}

#[test]
fn a_start_may_be_extended() {
    let aether = Aether::start();
    make_gate(&aether, "gate");
    let settings = "Type=notify\nTimeoutStartSec=3s";
    service(
        &aether,
        "long",
        settings,
        "
notify('EXTEND_TIMEOUT_USEC=60000000')
barrier()
say('extended')
gate('gate')
notify('READY=1')
wait()
",
    );
    service(&aether, "short", settings, "wait()\n");
    let mut long = aether.command(&["start", "long.service"]).spawn().unwrap();
    heard(&aether, "long.service", "extended", 1);
    // Begun later, with the same time: when this one is late, the other would have been.
    aether.refused(&["start", "short.service"]);
    let short = aether.wait_state("short.service", "failed", "");
    assert_eq!(short.text("Result"), "timeout");
    let now = aether.properties("long.service");
    assert_eq!(now.text("ActiveState"), "activating");
    open_gate(&aether, "gate");
    assert!(long.wait().unwrap().success());
    aether.wait_state("long.service", "active", "running");
}

#[test]
fn only_those_are_heard_whom_notify_access_names() {
    let aether = Aether::start();
    let tell = "
def tell():
    notify('STATUS=heard')
    barrier()
    say('done')
";
    let post = script(&aether, "post", &format!("{tell}tell()\n"));
    let speakers = [
        ("main", format!("{tell}tell()\nwait()\n"), String::new()),
        (
            "child",
            format!("{tell}if os.fork() == 0:\n    tell()\nwait()\n"),
            String::new(),
        ),
        (
            "post",
            "wait()\n".to_owned(),
            format!("ExecStartPost={post}"),
        ),
    ];
    for (access, heard_ones) in [
        ("none", &[][..]),
        ("main", &["main"][..]),
        ("exec", &["main", "post"][..]),
        ("all", &["main", "child", "post"][..]),
    ] {
        for (speaker, text, more) in &speakers {
            let name = format!("{speaker}-{access}");
            let settings = format!("NotifyAccess={access}\n{more}");
            service(&aether, &name, &settings, text);
            let unit = format!("{name}.service");
            aether.ctl(&["start", &unit]);
            // Even who is not heard must not wait for ever at a barrier.
            heard(&aether, &unit, "done", 1);
            let status = aether.properties(&unit).text("StatusText").to_owned();
            let expected = if heard_ones.contains(speaker) {
                "heard"
            } else {
                ""
            };
            assert_eq!(status, expected, "{unit}");
        }
    }
}

#[test]
fn how_a_main_process_ended_is_known_once_its_parent_is_gone() {
    let aether = Aether::start();
    make_gate(&aether, "gate");
    service(
        &aether,
        "m",
        "Type=notify\nNotifyAccess=all",
        "
child = os.fork()
if not child:
    wait()
# Its parent lives while it becomes the main process, and ends without having waited for it.
notify(f'READY=1\\nMAINPID={child}')
barrier()
say('parent', os.getpid())
gate('gate')
",
    );
    aether.ctl(&["start", "m.service"]);
    let parent = heard(&aether, "m.service", "parent", 1);
    assert_ne!(parent, main_pid(&aether, "m.service").to_string());
    open_gate(&aether, "gate");
    aether.wait_line("m.service", |line| {
        line.contains(&format!("{parent} exited with status 0"))
    });
    aether.ctl(&["kill", "-s", "KILL", "--whom", "main", "m.service"]);
    let end = aether.wait_state("m.service", "failed", "");
    assert_eq!(end.text("Result"), "signal");
    assert_eq!(end.signed("ExecMainStatus"), Some(9));
}
