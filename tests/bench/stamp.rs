//! The program whose first instruction is measured (`stamp.c`), and the FIFO that hears of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// `CLOCK_MONOTONIC`, as the stamped program reads it.
pub(crate) fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(Duration::from(time).as_nanos()).unwrap()
}

/// A number out of the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Compiles the stamped program; where it is.
pub(crate) fn build(directory: &Path) -> PathBuf {
    let program = directory.join("stamp");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/stamp.c");
    let built = Command::new("cc")
        .args(["-O2", "-static", "-nostdlib", "-nostartfiles"])
        .args(["-ffreestanding", "-fno-stack-protector", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc failed");
    program
}

/// The stamped program and the FIFO into which it writes.
pub(crate) struct Stamp {
    pub(crate) program: PathBuf,
    pub(crate) fifo: PathBuf,
    reader: File,
}

impl Stamp {
    /// Compiles the program into the directory, and makes the FIFO there.
    pub(crate) fn new(directory: &Path) -> Self {
        Self::of(build(directory), directory)
    }

    /// Makes a FIFO in the directory for a program that is there already.
    pub(crate) fn of(program: PathBuf, directory: &Path) -> Self {
        let fifo = directory.join("stamps");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&fifo, open).unwrap();
        // Read and write: opening does not wait, and there is never an end of file.
        let reader = File::options().read(true).write(true).open(&fifo).unwrap();
        Self {
            program,
            fifo,
            reader,
        }
    }

    /// The next program's first instruction, and its pid.
    pub(crate) fn next(&mut self) -> (u64, i32) {
        let mut said = [0; 16];
        self.reader.read_exact(&mut said).unwrap();
        let (time, pid) = said.split_at(8);
        (
            u64::from_ne_bytes(time.try_into().unwrap()),
            i32::try_from(u64::from_ne_bytes(pid.try_into().unwrap())).unwrap(),
        )
    }

    /// As [`Stamp::next`], unless nothing comes for so many seconds.
    pub(crate) fn within(&mut self, seconds: u16) -> Option<(u64, i32)> {
        let patience = PollTimeout::try_from(u32::from(seconds) * 1000).unwrap();
        let mut wait = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
        (poll(&mut wait, patience).unwrap() > 0).then(|| self.next())
    }
}
