//! Watchdogs.

use crate::live::{Aether, signal};
use crate::notify::{heard, main_pid, script, service};

#[test]
fn the_period_is_told_and_may_be_changed_by_the_service() {
    let aether = Aether::start();
    let text = "
say('period', os.environ.get('WATCHDOG_USEC', 'none'))
say('own', os.environ.get('WATCHDOG_PID', str(os.getpid())) == str(os.getpid()))
say('said', 'WATCHDOG_PID' in os.environ)
notify('READY=1')
notify('WATCHDOG_USEC=100000')
wait()
";
    for (name, settings, told) in [
        ("set", "Type=notify\nWatchdogSec=1h", "3600000000"),
        ("unset", "Type=notify", "none"),
    ] {
        service(&aether, name, settings, text);
        let unit = format!("{name}.service");
        aether.ctl(&["start", &unit]);
        assert_eq!(heard(&aether, &unit, "period", 1), told);
        // Who is meant by it (sd_watchdog_enabled(3)).
        assert_eq!(heard(&aether, &unit, "own", 1), "True");
        let said = heard(&aether, &unit, "said", 1);
        assert_eq!(said, if told == "none" { "False" } else { "True" });
        let now = aether.wait_state(&unit, "failed", "");
        assert_eq!(now.text("Result"), "watchdog", "{name}");
    }
}

#[test]
fn a_service_may_call_its_watchdog() {
    let aether = Aether::start();
    service(
        &aether,
        "t",
        "Type=notify\nWatchdogSec=1h",
        "notify('READY=1')\nnotify('WATCHDOG=trigger')\nwait()\n",
    );
    aether.run(&["start", "t.service"]);
    let now = aether.wait_state("t.service", "failed", "");
    assert_eq!(now.text("Result"), "watchdog");
}

#[test]
fn a_paused_agent_is_not_ended_by_its_watchdog() {
    let aether = Aether::start();
    let agent = |name: &str, text: &str| {
        let command = script(&aether, name, text);
        let place = aether.root.path().display();
        let unit = format!(
            "[Agent]\nRuntime=command\nExecStart={command}\nWatchdogSec=4s\nNotifyAccess=main\n\
             Restart=no\n[Sandbox]\nReadOnlyPaths={place}/{name}.py\n[MCP]\nTools=\n"
        );
        aether.unit(&format!("{name}.agent"), &unit);
    };
    // The signs of life come by the clock: that is what a watchdog is about.
    agent(
        "lively",
        "
signal.signal(signal.SIGALRM, lambda *_: (notify('WATCHDOG=1'), say('alive')))
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.2)
wait()
",
    );
    agent("silent", "wait()\n");
    aether.ctl(&["start", "lively"]);
    heard(&aether, "lively", "alive", 1);
    let pid = main_pid(&aether, "lively");
    aether.ctl(&["pause", "lively"]);
    let before = aether.log("lively").matches("alive").count();
    // Begun later, with the same time: when this one is ended, the other would have been.
    aether.ctl(&["start", "silent"]);
    let silent = aether.wait_state("silent", "failed", "");
    assert_eq!(silent.text("Result"), "watchdog");
    assert_eq!(aether.properties("lively").text("ActiveState"), "active");
    aether.ctl(&["resume", "lively"]);
    heard(&aether, "lively", "alive", before + 1);
    assert_eq!(main_pid(&aether, "lively"), pid);
    signal(pid, "KILL");
    aether.wait_state("lively", "failed", "");
}
