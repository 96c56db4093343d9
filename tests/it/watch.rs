//! `start --follow` and `--wait`: a unit is watched until it ends. Under a live Aether; needs root.

use crate::live::Aether;

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
