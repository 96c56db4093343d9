//! Pipes whose bytes are looked at before they are taken.
//!
//! A supervisor that dies between reading output and writing it down would lose that output. So the
//! bytes are duplicated with tee(2), written down, and only then consumed; a death in between
//! repeats at most one chunk and loses none. Read next: [`crate::daemon`]'s output.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, open, tee};
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, read, write};

/// How many bytes one [`Scratch::peek`] can see: the default capacity of a pipe.
pub const CHUNK: usize = 64 * 1024;

/// A new pipe, close-on-exec: `(read end, non-blocking; write end, blocking)`.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(reader.as_fd())?;
    Ok((reader, writer))
}

/// A new pipe for a process's standard input: `(read end, blocking; write end, non-blocking)`.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn input_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(writer.as_fd())?;
    // A message of ordinary size then fits whole, so a write is taken or not, never torn. The
    // limit for unprivileged users is lower on some hosts; the default size works too.
    let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20));
    Ok((reader, writer))
}

/// Makes the open file description of `fd` non-blocking.
///
/// # Errors
/// Those of fcntl(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Opens the write end of a pipe of which only the read end is left (after a restart of the daemon).
///
/// # Errors
/// Those of open(2); ENXIO cannot happen, since a reader exists.
pub fn reopen_writer(reader: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    Ok(open(
        path.as_str(),
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// What a look into a pipe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    /// So many bytes are in the buffer, and still in the pipe.
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// Nothing, and no writer is left.
    End,
}

/// The second pipe that tee(2) needs; one serves any number of pipes, one after the other.
#[derive(Debug)]
pub struct Scratch {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Scratch {
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { reader, writer })
    }

    /// Copies what is in `pipe` into `buffer` (at least [`CHUNK`] long) and leaves it there.
    ///
    /// # Errors
    /// Those of tee(2); EINVAL if `pipe` is none.
    pub fn peek(&self, pipe: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Peek> {
        let want = buffer.len().min(CHUNK);
        let copied = loop {
            match tee(pipe, &self.writer, want, SpliceFFlags::SPLICE_F_NONBLOCK) {
                Ok(0) => return Ok(Peek::End),
                Ok(count) => break count,
                Err(Errno::EAGAIN) => return Ok(Peek::Empty),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        read_exactly(self.reader.as_fd(), &mut buffer[..copied])?;
        Ok(Peek::Bytes(copied))
    }
}

/// Reads what is there now, for what tee(2) cannot duplicate (a terminal).
///
/// # Errors
/// Those of read(2); not EAGAIN, and not EIO, with which a terminal says that nobody is left.
pub fn take(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Peek> {
    loop {
        match read(fd, buffer) {
            Ok(0) | Err(Errno::EIO) => return Ok(Peek::End),
            Ok(count) => return Ok(Peek::Bytes(count)),
            Err(Errno::EAGAIN) => return Ok(Peek::Empty),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes `count` bytes, seen by [`Scratch::peek`] before, out of `pipe`.
///
/// # Errors
/// Those of read(2).
pub fn consume(pipe: BorrowedFd<'_>, buffer: &mut [u8], count: usize) -> io::Result<()> {
    read_exactly(pipe, &mut buffer[..count])
}

fn read_exactly(fd: BorrowedFd<'_>, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(fd, buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Writes as much of `bytes` as fits now; `Ok(0)` when nothing does.
///
/// # Errors
/// Those of write(2), EPIPE above all; not EAGAIN.
pub fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match write(fd, bytes) {
            Ok(count) => return Ok(count),
            Err(Errno::EAGAIN) => return Ok(0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_leaves_the_bytes_where_they_are() {
        let (reader, writer) = pipe().unwrap();
        let scratch = Scratch::new().unwrap();
        let mut buffer = vec![0; CHUNK];
        assert_eq!(
            scratch.peek(reader.as_fd(), &mut buffer).unwrap(),
            Peek::Empty
        );
        assert_eq!(write_some(writer.as_fd(), b"hello").unwrap(), 5);
        for _ in 0..2 {
            assert_eq!(
                scratch.peek(reader.as_fd(), &mut buffer).unwrap(),
                Peek::Bytes(5)
            );
            assert_eq!(&buffer[..5], b"hello");
        }
        consume(reader.as_fd(), &mut buffer, 5).unwrap();
        drop(writer);
        assert_eq!(
            scratch.peek(reader.as_fd(), &mut buffer).unwrap(),
            Peek::End
        );
    }

    #[test]
    fn a_writer_can_be_made_from_the_reader() {
        let (reader, writer) = pipe().unwrap();
        drop(writer);
        let writer = reopen_writer(reader.as_fd()).unwrap();
        assert_eq!(write_some(writer.as_fd(), b"again").unwrap(), 5);
        let mut buffer = vec![0; CHUNK];
        let scratch = Scratch::new().unwrap();
        assert_eq!(
            scratch.peek(reader.as_fd(), &mut buffer).unwrap(),
            Peek::Bytes(5)
        );
    }

    #[test]
    fn a_full_pipe_takes_what_fits() {
        let (_reader, writer) = input_pipe().unwrap();
        let big = vec![b'x'; 4 << 20];
        let first = write_some(writer.as_fd(), &big).unwrap();
        assert!(first > 0 && first < big.len());
        assert_eq!(write_some(writer.as_fd(), &big[first..]).unwrap(), 0);
    }
}
