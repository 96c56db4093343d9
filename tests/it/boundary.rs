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

/// A file beside everything that the agent has.
fn secret(aether: &Aether, text: &str, mode: u32) -> PathBuf {
    let path = aether.root.path().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
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

#[test]
fn a_link_planted_where_a_rule_points_does_not_widen_the_sandbox() {
    let aether = Aether::start();
    leave(&aether, "ln -s / bin");
    let bin = workspace(&aether).join("bin");
    assert!(bin.is_symlink());
    let rule = format!("[Sandbox]\nExecPaths={}", bin.display());
    aether.unit("a.agent", &agent("echo in", &rule));
    aether.ctl(&["daemon-reload"]);
    let (_, error) = aether.refused(&["start", "a"]);
    assert!(
        error.contains("is a symbolic link that is not followed"),
        "{error}"
    );
    let now = aether.wait_state("a", "failed", "");
    assert_eq!(now.text("FailureStep"), "ruleset");
}

#[test]
fn a_link_planted_for_an_environment_file_is_not_read() {
    let aether = Aether::start();
    let secret = secret(&aether, "KEY=words\n", 0o600);
    let link = format!("ln -sf {} .env", secret.display());
    leave(&aether, &link);
    let file = workspace(&aether).join(".env");
    for optional in ["", "-"] {
        let more = format!("EnvironmentFile={optional}{}", file.display());
        aether.unit("a.agent", &agent("echo key=$KEY.", &more));
        aether.ctl(&["daemon-reload"]);
        let (_, error) = aether.refused(&["start", "a"]);
        assert!(
            error.contains(&file.display().to_string()) && error.contains("belongs to user"),
            "{error}"
        );
        let now = aether.wait_state("a", "failed", "");
        assert_eq!(now.text("FailureStep"), "files");
    }
    // A file of the agent's own is read as ever, and so is one behind a link of root's.
    leave(&aether, "rm .env && echo KEY=own >.env");
    let link = aether.root.path().join("units/env");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let more = format!("EnvironmentFile={}", link.display());
    aether.unit("a.agent", &agent("echo key=$KEY.", &more));
    aether.ctl(&["daemon-reload"]);
    aether.ctl(&["start", "a"]);
    aether.wait_line("a", |line| line.ends_with(" key=own."));
}

#[test]
fn a_program_behind_a_planted_link_is_found_but_allowed_nothing() {
    let aether = Aether::start();
    // As a virtual environment has its interpreter: what it leads to is allowed anyway.
    leave(&aether, "ln -s /bin/echo tool");
    let tool = workspace(&aether).join("tool");
    aether.unit(
        "a.agent",
        &format!(
            "[Agent]\nRuntime=command\nExecStart={} worked\n[MCP]\nTools=\n",
            tool.display()
        ),
    );
    aether.ctl(&["daemon-reload"]);
    aether.ctl(&["start", "a"]);
    aether.wait_line("a", |line| line.ends_with(" worked"));

    // A copy outside of all that is allowed.
    let outside = aether.root.path().join("outside");
    std::fs::copy("/bin/echo", &outside).unwrap();
    std::fs::remove_file(&tool).unwrap();
    std::os::unix::fs::symlink(&outside, &tool).unwrap();
    let (_, error) = aether.refused(&["start", "a"]);
    assert!(error.contains("ermission denied"), "{error}");
    let now = aether.wait_state("a", "failed", "");
    assert_eq!(now.text("FailureStep"), "exec");
}

#[test]
fn the_arguments_of_a_units_servers_are_its_own() {
    let aether = Aether::start();
    let program = aether.root.path().join("bin/fake");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    aether.unit(
        "a.agent",
        &format!(
            "[Agent]\nRuntime=claude-code\nRuntimeBinary={}\nGoal=x\nTimeoutStopSec=1s\n[MCP]\nTools=\n\
             Server=search:/bin/cat --key=words\n",
            program.display()
        ),
    );
    aether.ctl(&["start", "a"]);
    aether.wait_state("a", "active", "");
    let file = aether.root.path().join("run/unit/a.agent/mcp.json");
    let data = std::fs::metadata(&file).unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains("words"));
    use std::os::unix::fs::MetadataExt;
    let user = std::fs::metadata(workspace(&aether)).unwrap().uid();
    assert_ne!(user, 0);
    assert_eq!((data.uid(), data.gid()), (0, user));
    assert_eq!(data.mode() & 0o7777, 0o640);
    aether.ctl(&["stop", "a"]);
}
