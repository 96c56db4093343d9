//! A whole Aether of its own for one test: keeper, daemon, places, cgroup; gone when it is dropped.
//!
//! The programs are linked into a directory that every user can reach, because agents run as
//! users of their own. Waiting is for signals of the bus, never for time to pass.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aether::bus::client::{Client, Properties};
use aether::name::UnitName;

/// Longest that any single expectation may take, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One running Aether.
pub(crate) struct Aether {
    pub(crate) root: tempfile::TempDir,
    pub(crate) cgroup: String,
    pub(crate) keeper: Option<Child>,
    /// Whose manager it is; root's when `None`.
    user: Option<u32>,
    /// More that its programs find in their environment.
    pub(crate) variables: Vec<(String, String)>,
    runtime: tokio::runtime::Runtime,
}

/// What a whole Aether consists of, and where the build has put it.
pub(crate) const PROGRAMS: [(&str, &str); 6] = [
    ("aether-init", env!("CARGO_BIN_EXE_aether-init")),
    ("aetherd", env!("CARGO_BIN_EXE_aetherd")),
    ("aetherctl", env!("CARGO_BIN_EXE_aetherctl")),
    ("aether-hub", env!("CARGO_BIN_EXE_aether-hub")),
    ("aether-mcp", env!("CARGO_BIN_EXE_aether-mcp")),
    ("aether-agent", env!("CARGO_BIN_EXE_aether-agent")),
];

impl Aether {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        let mut aether = Self::prepare();
        aether.up();
        aether
    }

    /// Starts one that belongs to an ordinary user, who may make no cgroups.
    pub(crate) fn start_as(user: u32) -> Self {
        let mut aether = Self::prepare();
        for directory in ["run", "state", "log"] {
            let place = aether.root.path().join(directory);
            std::os::unix::fs::chown(place, Some(user), Some(user)).unwrap();
        }
        aether.user = Some(user);
        aether.up();
        aether
    }

    /// Makes the places, starts nothing.
    pub(crate) fn prepare() -> Self {
        let root = tempfile::Builder::new()
            .prefix("aether-it-")
            .tempdir_in("/tmp")
            .unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(root.path(), open).unwrap();
        for directory in ["bin", "units", "run", "state", "log"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        for (name, path) in PROGRAMS {
            let to = root.path().join("bin").join(name);
            if std::fs::hard_link(path, &to).is_err() {
                std::fs::copy(path, &to).unwrap();
            }
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("aether-it-{}-{number}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            root,
            cgroup,
            keeper: None,
            user: None,
            variables: vec![],
            runtime,
        }
    }

    /// Starts the keeper and waits for the daemon.
    pub(crate) fn up(&mut self) {
        let log = std::fs::File::create(self.root.path().join("log/keeper.log")).unwrap();
        let mut command = Command::new(self.root.path().join("bin/aether-init"));
        self.environment(&mut command);
        let keeper = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        self.answering();
    }

    /// Lets a program find this Aether.
    pub(crate) fn environment(&self, command: &mut Command) {
        let root = self.root.path();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        command
            .env("AETHER_RUNTIME_DIR", root.join("run"))
            .env("AETHER_STATE_DIR", root.join("state"))
            .env("AETHER_LOG_DIR", root.join("log"))
            .env(
                "AETHER_UNIT_PATH",
                format!(
                    "{}:{}",
                    root.join("units").display(),
                    source.join("units").display()
                ),
            )
            .env("AETHER_POLICY_PATH", source.join("policies"))
            .env("AETHER_CGROUP", &self.cgroup)
            .env("NO_COLOR", "1")
            .env_remove("AETHER_LIBEXEC_DIR")
            .envs(self.variables.iter().cloned());
        if let Some(user) = self.user {
            command.uid(user).gid(user).env("HOME", root.join("state"));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.path().join("run/private")
    }

    /// Waits until a daemon answers (the first one, or the next after a death).
    pub(crate) fn answering(&self) {
        let socket = self.socket();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            // The socket outlives the daemon in the keeper's store, so a call simply waits for the
            // next one; only the very first daemon has to make it.
            let asked = self.runtime.block_on(async {
                let client = Client::connect(&socket)
                    .await
                    .map_err(|error| error.to_string())?;
                client
                    .manager_properties()
                    .await
                    .map_err(|error| error.to_string())
            });
            match asked {
                Ok(_) => return,
                Err(error) if std::time::Instant::now() > deadline => {
                    panic!("no daemon answers: {error}\n{}", self.keeper_log());
                }
                Err(_) => {
                    std::thread::yield_now();
                }
            }
        }
    }

    pub(crate) fn keeper_log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log/keeper.log")).unwrap_or_default()
    }

    /// Writes a unit file.
    pub(crate) fn unit(&self, name: &str, text: &str) {
        std::fs::write(self.root.path().join("units").join(name), text).unwrap();
    }

    /// Runs aetherctl.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// An aetherctl that is not started yet, for tests that do something while it runs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.root.path().join("bin/aetherctl"));
        self.environment(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs aetherctl with one more variable in its environment.
    pub(crate) fn run_with(&self, variable: (&str, &str), arguments: &[&str]) -> Output {
        let mut command = Command::new(self.root.path().join("bin/aetherctl"));
        self.environment(&mut command);
        command
            .env(variable.0, variable.1)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs aetherctl, which must succeed; its standard output.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "aetherctl {arguments:?}: {}\n{}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.keeper_log(),
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs aetherctl, which must fail; exit code and standard error.
    pub(crate) fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(
            !output.status.success(),
            "aetherctl {arguments:?} did not fail"
        );
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    pub(crate) fn properties(&self, unit: &str) -> Properties {
        let (socket, name) = (self.socket(), UnitName::from_user(unit).unwrap());
        self.runtime.block_on(async {
            let client = Client::connect(&socket).await.unwrap();
            client.unit_properties(&name).await.unwrap()
        })
    }

    /// Waits until the unit's properties satisfy `is`; returns them.
    pub(crate) fn wait(
        &self,
        unit: &str,
        what: &str,
        is: impl Fn(&Properties) -> bool,
    ) -> Properties {
        let (socket, name) = (self.socket(), UnitName::from_user(unit).unwrap());
        let mut last = None;
        let waited = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                // A daemon that dies ends the connection; the next one is asked.
                loop {
                    let Ok(client) = Client::connect(&socket).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    let Ok(mut signals) = client.subscribe().await else {
                        continue;
                    };
                    loop {
                        let Ok(now) = client.unit_properties(&name).await else {
                            break;
                        };
                        if is(&now) {
                            return now;
                        }
                        last = Some(now);
                        if signals.next().await.is_none() {
                            break;
                        }
                    }
                }
            })
            .await
        });
        waited.unwrap_or_else(|_| {
            panic!(
                "{unit} did not become {what}; last seen: {}\nlog:\n{}\n{}",
                last.map_or_else(String::new, |last| last.json().to_string()),
                self.log(unit),
                self.keeper_log()
            )
        })
    }

    /// What a new daemon would find: kinds of records, and of which units.
    pub(crate) fn kept(&self) -> std::collections::BTreeSet<String> {
        let ledger = self.root.path().join("run/snapshot/ledger");
        let text = std::fs::read_to_string(ledger).unwrap();
        let mut kept = std::collections::BTreeSet::new();
        for line in text.lines() {
            let key = line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
            if line.ends_with(' ') {
                kept.remove(&key);
            } else {
                kept.insert(key);
            }
        }
        kept
    }

    /// Waits for a state in systemd's words.
    pub(crate) fn wait_state(&self, unit: &str, active: &str, sub: &str) -> Properties {
        self.wait(unit, &format!("{active} ({sub})"), |now| {
            now.text("ActiveState") == active && (sub.is_empty() || now.text("SubState") == sub)
        })
    }

    /// Waits until the unit's cgroup is removed, which follows the end of its job.
    pub(crate) fn wait_no_group(&self, unit: &str) {
        let group = self.group(unit);
        until(&format!("{unit} has no cgroup"), || !group.exists());
    }

    /// Waits until the unit's log has a line that satisfies `is`.
    pub(crate) fn wait_line(&self, unit: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let log = self.log(unit);
            if let Some(line) = log.lines().find(|line| is(line)) {
                return line.to_owned();
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the line did not come; log:\n{log}\n{}",
                self.keeper_log()
            );
            std::thread::yield_now();
        }
    }

    /// The unit's newest log file, parts of lines put together.
    pub(crate) fn log(&self, unit: &str) -> String {
        let name = UnitName::from_user(unit).unwrap();
        let path = self
            .root
            .path()
            .join("log")
            .join(name.as_str())
            .join("output.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut parts: std::collections::BTreeMap<&str, String> = std::collections::BTreeMap::new();
        let mut whole = String::new();
        for entry in text.lines() {
            let words: Vec<&str> = entry.splitn(4, ' ').collect();
            let [time, stream, tag, text] = words[..] else {
                continue;
            };
            let line = parts.entry(stream).or_default();
            line.push_str(text);
            if tag == "F" {
                whole.push_str(&format!("{time} {stream} F {}\n", std::mem::take(line)));
            }
        }
        whole
    }

    pub(crate) fn daemon_pid(&self) -> u32 {
        let socket = self.socket();
        self.runtime.block_on(async {
            let client = Client::connect(&socket).await.unwrap();
            let properties = client.manager_properties().await.unwrap();
            u32::try_from(properties.number("DaemonPID").unwrap()).unwrap()
        })
    }

    /// Kills the daemon in cold blood and waits until the next one answers.
    pub(crate) fn kill_daemon(&self) {
        let before = self.daemon_pid();
        signal(before, "KILL");
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            self.answering();
            if self.daemon_pid() != before {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the daemon did not die"
            );
        }
    }

    /// The kernel's `pids.max` for the unit's main process.
    pub(crate) fn tasks_max(&self, unit: &str) -> String {
        let pid = self.properties(unit).number("MainPID").unwrap();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let of = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
        let v1 = groups.lines().find(|line| line.contains(":pids:"));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let file = match v1.and_then(of) {
            Some(path) => {
                let line = mounts
                    .lines()
                    .find(|line| line.contains(" - cgroup ") && line.ends_with("pids"))
                    .expect("a mount of pids");
                let mount = line.split(' ').nth(4).unwrap();
                format!("{mount}{path}/pids.max")
            }
            None => self.group(unit).join("pids.max").display().to_string(),
        };
        std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .trim()
            .to_owned()
    }

    /// The unit's directory in the v2 hierarchy.
    pub(crate) fn group(&self, unit: &str) -> PathBuf {
        let name = UnitName::from_user(unit).unwrap();
        cgroup2().join(&self.cgroup).join(name.as_str())
    }
}

/// Where this process's v2 group is mounted.
pub(crate) fn cgroup2() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4))
        .expect("a cgroup2 mount");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/");
    PathBuf::from(format!("{mount}{}", path.trim_end_matches('/')))
}

/// Waits until this is so.
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(std::time::Instant::now() < deadline, "not yet: {what}");
        std::thread::yield_now();
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(status.success(), "cannot signal {pid}");
}

impl Drop for Aether {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("keeper's log:\n{}", self.keeper_log());
        }
        self.down();
    }
}

impl Aether {
    /// Stops everything; nothing may be left behind.
    pub(crate) fn down(&mut self) {
        let Some(mut keeper) = self.keeper.take() else {
            return;
        };
        let down = self.run(&["down"]);
        if !down.status.success() {
            eprintln!("down: {}", String::from_utf8_lossy(&down.stderr));
            signal(keeper.id(), "TERM");
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while keeper.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > deadline {
                let _ = keeper.kill();
                let _ = keeper.wait();
                panic!("Aether did not stop\n{}", self.keeper_log());
            }
            std::thread::yield_now();
        }
        let left = cgroup2().join(&self.cgroup);
        if left.exists() && !std::thread::panicking() {
            panic!("{} was left behind\n{}", left.display(), self.keeper_log());
        }
    }
}
