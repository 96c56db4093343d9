//! Supervisors that start what they find in a directory or file: s6, runit, supervisord.
//!
//! A `run` file's interpreter is the service's program itself, so that no shell is paid for.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::Signal;

use crate::measure::Peer;
use crate::ours::own;
use crate::process::signal;
use crate::stamp::Stamp;

/// Where `fetch.sh` has unpacked the packages.
fn unpacked() -> Option<&'static Path> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let fetch = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers/fetch.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).unwrap().trim().into())
    };
    PLACE.get_or_init(fetch).as_deref()
}

/// The directory that must be laid over `/usr` for a program to be there.
fn over(program: &str) -> Result<PathBuf, String> {
    let has = |usr: &Path| {
        ["bin", "sbin"].map(|directory| usr.join(directory).join(program).exists()) != [false; 2]
    };
    let place = unpacked().ok_or("missing: fetch.sh failed")?.join("usr");
    if has(&place) || has(Path::new("/usr")) {
        return Ok(place);
    }
    Err(format!("missing: no package of this release has {program}"))
}

/// Where a found program is, for those who need no more than one file.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let usr = [
        unpacked().map(|place| place.join("usr")),
        Some("/usr".into()),
    ];
    usr.into_iter()
        .flatten()
        .flat_map(|usr| [usr.join("bin"), usr.join("sbin")])
        .map(|directory| directory.join(name))
        .find(|path| path.exists())
}

/// In a mount namespace of its own: lays the packages over `/usr`, says so, and becomes the
/// supervisor when it is told to.
const WRAPPED: &str = "mount -t overlay -o ro,lowerdir=\"$1:/usr\" overlay /usr && echo ready && \
                       shift && read -r go && exec \"$@\" </dev/null >supervisor.log 2>&1";

/// One of the three.
struct Found {
    supervisor: Child,
    /// Asks about all services, and the line that each has which runs.
    question: Vec<String>,
    answer: fn(&str) -> bool,
    stop: Signal,
}

impl Found {
    fn prepared(
        place: &Path,
        command: &[&str],
        question: &[&str],
        answer: fn(&str) -> bool,
        stop: Signal,
    ) -> Result<Box<dyn Peer>, String> {
        let over = over(command[0])?;
        let mut supervisor = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", WRAPPED])
            .arg("sh")
            .arg(over)
            .args(command)
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(supervisor.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        if said != "ready\n" {
            let _ = supervisor.wait();
            return Err("missing: its packages cannot be laid over /usr".to_owned());
        }
        Ok(Box::new(Self {
            supervisor,
            question: question.iter().map(|word| (*word).to_owned()).collect(),
            answer,
            stop,
        }))
    }
}

impl Peer for Found {
    fn go(&mut self) -> Option<Child> {
        let mut input = self.supervisor.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        None
    }

    fn own(&self, services: &[u32]) -> Vec<u32> {
        own(self.supervisor.id(), services)
    }

    fn running(&mut self) -> Option<usize> {
        let root = format!("/proc/{}/ns/mnt", self.supervisor.id());
        let output = Command::new("nsenter")
            .arg(format!("--mount={root}"))
            .args(&self.question)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        Some(text.lines().filter(|line| (self.answer)(line)).count())
    }

    fn stop(&mut self) {
        signal(self.supervisor.id(), self.stop);
        self.supervisor.wait().unwrap();
    }
}

/// Service directories below `services`.
fn directories(stamp: &Stamp, place: &Path, count: usize, ready: bool) -> String {
    let services = place.join("services");
    let (program, fifo) = (stamp.program.display(), stamp.fifo.display());
    for index in 0..count {
        let service = services.join(format!("w{index}"));
        std::fs::create_dir_all(&service).unwrap();
        let run = service.join("run");
        let says = if ready { "3:" } else { "" };
        std::fs::write(&run, format!("#!{program} {says}{fifo}\n")).unwrap();
        std::fs::set_permissions(&run, PermissionsExt::from_mode(0o755)).unwrap();
        if ready {
            std::fs::write(service.join("notification-fd"), "3\n").unwrap();
        }
    }
    services.display().to_string()
}

fn s6_with(
    stamp: &Stamp,
    place: &Path,
    count: usize,
    ready: bool,
) -> Result<Box<dyn Peer>, String> {
    let services = directories(stamp, place, count, ready);
    // It takes 500 unless told otherwise.
    let most = (count + 10).to_string();
    let ask = format!("for service in {services}/*; do s6-svstat -o up \"$service\"; done");
    Found::prepared(
        place,
        &["s6-svscan", "-c", &most, &services],
        &["sh", "-c", &ask],
        |line| line == "true",
        Signal::SIGTERM,
    )
}

pub(crate) fn s6(stamp: &Stamp, place: &Path, count: usize) -> Result<Box<dyn Peer>, String> {
    s6_with(stamp, place, count, false)
}

pub(crate) fn s6_ready(stamp: &Stamp, place: &Path, count: usize) -> Result<Box<dyn Peer>, String> {
    s6_with(stamp, place, count, true)
}

pub(crate) fn runit(stamp: &Stamp, place: &Path, count: usize) -> Result<Box<dyn Peer>, String> {
    // A constant of its source.
    if count > 1_000 {
        return Err("runsvdir runs no more than 1000 services".to_owned());
    }
    let services = directories(stamp, place, count, false);
    Found::prepared(
        place,
        &["runsvdir", "-P", &services],
        &["sh", "-c", &format!("sv status {services}/*")],
        |line| line.starts_with("run: "),
        Signal::SIGHUP,
    )
}

pub(crate) fn supervisord(
    stamp: &Stamp,
    place: &Path,
    count: usize,
) -> Result<Box<dyn Peer>, String> {
    let (program, fifo) = (stamp.program.display(), stamp.fifo.display());
    let configuration = place.join("supervisord.conf");
    let descriptors = 1_024 + 5 * count;
    let text = format!(
        "[supervisord]\nnodaemon=true\nuser=root\nminfds={descriptors}\n\
         logfile=%(here)s/log\npidfile=%(here)s/pid\nchildlogdir=%(here)s\n\
         [unix_http_server]\nfile=%(here)s/socket\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://%(here)s/socket\n\
         [program:w]\ncommand={program} {fifo}\nprocess_name=w%(process_num)d\n\
         numprocs={count}\nautorestart=true\nstartsecs=0\n"
    );
    std::fs::write(&configuration, text).unwrap();
    let configuration = configuration.display().to_string();
    Found::prepared(
        place,
        &["supervisord", "-c", &configuration],
        &["supervisorctl", "-c", &configuration, "status"],
        |line| line.contains(" RUNNING "),
        Signal::SIGTERM,
    )
}
