//! `start --follow` and `--wait`: a unit is watched until it ends. Under a live Aether; needs root.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::live::{Aether, signal};

/// An agent that goes on until it is stopped.
const LONG: &str =
    "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo ready; exec sleep 1000'\n[MCP]\nTools=\n";

#[test]
fn a_followed_start_shows_everything_and_ends_with_the_unit() {
    let aether = Aether::start();
    aether.unit(
        "short.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo first; sleep 0.2; echo last'\n[MCP]\nTools=\n",
    );
    for _ in 0..2 {
        let output = aether.run(&["start", "--follow", "short"]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shown}");
        // Once each, also in the second run: what was there before is not shown again.
        for line in ["first", "last", "exited with status 0"] {
            assert_eq!(shown.matches(line).count(), 1, "{line}: {shown}");
        }
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("Finished: short.agent"), "{said}");
    }
}

#[test]
fn a_watched_start_answers_how_the_unit_ended() {
    let aether = Aether::start();
    aether.unit(
        "bad.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo unseen; exit 7'\nRestart=no\n[MCP]\nTools=\n",
    );
    let output = aether.run(&["start", "--wait", "bad"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stdout).unwrap().contains("unseen"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("Failed: bad.agent") && said.contains('7'),
        "{said}"
    );
    let (code, error) = aether.refused(&["start", "--wait", "bad", "other"]);
    assert_eq!(code, 2, "{error}");
}

#[test]
fn who_stops_watching_is_told_apart_from_a_good_end() {
    let aether = Aether::start();
    aether.unit("long.agent", LONG);
    for (line, name, code) in [
        (&["start", "--follow", "long"][..], "INT", 130),
        (&["start", "--follow", "long"], "TERM", 143),
        (&["start", "--wait", "long"], "INT", 130),
    ] {
        let mut child = aether
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so once it watches.
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while !said.contains("Started long.agent.") {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
        }
        signal(child.id(), name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{line:?} {name}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("goes on"), "{said}");
    }
    aether.wait_state("long", "active", "running");
}

#[test]
fn a_followed_start_ends_with_its_reader() {
    let aether = Aether::start();
    aether.unit("long.agent", LONG);
    let mut child = aether
        .command(&["start", "--follow", "long"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    while !line.contains("ready") {
        assert!(stdout.read_line(&mut line).unwrap() > 0, "{line}");
    }
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    aether.wait_state("long", "active", "running");
}

#[test]
fn watching_outlives_the_daemon() {
    let aether = Aether::start();
    let go = aether.root.path().join("go");
    aether.unit(
        "once.agent",
        &format!(
            "[Agent]\nRuntime=command\nDynamicUser=no\nExecStart=/bin/sh -c 'echo ready; until [ -e {} ]; do sleep 0.1; done; echo last; exit 3'\nRestart=no\n[Sandbox]\nPolicy=none\n[MCP]\nTools=\n",
            go.display()
        ),
    );
    let mut child = aether
        .command(&["start", "--follow", "once"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    while !said.contains("ready") {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
    }
    aether.kill_daemon();
    std::fs::write(go, "").unwrap();
    while stdout.read_line(&mut said).unwrap() > 0 {}
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}{error}");
    assert_eq!(said.matches("last").count(), 1, "{said}");
    assert!(error.contains("Failed: once.agent"), "{error}");
}

#[test]
fn an_end_in_order_starts_the_count_of_daemons_anew() {
    let mut aether = Aether::start();
    aether.kill_daemon();
    assert!(
        aether
            .ctl(&["status"])
            .contains("started by the keeper 2 times")
    );
    aether.down();
    aether.up();
    let status = aether.ctl(&["status"]);
    assert!(!status.contains("started by the keeper"), "{status}");
}
