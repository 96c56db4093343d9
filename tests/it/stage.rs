//! The stage, run for real: what a program finds when it begins.
//!
//! Most of these need root and a writable cgroup v2 hierarchy.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aether::engine::event::ExitStatus;
use aether::plan::{
    Access, Assignment, Enforcement, ExecPlan, Failure, PathRule, Policy, Report, Ruleset, Stdio,
    Step, StepName, VERSION,
};
use aether::sys::process::{self, Child, ReportReader, StageImage};

/// A uid that nobody has.
const UID: u32 = 61_234;

fn image() -> StageImage {
    StageImage::open(Path::new(env!("CARGO_BIN_EXE_aetherd"))).unwrap()
}

/// A cgroup of our own below the v2 hierarchy's mount, removed with everything in it.
struct Cgroup {
    path: PathBuf,
    mount: PathBuf,
}

impl Cgroup {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup2 "))
            .find_map(|line| line.split(' ').nth(4))
            .expect("no cgroup v2 hierarchy");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aether-test-stage-{}-{count}", std::process::id());
        let path = Path::new(mount).join(name);
        fs::create_dir(&path).unwrap();
        Self {
            path,
            mount: mount.into(),
        }
    }

    /// Its line in `/proc/PID/cgroup`, as seen from the mount's root.
    fn line(&self) -> String {
        let below = self.path.strip_prefix(&self.mount).unwrap();
        format!("0::/{}", below.display())
    }

    fn open(&self) -> OwnedFd {
        process::open_cgroup(&self.path).unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Every child was reaped by its test; only a failed test leaves the directory busy.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let _ = fs::remove_dir(&self.path);
    }
}

fn plan(script: &str) -> ExecPlan {
    ExecPlan {
        version: VERSION,
        unit: "test.service".to_owned(),
        program: "/bin/sh".into(),
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        passed: 0,
        steps: vec![
            Step::Descriptors,
            Step::Stdio(Stdio {
                input: false,
                output: true,
                error: true,
                terminal: false,
            }),
            Step::Directory {
                path: "/".into(),
                umask: 0o022,
            },
            Step::Exec,
        ],
    }
}

/// Puts a step where its name belongs.
fn with(mut plan: ExecPlan, step: Step) -> ExecPlan {
    plan.steps.retain(|other| other.name() != step.name());
    plan.steps.push(step);
    plan.steps.sort_by_key(Step::name);
    plan
}

fn ids() -> Step {
    Step::Ids {
        uid: UID,
        gid: UID + 1,
        groups: vec![UID + 2, UID + 3],
    }
}

struct Outcome {
    output: String,
    reports: Vec<Report>,
    status: ExitStatus,
}

impl Outcome {
    fn failure(&self) -> &Failure {
        match self.reports.last() {
            Some(Report::Failed(failure)) => failure,
            other => panic!("no failure but {other:?}; output {:?}", self.output),
        }
    }

    fn enforcement(&self) -> &Enforcement {
        match &self.reports[..] {
            [Report::Confined(enforcement)] => enforcement,
            other => panic!("not started: {other:?}"),
        }
    }
}

/// All reports until end of file.
fn read_reports(socket: OwnedFd) -> Vec<Report> {
    let mut file = File::from(socket);
    let mut reader = ReportReader::default();
    let mut reports = vec![];
    let mut bytes = [0; 4096];
    loop {
        wait_readable(file.as_fd());
        match file.read(&mut bytes) {
            Ok(0) => return reports,
            Ok(count) => reports.extend(reader.push(&bytes[..count])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // Unread bytes at the other end: all the same, it is gone.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return reports,
            Err(error) => panic!("{error}"),
        }
    }
}

fn wait_readable(fd: BorrowedFd<'_>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let timeout = PollTimeout::from(30_000_u16);
    let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).unwrap();
    assert_eq!(ready, 1, "nothing happened for half a minute");
}

fn reap(child: &Child) -> ExitStatus {
    wait_readable(child.pidfd.as_fd());
    process::wait(child.pidfd.as_fd()).unwrap().unwrap()
}

/// Starts with a pipe as output and error, and waits for the end.
fn run_in(plan: &ExecPlan, cgroup: Option<BorrowedFd<'_>>) -> Outcome {
    let (mut read, write) = std::io::pipe().unwrap();
    let fds = [write.as_fd(), write.as_fd()];
    let (child, socket) = process::start(&image(), plan, &fds, cgroup).unwrap();
    drop(write);
    let reports = read_reports(socket);
    let mut output = String::new();
    read.read_to_string(&mut output).unwrap();
    let status = reap(&child);
    Outcome {
        output,
        reports,
        status,
    }
}

fn run(plan: &ExecPlan) -> Outcome {
    run_in(plan, None)
}

#[test]
fn the_program_is_in_its_cgroup_from_its_first_instruction() {
    let cgroup = Cgroup::new();
    let mut plan = with(
        plan(""),
        Step::Cgroup {
            join: vec![],
            expect: Some(cgroup.line()),
        },
    );
    plan.program = "/bin/cat".into();
    plan.argv = ["cat", "/proc/self/cgroup"].map(str::to_owned).into();
    let outcome = run_in(&plan, Some(cgroup.open().as_fd()));
    assert_eq!(outcome.enforcement(), &Enforcement::default());
    assert_eq!(outcome.status, ExitStatus::Exited(0));
    assert!(
        outcome.output.lines().any(|line| line == cgroup.line()),
        "{}",
        outcome.output
    );
}

#[test]
fn a_cgroup_can_be_joined_by_writing_and_is_checked() {
    let cgroup = Cgroup::new();
    let step = |join| Step::Cgroup {
        join,
        expect: Some(cgroup.line()),
    };
    let joined = with(
        plan("cat /proc/self/cgroup"),
        step(vec![cgroup.path.join("cgroup.procs")]),
    );
    assert!(run(&joined).output.contains(&cgroup.line()));
    let outside = run(&with(plan("echo never"), step(vec![])));
    assert_eq!(outside.failure().step, "cgroup");
    assert_eq!(outside.status, ExitStatus::Exited(219));
    assert_eq!(outside.output, "");
}

#[test]
fn the_environment_is_the_plans_and_nothing_else() {
    let mut plan = plan("");
    plan.program = "/usr/bin/env".into();
    plan.argv = vec!["env".to_owned()];
    plan.environment = vec![
        ("A".to_owned(), "1".to_owned()),
        ("B".to_owned(), "two\nlines".to_owned()),
    ];
    assert_eq!(run(&plan).output, "A=1\nB=two\nlines\n");
}

#[test]
fn no_descriptor_is_inherited() {
    // One that is not closed on exec, as a careless library would leave it.
    let leak = File::open("/etc/passwd").unwrap();
    let flags = nix::fcntl::FdFlag::empty();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(flags)).unwrap();
    let mut plan = plan("");
    plan.program = "/bin/ls".into();
    plan.argv = ["ls", "-l", "/proc/self/fd"].map(str::to_owned).into();
    let outcome = run(&plan);
    let targets: Vec<&str> = outcome
        .output
        .lines()
        .filter_map(|line| line.split_once(" -> ").map(|(_, target)| target))
        .collect();
    // The fourth is the directory that ls reads.
    assert_eq!(targets.len(), 4, "{}", outcome.output);
    assert_eq!(targets[0], "/dev/null");
    assert!(targets[1].starts_with("pipe:") && targets[2].starts_with("pipe:"));
    assert!(targets[3].starts_with("/proc/"), "{}", outcome.output);
}

#[test]
fn signals_are_default_and_unblocked_in_a_session_of_its_own() {
    let outcome = run(&plan("cat /proc/self/status; cat /proc/self/stat"));
    for name in ["SigBlk", "SigIgn"] {
        let line = format!("{name}:\t0000000000000000");
        assert!(outcome.output.contains(&line), "{}", outcome.output);
    }
    let shell = run(&plan("read line </proc/$$/stat; echo $line"));
    let fields: Vec<&str> = shell.output.split(' ').collect();
    assert_eq!(fields[0], fields[4], "process group is its own");
    assert_eq!(fields[0], fields[5], "session is its own");
}

#[test]
fn ids_and_capabilities_are_given_up() {
    let plan = with(plan("id; cat /proc/self/status"), ids());
    let plan = with(
        plan,
        Step::Capabilities {
            bounding: vec![],
            ambient: vec![],
        },
    );
    let outcome = run(&with(plan, Step::NoNewPrivileges));
    let text = &outcome.output;
    assert!(
        text.starts_with(&format!("uid={UID} gid={}", UID + 1)),
        "{text}"
    );
    for line in [
        format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}"),
        format!("Groups:\t{} {} ", UID + 2, UID + 3),
        "CapInh:\t0000000000000000".to_owned(),
        "CapPrm:\t0000000000000000".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        "CapBnd:\t0000000000000000".to_owned(),
        "CapAmb:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn an_ambient_capability_survives_the_change_of_user() {
    let plan = with(plan("cat /proc/self/status"), ids());
    let name = vec!["CAP_NET_BIND_SERVICE".to_owned()];
    let outcome = run(&with(
        plan,
        Step::Capabilities {
            bounding: name.clone(),
            ambient: name,
        },
    ));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let line = format!("{set}:\t0000000000000400");
        assert!(outcome.output.contains(&line), "{set}: {}", outcome.output);
    }
}

#[test]
fn root_keeps_what_the_bounding_set_leaves() {
    let outcome = run(&with(
        plan("cat /proc/self/status"),
        Step::Capabilities {
            bounding: vec!["CAP_KILL".to_owned()],
            ambient: vec![],
        },
    ));
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let line = format!("{set}:\t0000000000000020");
        assert!(outcome.output.contains(&line), "{set}: {}", outcome.output);
    }
}

fn rule(path: impl Into<PathBuf>, access: Access, optional: bool) -> PathRule {
    PathRule {
        path: path.into(),
        access,
        optional,
        reason: "test".to_owned(),
    }
}

fn confined(plan: ExecPlan, paths: Vec<PathRule>) -> ExecPlan {
    let mut all = vec![
        rule("/usr", Access::ReadExecute, false),
        rule("/bin", Access::ReadExecute, true),
        rule("/lib", Access::ReadExecute, true),
        rule("/lib64", Access::ReadExecute, true),
    ];
    all.extend(paths);
    let ruleset = Ruleset {
        paths: all,
        connect_tcp: Some(vec![]),
        bind_tcp: Some(vec![]),
        scoped: true,
    };
    let plan = with(plan, Step::Ruleset(ruleset));
    with(with(plan, Step::NoNewPrivileges), Step::Landlock)
}

#[test]
fn landlock_denies_what_the_user_could_read_and_is_reported() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let allowed = place.path().join("allowed");
    fs::create_dir(&allowed).unwrap();
    let secret = place.path().join("secret");
    for file in [&secret, &allowed.join("open")] {
        fs::write(file, "words\n").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let script = format!(
        "cat {0}/allowed/open; cat {0}/secret; (: >{0}/allowed/new); ls {0}",
        place.path().display()
    );
    let free = run(&with(plan(&script), ids()));
    assert!(free.output.starts_with("words\nwords\n"), "{}", free.output);
    let plan = confined(
        with(plan(&script), ids()),
        vec![rule(&allowed, Access::Read, false)],
    );
    let outcome = run(&plan);
    assert!(outcome.output.starts_with("words\n"), "{}", outcome.output);
    assert_eq!(
        outcome.output.matches("words").count(),
        1,
        "{}",
        outcome.output
    );
    assert_eq!(
        outcome.output.matches("ermission denied").count(),
        3,
        "{}",
        outcome.output
    );
    let abi = aether::sys::landlock::abi();
    assert_eq!(outcome.enforcement().landlock_abi, abi);
    if abi >= 6 {
        assert!(outcome.enforcement().missing.is_empty());
    }
}

#[test]
fn scopes_keep_signals_in_for_the_same_user_too() {
    let kill = format!("kill -0 {} && echo reached", std::process::id());
    assert_eq!(run(&plan(&kill)).output, "reached\n");
    let outcome = run(&confined(plan(&kill), vec![]));
    if aether::sys::landlock::abi() >= 6 {
        assert!(!outcome.output.contains("reached"), "{}", outcome.output);
    } else {
        let missing = &outcome.enforcement().missing;
        assert!(missing.iter().any(|sentence| sentence.contains("scopes")));
    }
}

#[test]
fn ports_that_are_not_listed_are_closed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = |plan: ExecPlan, allowed: Option<Vec<u16>>| {
        let mut plan = confined(plan, vec![]);
        for step in &mut plan.steps {
            if let Step::Ruleset(ruleset) = step {
                ruleset.connect_tcp.clone_from(&allowed);
            }
        }
        let outcome = run(&plan);
        (outcome.output, outcome.reports)
    };
    let mut probe = plan("");
    probe.program = "/bin/bash".into();
    let script = format!("echo x >/dev/tcp/127.0.0.1/{port} && echo reached");
    probe.argv = ["bash", "-c", &script].map(str::to_owned).into();
    for allowed in [None, Some(vec![port])] {
        let (output, reports) = connect(probe.clone(), allowed);
        assert_eq!(output, "reached\n", "{reports:?}");
    }
    let (output, reports) = connect(probe, Some(vec![]));
    if aether::sys::landlock::abi() >= 4 {
        assert!(!output.contains("reached"), "{output}");
    } else {
        assert!(format!("{reports:?}").contains("does not confine TCP"));
    }
}

#[test]
fn a_missing_path_fails_unless_optional() {
    let missing = |optional| vec![rule("/nonexistent/aether", Access::Read, optional)];
    let outcome = run(&confined(plan("echo in"), missing(true)));
    assert_eq!(outcome.output, "in\n");
    let outcome = run(&confined(plan("echo in"), missing(false)));
    assert_eq!(outcome.failure().step, "ruleset");
    assert_eq!(outcome.failure().errno, libc::ENOENT);
    assert_eq!(outcome.status, ExitStatus::Exited(226));
    assert_eq!(outcome.output, "");
}

#[test]
fn a_rule_leads_through_no_link_that_the_unit_could_have_made() {
    let (place, assignment) = places();
    let secret = place.path().join("secret");
    fs::write(&secret, "words\n").unwrap();
    let link = assignment.workspace.join("bin");
    std::os::unix::fs::symlink("/", &link).unwrap();
    let look = format!("cat {} || echo refused", secret.display());
    let outcome = run(&confined(
        plan(&look),
        vec![rule(&link, Access::ReadExecute, false)],
    ));
    let failure = outcome.failure();
    assert_eq!(
        (failure.step.as_str(), failure.errno),
        ("ruleset", libc::ELOOP)
    );
    let reason = format!("{} belongs to user {UID}", assignment.workspace.display());
    assert!(failure.detail.contains(&reason), "{failure:?}");
    assert!(failure.help.as_deref().unwrap().contains("remove the link"));
    let outcome = run(&confined(
        plan(&look),
        vec![rule(&link, Access::ReadExecute, true)],
    ));
    assert!(outcome.output.ends_with("refused\n"), "{}", outcome.output);
    let missing = &outcome.enforcement().missing;
    assert!(
        missing.iter().any(|line| line.contains(&reason)),
        "{missing:?}"
    );
}

#[test]
fn a_directory_that_its_user_may_not_enter_is_none_to_start_in() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let inside = with(
        plan("pwd"),
        Step::Directory {
            path: place.path().into(),
            umask: 0o022,
        },
    );
    let outcome = run(&inside);
    assert_eq!(outcome.output.trim_end(), place.path().to_str().unwrap());
    let outcome = run(&with(inside, ids()));
    let failure = outcome.failure();
    assert_eq!(
        (failure.step.as_str(), failure.errno),
        ("directory", libc::EACCES)
    );
    assert!(failure.help.as_deref().unwrap().contains("user"));
    assert_eq!(outcome.status, ExitStatus::Exited(200));
}

/// Puts a key into a fresh session keyring of this process; false where there are no keyrings.
#[expect(
    unsafe_code,
    reason = "keyrings have no wrapper, and nothing else needs one"
)]
fn key_in_session(name: &std::ffi::CStr) -> bool {
    const JOIN: libc::c_int = 1;
    const SESSION: libc::c_int = -3;
    // SAFETY: plain calls with strings that outlive them.
    unsafe {
        let none = std::ptr::null::<libc::c_char>();
        libc::syscall(libc::SYS_keyctl, JOIN, none) > 0
            && libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                name.as_ptr(),
                c"words".as_ptr(),
                5_usize,
                SESSION,
            ) > 0
    }
}

#[test]
fn keys_of_the_supervisors_session_are_out_of_reach() {
    let name = c"aether-test-key";
    let text = name.to_str().unwrap();
    if !key_in_session(name) {
        let missing = &run(&plan("")).reports;
        assert!(format!("{missing:?}").contains("keyrings"), "{missing:?}");
        return;
    }
    assert!(fs::read_to_string("/proc/keys").unwrap().contains(text));
    let outcome = run(&with(plan("cat /proc/keys"), ids()));
    assert_eq!(outcome.enforcement(), &Enforcement::default());
    assert!(!outcome.output.contains(text), "{}", outcome.output);
    // It is a keyring, not nothing: what a unit keeps there is found again.
    assert!(outcome.output.contains("_ses"), "{}", outcome.output);
}

#[test]
fn each_failing_step_names_itself() {
    let mut exec = plan("");
    exec.program = "/nonexistent/program".into();
    let directory = with(
        plan(""),
        Step::Directory {
            path: "/nonexistent".into(),
            umask: 0o022,
        },
    );
    let limits = with(
        plan(""),
        Step::Limits {
            limits: vec![("TEA".to_owned(), 1, 1)],
            nice: None,
            oom_score_adjust: None,
        },
    );
    let capabilities = with(
        plan(""),
        Step::Capabilities {
            bounding: vec!["CAP_FLY".to_owned()],
            ambient: vec![],
        },
    );
    let landlock = with(plan(""), Step::Landlock);
    for (plan, step, errno) in [
        (exec, StepName::Exec, libc::ENOENT),
        (directory, StepName::Directory, libc::ENOENT),
        (limits, StepName::Limits, libc::EINVAL),
        (capabilities, StepName::Capabilities, 0),
        (landlock, StepName::Landlock, 0),
    ] {
        let outcome = run(&plan);
        let failure = outcome.failure();
        assert_eq!(failure.step, step.as_str());
        assert_eq!(failure.errno, errno, "{failure:?}");
        assert_eq!(outcome.status, ExitStatus::Exited(step.exit_code()));
    }
}

#[test]
fn a_hard_limit_that_cannot_be_raised_says_what_can() {
    // After the step has lowered it, as a user without CAP_SYS_RESOURCE it cannot rise again.
    let mut raise = plan("echo in");
    raise.steps.insert(
        1,
        Step::Limits {
            limits: vec![("NOFILE".to_owned(), 64, 64)],
            nice: None,
            oom_score_adjust: None,
        },
    );
    raise.steps.insert(2, ids());
    raise.steps.insert(
        3,
        Step::Limits {
            limits: vec![("NOFILE".to_owned(), 64, 128)],
            nice: None,
            oom_score_adjust: None,
        },
    );
    let outcome = run(&raise);
    let failure = outcome.failure();
    assert_eq!(
        (failure.step.as_str(), failure.errno),
        ("limits", libc::EPERM)
    );
    let help = failure.help.as_deref().unwrap();
    assert!(help.contains("LimitNOFILE= with 64 or less"), "{help}");
    assert_eq!(outcome.status, ExitStatus::Exited(205));
}

#[test]
fn a_plan_of_another_version_is_refused() {
    let mut plan = plan("echo never");
    plan.version = VERSION + 1;
    let outcome = run(&plan);
    assert_eq!(outcome.failure().step, "plan");
    assert!(outcome.failure().detail.contains("version"));
    assert_eq!(outcome.status, ExitStatus::Exited(255));
    assert_eq!(outcome.output, "");
}

#[test]
fn long_plans_arrive_and_longer_ones_are_refused() {
    let long = |length: usize| {
        let mut plan = plan("echo $LONG | wc -c");
        // One variable holds 128 KiB at most.
        for index in 0..length / 100_000 {
            plan.environment
                .push((format!("V{index}"), "x".repeat(100_000)));
        }
        plan
    };
    let mut plan = long(800_000);
    plan.argv[2] = "echo ${#V7}".to_owned();
    assert_eq!(run(&plan).output, "100000\n");
    let (_, write) = std::io::pipe().unwrap();
    let fds = [write.as_fd(), write.as_fd()];
    let failure = process::start(&image(), &long(1_200_000), &fds, None).unwrap_err();
    assert_eq!(
        (failure.step.as_str(), failure.errno),
        ("spawn", libc::E2BIG)
    );
}

#[test]
fn a_terminal_becomes_the_controlling_one() {
    use aether::sys::pty;
    let pair = pty::open(pty::Size {
        columns: 91,
        rows: 17,
    })
    .unwrap();
    let plan = with(
        plan("stty size </dev/tty; tty; ps -o tpgid= -p $$ | tr -d ' '; echo $$"),
        Step::Stdio(Stdio {
            input: false,
            output: false,
            error: false,
            terminal: true,
        }),
    );
    let (child, socket) = process::start(&image(), &plan, &[pair.slave.as_fd()], None).unwrap();
    let reports = read_reports(socket);
    assert!(matches!(reports[..], [Report::Confined(_)]), "{reports:?}");
    assert_eq!(reap(&child), ExitStatus::Exited(0));
    // Our own slave is still open, so nothing of the output is lost; it comes in pieces.
    let mut text = String::new();
    let mut master = File::from(pair.master);
    while text.matches('\n').count() < 4 {
        let mut bytes = [0; 4096];
        wait_readable(master.as_fd());
        let count = master.read(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "17 91", "{text}");
    assert!(lines[1].starts_with("/dev/pts/"), "{text}");
    assert_eq!(
        lines[2], lines[3],
        "the shell's group is in the foreground: {text}"
    );
}

#[test]
fn a_death_by_a_real_time_signal_is_told() {
    let outcome = run(&plan("kill -40 $$"));
    assert_eq!(outcome.status, ExitStatus::Killed(40));
    let outcome = run(&plan("ulimit -c 0; kill -TERM $$"));
    assert_eq!(outcome.status, ExitStatus::Killed(15));
}

#[test]
fn a_signal_reaches_exactly_the_process() {
    let (_, write) = std::io::pipe().unwrap();
    let fds = [write.as_fd(), write.as_fd()];
    let (child, socket) = process::start(&image(), &plan("exec sleep 600"), &fds, None).unwrap();
    assert!(matches!(read_reports(socket)[..], [Report::Confined(_)]));
    assert_eq!(process::wait(child.pidfd.as_fd()).unwrap(), None);
    assert!(process::start_time(child.pid).unwrap() > 0);
    process::signal(child.pidfd.as_fd(), 9).unwrap();
    assert_eq!(reap(&child), ExitStatus::Killed(9));
    let gone = process::signal(child.pidfd.as_fd(), 9).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn a_stage_whose_daemon_died_ends() {
    let (ours, theirs) = aether::sys::socket::pair().unwrap();
    let spawned = aether::sys::clone::spawn(&image(), theirs.as_fd(), None).unwrap();
    drop((ours, theirs));
    assert_eq!(reap(&spawned.child), ExitStatus::Exited(255));
}

#[test]
fn a_dead_zygote_is_replaced_and_a_living_one_serves_again() {
    let image = image();
    let start = |script: &str| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let fds = [writer.as_fd(), writer.as_fd()];
        let (child, socket) = process::start(&image, &plan(script), &fds, None).unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        drop(socket);
        assert_eq!(reap(&child), ExitStatus::Exited(0));
        output
    };
    assert_eq!(image.zygote(), None);
    // The program's parent is the supervisor, not the zygote.
    let own = std::process::id();
    assert_eq!(start("echo $PPID"), format!("{own}\n"));
    let first = image.zygote().unwrap();
    assert_eq!(start("echo $PPID"), format!("{own}\n"));
    assert_eq!(image.zygote(), Some(first));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(start("echo $PPID"), format!("{own}\n"));
    assert_ne!(image.zygote(), Some(first));
    // It ends with its image, and leaves no zombie.
    let last = image.zygote().unwrap();
    drop(image);
    assert!(!Path::new(&format!("/proc/{last}")).exists());
}

/// Where an agent lives, owned by the test's user.
fn places() -> (tempfile::TempDir, Assignment) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let make = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(UID), Some(UID)).unwrap();
        path
    };
    let assignment = Assignment {
        uid: UID,
        gid: UID,
        home: make("home"),
        workspace: make("workspace"),
        tmp: make("tmp"),
        ..Assignment::default()
    };
    (place, assignment)
}

/// A plan under a shipped policy, as `compile` would make it for an agent.
fn under(policy: &str, assignment: &Assignment, script: &str) -> ExecPlan {
    let policy = Policy::resolve(policy, Policy::shipped).unwrap();
    let paths = policy
        .paths
        .iter()
        .filter_map(|rule| rule.place(&policy.name, assignment))
        .collect();
    let plan = with(
        plan(script),
        Step::Ids {
            uid: assignment.uid,
            gid: assignment.gid,
            groups: vec![],
        },
    );
    let plan = with(
        plan,
        Step::Capabilities {
            bounding: vec![],
            ambient: vec![],
        },
    );
    let plan = with(
        plan,
        Step::Ruleset(Ruleset {
            paths,
            connect_tcp: None,
            bind_tcp: None,
            scoped: true,
        }),
    );
    with(with(plan, Step::NoNewPrivileges), Step::Landlock)
}

#[test]
fn under_the_coding_policy_one_can_work_and_not_look_around() {
    let (place, assignment) = places();
    let secret = place.path().join("secret");
    fs::write(&secret, "words\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let script = format!(
        "cd {0}/workspace && printf '#!/bin/sh\\necho ran\\n' >tool && chmod +x tool && ./tool
         echo kept >{0}/home/note && cat {0}/home/note
         : >{0}/tmp/x && mv {0}/tmp/x {0}/workspace/x && echo moved
         echo gone >/dev/null && head -c 1 /dev/urandom | wc -c
         test -r /etc/passwd && cat /etc/passwd >/dev/null && echo names
         (cat {0}/secret) || echo no-secret
         (ls {0}) || echo no-list
         (ls /root /home /var) || echo no-look
         (cat /proc/1/environ) || echo no-environ
         (: >/usr/x) || echo no-write",
        place.path().display(),
    );
    let outcome = run(&under("coding", &assignment, &script));
    let words: Vec<&str> = outcome
        .output
        .lines()
        .filter(|line| !line.is_empty() && !line.contains(' '))
        .collect();
    assert_eq!(
        words,
        [
            "ran",
            "kept",
            "moved",
            "1",
            "names",
            "no-secret",
            "no-list",
            "no-look",
            "no-environ",
            "no-write"
        ],
        "{}",
        outcome.output
    );
}

#[test]
fn under_the_strict_policy_the_workspace_is_out_of_reach() {
    let (place, assignment) = places();
    let script = format!(
        "echo x >{0}/home/x && echo home; (echo x >{0}/workspace/x) || echo no-workspace
         (cat /etc/passwd) || echo no-names",
        place.path().display()
    );
    let outcome = run(&under("strict", &assignment, &script));
    let words: Vec<&str> = outcome
        .output
        .lines()
        .filter(|line| !line.is_empty() && !line.contains(' '))
        .collect();
    assert_eq!(
        words,
        ["home", "no-workspace", "no-names"],
        "{}",
        outcome.output
    );
}
