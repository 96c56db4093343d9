//! What an agent leaves behind, and what root makes of it at the next start. Needs root.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::live::Aether;

fn agent(script: &str, more: &str) -> String {
    format!("[Agent]\nRuntime=command\nExecStart=/bin/sh -c '{script}'\n{more}\n[MCP]\nTools=\n")
}

/// Runs a script as the agent, in its workspace.
fn leave(aether: &Aether, script: &str) {
    aether.unit("a.agent", &agent(script, ""));
    aether.ctl(&["start", "a"]);
    aether.wait_state("a", "inactive", "completed");
}

fn workspace(aether: &Aether) -> PathBuf {
    aether.root.path().join("state/unit/a.agent/workspace")
}

#[test]
fn a_privileged_command_takes_nothing_from_the_agent() {
    let aether = Aether::start();
    leave(
        &aether,
        "mkdir bin && printf \"#!/bin/sh\\n: >$PWD/ran\\n\" >bin/true && chmod +x bin/true && \
         echo PATH=$PWD/bin >.env && echo FROM_FILE=yes >>.env",
    );
    let here = workspace(&aether);
    assert!(here.join("bin/true").exists() && here.join(".env").exists());
    let say = "echo seen home=$${HOME-} user=$${USER-} logname=$${LOGNAME-} tmp=$${TMPDIR-} \
               file=$${FROM_FILE-} unit=$${FROM_UNIT-} in=$$(pwd) uid=$$(id -u)";
    let more = format!(
        "EnvironmentFile=-{}\nEnvironment=FROM_UNIT=yes HOME={}\n\
         ExecStartPre=+true\nExecStartPre=+/bin/sh -c '{say}'\nExecStartPre=/bin/sh -c '{say}'\n\
         ExecStartPre=+/bin/echo substituted ${{FROM_FILE}}.",
        here.join(".env").display(),
        here.display(),
    );
    aether.unit("a.agent", &agent("echo in", &more));
    aether.ctl(&["daemon-reload"]);
    aether.ctl(&["start", "a"]);
    aether.wait_state("a", "inactive", "completed");
    assert!(!here.join("ran").exists(), "root ran the agent's program");
    let seen = |uid: &dyn Fn(&str) -> bool| {
        aether.wait_line("a", |line| line.contains(" seen ") && uid(line))
    };
    let root = seen(&|line| line.ends_with(" uid=0"));
    assert!(
        root.ends_with("home=/root user=root logname=root tmp= file= unit=yes in=/ uid=0"),
        "{root}"
    );
    let agent = seen(&|line| !line.ends_with(" uid=0"));
    assert!(agent.contains("file=yes"), "{agent}");
    assert!(
        agent.contains(&format!("in={} ", here.display())),
        "{agent}"
    );
    aether.wait_line("a", |line| line.ends_with(" substituted ."));
}
