//! Recordings: what a live supervisor decided is decided again from its file.

use crate::live::Aether;

#[test]
fn a_recording_is_replayed_exactly_and_a_forged_one_is_not() {
    let aether = Aether::start();
    aether.unit(
        "a.service",
        "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=1ms\n",
    );
    aether.unit(
        "b.service",
        "[Unit]\nRequires=a.service\nAfter=a.service\n[Service]\nType=oneshot\n\
         RemainAfterExit=yes\nExecStart=/bin/true\n",
    );
    // Begun in the middle of things.
    aether.ctl(&["start", "a.service"]);
    let said = aether.ctl(&["record", "start"]);
    assert!(said.contains("recording.jsonl"), "{said}");
    let file = aether.root.path().join("log/recording.jsonl");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    aether.ctl(&["start", "b.service"]);
    let pid = aether.properties("a.service").number("MainPID");
    crate::live::signal(u32::try_from(pid.unwrap()).unwrap(), "KILL");
    aether.wait("a.service", "restarted", |unit| {
        unit.number("NRestarts") == Some(1)
    });
    aether.wait_state("a.service", "active", "running");
    aether.ctl(&["stop", "--force", "a.service"]);
    aether.ctl(&["record", "stop"]);

    let path = file.to_str().unwrap();
    crate::live::until("the recording is whole", || {
        let said = aether.run(&["--json", "replay", path]);
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(said["differences"], 0, "{said}");
        said["events"].as_u64().unwrap() > 10 && said["torn"] == false
    });
    let said = aether.ctl(&["replay", path]);
    assert!(said.contains("each with the same effects"), "{said}");

    let text = std::fs::read_to_string(&file).unwrap();
    let forged = aether.root.path().join("forged.jsonl");
    let other = text.replacen("\"kill-all\"", "\"release\"", 1);
    let other = if other == text {
        text.replacen("\"result\":\"done\"", "\"result\":\"failed\"", 1)
    } else {
        other
    };
    assert_ne!(other, text);
    std::fs::write(&forged, other).unwrap();
    let output = aether.run(&["replay", forged.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("1 with other effects"), "{said}");
    let (code, said) = aether.refused(&["replay", "/dev/null"]);
    assert_eq!(code, 1, "{said}");
}
