//! What a confined agent must not be able to do, tried for real and undone where it worked.
//!
//! Each trial says how the kernel refused, or that it did not. Nothing here is done that could hurt
//! a machine on which nothing is refused: signal 0, an empty file that is removed again, a
//! connection to this machine's own discard port, children that end with us.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// The hidden verb of the children of [`tasks`].
pub(crate) const WAIT: &str = "wait-for-end-of-input";
/// Children that are tried at most; well above `TasksMax=` of hello.agent.
const MOST_CHILDREN: usize = 300;

/// Not just "files": that some of their rights are not confined (truncation) excuses no reading.
const FILES: &str = "files are not confined";

/// How a trial went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The kernel said no, in these words.
    Refused(String),
    /// There is nothing to try it on.
    Absent(String),
    /// It worked, or failed for a reason that is no refusal.
    Done(String),
}

/// One thing that must be refused.
pub(crate) struct Trial {
    /// What is tried.
    pub(crate) what: String,
    /// The words by which `get_status` would name this protection as not enforced here.
    pub(crate) protection: &'static str,
    /// How it went.
    pub(crate) outcome: Outcome,
}

/// Every trial, one after the other.
pub(crate) fn all() -> impl Iterator<Item = Trial> {
    let steps: [fn() -> Trial; 8] = [
        shadow,
        etc,
        root_home,
        other_homes,
        memory_of_init,
        signal,
        network,
        tasks,
    ];
    steps.into_iter().map(|step| step())
}

fn trial(what: &str, protection: &'static str, outcome: Outcome) -> Trial {
    Trial {
        what: what.to_owned(),
        protection,
        outcome,
    }
}

fn judge<T>(result: io::Result<T>, done: &str) -> Outcome {
    match result {
        Ok(_) => Outcome::Done(done.to_owned()),
        Err(error) => judge_error(&error),
    }
}

fn judge_error(error: &io::Error) -> Outcome {
    let name = errno(error);
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Outcome::Refused(name)
        }
        io::ErrorKind::NotFound => Outcome::Absent(name),
        _ => Outcome::Done(format!("it failed otherwise: {error}")),
    }
}

fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(1) => "EPERM".to_owned(),
        Some(2) => "ENOENT".to_owned(),
        Some(11) => "EAGAIN".to_owned(),
        Some(12) => "ENOMEM".to_owned(),
        Some(13) => "EACCES".to_owned(),
        Some(30) => "EROFS".to_owned(),
        Some(97) => "EAFNOSUPPORT".to_owned(),
        Some(101) => "ENETUNREACH".to_owned(),
        Some(other) => format!("errno {other}"),
        None => error.to_string(),
    }
}

fn shadow() -> Trial {
    let read = File::open("/etc/shadow").and_then(|mut file| file.read(&mut [0]));
    trial(
        "read the passwords in /etc/shadow",
        FILES,
        judge(read, "it was read"),
    )
}

fn etc() -> Trial {
    let path = "/etc/aether-was-here";
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    if made.is_ok() {
        let _ = fs::remove_file(path);
    }
    trial(
        "write a file into /etc",
        FILES,
        judge(made, "it was written (and removed again)"),
    )
}

fn root_home() -> Trial {
    trial(
        "look into /root",
        FILES,
        judge(fs::read_dir("/root"), "it was listed"),
    )
}

/// `$HOME` is `…/unit/NAME/home`; the others' are beside it.
fn other_homes() -> Trial {
    let what = "look at the other agents' homes";
    let units = std::env::var_os("HOME")
        .map(PathBuf::from)
        .and_then(|home| Some(home.parent()?.parent()?.to_owned()));
    let outcome = match units {
        Some(units) if units.ends_with("unit") => judge(fs::read_dir(units), "they were listed"),
        _ => Outcome::Absent("this home is not among other units' homes".to_owned()),
    };
    trial(what, FILES, outcome)
}

fn memory_of_init() -> Trial {
    // The kernel asks the same question here as for ptrace(2).
    let opened = File::open("/proc/1/mem");
    trial(
        "read the memory of process 1, as a debugger would",
        FILES,
        judge(opened, "it was opened"),
    )
}

fn signal() -> Trial {
    let what = "send a signal to process 1";
    // Signal 0 only asks whether one may.
    let asked = Command::new("sh")
        .args(["-c", "LC_ALL=C kill -0 1"])
        .stdin(Stdio::null())
        .output();
    let outcome = match asked {
        Ok(output) if output.status.success() => Outcome::Done("it may".to_owned()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
            if said.contains("not permitted") {
                Outcome::Refused("EPERM".to_owned())
            } else if said.contains("no such process") {
                Outcome::Absent("ESRCH".to_owned())
            } else {
                Outcome::Done(format!("it failed otherwise: {}", said.trim()))
            }
        }
        Err(error) => Outcome::Done(format!("there is no shell to try it with: {error}")),
    };
    trial(what, "signal", outcome)
}

fn network() -> Trial {
    let what = "open a TCP connection";
    let discard = SocketAddr::from(([127, 0, 0, 1], 9));
    let outcome = match TcpStream::connect_timeout(&discard, Duration::from_secs(1)) {
        Ok(_) => Outcome::Done("it is open".to_owned()),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut => {
                Outcome::Done("the network was reached; nobody listens there".to_owned())
            }
            // No confinement says this: there is no network to be kept from.
            io::ErrorKind::NetworkUnreachable => Outcome::Absent(errno(&error)),
            _ if error.raw_os_error() == Some(97) => Outcome::Refused(errno(&error)),
            _ => judge_error(&error),
        },
    };
    trial(what, "TCP", outcome)
}

/// Starts children until the kernel says that there are enough.
fn tasks() -> Trial {
    let what = format!("start {MOST_CHILDREN} processes");
    let own = std::env::current_exe().unwrap_or_else(|_| "aether-agent".into());
    let mut children = Vec::new();
    let mut outcome = Outcome::Done(format!(
        "all {MOST_CHILDREN} were started (and ended again)"
    ));
    for count in 0..MOST_CHILDREN {
        let child = Command::new(&own)
            .arg(WAIT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => children.push(child),
            Err(error) => {
                outcome = match error.kind() {
                    io::ErrorKind::WouldBlock => Outcome::Refused(format!("EAGAIN after {count}")),
                    _ => Outcome::Done(format!("it failed otherwise after {count}: {error}")),
                };
                break;
            }
        }
    }
    children.iter_mut().for_each(end);
    Trial {
        what,
        protection: "TasksMax",
        outcome,
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// What the children of [`tasks`] do: nothing, and not for longer than their parent.
pub(crate) fn wait() -> ExitCode {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_counts_as_one() {
        let of = |number| judge_error(&io::Error::from_raw_os_error(number));
        assert_eq!(of(13), Outcome::Refused("EACCES".into()));
        assert_eq!(of(1), Outcome::Refused("EPERM".into()));
        assert_eq!(of(30), Outcome::Refused("EROFS".into()));
        assert_eq!(of(2), Outcome::Absent("ENOENT".into()));
        assert!(matches!(of(5), Outcome::Done(_)));
        assert!(matches!(judge(Ok(()), "done"), Outcome::Done(_)));
    }
}
