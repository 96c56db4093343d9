//! The limit, which is no supervisor, and Aether.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::live;
use crate::measure::Peer;
use crate::process::{descendants, parent};
use crate::stamp::Stamp;

/// This program itself: it spawns, waits for the dead, and spawns again.
struct Bare {
    program: PathBuf,
    fifo: PathBuf,
    count: usize,
    children: Vec<Child>,
}

pub(crate) fn bare(stamp: &Stamp, _place: &Path, count: usize) -> Result<Box<dyn Peer>, String> {
    Ok(Box::new(Bare {
        program: stamp.program.clone(),
        fifo: stamp.fifo.clone(),
        count,
        children: vec![],
    }))
}

impl Bare {
    fn spawn(&self) -> Child {
        Command::new(&self.program).arg(&self.fifo).spawn().unwrap()
    }
}

impl Peer for Bare {
    fn go(&mut self) -> Option<Child> {
        self.children = (0..self.count).map(|_| self.spawn()).collect();
        None
    }

    /// What a benchmark's memory is says nothing.
    fn own(&self, _services: &[u32]) -> Vec<u32> {
        vec![]
    }

    fn killed(&mut self, service: u32) {
        let is = |child: &Child| child.id() == service;
        let at = self.children.iter().position(is).unwrap();
        self.children.swap_remove(at).wait().unwrap();
        let child = self.spawn();
        self.children.push(child);
    }

    fn stop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

struct Aether {
    live: live::Aether,
    keeper: u32,
    ready: Duration,
}

pub(crate) fn unconfined(
    stamp: &Stamp,
    _place: &Path,
    count: usize,
) -> Result<Box<dyn Peer>, String> {
    Ok(Box::new(aether(stamp, count, "Policy=none")))
}

pub(crate) fn confined(
    stamp: &Stamp,
    _place: &Path,
    count: usize,
) -> Result<Box<dyn Peer>, String> {
    let (program, fifo) = (stamp.program.display(), stamp.fifo.display());
    let sandbox = format!("Policy=service\nReadWritePaths={fifo}\nExecPaths={program}");
    Ok(Box::new(aether(stamp, count, &sandbox)))
}

fn aether(stamp: &Stamp, count: usize, sandbox: &str) -> Aether {
    let (program, fifo) = (stamp.program.display(), stamp.fifo.display());
    let mut live = live::Aether::prepare();
    let mut wants = String::new();
    for index in 0..count {
        let name = format!("w{index}.service");
        live.unit(
            &name,
            &format!(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={program} {fifo}\n\
                 Restart=always\nRestartSec=0\n[Sandbox]\n{sandbox}\n"
            ),
        );
        wants.push_str(&format!("Wants={name}\n"));
    }
    live.unit("many.target", &format!("[Unit]\n{wants}"));
    let begin = Instant::now();
    live.up();
    let ready = begin.elapsed();
    let keeper = parent(live.daemon_pid());
    Aether {
        live,
        keeper,
        ready,
    }
}

impl Peer for Aether {
    fn go(&mut self) -> Option<Child> {
        let mut command = self.live.command(&["start", "many.target"]);
        Some(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn own(&self, services: &[u32]) -> Vec<u32> {
        own(self.keeper, services)
    }

    fn ready(&self) -> Option<Duration> {
        Some(self.ready)
    }

    fn stop(&mut self) {
        self.live.down();
    }
}

/// A supervisor and all that descends from it, the services left out.
pub(crate) fn own(root: u32, services: &[u32]) -> Vec<u32> {
    let mut own = descendants(root);
    own.retain(|pid| !services.contains(pid));
    own.push(root);
    own
}
