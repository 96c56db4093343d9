//! What is measured of each supervisor, in the same way for all.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process;
use crate::stamp::{Stamp, now, setting};

/// Longest that the next service may take to run, in seconds: a supervisor may be slow.
const PATIENCE: u16 = 120;

/// A supervisor with a batch of services that is written and not started.
pub(crate) trait Peer {
    /// The start of the batch: what is timed. The command whose end says that all run.
    fn go(&mut self) -> Option<Child>;

    /// The supervisor's processes, the services left out.
    fn own(&self, services: &[u32]) -> Vec<u32>;

    /// How many services it says run, where no command's end has said it.
    fn running(&mut self) -> Option<usize> {
        None
    }

    /// A service has been killed.
    fn killed(&mut self, _service: u32) {}

    /// How long it took to answer, before the batch.
    fn ready(&self) -> Option<Duration> {
        None
    }

    /// Stops everything; what is left afterwards will be killed.
    fn stop(&mut self);
}

/// Makes a supervisor and its batch in a directory, or says why there is none.
pub(crate) type Make = fn(&Stamp, &Path, usize) -> Result<Box<dyn Peer>, String>;

/// A row of the table.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    make: Make,
}

/// How one batch went.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) ready: Option<f64>,
    pub(crate) running: f64,
    /// Seconds, or `None` where it was asked for.
    pub(crate) said: Option<f64>,
    pub(crate) rest: Option<Rest>,
}

/// What is measured once the batch runs, of the last round.
#[derive(Default)]
pub(crate) struct Rest {
    pub(crate) own: usize,
    /// KiB.
    pub(crate) rss: u64,
    pub(crate) pss: u64,
    pub(crate) wakeups: Option<u64>,
    /// Seconds each.
    pub(crate) old: Vec<f64>,
    pub(crate) new: Vec<f64>,
}

/// How far the last round of a batch goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Start,
    Memory,
    Everything,
}

impl Kind {
    pub(crate) const fn new(name: &'static str, make: Make) -> Self {
        Self { name, make }
    }

    /// Starts a batch of so many services, measures, and leaves nothing behind.
    pub(crate) fn batch(
        &self,
        program: &Path,
        count: usize,
        depth: Depth,
    ) -> Result<Batch, String> {
        let place = tempfile::tempdir().unwrap();
        // Services may run as anybody.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.path(), open).unwrap();
        let mut stamp = Stamp::of(program.to_owned(), place.path());
        let made = (self.make)(&stamp, place.path(), count);
        let measured = made.and_then(|mut peer| {
            let measured = measure(peer.as_mut(), &mut stamp, count, depth);
            peer.stop();
            measured
        });
        process::sweep();
        measured
    }
}

fn seconds(begin: u64, end: u64) -> f64 {
    Duration::from_nanos(end.saturating_sub(begin)).as_secs_f64()
}

fn measure(
    peer: &mut dyn Peer,
    stamp: &mut Stamp,
    count: usize,
    depth: Depth,
) -> Result<Batch, String> {
    let mut batch = Batch {
        ready: peer.ready().map(|time| time.as_secs_f64()),
        ..Batch::default()
    };
    let begin = now();
    let command = peer.go().map(|mut command| {
        std::thread::spawn(move || {
            let status = command.wait();
            (now(), status)
        })
    });
    let mut services = vec![];
    let mut last = begin;
    for done in 0..count {
        let Some((first, pid)) = stamp.within(PATIENCE) else {
            return Err(format!("after {done} of {count} no more services ran"));
        };
        services.push(u32::try_from(pid).unwrap());
        last = last.max(first);
    }
    batch.running = seconds(begin, last);
    if let Some(command) = command {
        let (end, status) = command.join().unwrap();
        match status {
            Ok(status) if status.success() => batch.said = Some(seconds(begin, end)),
            other => return Err(format!("its command ended so: {other:?}")),
        }
    } else if let Some(mut running) = peer.running() {
        let deadline = now() + u64::from(PATIENCE) * 1_000_000_000;
        while running < count && now() < deadline {
            running = peer.running().unwrap_or(0);
        }
        if running < count {
            return Err(format!("it says that {running} of {count} run"));
        }
    }
    if depth != Depth::Start {
        batch.rest = Some(rest(peer, stamp, services, depth)?);
    }
    Ok(batch)
}

fn rest(
    peer: &mut dyn Peer,
    stamp: &mut Stamp,
    services: Vec<u32>,
    depth: Depth,
) -> Result<Rest, String> {
    let mut rest = Rest::default();
    let own = peer.own(&services);
    rest.own = own.len();
    for (rss, pss) in own.iter().map(|pid| process::memory(*pid)) {
        rest.rss += rss;
        rest.pss += pss;
    }
    if depth != Depth::Everything {
        return Ok(rest);
    }
    let sleeps = || own.iter().map(|pid| process::sleeps(*pid)).sum::<u64>();
    // What the start has caused is over after this; every service is older than a second then.
    std::thread::sleep(Duration::from_secs(3));
    let before = sleeps();
    std::thread::sleep(Duration::from_secs(setting("AETHER_BENCH_IDLE", 10)));
    rest.wakeups = Some(sleeps().saturating_sub(before));
    let runs = usize::try_from(setting("AETHER_BENCH_RUNS", 20)).unwrap();
    let mut newest = 0;
    for service in services.into_iter().take(runs) {
        let (time, pid) = replaced(peer, stamp, service)?;
        rest.old.push(time);
        newest = pid;
    }
    // The newest is killed again and again; those who wait a second need not do it often.
    let patient = Duration::from_secs(5).as_secs_f64();
    let mut spent = 0.0;
    while rest.new.len() < runs && spent < patient {
        let (time, pid) = replaced(peer, stamp, newest)?;
        rest.new.push(time);
        newest = pid;
        spent += time;
    }
    Ok(rest)
}

/// Kills a service; how long it took until another ran, and its pid.
fn replaced(peer: &mut dyn Peer, stamp: &mut Stamp, service: u32) -> Result<(f64, u32), String> {
    let begin = now();
    process::signal(service, Signal::SIGKILL);
    peer.killed(service);
    let (first, pid) = stamp
        .within(PATIENCE)
        .ok_or("a killed service was not replaced")?;
    Ok((seconds(begin, first), u32::try_from(pid).unwrap()))
}
