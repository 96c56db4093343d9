//! Plain commands as agents and services, under a live Aether. Needs root and a cgroup2 mount.

use crate::live::{Aether, until};

fn sleeper(extra: &str) -> String {
    format!("[Agent]\nRuntime=command\nExecStart=/bin/sleep infinity\n{extra}\n[MCP]\nTools=\n")
}

#[test]
fn start_status_stop() {
    let aether = Aether::start();
    aether.unit("s.agent", &sleeper(""));
    aether.ctl(&["start", "s"]);
    let status = aether.ctl(&["status", "s"]);
    assert!(status.contains("active (running)"), "{status}");
    assert!(aether.group("s").join("agent/cgroup.procs").exists());
    aether.ctl(&["stop", "s"]);
    aether.wait_state("s", "inactive", "");
    aether.wait_no_group("s");
}

#[test]
fn an_agent_that_exits_with_0_is_completed() {
    let aether = Aether::start();
    aether.unit(
        "ok.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo out; echo err >&2'\n[MCP]\nTools=\n",
    );
    aether.ctl(&["start", "ok"]);
    aether.wait_state("ok", "inactive", "completed");
    let logs = aether.ctl(&["logs", "ok"]);
    assert!(logs.contains("out") && logs.contains("err"), "{logs}");
    let entry = aether.wait_line("ok", |line| line.contains(" stderr F err"));
    assert!(entry.starts_with("20"), "{entry}");
}

#[test]
fn a_missing_program_is_a_failed_unit_with_a_sentence() {
    let aether = Aether::start();
    aether.unit(
        "no.agent",
        "[Agent]\nRuntime=command\nExecStart=/nonexistent/program\n[MCP]\nTools=\n",
    );
    let (code, error) = aether.refused(&["start", "no"]);
    assert_eq!(code, 1);
    assert!(error.contains("/nonexistent/program"), "{error}");
    let now = aether.wait_state("no", "failed", "");
    assert_eq!(now.text("FailureStep"), "binary");
}

#[test]
fn a_missing_claude_says_how_to_install_it() {
    let aether = Aether::start();
    aether.unit(
        "c.agent",
        "[Agent]\nRuntime=claude-code\nRuntimeBinary=/nonexistent/claude\nGoal=x\n",
    );
    let (_, error) = aether.refused(&["start", "c"]);
    assert!(error.contains("npm install"), "{error}");
    aether.wait_state("c", "failed", "");
}

#[test]
fn everything_of_a_stopped_unit_is_gone() {
    let aether = Aether::start();
    // Children in sessions of their own, ignoring TERM: only the cgroup knows them.
    aether.unit(
        "tree.agent",
        "[Agent]\nRuntime=command\nTimeoutStopSec=1s\nExecStart=/bin/sh -c 'trap \"\" TERM; \
         for i in 1 2 3; do setsid sh -c \"trap : TERM; while :; do sleep 1000; done\" & done; \
         echo ready; while :; do sleep 1000; done'\n[MCP]\nTools=\n",
    );
    aether.ctl(&["start", "tree"]);
    aether.wait_line("tree", |line| line.ends_with(" stdout F ready"));
    let group = aether.group("tree").join("agent/cgroup.procs");
    let procs = std::fs::read_to_string(&group).unwrap();
    assert!(procs.lines().count() >= 4, "{procs}");
    aether.ctl(&["stop", "tree"]);
    for pid in procs.lines() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert_ne!(stat.trim(), "sh", "{pid} is still there");
    }
    aether.wait_no_group("tree");
}

#[test]
fn pause_freezes_every_process_and_stop_works_at_once() {
    let aether = Aether::start();
    aether.unit(
        "busy.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'setsid sh -c \"while :; do :; done\" & \
         echo ready; while :; do :; done'\n[MCP]\nTools=\n",
    );
    aether.ctl(&["start", "busy"]);
    aether.wait_line("busy", |line| line.ends_with(" stdout F ready"));
    aether.ctl(&["pause", "busy"]);
    // The answer came after the kernel said so.
    let events = std::fs::read_to_string(aether.group("busy").join("agent/cgroup.events")).unwrap();
    assert!(events.contains("frozen 1"), "{events}");
    let status = aether.ctl(&["status", "busy"]);
    assert!(status.contains("paused"), "{status}");
    let (code, error) = aether.refused(&["pause", "busy"]);
    assert_eq!(code, 1);
    assert!(error.contains("paused already"), "{error}");
    let cpu = |aether: &Aether| {
        let stat = std::fs::read_to_string(aether.group("busy").join("agent/cpu.stat")).unwrap();
        stat.lines().next().unwrap().to_owned()
    };
    let before = cpu(&aether);
    aether.ctl(&["list-units"]);
    assert_eq!(cpu(&aether), before, "a frozen agent used processor time");
    aether.ctl(&["resume", "busy"]);
    let events = std::fs::read_to_string(aether.group("busy").join("agent/cgroup.events")).unwrap();
    assert!(events.contains("frozen 0"), "{events}");
    aether.ctl(&["pause", "busy"]);
    let began = std::time::Instant::now();
    aether.ctl(&["stop", "busy"]);
    // TimeoutStopSec is 90 s: a stop that waited for a thaw or a timeout would take far longer.
    assert!(
        began.elapsed().as_secs() < 20,
        "stopping a paused unit took {:?}",
        began.elapsed()
    );
    aether.wait_no_group("busy");
}

#[test]
fn a_memory_hog_is_killed_named_and_restarted_by_policy() {
    let aether = Aether::start();
    aether.unit(
        "hog.agent",
        "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=60\n[Agent]\nRuntime=command\n\
         MemoryMax=32M\nMemorySwapMax=0\nRestart=on-failure\nRestartSec=0\n\
         ExecStart=/usr/bin/python3 -c 'x = bytearray(200 << 20)'\n[MCP]\nTools=\n",
    );
    aether.run(&["start", "hog"]);
    let now = aether.wait("hog", "given up", |now| now.text("ActiveState") == "failed");
    assert!(now.number("NRestarts").unwrap() >= 1, "{}", now.json());
    let log = aether.log("hog");
    assert!(
        log.contains("aether F") && log.to_lowercase().contains("memory"),
        "{log}"
    );
    assert!(log.matches("Starting hog.agent").count() >= 2, "{log}");
}

#[test]
fn a_fork_bomb_stops_at_tasks_max() {
    let aether = Aether::start();
    // A script of its own: quoting is not what is tested here.
    let script = aether.root.path().join("bomb.py");
    std::fs::write(
        &script,
        "import os, time\nn = 0\ntry:\n  while n < 500:\n    if os.fork() == 0:\n      time.sleep(1000)\n    n += 1\n\
         except BlockingIOError:\n  print('stopped at', n, flush=True)\ntime.sleep(1000)\n",
    )
    .unwrap();
    aether.unit(
        "bomb.agent",
        &format!(
            "[Agent]\nRuntime=command\nTasksMax=20\nExecStart=/usr/bin/python3 {}\n\
             [Sandbox]\nReadOnlyPaths={}\n[MCP]\nTools=\n",
            script.display(),
            script.display()
        ),
    );
    aether.ctl(&["start", "bomb"]);
    let line = aether.wait_line("bomb", |line| line.contains("stopped at"));
    let count: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count < 20, "{line}");
    aether.ctl(&["stop", "bomb"]);
}

#[test]
fn secrets_and_other_homes_are_refused() {
    let aether = Aether::start();
    let secret = aether.root.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    aether.unit(
        "spy.agent",
        &format!(
            "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'id -u; cat {} ; cat /etc/shadow; ls /root; \
             ls {}/state/unit; echo mine > $HOME/f && cat $HOME/f; while read line; do echo $line; done < /proc/self/status'\n[MCP]\nTools=\n",
            secret.display(),
            aether.root.path().display()
        ),
    );
    aether.run(&["start", "spy"]);
    aether.wait("spy", "done", |now| {
        now.text("ActiveState") != "active" && now.text("ActiveState") != "activating"
    });
    let log = aether.log("spy");
    // World-readable, so only Landlock stands before it.
    assert!(log.contains("/secret: Permission denied"), "{log}");
    assert!(log.contains("/etc/shadow: Permission denied"), "{log}");
    assert!(log.matches("Permission denied").count() >= 4, "{log}");
    assert!(log.contains("stdout F mine"), "{log}");
    assert!(log.contains("CapEff: 0000000000000000"), "{log}");
    assert!(!log.contains("stdout F 0\n"), "it ran as root: {log}");
}

#[test]
fn the_daemon_dies_and_nothing_is_lost() {
    let aether = Aether::start();
    aether.unit(
        "talk.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'i=0; while [ $i -lt 2000 ]; do echo line $i; \
         i=$((i+1)); done; echo ready; read x < $HOME/gate; echo last; exit 7'\n\
         ExecStartPre=/bin/sh -c 'mkfifo $HOME/gate 2>/dev/null || true'\n[MCP]\nTools=\n",
    );
    aether.ctl(&["start", "talk"]);
    let before = aether.properties("talk").number("MainPID").unwrap();
    aether.kill_daemon();
    let after = aether
        .wait_state("talk", "active", "running")
        .number("MainPID")
        .unwrap();
    assert_eq!(before, after, "the agent was not adopted");
    aether.wait_line("talk", |line| line.ends_with(" stdout F ready"));
    aether.kill_daemon();
    let gate = aether.root.path().join("state/unit/talk.agent/home/gate");
    std::fs::write(gate, "go\n").unwrap();
    let now = aether.wait_state("talk", "failed", "");
    assert_eq!(now.signed("ExecMainStatus"), Some(7), "{}", now.json());
    let log = aether.log("talk");
    for number in 0..2000 {
        assert!(
            log.contains(&format!(" stdout F line {number}\n")),
            "line {number} was lost"
        );
    }
    assert!(log.contains(" stdout F last\n"), "{log}");
}

#[test]
fn a_death_while_no_daemon_is_there_has_its_status() {
    let aether = Aether::start();
    aether.unit(
        "brief.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo ready; read x < $HOME/gate; exit 42'\n\
         ExecStartPre=/bin/sh -c 'mkfifo $HOME/gate 2>/dev/null || true'\n[MCP]\nTools=\n",
    );
    aether.ctl(&["start", "brief"]);
    aether.wait_line("brief", |line| line.ends_with(" stdout F ready"));
    let daemon = aether.daemon_pid();
    crate::live::signal(daemon, "STOP");
    // It cannot see this death; then it dies itself.
    let gate = aether.root.path().join("state/unit/brief.agent/home/gate");
    std::fs::write(gate, "go\n").unwrap();
    crate::live::signal(daemon, "KILL");
    aether.answering();
    let now = aether.wait_state("brief", "failed", "");
    assert_eq!(now.signed("ExecMainStatus"), Some(42), "{}", now.json());
}

#[test]
fn a_bad_unit_file_is_refused_with_its_lines() {
    let aether = Aether::start();
    aether.unit(
        "bad.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/true\n[Sandbox]\nPolicyy=x\n",
    );
    let (_, error) = aether.refused(&["start", "bad"]);
    assert!(
        error.contains("bad.agent:5") && error.contains("Policy="),
        "{error}"
    );
}

#[test]
fn stopping_what_others_need_asks_for_force() {
    let aether = Aether::start();
    aether.unit("base.agent", &sleeper(""));
    aether.unit(
        "top.agent",
        &format!(
            "[Unit]\nRequires=base.agent\nAfter=base.agent\n{}",
            sleeper("")
        ),
    );
    aether.ctl(&["start", "top"]);
    aether.wait_state("base", "active", "running");
    let (_, error) = aether.refused(&["stop", "base"]);
    assert!(
        error.contains("top.agent") && error.contains("--force"),
        "{error}"
    );
    aether.ctl(&["stop", "--force", "base"]);
    aether.wait_state("top", "inactive", "");
    aether.wait_state("base", "inactive", "");
}

#[test]
fn two_daemons_do_not_share_a_place() {
    let aether = Aether::start();
    let again = aether.run(&["up"]);
    assert!(again.status.success());
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(text.contains("already"), "{text}");
}

#[test]
fn a_restart_runs_what_the_file_says_now_and_a_reload_moves_the_limits() {
    let aether = Aether::start();
    let text = |word: &str, tasks: u32| {
        format!(
            "[Agent]\nRuntime=command\nTasksMax={tasks}\n\
             ExecStart=/bin/sh -c 'echo {word}; exec sleep infinity'\n[MCP]\nTools=\n"
        )
    };
    aether.unit("w.agent", &text("tick", 33));
    aether.ctl(&["start", "w"]);
    aether.wait_line("w", |line| line.ends_with("stdout F tick"));
    aether.unit("w.agent", &text("tock", 44));
    aether.ctl(&["daemon-reload"]);
    assert_eq!(aether.tasks_max("w"), "44");
    aether.unit("w.agent", &text("tack", 55));
    aether.ctl(&["restart", "w"]);
    aether.wait_line("w", |line| line.ends_with("stdout F tack"));
    assert_eq!(aether.tasks_max("w"), "55");
}

#[test]
fn a_process_that_stopped_itself_can_be_stopped() {
    let aether = Aether::start();
    aether.unit(
        "z.agent",
        "[Agent]\nRuntime=command\nTimeoutStopSec=30\nRestart=no\n\
         ExecStart=/bin/sh -c 'echo ready; kill -STOP $$$$'\n[MCP]\nTools=\n",
    );
    aether.ctl(&["start", "z"]);
    aether.wait_line("z", |line| line.ends_with("stdout F ready"));
    let pid = aether.properties("z").number("MainPID").unwrap();
    until("it has stopped itself", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") T ")
    });
    aether.ctl(&["stop", "z"]);
    let now = aether.wait_state("z", "inactive", "");
    assert_eq!(now.text("Result"), "success");
}

#[test]
fn a_workspace_shared_by_name_is_read_and_written_by_all_who_share_it() {
    let aether = Aether::start();
    let text = |script: &str, workspace: &str| {
        format!(
            "[Agent]\nRuntime=command\nRestart=no\n{workspace}\n\
             ExecStart=/bin/sh -c '{script}'\n[Sandbox]\nPolicy=coding\n[MCP]\nTools=\n"
        )
    };
    aether.unit(
        "one.agent",
        &text("mkdir -p d; echo from one >d/a", "Workspace=shop"),
    );
    aether.unit(
        "two.agent",
        &text(
            "cat d/a; echo and two >>d/a; cat d/a; id -u",
            "Workspace=shop",
        ),
    );
    let place = aether.root.path().join("state/workspace/shop");
    aether.unit(
        "other.agent",
        &text(&format!("cat {}/d/a", place.display()), ""),
    );
    aether.ctl(&["start", "one"]);
    aether.wait_state("one", "inactive", "completed");
    aether.ctl(&["start", "two"]);
    aether.wait_state("two", "inactive", "completed");
    let log = aether.log("two");
    assert!(log.contains("from one") && log.contains("and two"), "{log}");
    // Not by whoever does not share it.
    aether.ctl(&["start", "other"]);
    aether.wait_state("other", "failed", "");
    assert!(!aether.log("other").contains("from one"));
}
