//! Sockets, pipes and devices that a socket unit listens on (systemd.socket(5)).
//!
//! Opens, accepts, flushes and removes; when a service is started is the engine's to decide. What
//! is opened for the daemon to poll does not block; a connection that was accepted does, since it
//! is the service's. Read next: [`super::trusted`], for why some paths are refused.

pub(super) mod node;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, UnixAddr, bind, getpeername, getsockname, getsockopt, listen, recv,
    setsockopt, socket, sockopt,
};
use nix::sys::stat::SFlag;

use super::closing;
use super::file::Owner;
use super::user;
use crate::unit::{SocketKind, SocketUnit};
use node::Node;

/// Whom `SocketUser=` and `SocketGroup=` name; a user's own group where no group is named, and
/// without either the manager.
///
/// # Errors
/// Those of the database; `NotFound` with the name that is not in it.
pub fn owner(socket: &SocketUnit) -> io::Result<Owner> {
    let unknown = |kind: &str, name: &str| {
        io::Error::new(io::ErrorKind::NotFound, format!("no {kind} named {name}"))
    };
    let mut owner = Owner::ourselves();
    if let Some(name) = &socket.user {
        let found = user::account(name)?.ok_or_else(|| unknown("user", name))?;
        (owner.uid, owner.gid) = (found.uid, found.gid);
    }
    if let Some(name) = &socket.group {
        owner.gid = user::group(name)?.ok_or_else(|| unknown("group", name))?;
    }
    Ok(owner)
}

/// Opens everything that a socket unit listens on, in its order, and makes its `Symlinks=`. Nodes
/// in the file system become `owner`'s ([`owner`]). All descriptors are close-on-exec and do not
/// block.
///
/// # Errors
/// The line that failed, and those of socket(2), bind(2), listen(2), open(2), mkfifo(3) and
/// symlink(2); EEXIST where something else than a socket, a pipe of ours or our link is in the way,
/// or somebody puts it there meanwhile; `PermissionDenied` for a link on the way that somebody else
/// may have planted.
pub fn open(socket: &SocketUnit, owner: Owner) -> Result<Vec<OwnedFd>, (String, io::Error)> {
    let mut fds = vec![];
    for (kind, text) in &socket.listen {
        let one = open_one(socket, owner, *kind, text);
        fds.push(one.map_err(|error| (format!("{}={text}", key(*kind)), error))?);
    }
    // With several it would not be clear to which.
    let mut nodes = nodes(socket);
    if let (Some(target), None) = (nodes.next(), nodes.next()) {
        for link in &socket.symlinks {
            Node::at(link, Some(socket.directory_mode))
                .and_then(|node| node.link(Path::new(target), socket.remove_on_stop))
                .map_err(|error| (format!("Symlinks={}", link.display()), error))?;
        }
    }
    Ok(fds)
}

fn key(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Stream => "ListenStream",
        SocketKind::Datagram => "ListenDatagram",
        SocketKind::SequentialPacket => "ListenSequentialPacket",
        SocketKind::Fifo => "ListenFIFO",
        SocketKind::Special => "ListenSpecial",
    }
}

/// The sockets and pipes in the file system.
fn nodes(socket: &SocketUnit) -> impl Iterator<Item = &str> {
    let ours = |kind, text: &str| kind != SocketKind::Special && text.starts_with('/');
    let lines = socket.listen.iter();
    lines.filter_map(move |(kind, text)| ours(*kind, text).then_some(text.as_str()))
}

fn open_one(unit: &SocketUnit, owner: Owner, kind: SocketKind, text: &str) -> io::Result<OwnedFd> {
    let path = Path::new(text);
    let kind = match kind {
        SocketKind::Fifo => {
            let node = Node::at(path, Some(unit.directory_mode))?;
            let fifo = node.fifo(owner, unit.mode)?;
            if let Some(size) = unit.pipe_size {
                let size = i32::try_from(size).unwrap_or(i32::MAX);
                fcntl(&fifo, FcntlArg::F_SETPIPE_SZ(size))?;
            }
            return Ok(fifo);
        }
        SocketKind::Special => return Node::at(path, None)?.special(unit.writable),
        SocketKind::Stream => SockType::Stream,
        SocketKind::Datagram => SockType::Datagram,
        SocketKind::SequentialPacket => SockType::SeqPacket,
    };
    let mut made = None;
    let fd = if let Some(name) = text.strip_prefix('@') {
        let fd = new(AddressFamily::Unix, kind)?;
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        fd
    } else if text.starts_with('/') {
        let node = Node::at(path, Some(unit.directory_mode))?;
        let fd = new(AddressFamily::Unix, kind)?;
        node.bind(&fd, owner, unit.mode)?;
        made = Some(node);
        fd
    } else {
        bind_port(unit, kind, text)?
    };
    options(unit, &fd)?;
    if kind != SockType::Datagram {
        listen(&fd, backlog(unit.backlog))?;
    }
    if let Some(node) = made {
        node.touch();
    }
    Ok(fd)
}

fn new(family: AddressFamily, kind: SockType) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    Ok(fd)
}

/// A port alone is everybody's, over both protocols where there is IPv6.
fn bind_port(unit: &SocketUnit, kind: SockType, text: &str) -> io::Result<OwnedFd> {
    let address = match text.parse::<u16>() {
        Ok(port) if Path::new("/proc/net/if_inet6").exists() => {
            (Ipv6Addr::UNSPECIFIED, port).into()
        }
        Ok(port) => (Ipv4Addr::UNSPECIFIED, port).into(),
        Err(_) => text
            .parse::<SocketAddr>()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
    };
    let family = if address.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let fd = new(family, kind)?;
    if let Some(only) = unit.ipv6_only
        && address.is_ipv6()
    {
        setsockopt(&fd, sockopt::Ipv6V6Only, &only)?;
    }
    if unit.reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if unit.free_bind {
        // Of both protocols: the kernel keeps one flag for them.
        setsockopt(&fd, sockopt::IpFreebind, &true)?;
    }
    match address {
        SocketAddr::V4(address) => bind(fd.as_raw_fd(), &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => bind(fd.as_raw_fd(), &SockaddrIn6::from(address))?,
    }
    Ok(fd)
}

/// Those that every connection inherits, and those of the socket itself.
fn options(unit: &SocketUnit, fd: &OwnedFd) -> io::Result<()> {
    let family = getsockname::<SockaddrStorage>(fd.as_raw_fd())?.family();
    let unix = family == Some(AddressFamily::Unix);
    let stream = getsockopt(fd, sockopt::SockType)? == SockType::Stream;
    if unit.keep_alive {
        setsockopt(fd, sockopt::KeepAlive, &true)?;
    }
    if unit.no_delay && stream && !unix {
        setsockopt(fd, sockopt::TcpNoDelay, &true)?;
    }
    if unit.pass_credentials && unix {
        setsockopt(fd, sockopt::PassCred, &true)?;
    }
    // With the privilege the machine's own limit does not count; without it the kernel takes what
    // the limit allows, as in systemd.
    let size = |bytes: u64| usize::try_from(bytes.min(i32::MAX as u64)).unwrap_or(usize::MAX);
    if let Some(bytes) = unit.receive_buffer.map(size) {
        setsockopt(fd, sockopt::RcvBufForce, &bytes)
            .or_else(|_| setsockopt(fd, sockopt::RcvBuf, &bytes))?;
    }
    if let Some(bytes) = unit.send_buffer.map(size) {
        setsockopt(fd, sockopt::SndBufForce, &bytes)
            .or_else(|_| setsockopt(fd, sockopt::SndBuf, &bytes))?;
    }
    Ok(())
}

/// More than the machine allows is as much as it allows.
fn backlog(most: u32) -> Backlog {
    i32::try_from(most)
        .ok()
        .and_then(|most| Backlog::new(most).ok())
        .unwrap_or(Backlog::MAXALLOWABLE)
}

/// Who has connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What the connection is called in the name of its instance:
    /// `N-LOCALADDRESS:PORT-PEERADDRESS:PORT`, or `N-PID-UID` of a Unix socket's peer
    /// (`N-unknown` where that is in another PID namespace).
    pub instance: String,
    /// Whom `MaxConnectionsPerSource=` counts it for; `None`: nobody knows.
    pub source: Option<Source>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Another machine, or this one. IPv4 is never written as IPv6.
    Address(IpAddr),
    /// A user of this machine. systemd 252 counts no connections of these, later ones do.
    User(u32),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::User(uid) => write!(f, "user {uid}"),
        }
    }
}

/// Takes the next connection, the `number`th of this socket. It is close-on-exec and blocks.
/// `None` when there is none, or none any more.
///
/// # Errors
/// Those of accept(2) that are not the connection's own, such as EMFILE.
pub fn accept(listener: impl AsFd, number: u64) -> io::Result<Option<(OwnedFd, Peer)>> {
    let fd = match take(listener.as_fd()) {
        Err(error) if error.raw_os_error().is_some_and(is_passing) => return Ok(None),
        other => other?,
    };
    match peer(&fd, number) {
        Ok(peer) => Ok(Some((fd, peer))),
        // Gone before it was looked at.
        Err(Errno::ENOTCONN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The standard library's listeners own what they accept; they differ only in how they read the
/// peer's address.
fn take(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let address = getsockname::<SockaddrStorage>(listener.as_raw_fd())?;
    let listener = listener.try_clone_to_owned()?;
    if address.family() == Some(AddressFamily::Unix) {
        Ok(UnixListener::from(listener).accept()?.0.into())
    } else {
        Ok(TcpListener::from(listener).accept()?.0.into())
    }
}

/// Errors that say something about one connection, or about this moment.
fn is_passing(errno: i32) -> bool {
    matches!(
        Errno::from_raw(errno),
        Errno::EAGAIN
            | Errno::EINTR
            | Errno::EOPNOTSUPP
            | Errno::ECONNABORTED
            | Errno::ECONNREFUSED
            | Errno::ECONNRESET
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENETDOWN
            | Errno::ENETRESET
            | Errno::ENETUNREACH
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::ENOTCONN
            | Errno::EPIPE
            | Errno::EPROTO
            | Errno::ESHUTDOWN
            | Errno::ETIMEDOUT
    )
}

fn peer(fd: &OwnedFd, number: u64) -> nix::Result<Peer> {
    let local: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let remote: SockaddrStorage = getpeername(fd.as_raw_fd())?;
    if let (Some(local), Some(remote)) = (inet(&local), inet(&remote)) {
        let both = |a: &SocketAddr| (a.ip().to_canonical(), a.port());
        let ((here, port), (there, from)) = (both(&local), both(&remote));
        return Ok(Peer {
            instance: format!("{number}-{here}:{port}-{there}:{from}"),
            source: Some(Source::Address(there)),
        });
    }
    let credentials = getsockopt(fd, sockopt::PeerCredentials)?;
    // Nobody has the number 0: it stands for a process that we cannot see.
    if credentials.pid() <= 0 {
        return Ok(Peer {
            instance: format!("{number}-unknown"),
            source: None,
        });
    }
    Ok(Peer {
        instance: format!("{number}-{}-{}", credentials.pid(), credentials.uid()),
        source: Some(Source::User(credentials.uid())),
    })
}

fn inet(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::from((v6.ip(), v6.port())))
}

/// Removes the unit's sockets, pipes and links from the file system, if `RemoveOnStop=` asks for
/// it. Anything else that lies there by now stays.
///
/// # Errors
/// Those of unlinkat(2), of the last path that could not be removed; the others are.
pub fn remove(socket: &SocketUnit) -> io::Result<()> {
    if !socket.remove_on_stop {
        return Ok(());
    }
    let mut outcome = Ok(());
    let mut take =
        |path: &Path, kind: SFlag| match Node::at(path, None).and_then(|node| node.remove(kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => outcome = Err(error),
            _ => {}
        };
    for (kind, text) in &socket.listen {
        match kind {
            SocketKind::Special => {}
            SocketKind::Fifo => take(Path::new(text), SFlag::S_IFIFO),
            _ if text.starts_with('/') => take(Path::new(text), SFlag::S_IFSOCK),
            _ => {}
        }
    }
    for link in &socket.symlinks {
        take(link, SFlag::S_IFLNK);
    }
    outcome
}

/// How often a socket is read that somebody goes on filling.
const PATIENCE: u32 = 1024;

/// Drops what is waiting: connections that nobody has accepted, messages, bytes. The descriptor
/// does not block afterwards, whatever the service has made of it.
///
/// # Errors
/// Those of accept(2), recv(2) and read(2); `ResourceBusy` for a socket that never runs dry.
pub fn flush(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let listens = getsockopt(&fd, sockopt::AcceptConn);
    let mut bytes = [0; 2048];
    for _ in 0..PATIENCE {
        let mut waiting = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::ZERO) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let taken = match listens {
            Ok(true) => match take(fd) {
                Ok(connection) => {
                    closing::close([connection]);
                    Ok(1)
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    if errno != libc::EAGAIN && is_passing(errno) {
                        continue;
                    }
                    Err(Errno::from_raw(errno))
                }
            },
            // A message may be empty, so nothing is no end.
            Ok(false) => recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).map(|_| 1),
            Err(_) => nix::unistd::read(fd, &mut bytes),
        };
        match taken {
            Ok(0) | Err(Errno::EAGAIN) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

#[cfg(test)]
mod tests;
