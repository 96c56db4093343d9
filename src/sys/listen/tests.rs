use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const STRANGER: u32 = 61_236;

fn unit_of(listen: &[(SocketKind, &str)]) -> SocketUnit {
    SocketUnit {
        listen: listen
            .iter()
            .map(|(kind, text)| (*kind, (*text).to_owned()))
            .collect(),
        accept: false,
        service: String::new(),
        user: None,
        group: None,
        mode: 0o666,
        directory_mode: 0o755,
        backlog: 4096,
        max_connections: 64,
        max_connections_per_source: 0,
        fd_name: String::new(),
        remove_on_stop: false,
        symlinks: vec![],
        flush_pending: false,
        writable: false,
        keep_alive: false,
        no_delay: false,
        reuse_port: false,
        free_bind: false,
        pass_credentials: false,
        ipv6_only: None,
        receive_buffer: None,
        send_buffer: None,
        pipe_size: None,
        trigger_limit_interval: Duration::ZERO,
        trigger_limit_burst: None,
    }
}

fn ours(unit: &SocketUnit) -> Result<Vec<OwnedFd>, (String, io::Error)> {
    open(unit, Owner::ourselves())
}

fn one(kind: SocketKind, text: &str) -> OwnedFd {
    ours(&unit_of(&[(kind, text)])).unwrap().remove(0)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn is_guarded(fd: &OwnedFd) {
    let flags = fcntl(fd, FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
    assert!(flags.contains(OFlag::O_NONBLOCK));
}

/// A port that was free a moment ago.
fn port(address: &str) -> u16 {
    let socket = TcpListener::bind((address, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn a_path_has_the_mode_and_the_directories_that_were_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b/socket");
    let mut unit = unit_of(&[(SocketKind::Stream, text(&path))]);
    unit.mode = 0o620;
    unit.directory_mode = 0o711;
    let fds = ours(&unit).unwrap();
    is_guarded(&fds[0]);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(mode(&path), 0o620);
    assert_eq!(mode(place.path().join("a")), 0o711);
    assert_eq!(mode(place.path().join("a/b")), 0o711);
    // The socket knows its own path, as sd_is_socket_unix(3) asks.
    let name: UnixAddr = getsockname(fds[0].as_raw_fd()).unwrap();
    assert_eq!(name.path(), Some(path.as_path()));
    assert!(accept(&fds[0], 1).unwrap().is_none());
    let mut client = UnixStream::connect(&path).unwrap();
    let (fd, peer) = accept(&fds[0], 7).unwrap().unwrap();
    let uid = user::own_uid();
    assert_eq!(peer.instance, format!("7-{}-{uid}", std::process::id()));
    assert_eq!(peer.source, Some(Source::User(uid)));
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut told = String::new();
    UnixStream::from(fd).read_to_string(&mut told).unwrap();
    assert_eq!(told, "hello");
    // Again, over the old one.
    drop(fds);
    let again = ours(&unit).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(again);
}

#[test]
fn datagrams_packets_and_abstract_names() {
    let place = tempfile::tempdir().unwrap();
    let (datagram, packets) = (place.path().join("d"), place.path().join("p"));
    let name = format!("@aether-listen-{}", std::process::id());
    let mut unit = unit_of(&[
        (SocketKind::Datagram, text(&datagram)),
        (SocketKind::SequentialPacket, text(&packets)),
        (SocketKind::Stream, &name),
    ]);
    unit.pass_credentials = true;
    unit.receive_buffer = Some(16_384);
    unit.send_buffer = Some(32_768);
    let fds = ours(&unit).unwrap();
    assert_eq!(fds.len(), 3);
    for fd in &fds {
        is_guarded(fd);
        assert!(getsockopt(fd, sockopt::PassCred).unwrap());
        // The kernel keeps twice as much, for its own needs.
        assert_eq!(getsockopt(fd, sockopt::RcvBuf).unwrap(), 2 * 16_384);
        assert_eq!(getsockopt(fd, sockopt::SndBuf).unwrap(), 2 * 32_768);
    }
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"x", &datagram).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(
        recv(fds[0].as_raw_fd(), &mut bytes, MsgFlags::empty()),
        Ok(1)
    );
    assert!(!getsockopt(&fds[0], sockopt::AcceptConn).unwrap());
    let client = new(AddressFamily::Unix, SockType::SeqPacket).unwrap();
    let address = UnixAddr::new(&packets).unwrap();
    nix::sys::socket::connect(client.as_raw_fd(), &address).unwrap();
    assert!(accept(&fds[1], 1).unwrap().is_some());
    let address = UnixAddr::new_abstract(&name.as_bytes()[1..]).unwrap();
    let client = new(AddressFamily::Unix, SockType::Stream).unwrap();
    nix::sys::socket::connect(client.as_raw_fd(), &address).unwrap();
    assert!(accept(&fds[2], 1).unwrap().is_some());
    let (line, error) = ours(&unit).map(drop).unwrap_err();
    assert_eq!(line, format!("ListenStream={name}"));
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn ports_are_listened_on_over_both_protocols() {
    let port = port("127.0.0.1");
    let fd = one(SocketKind::Stream, &port.to_string());
    is_guarded(&fd);
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let from = client.local_addr().unwrap().port();
    let (_, peer) = accept(&fd, 3).unwrap().unwrap();
    assert_eq!(
        peer.instance,
        format!("3-127.0.0.1:{port}-127.0.0.1:{from}")
    );
    let local = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(peer.source, Some(Source::Address(local)));
    if let Ok(client) = TcpStream::connect(("::1", port)) {
        let from = client.local_addr().unwrap().port();
        let (_, peer) = accept(&fd, 4).unwrap().unwrap();
        assert_eq!(peer.instance, format!("4-::1:{port}-::1:{from}"));
    }
    let (line, error) = ours(&unit_of(&[(SocketKind::Stream, &port.to_string())]))
        .map(drop)
        .unwrap_err();
    assert_eq!(line, format!("ListenStream={port}"));
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn addresses_have_their_options() {
    let port = port("127.0.0.1");
    let address = format!("127.0.0.1:{port}");
    let mut unit = unit_of(&[(SocketKind::Stream, &address)]);
    unit.keep_alive = true;
    unit.no_delay = true;
    unit.reuse_port = true;
    let (first, second) = (ours(&unit).unwrap(), ours(&unit).unwrap());
    for fd in first.iter().chain(&second) {
        assert!(getsockopt(fd, sockopt::KeepAlive).unwrap());
        assert!(getsockopt(fd, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(fd, sockopt::ReuseAddr).unwrap());
    }
    drop(second);
    let _client = TcpStream::connect(&address).unwrap();
    let (fd, _) = accept(&first[0], 1).unwrap().unwrap();
    assert!(getsockopt(&fd, sockopt::KeepAlive).unwrap());
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));

    // For documents only (RFC 5737, RFC 3849): no interface has these.
    let mut foreign = vec!["192.0.2.1:7070"];
    if Path::new("/proc/net/if_inet6").exists() {
        foreign.push("[2001:db8::1]:7070");
    }
    for address in foreign {
        for kind in [SocketKind::Stream, SocketKind::Datagram] {
            let mut unit = unit_of(&[(kind, address)]);
            assert!(ours(&unit).is_err(), "{address}");
            unit.free_bind = true;
            assert!(ours(&unit).is_ok(), "{address}");
        }
    }
    let (_, error) = ours(&unit_of(&[(SocketKind::Stream, "nonsense")]))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn ipv6_alone_leaves_ipv4_free() {
    if !Path::new("/proc/net/if_inet6").exists() {
        return;
    }
    let port = port("127.0.0.1");
    let v6 = format!("[::]:{port}");
    let mut unit = unit_of(&[(SocketKind::Stream, &v6)]);
    unit.ipv6_only = Some(true);
    let only = ours(&unit).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    drop(only);
    unit.ipv6_only = Some(false);
    let both = ours(&unit).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(both);
}

#[test]
fn a_pipe_is_made_and_found_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("deep/fifo");
    let mut unit = unit_of(&[(SocketKind::Fifo, text(&path))]);
    unit.mode = 0o640;
    unit.pipe_size = Some(1 << 17);
    let fds = ours(&unit).unwrap();
    is_guarded(&fds[0]);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    assert_eq!(mode(&path), 0o640);
    assert_eq!(fcntl(&fds[0], FcntlArg::F_GETPIPE_SZ).unwrap(), 1 << 17);
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all(b"waiting")
        .unwrap();
    flush(&fds[0]).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(nix::unistd::read(&fds[0], &mut bytes), Err(Errno::EAGAIN));
    // Another mode, the same pipe.
    unit.mode = 0o600;
    let again = ours(&unit).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop((fds, again));
}

#[test]
fn special_files_are_opened_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "content").unwrap();
    is_guarded(&one(SocketKind::Special, "/dev/null"));
    let fd = one(SocketKind::Special, text(&file));
    assert_eq!(nix::unistd::write(&fd, b"x"), Err(Errno::EBADF));
    let mut unit = unit_of(&[(SocketKind::Special, text(&file))]);
    unit.writable = true;
    let fds = ours(&unit).unwrap();
    assert_eq!(nix::unistd::write(&fds[0], b"C"), Ok(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "Content");
    symlink(&file, place.path().join("link")).unwrap();
    for wrong in ["link", "missing", "."] {
        let path = place.path().join(wrong);
        let result = ours(&unit_of(&[(SocketKind::Special, text(&path))]));
        assert!(result.is_err(), "{wrong}");
    }
}

#[test]
fn only_sockets_make_room_and_links_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let victim = root.join("victim");
    fs::write(&victim, "safe").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&victim, root.join("link")).unwrap();
    symlink(root.join("elsewhere"), root.join("dangling")).unwrap();
    fs::create_dir(root.join("directory")).unwrap();
    for name in ["victim", "link", "dangling", "directory"] {
        for kind in [SocketKind::Stream, SocketKind::Fifo] {
            let path = root.join(name);
            let unit = unit_of(&[(kind, text(&path))]);
            let (line, error) = ours(&unit).map(drop).unwrap_err();
            assert_eq!(line, format!("{}={}", key(kind), path.display()));
            let kinds = [io::ErrorKind::AddrInUse, io::ErrorKind::AlreadyExists];
            assert!(kinds.contains(&error.kind()), "{name}: {error}");
        }
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "safe");
    assert_eq!(mode(&victim), 0o600);
    assert!(!root.join("elsewhere").exists());
    assert!(root.join("link").is_symlink());
}

#[test]
fn where_somebody_else_rules_no_link_leads_away() {
    if user::own_uid() != 0 {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let home = root.join("home");
    fs::create_dir_all(home.join("run")).unwrap();
    fs::create_dir(root.join("precious")).unwrap();
    symlink(root.join("precious"), home.join("planted")).unwrap();
    for path in [home.clone(), home.join("run")] {
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let stranger = Owner {
        uid: STRANGER,
        gid: STRANGER,
    };
    let planted = home.join("planted/socket");
    let planted = unit_of(&[(SocketKind::Stream, text(&planted))]);
    let (_, error) = open(&planted, stranger).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(fs::read_dir(root.join("precious")).unwrap().count(), 0);
    // Their directories themselves are good enough, also deeper down.
    for name in ["socket", "run/socket", "run/new/socket"] {
        let path = home.join(name);
        let unit = unit_of(&[(SocketKind::Stream, text(&path))]);
        let fds = open(&unit, stranger).unwrap();
        let data = fs::symlink_metadata(&path).unwrap();
        assert!(data.file_type().is_socket());
        assert_eq!((data.uid(), data.gid()), (STRANGER, STRANGER));
        assert_eq!(mode(&path), 0o666);
        assert!(UnixStream::connect(&path).is_ok());
        drop(fds);
    }
    // A pipe of theirs is not ours to listen on, unless it was to be theirs.
    let pipe = home.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(&pipe, Some(STRANGER + 1), None).unwrap();
    let unit = unit_of(&[(SocketKind::Fifo, text(&pipe))]);
    assert!(open(&unit, stranger).is_err());
    chown(&pipe, Some(STRANGER), None).unwrap();
    assert!(open(&unit, stranger).is_ok());
}

#[test]
fn owners_are_found_by_name() {
    let mut unit = unit_of(&[]);
    let own = owner(&unit).unwrap();
    assert_eq!((own.uid, own.gid), (user::own_uid(), user::own_gid()));
    unit.user = Some(STRANGER.to_string());
    let found = owner(&unit).unwrap();
    assert_eq!((found.uid, found.gid), (STRANGER, STRANGER));
    unit.group = Some("root".to_owned());
    assert_eq!(owner(&unit).unwrap().gid, 0);
    unit.user = Some("no-such-user".to_owned());
    let error = owner(&unit).unwrap_err();
    assert_eq!(error.to_string(), "no user named no-such-user");
}

#[test]
fn links_are_made_and_everything_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let path = root.join("socket");
    let links: Vec<PathBuf> = ["links/a", "b"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let mut unit = unit_of(&[(SocketKind::Stream, text(&path))]);
    unit.symlinks = links.clone();
    drop(ours(&unit).unwrap());
    // They are there already.
    drop(ours(&unit).unwrap());
    for link in &links {
        assert_eq!(fs::read_link(link).unwrap(), path);
    }
    fs::remove_file(&links[1]).unwrap();
    symlink("elsewhere", &links[1]).unwrap();
    let (line, error) = ours(&unit).map(drop).unwrap_err();
    assert_eq!(line, format!("Symlinks={}", links[1].display()));
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    remove(&unit).unwrap();
    assert!(path.exists());
    unit.remove_on_stop = true;
    drop(ours(&unit).unwrap());
    assert_eq!(fs::read_link(&links[1]).unwrap(), path);
    remove(&unit).unwrap();
    assert!(!path.exists() && links.iter().all(|link| !link.is_symlink()));
    remove(&unit).unwrap();
    // Something else in their place is somebody's.
    fs::write(&path, "safe").unwrap();
    fs::write(&links[1], "safe").unwrap();
    remove(&unit).unwrap();
    assert!(path.exists() && links[1].exists());
}

#[test]
fn what_is_waiting_is_dropped() {
    let place = tempfile::tempdir().unwrap();
    let (stream, datagram) = (place.path().join("s"), place.path().join("d"));
    let listener = one(SocketKind::Stream, text(&stream));
    let mut clients: Vec<_> = (0..5)
        .map(|_| UnixStream::connect(&stream).unwrap())
        .collect();
    // A service may have made it blocking.
    fcntl(&listener, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    flush(&listener).unwrap();
    is_guarded(&listener);
    assert!(accept(&listener, 1).unwrap().is_none());
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
    let socket = one(SocketKind::Datagram, text(&datagram));
    let client = UnixDatagram::unbound().unwrap();
    for bytes in [&b"one"[..], b"", b"two"] {
        client.send_to(bytes, &datagram).unwrap();
    }
    flush(&socket).unwrap();
    let mut bytes = [0; 8];
    let left = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT);
    assert_eq!(left, Err(Errno::EAGAIN));
    let port = port("127.0.0.1");
    let socket = one(SocketKind::Datagram, &format!("127.0.0.1:{port}"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", ("127.0.0.1", port)).unwrap();
    flush(&socket).unwrap();
    flush(&socket).unwrap();
}
