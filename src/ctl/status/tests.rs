use super::*;
use serde_json::json;

const LOOKS: Looks = Looks {
    colour: false,
    width: Some(80),
    now: (1_700_000_060_000_000, 50_000_000),
};

fn process(cgroup: &str, pid: u32, command: &str) -> ProcessRow {
    ProcessRow {
        cgroup: cgroup.to_owned(),
        pid,
        command: command.to_owned(),
    }
}

/// The snapshot does not depend on the time zone.
fn render(status: &Status) -> String {
    let text = status.render(LOOKS);
    let stamp = time::stamp(1_700_000_000_000_000);
    text.replace(&stamp, "Tue 2023-11-14 22:13:20 UTC")
}

#[test]
fn a_paused_agent() {
    let status = Status {
        facts: Facts(json!({
            "Id": "coder.agent", "Description": "Keeps the tests \u{1b}[2Jgreen",
            "LoadState": "loaded", "FragmentPath": "/etc/aether/units/coder.agent",
            "UnitFileState": "disabled", "UnitFilePreset": "enabled",
            "DropInPaths": ["/etc/aether/units/coder.agent.d/10.conf", "/run/x.conf"],
            "ActiveState": "active", "SubState": "paused", "Result": "success",
            "StateChangeTimestamp": 1_700_000_000_000_000_u64, "Job": [0, "/"],
            "Why": "paused by uid 0", "MainPID": 4242, "Runtime": "claude-code",
            "Model": "claude-sonnet-4-5", "SessionId": "abc", "Turn": 3,
            "TokensIn": 12_345, "TokensOut": 678, "CostMicros": 1_234_500,
            "Paused": true, "PauseReason": "lunch", "WaitingInputs": 1,
            "MemoryCurrent": 1_610_612_736_u64, "TasksCurrent": 7, "CPUUsageNSec": 2_500_000_000_u64,
            "ResourceLimits": { "MemoryMax": 4_294_967_296_u64, "CPUQuotaPerMille": 1500 },
            "UID": 61_184, "LandlockABI": 4,
            "SandboxMissing": ["this kernel cannot restrict signals (Landlock ABI 6)"],
            "ControlGroup": "/aether/coder.agent",
        })),
        processes: vec![
            process("/aether/coder.agent/agent", 4242, "/usr/bin/claude -p"),
            process("/aether/coder.agent/agent", 4250, "sh -c sleep\n1"),
            process("/aether/coder.agent/control", 4300, "hook"),
        ],
        log: "Nov 14 22:13:20 agent  calls Bash {}\n".to_owned(),
    };
    insta::assert_snapshot!(render(&status), @r"
    ● coder.agent - Keeps the tests ^[[2Jgreen
         Loaded: loaded (/etc/aether/units/coder.agent; disabled; preset: enabled)
        Drop-In: /etc/aether/units/coder.agent.d/10.conf
                 /run/x.conf
         Active: active (paused) since Tue 2023-11-14 22:13:20 UTC; 1min ago
            Why: paused by uid 0
       Main PID: 4242 (claude)
          Agent: claude-code, claude-sonnet-4-5, session abc
          Usage: 3 turns; tokens 12.3k in, 678 out; $1.2345
         Paused: lunch
       Messages: 1 waiting; delivered on resume
          Tasks: 7
         Memory: 1.5G (max 4G)
            CPU: 2s (max 150% of one processor)
        Sandbox: Landlock ABI 4 enforced, uid 61184
                 missing: this kernel cannot restrict signals (Landlock ABI 6)
         CGroup: /aether/coder.agent
                 ├─agent
                 │ ├─4242 /usr/bin/claude -p
                 │ └─4250 sh -c sleep 1
                 └─control
                   └─4300 hook

    Nov 14 22:13:20 agent  calls Bash {}
    ");
}

#[test]
fn the_first_restart_is_announced() {
    let status = Status {
        facts: Facts(json!({
            "Id": "web.service", "LoadState": "loaded", "ActiveState": "activating",
            "SubState": "auto-restart", "NRestarts": 0, "RestartAtMonotonic": 53_000_000,
        })),
        processes: vec![],
        log: String::new(),
    };
    let shown = render(&status);
    assert!(shown.contains("Restarts: the next in 3s\n"), "{shown}");
}

#[test]
fn a_failed_service() {
    let status = Status {
        facts: Facts(json!({
            "Id": "web.service", "Description": "web.service",
            "LoadState": "bad-setting", "FragmentPath": "/etc/aether/units/web.service",
            "LoadDiagnostics": ["web.service:3:1: error: unknown directive Foo="],
            "ActiveState": "failed", "SubState": "failed", "Result": "exit-code",
            "StateChangeTimestamp": 1_700_000_000_000_000_u64, "Job": [7, "/x"],
            "Why": "the main process exited with status 3", "FailureStep": "landlock",
            "ExecMainCode": 1, "ExecMainStatus": 3, "NRestarts": 2,
            "RestartAtMonotonic": 53_000_000, "MemoryCurrent": null,
        })),
        processes: vec![],
        log: String::new(),
    };
    insta::assert_snapshot!(render(&status), @r"
    ● web.service
         Loaded: bad-setting (/etc/aether/units/web.service)
                 web.service:3:1: error: unknown directive Foo=
         Active: failed (exit-code) since Tue 2023-11-14 22:13:20 UTC; 1min ago
            Why: the main process exited with status 3
           Step: landlock
            Job: 7
           Exit: main process exited with status 3
       Restarts: 2 by policy; the next in 3s
    ");
}
