//! dinit, here and in the guest.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::measure::Peer;
use crate::ours::own;
use crate::process::signal;
use crate::stamp::Stamp;

struct Dinit {
    daemon: Child,
    control: PathBuf,
    socket: PathBuf,
    ready: Duration,
}

/// The two programs of dinit.
pub(crate) fn programs() -> Option<[PathBuf; 2]> {
    let directory = std::env::var_os("AETHER_BENCH_DINIT").map(PathBuf::from);
    let find = |name: &str| match &directory {
        Some(directory) => Some(directory.join(name)).filter(|path| path.exists()),
        None => crate::found::program(name),
    };
    Some([find("dinit")?, find("dinitctl")?])
}

pub(crate) fn dinit(stamp: &Stamp, place: &Path, count: usize) -> Result<Box<dyn Peer>, String> {
    let Some([daemon, control]) = programs() else {
        return Err("missing: Debian has no package; see AETHER_BENCH_DINIT".to_owned());
    };
    let services = place.join("services");
    std::fs::create_dir(&services).unwrap();
    let write = |name: &str, text: String| std::fs::write(services.join(name), text).unwrap();
    let (program, fifo) = (stamp.program.display(), stamp.fifo.display());
    let mut many = "type = internal\n".to_owned();
    write("boot", many.clone());
    for index in 0..count {
        write(
            &format!("w{index}"),
            format!(
                "type = process\ncommand = {program} {fifo}\nrestart = true\nrestart-delay = 0\n\
                 restart-limit-count = 0\nsmooth-recovery = true\n"
            ),
        );
        many.push_str(&format!("waits-for: w{index}\n"));
    }
    write("many", many);
    let socket = place.join("control");
    let begin = Instant::now();
    let mut daemon = Command::new(daemon)
        .args(["--container", "--quiet", "--ready-fd", "1", "--log-file"])
        .arg(place.join("log"))
        .arg("--services-dir")
        .arg(&services)
        .arg("--socket-path")
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = vec![];
    let mut output = BufReader::new(daemon.stdout.take().unwrap());
    // The socket's path, as a string of C.
    output.read_until(0, &mut said).unwrap();
    let ready = begin.elapsed();
    if said.is_empty() {
        return Err(format!("dinit ended: {}", daemon.wait().unwrap()));
    }
    Ok(Box::new(Dinit {
        daemon,
        control,
        socket,
        ready,
    }))
}

impl Peer for Dinit {
    fn go(&mut self) -> Option<Child> {
        let mut command = Command::new(&self.control);
        command.arg("--socket-path").arg(&self.socket);
        command.args(["start", "many"]);
        Some(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn own(&self, services: &[u32]) -> Vec<u32> {
        own(self.daemon.id(), services)
    }

    fn ready(&self) -> Option<Duration> {
        Some(self.ready)
    }

    fn stop(&mut self) {
        signal(self.daemon.id(), Signal::SIGTERM);
        self.daemon.wait().unwrap();
    }
}
