//! An ordinary user's manager on a host without cgroups for it: what cannot be enforced is said,
//! and what can be done is done. Needs root, to become that user.

use crate::live::Aether;

/// A user with nothing of its own.
const USER: u32 = 61_237;

#[test]
fn without_cgroups_a_unit_runs_is_followed_killed_and_told_apart() {
    let aether = Aether::start_as(USER);
    let status = aether.ctl(&["status"]);
    assert!(status.contains("cgroups: none"), "{status}");
    assert!(status.contains("not root"), "{status}");
    aether.unit(
        "u.agent",
        "[Agent]\nRuntime=command\nMemoryMax=64M\n\
         ExecStart=/bin/sh -c 'id -u; setsid sleep 1000 & echo child $!; exec sleep 1000'\n",
    );
    aether.ctl(&["start", "u"]);
    aether.wait_line("u", |line| line.ends_with(&format!("stdout F {USER}")));
    let line = aether.wait_line("u", |line| line.contains("stdout F child "));
    let child = line.rsplit(' ').next().unwrap().to_owned();
    // What the unit asked for and does not get is in its status.
    let status = aether.ctl(&["status", "u"]);
    for missing in ["MemoryMax=", "MCP", "own user"] {
        assert!(status.contains(missing), "{missing}: {status}");
    }
    // Paused all the same, if not as surely: status says how.
    aether.ctl(&["pause", "u"]);
    aether.ctl(&["resume", "u"]);
    let before = aether.properties("u").number("MainPID");
    aether.kill_daemon();
    assert_eq!(aether.properties("u").number("MainPID"), before);
    aether.ctl(&["stop", "u"]);
    aether.wait_state("u", "inactive", "");
    // Also the child in a session of its own.
    let state = std::fs::read_to_string(format!("/proc/{child}/stat"));
    assert!(
        state.as_ref().map_or(true, |stat| stat.contains(") Z ")),
        "{state:?}"
    );
}

#[test]
fn without_cgroups_the_first_agent_says_what_it_lacks_and_tries_all_the_same() {
    let aether = Aether::start_as(USER);
    let output = aether.run(&["start", "--follow", "hello.agent"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("I have no MCP server here"), "{shown}");
    assert!(
        shown.contains("read the passwords in /etc/shadow") && shown.contains("refused (EACCES)"),
        "{shown}"
    );
}

#[test]
fn an_up_that_fails_leaves_nothing_that_goes_on_trying() {
    let aether = Aether::prepare();
    let state = aether.root.path().join("file/state");
    std::fs::write(aether.root.path().join("file"), "in the way").unwrap();
    let output = aether.run_with(("AETHER_STATE_DIR", state.to_str().unwrap()), &["up"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("file/state"), "{error}");
    // The keeper held this lock for as long as it lived.
    let lock = std::fs::File::open(aether.root.path().join("run/keeper/lock")).unwrap();
    lock.try_lock_shared().expect("the keeper has ended");
    let output = aether.run_with(("AETHER_RUNTIME_DIR", "run"), &["status"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("AETHER_RUNTIME_DIR"), "{error}");
}
