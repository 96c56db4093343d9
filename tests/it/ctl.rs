//! `aetherctl` as a person or a script uses it, where no Aether is running.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A place of its own for every manager directory.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        for name in ["run", "state", "log", "units", "policies", "bin"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aetherctl"));
        command
            .args(arguments)
            .current_dir(self.root.path())
            .env_clear()
            .env("TZ", "UTC")
            .env("AETHER_RUNTIME_DIR", self.path("run"))
            .env("AETHER_STATE_DIR", self.path("state"))
            .env("AETHER_LOG_DIR", self.path("log"))
            .env("AETHER_UNIT_PATH", self.path("units"))
            .env("AETHER_POLICY_PATH", self.path("policies"))
            .env("AETHER_LIBEXEC_DIR", self.path("bin"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn log(&self, unit: &str) -> Log {
        let directory = self.path("log").join(unit);
        fs::create_dir_all(&directory).unwrap();
        Log {
            directory,
            second: 0,
        }
    }
}

/// Writes a unit's output as the daemon does.
struct Log {
    directory: PathBuf,
    second: u32,
}

impl Log {
    fn line(&mut self, stream: &str, tag: &str, text: &str) {
        self.second += 1;
        let (minute, second) = (self.second / 60 % 60, self.second % 60);
        let hour = self.second / 3600;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.join("output.log"))
            .unwrap();
        let line = format!(
            "2026-11-23T{hour:02}:{minute:02}:{second:02}.000000001Z {stream} {tag} {text}\n"
        );
        file.write_all(line.as_bytes()).unwrap();
    }

    fn rotate(&self) {
        let name = |number: usize| match number {
            0 => self.directory.join("output.log"),
            _ => self.directory.join(format!("output.log.{number}")),
        };
        let count = (0..).take_while(|number| name(*number).exists()).count();
        for number in (0..count).rev() {
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        File::create_new(name(0)).unwrap();
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn without_a_daemon_verbs_say_how_to_start_it() {
    let place = Place::new();
    for verb in [
        &["start", "coder"][..],
        &["stop", "coder"],
        &["status"],
        &["list-units", "--json"],
        &["is-active", "coder"],
        &["run", "--", "true"],
        &["send", "coder", "hello"],
    ] {
        let output = place.run(verb);
        assert_eq!(output.status.code(), Some(3), "{verb:?}");
        assert!(
            err(&output).contains("aetherctl up"),
            "{verb:?}: {}",
            err(&output)
        );
        assert!(
            err(&output).contains("run/private"),
            "{verb:?}: {}",
            err(&output)
        );
        assert!(out(&output).is_empty());
    }
    // What is to be is so already.
    assert_eq!(place.run(&["down"]).status.code(), Some(0));
}

#[test]
fn wrong_usage_is_code_2_and_no_help_dump() {
    let place = Place::new();
    for line in [
        &["strat", "coder"][..],
        &["start"],
        &["start", "a/b"],
        &["logs", "coder", "--since", "soon"],
        &["kill", "coder", "--signal", "NONSENSE"],
        &["run"],
        &["run", "-p", "nonsense", "--", "true"],
        &["send", "coder", " "],
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {}", err(&output));
        assert!(
            err(&output).lines().count() < 10,
            "{line:?}: {}",
            err(&output)
        );
    }
    assert!(err(&place.run(&["strat"])).contains("'start'"));
    let help = place.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(out(&help).contains("Exit codes:"));
}

#[test]
fn logs_of_a_unit_that_never_ran() {
    let place = Place::new();
    let output = place.run(&["logs", "coder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("log/coder.agent/output.log"),
        "{}",
        err(&output)
    );
}

#[test]
fn logs_of_an_agent_are_readable_raw_and_json() {
    let place = Place::new();
    let mut log = place.log("coder.agent");
    log.line("aether", "F", "started, main process 7");
    log.line("stdout", "F", r#"{"type":"assistant"}"#);
    log.line(
        "event",
        "F",
        r#"{"event":"text","text":"Two lines\nof words"}"#,
    );
    log.rotate();
    log.line("stderr", "P", "half ");
    log.line("stderr", "F", "whole \x1b[2J");
    let readable = place.run(&["logs", "coder"]);
    assert_eq!(readable.status.code(), Some(0), "{}", err(&readable));
    let readable = out(&readable);
    assert!(
        readable.contains("aether started, main process 7"),
        "{readable}"
    );
    assert!(
        readable.contains("Two lines\n") && readable.contains("of words\n"),
        "{readable}"
    );
    assert!(readable.contains("half whole ^[[2J"), "{readable}");
    assert!(
        !readable.contains("assistant") && !readable.contains('\x1b'),
        "{readable}"
    );
    let coloured = place.run(&["logs", "coder", "--color=always"]);
    assert!(out(&coloured).contains("\x1b["));
    let raw = place.run(&["logs", "--raw", "coder"]);
    assert_eq!(out(&raw), "{\"type\":\"assistant\"}\n");
    assert_eq!(err(&raw), "half whole \x1b[2J\n");
    let json = out(&place.run(&["--json", "logs", "coder.agent", "-n", "2"]));
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["event"]["text"], "Two lines\nof words");
    assert_eq!(lines[1]["stream"], "stderr");
    assert_eq!(lines[1]["text"], "half whole \x1b[2J");
    let since = place.run(&["logs", "coder", "--raw", "--since", "2026-11-23T00:00:03Z"]);
    assert!(out(&since).is_empty() && err(&since).contains("half"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    let mut log = place.log("noisy.service");
    let text = "x".repeat(1000);
    for _ in 0..1000 {
        log.line("stdout", "F", &text);
    }
    let mut child = place
        .command(&["logs", "noisy.service"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let mut error = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), error.as_str()),
        (Some(0), "")
    );
}

#[test]
fn following_ends_with_its_reader() {
    let place = Place::new();
    let mut log = place.log("coder.agent");
    log.line("stdout", "F", "one");
    let mut child = place
        .command(&["logs", "-f", "coder"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("one"), "{line}");
    // Nothing is written any more: only the closed pipe can end it.
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
fn following_a_unit_that_is_not_there_is_an_error() {
    let place = Place::new();
    for line in [&["logs", "-f", "nosuch"][..], &["logs", "nosuch"]] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        assert!(
            err(&output).contains("nosuch.agent has no output"),
            "{}",
            err(&output)
        );
    }
    // A unit that has only a file may begin to speak.
    fs::write(place.path("units/quiet@.agent"), AGENT).unwrap();
    let mut child = place
        .command(&["logs", "-f", "quiet@1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    place.log("quiet@1.agent").line("stdout", "F", "at last");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("at last"), "{line}");
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn following_loses_and_doubles_nothing_at_rotation() {
    const LINES: usize = 3000;
    let place = Place::new();
    let mut log = place.log("coder.agent");
    log.line("stdout", "F", "0");
    let mut child = place
        .command(&["logs", "-f", "--raw", "-n", "all", "coder"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "0\n");
    let writer = std::thread::spawn(move || {
        for number in 1..LINES {
            // Parts on both sides of a rotation, too.
            if number % 7 == 0 {
                log.line("stdout", "P", &format!("{number}"));
                if number % 2 == 0 {
                    log.rotate();
                }
                log.line("stdout", "F", "");
            } else {
                log.line("stdout", "F", &number.to_string());
            }
            if number % 97 == 0 {
                log.rotate();
                log.rotate();
            }
        }
    });
    for number in 1..LINES {
        line.clear();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"));
    }
    writer.join().unwrap();
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    line.clear();
    assert_eq!(stdout.read_line(&mut line).unwrap(), 0, "{line}");
}

#[test]
fn up_shows_what_a_dying_keeper_said() {
    let place = Place::new();
    let output = place.run(&["up"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("bin/aether-init"), "{}", err(&output));
    program(
        &place.path("bin/aether-init"),
        "#!/bin/sh\necho \"no luck in $PWD\" >&2\nexit 7\n",
    );
    let output = place.run(&["up", "coder"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(
        said.contains("ended at once") && said.contains("7"),
        "{said}"
    );
    assert!(
        said.contains("no luck in /\n") && said.contains("keeper.log"),
        "{said}"
    );
}

/// A place with the real keeper and daemon, whose state cannot be made.
fn stateless() -> (Place, impl Fn(&[&str]) -> Command) {
    let place = Place::new();
    for (name, path) in [
        ("aether-init", env!("CARGO_BIN_EXE_aether-init")),
        ("aetherd", env!("CARGO_BIN_EXE_aetherd")),
    ] {
        std::os::unix::fs::symlink(path, place.path("bin").join(name)).unwrap();
    }
    fs::write(place.path("file"), "").unwrap();
    let root = place.root.path().to_owned();
    let daemon = place.path("bin/aetherd");
    let command = move |arguments: &[&str]| {
        let place = |name: &str| root.join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_aetherctl"));
        command
            .args(arguments)
            .env("AETHER_RUNTIME_DIR", place("run"))
            .env("AETHER_STATE_DIR", place("file/state"))
            .env("AETHER_LOG_DIR", place("log"))
            .env("AETHER_LIBEXEC_DIR", place("bin"))
            .env("AETHER_DAEMON", &daemon)
            .env("AETHER_CGROUP", "aether-it-none")
            .stdin(Stdio::null());
        command
    };
    (place, command)
}

/// Whether the keeper's lock is held.
fn kept(place: &Place) -> bool {
    File::open(place.path("run/keeper/lock"))
        .unwrap()
        .try_lock()
        .is_err()
}

#[test]
fn up_that_fails_leaves_no_keeper_behind() {
    let (place, command) = stateless();
    let output = command(&["up"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(
        said.contains("does not answer") && said.contains("file/state"),
        "{said}"
    );
    assert!(!kept(&place), "a keeper is left behind\n{said}");
}

#[test]
fn down_ends_a_keeper_without_daemon() {
    let (place, command) = stateless();
    let mut keeper = command(&["up", "--foreground"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(keeper.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("starting it again") {
        assert!(log.read_line(&mut line).unwrap() > 0, "{line}");
    }
    // Its words must have somewhere to go while it ends.
    let rest = std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let output = command(&["down"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("had no daemon"), "{}", out(&output));
    keeper.wait().unwrap();
    rest.join().unwrap().unwrap();
    assert!(!kept(&place));
    let output = command(&["down"]).output().unwrap();
    assert_eq!(out(&output), "Aether is not running.\n");
}

#[test]
fn a_relative_place_is_refused() {
    let place = Place::new();
    for name in ["AETHER_RUNTIME_DIR", "AETHER_UNIT_PATH"] {
        let output = place
            .command(&["up"])
            .env(name, "relative")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(
            err(&output).contains(&format!("{name} must be an absolute path")),
            "{}",
            err(&output)
        );
    }
    let keeper = Command::new(env!("CARGO_BIN_EXE_aether-init"))
        .env("AETHER_RUNTIME_DIR", "relative")
        .current_dir(place.root.path())
        .output()
        .unwrap();
    assert!(!keeper.status.success() && !place.path("relative").exists());
}

/// An agent that needs nothing of the machine but a shell.
const AGENT: &str = "\
[Unit]
Description=Says hello

[Agent]
Runtime=command
ExecStart=/bin/sh -c 'echo hello'

[Sandbox]
Policy=strict
";

#[test]
fn cat_shows_every_file_of_a_unit_in_order() {
    let place = Place::new();
    fs::write(place.path("units/hello.agent"), AGENT).unwrap();
    fs::create_dir(place.path("units/hello.agent.d")).unwrap();
    fs::write(place.path("units/hello.agent.d/20.conf"), "[Agent]\nNice=5").unwrap();
    fs::write(
        place.path("units/hello.agent.d/10.conf"),
        "[Agent]\nNice=4\n",
    )
    .unwrap();
    let output = place.run(&["cat", "hello"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let units = place.path("units").display().to_string();
    let expected = format!(
        "# {units}/hello.agent\n{AGENT}\n# {units}/hello.agent.d/10.conf\n[Agent]\nNice=4\n\n\
         # {units}/hello.agent.d/20.conf\n[Agent]\nNice=5\n"
    );
    assert_eq!(out(&output), expected);
    let output = place.run(&["cat", "other"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("other.agent") && err(&output).contains(&units));
}

#[test]
fn verify_shows_every_mistake_with_its_line() {
    let place = Place::new();
    fs::write(place.path("hello.agent"), AGENT).unwrap();
    let output = place.run(&["verify", "hello.agent"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        out(&output),
        err(&output)
    );
    assert_eq!(out(&output), "0 errors, 0 warnings\n");
    fs::write(
        place.path("bad.agent"),
        "[Agent]\nRuntime=command\nExecStart=/bin/true\nMemoyrMax=4G\nTasksMax=many\n",
    )
    .unwrap();
    let output = place.run(&["verify", "./bad.agent", "hello.agent"]);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output);
    assert!(
        said.contains("bad.agent:4:1: error: unknown directive MemoyrMax="),
        "{said}"
    );
    assert!(
        said.contains("4 | MemoyrMax=4G") && said.contains("did you mean MemoryMax=?"),
        "{said}"
    );
    assert!(
        said.contains("bad.agent:5:") && said.ends_with("2 errors, 0 warnings\n"),
        "{said}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&out(&place.run(&["verify", "--json", "bad.agent"]))).unwrap();
    assert_eq!(json["errors"], 2);
    assert_eq!(json["diagnostics"][0]["line"], 4);
    let output = place.run(&["verify", "none.agent"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let output = place.run(&["verify", "./notes.txt"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
}

#[test]
fn twelve_mistakes_are_found_at_once() {
    let place = Place::new();
    let case = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases/verify/twelve.agent"
    );
    let output = place.run(&["verify", "--json", case]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let json: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(
        json["diagnostics"].as_array().unwrap().len(),
        12,
        "{json:#}"
    );
}

#[test]
fn verify_knows_the_policies() {
    let place = Place::new();
    fs::write(place.path("hello.agent"), AGENT.replace("strict", "lax")).unwrap();
    let output = place.run(&["verify", "hello.agent"]);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output);
    assert!(
        said.contains("hello.agent:9:8: error: policy \"lax\" does not exist"),
        "{said}"
    );
    assert!(said.contains("9 | Policy=lax"), "{said}");
    // A mistyped one is told beside other errors, and however it is written.
    let here = &place;
    for (text, place) in [
        (
            "[Agent]\nRuntime=command\nTasksMax=many\n[Sandbox]\nPolicy = codng\n",
            ":5:10: ",
        ),
        (
            "[Agent]\nRuntime=command\nExecStart=/bin/true\n[Sandbox]\nPolicy=codng\n",
            ":5:8: ",
        ),
    ] {
        fs::write(here.path("typo.agent"), text).unwrap();
        let said = out(&here.run(&["verify", "./typo.agent"]));
        assert!(
            said.contains(&format!("{place}error: policy \"codng\" does not exist")),
            "{said}"
        );
        assert!(said.contains("did you mean coding?"), "{said}");
    }
    fs::write(
        place.path("policies/lax.policy"),
        "[Policy]\nExtends=strict\n",
    )
    .unwrap();
    let output = place.run(&["verify", "hello.agent"]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
}

#[test]
fn verify_knows_the_units_that_are_needed() {
    let place = Place::new();
    let unit = |name: &str, relations: &str| {
        let text = AGENT.replace("[Unit]\n", &format!("[Unit]\n{relations}\n"));
        fs::write(place.path("units").join(name), text).unwrap();
    };
    unit(
        "web.agent",
        "Requires=databse.service lost.agent\nAfter=lost.agent\nWants=there.agent",
    );
    unit("there.agent", "");
    fs::write(
        place.path("units/database.service"),
        "[Service]\nExecStart=/bin/true\n",
    )
    .unwrap();
    let output = place.run(&["verify", "web"]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    let said = out(&output);
    assert!(
        said.contains(
            "web.agent:2:10: warning: Requires=: there is no unit file for databse.service"
        ),
        "{said}"
    );
    assert!(said.contains("did you mean database.service?"), "{said}");
    assert!(said.ends_with("0 errors, 2 warnings\n"), "{said}");
    // A file that is not installed has its neighbours.
    let beside = place.path("units/web.agent").display().to_string();
    let output = place
        .command(&["verify", &beside])
        .env("AETHER_UNIT_PATH", place.path("log"))
        .output()
        .unwrap();
    assert!(
        out(&output).ends_with("0 errors, 2 warnings\n"),
        "{}",
        out(&output)
    );
    unit("a.agent", "Wants=b.agent\nAfter=b.agent");
    unit("b.agent", "Wants=c.agent\nBefore=c.agent");
    unit("c.agent", "Before=b.agent");
    let output = place.run(&["verify", "a"]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    assert!(
        out(&output).contains("b.agent -> c.agent -> b.agent"),
        "{}",
        out(&output)
    );
    unit("c.agent", "After=a.agent");
    unit("b.agent", "Wants=c.agent\nAfter=c.agent");
    let said = out(&place.run(&["verify", "a"]));
    assert!(
        said.contains("a.agent:3:7: error: ")
            && said.contains("a.agent -> b.agent -> c.agent -> a.agent"),
        "{said}"
    );
}

#[test]
fn verify_reads_what_it_is_given() {
    let place = Place::new();
    let check = |arguments: &[&str], text: &[u8]| {
        let mut child = place
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = check(&["verify", "-"], AGENT.as_bytes());
    assert_eq!(out(&output), "0 errors, 0 warnings\n", "{}", err(&output));
    let output = check(&["verify", "-"], b"[Agent]\nRuntime=command\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("<stdin>:2:1: error: Runtime=command needs ExecStart="),
        "{}",
        out(&output)
    );
    let output = check(
        &["verify", "-", "--name=web.service"],
        b"[Service]\nNice=1\n",
    );
    assert!(
        out(&output).contains("the service has no ExecStart="),
        "{}",
        out(&output)
    );
    let output = check(&["verify", "-"], b"[Agent]\nGoal=\xff\n");
    assert!(
        err(&output).contains("not UTF-8 in line 2"),
        "{}",
        err(&output)
    );
    fs::write(place.path("bad.agent"), b"\n\n\xff").unwrap();
    let output = place.run(&["verify", "bad.agent"]);
    assert!(
        err(&output).contains("not UTF-8 in line 3"),
        "{}",
        err(&output)
    );
    let output = place.run(&["verify", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains(". is a directory"),
        "{}",
        err(&output)
    );
    let output = place.run(&["verify", "bad.agent", "--name=x"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
}

#[test]
fn a_plan_needs_no_daemon() {
    let place = Place::new();
    fs::write(place.path("units/hello.agent"), AGENT).unwrap();
    let output = place.run(&["plan", "hello"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = out(&output);
    for part in [
        "Main process",
        "echo hello",
        "landlock",
        "policy strict",
        "# assumed: ",
        "# limits: TasksMax=1024",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&out(&place.run(&["plan", "--json", "hello"]))).unwrap();
    assert_eq!(json["unit"], "hello.agent");
    assert_eq!(json["plans"][0]["plan"]["argv"][2], "echo hello");
    fs::write(
        place.path("units/hello.agent"),
        AGENT.replace("Exec", "Exce"),
    )
    .unwrap();
    let output = place.run(&["plan", "hello"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("did you mean ExecStart="),
        "{}",
        err(&output)
    );
    fs::write(
        place.path("units/coder.agent"),
        "[Agent]\nRuntime=claude-code\nGoal=--help\n",
    )
    .unwrap();
    let output = place.run(&["plan", "coder"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("claude"), "{}", out(&output));
}

/// The wire as the daemon serves it, with the answers of a daemon that knows one agent.
fn serve(socket: &Path) {
    use aether::bus::ask::{Ask, Asked, Caller, Denial, ManagerFacts, Signal, Told, UnitFacts};
    use aether::bus::publish::Publisher;
    use aether::engine::event::{Answer, InputId, JobResult, Refusal, Request};
    use aether::name::{JobId, UnitName};

    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let facts = |name: &str| UnitFacts {
        need_reload: false,
        triggered_by: vec![],
        name: name.parse().unwrap(),
        load_state: "loaded",
        unit: None,
        diagnostics: vec![],
        view: None,
        control_group: String::new(),
        invocation_id: String::new(),
        memory_current: None,
        tasks_current: None,
        cpu_usage: None,
        uid: None,
        session_id: String::new(),
        model: String::new(),
        tokens_in: 0,
        tokens_out: 0,
        cost_micros: 0,
        last_activity: 0,
        log_directory: "/nowhere".into(),
        file_state: None,
    };
    let work = async move {
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let (asks, mut inbox) = tokio::sync::mpsc::channel(8);
        let publisher = Publisher::new();
        let identify = |stream: &tokio::net::UnixStream| {
            Ok(Caller {
                uid: stream.peer_cred()?.uid(),
                pid: 0,
                unit: None,
            })
        };
        let limits = aether::bus::serve::Limits::default();
        tokio::spawn(aether::bus::serve::serve(
            vec![listener],
            0,
            identify,
            asks,
            publisher.clone(),
            limits,
        ));
        while let Some(Asked { ask, reply, .. }) = inbox.recv().await {
            let mut ended: Option<(UnitName, JobResult)> = None;
            let told = match ask {
                Ask::Manager => Ok(Told::Manager(Box::new(ManagerFacts {
                    version: "7.8.9".to_owned(),
                    state: "degraded".to_owned(),
                    missing: vec!["nothing can be frozen here".to_owned()],
                    ..ManagerFacts::default()
                }))),
                Ask::Jobs => Ok(Told::Jobs(vec![])),
                Ask::Units => Ok(Told::Units(vec![facts("coder.agent")])),
                Ask::Unit(name) => Ok(Told::Unit(Box::new(facts(name.as_str())))),
                Ask::Request(Request::Stop { unit, .. }) => {
                    Err(Denial::Refused(Refusal::NeededBy {
                        unit,
                        dependents: vec!["web.service".parse().unwrap()],
                    }))
                }
                Ask::Request(Request::Send { .. }) => Ok(Told::Answer(Answer::Input(InputId(5)))),
                Ask::Request(Request::Start { unit, .. }) => {
                    let result = match unit.as_str() {
                        "coder.agent" => JobResult::Done,
                        _ => JobResult::Failed,
                    };
                    ended = Some((unit, result));
                    Ok(Told::Answer(Answer::Job(JobId(12))))
                }
                other => Err(Denial::Failed(format!("{other:?} was asked"))),
            };
            // The command may be gone by now.
            let _ = reply.send(told);
            if let Some((unit, result)) = ended {
                publisher.publish(&Signal::JobRemoved {
                    id: JobId(12),
                    unit,
                    result,
                });
            }
        }
    };
    // Ends with the test's process.
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work);
    });
}

#[test]
fn verbs_over_the_wire() {
    let place = Place::new();
    serve(&place.path("run/private"));
    let start = place.run(&["start", "coder"]);
    assert_eq!(start.status.code(), Some(0), "{}", err(&start));
    assert_eq!(out(&start), "Started coder.agent.\n");
    let failed = place.run(&["start", "web.service"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        err(&failed).contains("start of web.service failed"),
        "{}",
        err(&failed)
    );
    assert!(
        err(&failed).contains("aetherctl logs web.service"),
        "{}",
        err(&failed)
    );
    let json = out(&place.run(&["start", "--json", "coder"]));
    assert_eq!(
        json,
        "[{\"job\":12,\"result\":\"done\",\"unit\":\"coder.agent\"}]\n"
    );
    let refused = place.run(&["stop", "coder"]);
    assert_eq!(refused.status.code(), Some(4), "{}", err(&refused));
    assert!(err(&refused).contains("web.service"), "{}", err(&refused));
    assert!(err(&refused).contains("--force"), "{}", err(&refused));
    let sent = place.run(&["send", "coder", "hello", "there"]);
    assert_eq!(out(&sent), "Sent to coder.agent.\n", "{}", err(&sent));
    let status = place.run(&["status"]);
    assert!(
        out(&status).contains("nothing can be frozen here"),
        "{}",
        err(&status)
    );
    let status = place.run(&["status", "coder"]);
    assert!(
        out(&status).contains("○ coder.agent"),
        "{}{}",
        out(&status),
        err(&status)
    );
    let list = place.run(&["list-units", "--all"]);
    assert!(
        out(&list).contains("coder.agent"),
        "{}{}",
        out(&list),
        err(&list)
    );
    assert_eq!(place.run(&["is-active", "coder"]).status.code(), Some(1));
    assert_eq!(
        out(&place.run(&["show", "coder", "-p", "Id"])),
        "Id=coder.agent\n"
    );
    assert_eq!(out(&place.run(&["up"])), "Aether is running already.\n");
}

#[test]
fn the_unit_file_of_the_readme_is_right() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let unit: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "    [Unit]")
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect();
    let place = Place::new();
    fs::write(place.path("units/coder.agent"), unit.join("\n")).unwrap();
    let output = place.run(&["verify", "coder"]);
    assert_eq!(out(&output), "0 errors, 0 warnings\n", "{}", err(&output));
}
