//! The virtual machine, in which this program runs again; and systemd, which is its first process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::measure::Peer;
use crate::stamp::{Stamp, setting};
use crate::{dinit, vm};

/// Names the stamped program to this program inside the guest.
pub(crate) const INSIDE: &str = "AETHER_BENCH_INSIDE";

/// Begins each line of the guest's table, between what others print on the console.
pub(crate) const MARK: &str = "peers: ";

/// The guest's part in which things are where they were when this program was built. The root of
/// the control groups is left by nobody: there, processes and groups may stand side by side.
const SCRIPT: &str = r#"
echo $$ >/sys/fs/cgroup/cgroup.procs
mount -o remount,exec /run
mount -t tmpfs tmpfs /tmp
mkdir -p "$source" "$(dirname "$programs")"
ln -s /run/payload/units /run/payload/policies "$source/"
mkdir -p "$programs"
ln -s /run/payload/bin/* "$programs/"
export AETHER_BENCH_INSIDE=/run/payload/bin/stamp AETHER_BENCH_DINIT=/run/payload/bin
exec /run/payload/bin/peers $names
"#;

/// Boots the guest and measures there; the table.
pub(crate) fn run(stamp: &Path, count: u64, names: &[String]) -> String {
    let place = tempfile::tempdir().unwrap();
    let payload = place.path();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_aetherd")).parent().unwrap();
    for directory in ["units", "policies"] {
        copy(&source.join(directory), payload);
    }
    let bin = payload.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (_, path) in crate::live::PROGRAMS {
        copy(Path::new(path), &bin);
    }
    copy(stamp, &bin);
    copy(&std::env::current_exe().unwrap(), &bin.join("peers"));
    for program in dinit::programs().into_iter().flatten() {
        copy(&program, &bin);
    }
    let mut script = format!(
        "source='{}' programs='{}' names='{}'\nexport AETHER_BENCH_MANY={count}\n",
        source.display(),
        programs.display(),
        names.join("' '")
    );
    for (name, otherwise) in [("ROUNDS", 3), ("RUNS", 20), ("IDLE", 10)] {
        let name = format!("AETHER_BENCH_{name}");
        let value = setting(&name, otherwise);
        script.push_str(&format!("export {name}={value}\n"));
    }
    std::fs::write(payload.join("test.sh"), script + SCRIPT).unwrap();
    let init = "/lib/systemd/systemd systemd.unit=vm-test.service systemd.show_status=no \
                systemd.log_target=null";
    let said = vm::boot(payload, init);
    let table: String = said
        .lines()
        .filter_map(|line| line.strip_prefix(MARK))
        .map(|line| format!("{line}\n"))
        .collect();
    if table.is_empty() {
        return format!("the guest printed no table, but:\n{said}");
    }
    table
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "cp {}", from.display());
}

/// What confines about as much as Aether's `Policy=service`.
const CONFINED: &str = "NoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\n\
                        PrivateDevices=yes\nProtectKernelTunables=yes\nProtectKernelModules=yes\n\
                        ProtectControlGroups=yes\nRestrictAddressFamilies=AF_UNIX\n\
                        RestrictNamespaces=yes\nLockPersonality=yes\nRestrictRealtime=yes\n\
                        SystemCallArchitectures=native\nSystemCallFilter=@system-service\n";

/// The first process of this machine, with units of ours.
struct Systemd {
    units: Vec<PathBuf>,
}

fn systemctl(arguments: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null());
    command
}

fn units(stamp: &Stamp, count: usize, name: &str, more: &str) -> Box<dyn Peer> {
    let (program, fifo) = (stamp.program.display(), stamp.fifo.display());
    let mut units = vec![];
    let mut write = |name: &str, text: String| {
        let path = Path::new("/run/systemd/system").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        units.push(path);
    };
    let mut wants = String::new();
    for index in 0..count {
        let unit = format!("{name}{index}.service");
        write(
            &unit,
            format!(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={program} {fifo}\n\
                 Restart=always\nRestartSec=0\n{more}"
            ),
        );
        wants.push_str(&format!("Wants={unit}\n"));
    }
    write("many.target", format!("[Unit]\n{wants}"));
    let peer = Systemd { units };
    // What was there under these names before is forgotten; what they need in order to start at all
    // is there.
    for arguments in [&["daemon-reload"][..], &["start", "basic.target"]] {
        let done = systemctl(arguments).status().unwrap();
        assert!(done.success(), "systemctl {arguments:?}");
    }
    Box::new(peer)
}

pub(crate) fn systemd(stamp: &Stamp, _place: &Path, count: usize) -> Result<Box<dyn Peer>, String> {
    Ok(units(stamp, count, "plain", ""))
}

pub(crate) fn systemd_confined(
    stamp: &Stamp,
    _place: &Path,
    count: usize,
) -> Result<Box<dyn Peer>, String> {
    Ok(units(stamp, count, "confined", CONFINED))
}

impl Peer for Systemd {
    fn go(&mut self) -> Option<Child> {
        Some(systemctl(&["start", "many.target"]).spawn().unwrap())
    }

    fn own(&self, _services: &[u32]) -> Vec<u32> {
        vec![1]
    }

    fn stop(&mut self) {
        let names: Vec<&str> = self
            .units
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .collect();
        let _ = systemctl(&["stop"]).args(names).status();
        for path in &self.units {
            std::fs::remove_file(path).unwrap();
        }
        let _ = systemctl(&["daemon-reload"]).status();
    }
}
