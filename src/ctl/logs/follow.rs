//! Waiting for more output: inotify on the unit's log directory, no polling. And for the end of
//! whoever reads ours: who waits writes nothing, and so is not told by a failed write.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::ready;

/// What tokio waits on.
#[derive(Debug)]
struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Tells when something changed in a directory that may not be there yet.
#[derive(Debug)]
pub(in crate::ctl) struct Watch {
    inotify: AsyncFd<Queue>,
    directory: PathBuf,
    /// The directory itself is watched, not an ancestor.
    there: bool,
}

impl Watch {
    /// Begins to watch. Whatever happens from now on ends the next [`Watch::changed`].
    ///
    /// Must be called within a tokio runtime.
    pub(in crate::ctl) fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the queue owns its descriptor"
        )]
        let inotify = AsyncFd::new(Queue(inotify))?;
        let mut watch = Self {
            inotify,
            directory: directory.to_owned(),
            there: false,
        };
        watch.place()?;
        Ok(watch)
    }

    /// Watches the directory, or its nearest ancestor until it is there.
    fn place(&mut self) -> io::Result<()> {
        let inside = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        let above =
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF;
        let inotify = &self.inotify.get_ref().0;
        loop {
            match inotify.add_watch(&self.directory, inside) {
                Ok(_) => {
                    self.there = true;
                    return Ok(());
                }
                Err(Errno::ENOENT) => self.there = false,
                Err(error) => return Err(error.into()),
            }
            let mut nearest = self.directory.as_path();
            loop {
                nearest = nearest.parent().ok_or(Errno::ENOENT)?;
                match inotify.add_watch(nearest, above) {
                    Ok(_) => break,
                    Err(Errno::ENOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // What was made between the two attempts would not be told.
            let child = self
                .directory
                .ancestors()
                .take_while(|path| *path != nearest)
                .last()
                .unwrap_or(&self.directory);
            if !child.exists() {
                return Ok(());
            }
        }
    }

    /// Ends when something changed since the last call (or since [`Watch::new`]).
    pub(in crate::ctl) async fn changed(&mut self) -> io::Result<()> {
        let gone =
            AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        let events = loop {
            let mut ready = self.inotify.readable().await?;
            match self.inotify.get_ref().0.read_events() {
                // More may be there: readiness is cleared only where the kernel says so.
                Ok(events) => break events,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if !self.there || events.iter().any(|event| event.mask.intersects(gone)) {
            self.place()?;
        }
        Ok(())
    }
}

/// Tells when nobody can read our standard output any more.
#[derive(Debug)]
pub(in crate::ctl) struct ReaderGone {
    /// `None` for a file, which has no reader.
    output: Option<AsyncFd<OwnedFd>>,
}

impl ReaderGone {
    /// Looks at the standard output. Must be called within a tokio runtime.
    pub(in crate::ctl) fn new() -> io::Result<Self> {
        Self::of(io::stdout().as_fd().try_clone_to_owned()?)
    }

    fn of(output: OwnedFd) -> io::Result<Self> {
        // A pipe without reader is an error; a socket is readable then, so both are asked for.
        match ready::watch(output, Interest::READABLE | Interest::ERROR) {
            Ok(output) => Ok(Self {
                output: Some(output),
            }),
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
                Ok(Self { output: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Ends when the reader has gone; safe to drop half-way.
    pub(in crate::ctl) async fn wait(&mut self) {
        let Some(output) = &self.output else {
            return std::future::pending().await;
        };
        // Should waiting be impossible, the next write still tells.
        while let Ok(mut ready) = output.ready(Interest::READABLE | Interest::ERROR).await {
            let mut fds = [PollFd::new(output.as_fd(), PollFlags::empty())];
            if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
                return;
            }
            // Only input, such as keys pressed on a terminal.
            ready.clear_ready();
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_goes_is_noticed_and_a_file_has_none() {
        crate::ctl::block_on(async {
            let (reader, writer) = io::pipe()?;
            let mut gone = ReaderGone::of(writer.into())?;
            tokio::select! {
                biased;
                () = gone.wait() => panic!("the reader is there"),
                () = tokio::task::yield_now() => {}
            }
            drop(reader);
            gone.wait().await;
            let (near, far) = std::os::unix::net::UnixStream::pair()?;
            let mut gone = ReaderGone::of(near.into())?;
            drop(far);
            gone.wait().await;
            assert!(
                ReaderGone::of(tempfile::tempfile()?.into())?
                    .output
                    .is_none()
            );
            Ok(())
        })
        .unwrap();
    }
}
