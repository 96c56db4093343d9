//! `FailureAction=` and its like: a unit's end is that of Aether, or of the machine. Under a live
//! Aether; needs root.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use crate::live::Aether;

fn wait(aether: &mut Aether) -> ExitStatus {
    aether.keeper.take().unwrap().wait().unwrap()
}

#[test]
fn aether_ends_with_a_unit_in_order_or_by_force() {
    for (action, code) in [("exit", 42), ("exit-force", 43)] {
        let mut aether = Aether::start();
        let marks = aether.root.path().join("marks");
        aether.unit(
            "other.service",
            &format!(
                "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c 'echo stop >>{}'\n",
                marks.display()
            ),
        );
        aether.unit(
            "a.service",
            &format!(
                "[Unit]\nFailureAction={action}\nFailureActionExitStatus={code}\n\
                 [Service]\nExecStart=/bin/sh -c 'sleep 0.2; exit 1'\n"
            ),
        );
        aether.ctl(&["start", "other.service"]);
        aether.ctl(&["start", "a.service"]);
        assert_eq!(wait(&mut aether).code(), Some(code), "{action}");
        // Only an end in order stops the others as they want it.
        assert_eq!(marks.exists(), action == "exit", "{action}");
    }
}

#[test]
fn the_machine_is_not_ended_by_whoever_is_not_its_first_process() {
    let aether = Aether::start();
    aether.unit(
        "a.service",
        "[Unit]\nSuccessAction=reboot-immediate\n[Service]\nExecStart=/bin/true\n",
    );
    aether.ctl(&["start", "a.service"]);
    aether.wait_line("a.service", |line| {
        line.contains("reboot-immediate is refused") && line.contains("PID 1")
    });
    let status = aether.ctl(&["status", "a.service"]);
    assert!(
        status.contains("warning: SuccessAction=reboot-immediate will be refused"),
        "{status}"
    );
}

/// In a namespace of its own the kernel tells the end of the machine by a signal (reboot(2)).
#[test]
fn the_first_process_ends_the_machine() {
    for (action, signal) in [
        ("reboot", 1),
        ("reboot-force", 1),
        ("poweroff-immediate", 2),
    ] {
        let aether = Aether::prepare();
        aether.unit("default.target", "[Unit]\nWants=a.service\n");
        aether.unit(
            "a.service",
            &format!("[Unit]\nSuccessAction={action}\n[Service]\nExecStart=/bin/true\n"),
        );
        let mut command = Command::new("unshare");
        aether.environment(&mut command);
        let status = command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(aether.root.path().join("bin/aether-init"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        // unshare(1) dies of what its child died of.
        assert_eq!(status.signal(), Some(signal), "{action}: {status}");
    }
}
