//! The descriptor store's wire (sd_notify(3), sd_listen_fds(3)): the client's side for the daemon,
//! the server's side for the keeper.
//!
//! Under aether-init and under systemd the client does exactly the same. Descriptors of one name
//! come back in no particular order, so what must be told apart needs names of its own; all names
//! together, each plus one, must stay below [`MAX_NAMES`], because they come back in one
//! environment string. Read next: [`crate::keeper`].
#![allow(
    unsafe_code,
    reason = "inherited descriptors are taken by number; recvmsg is called directly because its \
              wrapper loses descriptors of a cut message"
)]

use std::env;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Longest descriptor name.
pub const MAX_NAME: usize = 255;
/// Most bytes of all names with their separators: one environment string may have 128 KiB.
pub const MAX_NAMES: usize = 120_000;
/// Most descriptors in one message (the kernel's `SCM_MAX_FD`).
pub const MAX_BATCH: usize = 253;
/// Longest message.
pub const MAX_MESSAGE: usize = 8192;
/// The first inherited descriptor.
pub const FIRST: RawFd = 3;

/// Whether a text can name a descriptor: 1 to 255 bytes, no `:` and no control characters.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b':')
}

/// The way to whoever keeps our descriptors.
#[derive(Debug)]
pub struct Store {
    socket: OwnedFd,
    address: UnixAddr,
}

impl Store {
    /// The store that `$NOTIFY_SOCKET` names; `None` when nobody keeps anything for us.
    ///
    /// # Errors
    /// When the variable is no socket address, or no socket can be had.
    pub fn from_env() -> io::Result<Option<Self>> {
        let Some(text) = env::var_os("NOTIFY_SOCKET").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let bytes = text.as_bytes();
        let address = match bytes[0] {
            b'@' => UnixAddr::new_abstract(&bytes[1..])?,
            b'/' => UnixAddr::new(Path::new(&text))?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        // A store that does not read must not hold up supervision for long.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(2))?;
        Ok(Some(Self { socket, address }))
    }

    /// Hands over descriptors under one name. Ours stay open.
    ///
    /// # Errors
    /// When the name is not valid or the store does not take the message. The store's own limits
    /// are not reported: [`MAX_NAMES`], and how many it keeps.
    pub fn keep(&self, name: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        check(name)?;
        let text = format!("FDSTORE=1\nFDNAME={name}");
        for batch in fds.chunks(MAX_BATCH) {
            let raw: Vec<RawFd> = batch.iter().map(AsRawFd::as_raw_fd).collect();
            self.send(&text, &raw)?;
        }
        Ok(())
    }

    /// Has all descriptors of this name closed.
    ///
    /// # Errors
    /// As [`Store::keep`].
    pub fn discard(&self, name: &str) -> io::Result<()> {
        check(name)?;
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    /// Says that we are ready.
    ///
    /// # Errors
    /// When the message is not taken.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1", &[])
    }

    /// Says in one line how we are.
    ///
    /// # Errors
    /// When the message is not taken.
    pub fn status(&self, text: &str) -> io::Result<()> {
        let line: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
        self.send(&format!("STATUS={line}"), &[])
    }

    /// Waits until everything sent so far has been dealt with (`BARRIER=1`).
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when that takes longer than `limit`.
    pub fn barrier(&self, limit: Duration) -> io::Result<()> {
        let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        self.send("BARRIER=1", &[theirs.as_raw_fd()])?;
        drop(theirs);
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(
            std::os::fd::AsFd::as_fd(&ours),
            PollFlags::empty(),
        )];
        loop {
            match poll(&mut fds, timeout) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn send(&self, text: &str, fds: &[RawFd]) -> io::Result<()> {
        let control = [ControlMessage::ScmRights(fds)];
        let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &control };
        let flags = MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg(
                self.socket.as_raw_fd(),
                &[IoSlice::new(text.as_bytes())],
                control,
                flags,
                Some(&self.address),
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn check(name: &str) -> io::Result<()> {
    if valid_name(name) {
        return Ok(());
    }
    let message = format!("descriptor name {name:?} is empty, too long, or has ':' or controls");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Takes the descriptors that were passed to this process, with their names, and closes them to
/// programs that we start.
///
/// To be called once, first thing in `main`, before anything opens descriptors or starts threads:
/// the numbers are taken on trust of `$LISTEN_PID`. A second call gets nothing. The variables stay
/// in the environment, where nothing else may believe them.
#[must_use]
pub fn inherited() -> Vec<(String, OwnedFd)> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if TAKEN.swap(true, std::sync::atomic::Ordering::SeqCst) {
        return vec![];
    }
    let variable = |name: &str| env::var(name).ok();
    if variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return vec![];
    }
    let count: RawFd = variable("LISTEN_FDS")
        .and_then(|count| count.parse().ok())
        .filter(|count| (0..=1 << 20).contains(count))
        .unwrap_or(0);
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut found = vec![];
    for raw in FIRST..FIRST + count {
        let name = names.next().filter(|name| !name.is_empty());
        // SAFETY: only asks whether the number is an open descriptor; it is not kept.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        if fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
            continue;
        }
        // SAFETY: it is open, it was passed to us to own, and we take it only once.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        found.push((name.unwrap_or("unknown").to_owned(), fd));
    }
    found
}

/// What one message to the store says; everything it does not know is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `FDSTORE=1`.
    pub store: bool,
    /// `FDSTOREREMOVE=1`.
    pub remove: bool,
    /// `FDNAME=`; `None` also when it is not valid.
    pub name: Option<String>,
    /// `READY=1`.
    pub ready: bool,
    /// `STATUS=`.
    pub status: Option<String>,
}

impl Message {
    /// Reads `KEY=value` lines.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut message = Self::default();
        for line in text.split(|b| *b == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            match line.split_once('=') {
                Some(("FDSTORE", "1")) => message.store = true,
                Some(("FDSTOREREMOVE", "1")) => message.remove = true,
                Some(("FDNAME", name)) => {
                    message.name = valid_name(name).then(|| name.to_owned());
                }
                Some(("READY", "1")) => message.ready = true,
                Some(("STATUS", text)) => {
                    let text = text.chars().filter(|c| !c.is_control()).take(500);
                    message.status = Some(text.collect());
                }
                _ => {}
            }
        }
        message
    }
}

/// One received message.
#[derive(Debug)]
pub struct Received {
    /// The sender, as the kernel says; 0 when it does not.
    pub pid: u32,
    /// The text.
    pub text: Vec<u8>,
    /// The descriptors that came with it; dropping closes them.
    pub fds: Vec<OwnedFd>,
    /// Text or descriptors were lost on the way: it was too long, or we have no descriptors left.
    pub cut: bool,
}

/// The store's own socket.
#[derive(Debug)]
pub struct Door {
    socket: OwnedFd,
}

impl Door {
    /// Listens at `path`, for this user alone.
    ///
    /// # Errors
    /// When the socket cannot be made there.
    pub fn at(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let door = Self::bind(&UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(door)
    }

    /// Listens at an abstract address of the kernel's choice; returns it as `$NOTIFY_SOCKET` wants
    /// it. Anybody can send there: the sender must be checked, as always.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn anywhere() -> io::Result<(Self, String)> {
        let door = Self::bind(&UnixAddr::new_unnamed())?;
        let address: UnixAddr = nix::sys::socket::getsockname(door.socket.as_raw_fd())?;
        let name = address
            .as_abstract()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let text = format!("@{}", String::from_utf8_lossy(name));
        Ok((door, text))
    }

    fn bind(address: &UnixAddr) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), address)?;
        Ok(Self { socket })
    }

    /// The next message; `None` when there is none now.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn receive(&self) -> io::Result<Option<Received>> {
        let mut text = vec![0_u8; MAX_MESSAGE];
        // Room for one set of credentials and the most descriptors; u64 for the alignment.
        let mut control = [0_u64; 256];
        let mut part = libc::iovec {
            iov_base: text.as_mut_ptr().cast(),
            iov_len: text.len(),
        };
        // SAFETY: a msghdr of zeros is a valid, empty one.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let length = loop {
            // SAFETY: the header points at buffers of the stated sizes that outlive the call.
            let got = unsafe {
                libc::recvmsg(
                    self.socket.as_raw_fd(),
                    &raw mut header,
                    libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT,
                )
            };
            match Errno::result(got) {
                Ok(length) => break usize::try_from(length).unwrap_or(0),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        text.truncate(length);
        let mut received = Received {
            pid: 0,
            text,
            fds: vec![],
            cut: header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0,
        };
        // SAFETY: the kernel has filled the header; the macros walk within its control length,
        // each entry holds what its type says, and each descriptor is new and ours alone.
        unsafe {
            let mut entry = libc::CMSG_FIRSTHDR(&raw const header);
            while let Some(found) = entry.as_ref() {
                let data = libc::CMSG_DATA(entry);
                let size = found.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                match (found.cmsg_level, found.cmsg_type) {
                    (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                        for index in 0..size / size_of::<RawFd>() {
                            let raw = data.cast::<RawFd>().add(index).read_unaligned();
                            received.fds.push(OwnedFd::from_raw_fd(raw));
                        }
                    }
                    (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
                        if size >= size_of::<libc::ucred>() =>
                    {
                        let who = data.cast::<libc::ucred>().read_unaligned();
                        received.pid = u32::try_from(who.pid).unwrap_or(0);
                    }
                    _ => {}
                }
                entry = libc::CMSG_NXTHDR(&raw const header, entry);
            }
        }
        Ok(Some(received))
    }
}

impl std::os::fd::AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        assert!(valid_name("coder@1.agent/tty") && valid_name(&"x".repeat(255)));
        for bad in ["", "a:b", "a\nb", "é", "a\u{7f}"] {
            assert!(!valid_name(bad), "{bad:?}");
        }
        assert!(!valid_name(&"x".repeat(256)));
    }

    #[test]
    fn messages_are_read_whatever_they_hold() {
        let message = Message::parse(b"FDSTORE=1\nFDNAME=a b\nX=1\n\xff\xfe\nREADY=1\nSTATUS=up");
        assert!(message.store && message.ready && !message.remove);
        assert_eq!(message.name.as_deref(), Some("a b"));
        assert_eq!(message.status.as_deref(), Some("up"));
        assert_eq!(Message::parse(b"FDNAME=a:b\nFDSTORE=2"), Message::default());
        assert_eq!(Message::parse(b""), Message::default());
    }

    #[test]
    fn the_door_knows_who_sends_and_keeps_every_descriptor() {
        let (door, address) = Door::anywhere().unwrap();
        let store = Store {
            socket: socket(
                AddressFamily::Unix,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                None,
            )
            .unwrap(),
            address: UnixAddr::new_abstract(&address.as_bytes()[1..]).unwrap(),
        };
        let file = std::fs::File::open("/dev/null").unwrap();
        let fds = vec![std::os::fd::AsFd::as_fd(&file); 300];
        store.keep("many", &fds).unwrap();
        let first = door.receive().unwrap().unwrap();
        assert_eq!((first.fds.len(), first.cut), (MAX_BATCH, false));
        assert_eq!(first.pid, std::process::id());
        assert_eq!(door.receive().unwrap().unwrap().fds.len(), 300 - MAX_BATCH);
        assert!(door.receive().unwrap().is_none());
        store.send(&"x".repeat(MAX_MESSAGE + 1), &[]).unwrap();
        assert!(door.receive().unwrap().unwrap().cut);
        assert!(store.keep("a:b", &[]).is_err());
    }
}
