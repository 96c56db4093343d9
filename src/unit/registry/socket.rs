//! `[Socket]` (systemd.socket(5)).

use super::{Directive, Draft, Given, Section, paths};
use crate::name::UnitType;
use crate::unit::SocketKind;
use crate::unit::value::{
    Escapes, ValueError, boolean, bytes, choice, duration, integer, octal, quote,
};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Socket, key, syntax, example, doc, apply)
}

/// A row for one truth.
macro_rules! truth {
    ($key:literal, $field:ident, $default:literal, $example:literal, $doc:literal) => {
        row($key, "yes|no", $example, $doc, |draft, given| {
            draft.socket.$field = boolean(given.value)?;
            Ok(())
        })
        .default($default)
    };
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "ListenStream",
        "ADDRESS",
        "/run/shop.sock",
        "Listens for streams: a path, an abstract name (@name), a port, or an address with a port \
         (127.0.0.1:80, [::1]:80).",
        listen,
    )
    .list()
    .guard(),
    row(
        "ListenDatagram",
        "ADDRESS",
        "/run/shop.dgram",
        "Takes datagrams; addresses as for ListenStream=.",
        listen,
    )
    .list()
    .guard(),
    row(
        "ListenSequentialPacket",
        "ADDRESS",
        "/run/shop.packets",
        "Listens for connections that keep messages apart; paths and abstract names only.",
        listen,
    )
    .list()
    .guard(),
    row(
        "ListenFIFO",
        "PATH",
        "/run/shop.fifo",
        "Opens a named pipe, made when it is not there.",
        listen,
    )
    .list()
    .guard(),
    row(
        "ListenSpecial",
        "PATH",
        "/dev/uinput",
        "Opens a device or another special file.",
        listen,
    )
    .list()
    .guard(),
    truth!(
        "Accept",
        accept,
        "no",
        "yes",
        "Whether each connection is accepted here and given to an instance of its own of the \
         template of the same name."
    ),
    row(
        "Service",
        "UNIT",
        "shop.service",
        "What is started; without it the service (or agent) of the socket's own name, or with \
         Accept=yes its template.",
        |draft, given| {
            let text = given.expanded()?;
            if text.is_empty() {
                draft.socket.service = text;
                return Ok(());
            }
            let name: crate::name::UnitName = text
                .parse()
                .map_err(|error: crate::name::NameError| ValueError::new(error.to_string()))?;
            if name.is_template() {
                return Err(
                    ValueError::new(format!("{name} is a template")).help("name the unit itself")
                );
            }
            if !matches!(name.kind(), UnitType::Service | UnitType::Agent) {
                return Err(ValueError::new(format!("{name} cannot take connections"))
                    .help("name a .service or an .agent"));
            }
            draft.socket.service = text;
            Ok(())
        },
    ),
    row(
        "SocketUser",
        "USER",
        "shop",
        "Whose the sockets and pipes in the file system are.",
        |draft, given| {
            draft.socket.user = user(given)?;
            Ok(())
        },
    )
    .guard(),
    row(
        "SocketGroup",
        "GROUP",
        "shop",
        "Of which group the sockets and pipes in the file system are.",
        |draft, given| {
            draft.socket.group = user(given)?;
            Ok(())
        },
    )
    .guard(),
    row(
        "SocketMode",
        "MODE",
        "0600",
        "Who may connect: the mode of the sockets and pipes in the file system.",
        |draft, given| {
            draft.socket.mode = octal(given.value)?;
            Ok(())
        },
    )
    .default("0666")
    .guard(),
    row(
        "DirectoryMode",
        "MODE",
        "0700",
        "The mode of directories that are made on the way to a socket.",
        |draft, given| {
            draft.socket.directory_mode = octal(given.value)?;
            Ok(())
        },
    )
    .default("0755")
    .guard(),
    row(
        "Backlog",
        "NUMBER",
        "16",
        "How many connections may wait to be accepted.",
        |draft, given| {
            draft.socket.backlog = integer(given.value, 0, u32::MAX)?;
            Ok(())
        },
    )
    .default("4294967295"),
    row(
        "MaxConnections",
        "NUMBER",
        "16",
        "With Accept=yes: how many instances may run at once; further connections are refused.",
        |draft, given| {
            draft.socket.max_connections = integer(given.value, 0, 1_000_000)?;
            Ok(())
        },
    )
    .default("64")
    .guard(),
    row(
        "MaxConnectionsPerSource",
        "NUMBER",
        "4",
        "As MaxConnections=, for each address (of an internet socket) or user (of a Unix socket) that \
         connects; 0: no limit of its own.",
        |draft, given| {
            draft.socket.max_connections_per_source = integer(given.value, 0, 1_000_000)?;
            Ok(())
        },
    )
    .default("0")
    .guard(),
    row(
        "FileDescriptorName",
        "NAME",
        "shop",
        "The name under which the descriptors are passed ($LISTEN_FDNAMES).",
        |draft, given| {
            let name = given.expanded()?;
            if name.contains(':') || name.chars().any(char::is_control) || name.len() > 255 {
                return Err(ValueError::new(format!("{} is no name", quote(&name)))
                    .help("write up to 255 printable characters without a colon"));
            }
            draft.socket.fd_name = name;
            Ok(())
        },
    ),
    truth!(
        "RemoveOnStop",
        remove_on_stop,
        "no",
        "yes",
        "Whether sockets and pipes in the file system are removed when the unit is stopped."
    ),
    row(
        "Symlinks",
        "PATH…",
        "/run/shop.link",
        "Symbolic links to the one socket or pipe in the file system.",
        |draft, given| {
            given.each(
                &mut draft.socket.symlinks,
                Escapes::Interpret,
                paths::absolute,
            )
        },
    )
    .list(),
    truth!(
        "FlushPending",
        flush_pending,
        "no",
        "yes",
        "Whether what is waiting in the socket is dropped when the service has ended."
    ),
    truth!(
        "Writable",
        writable,
        "no",
        "yes",
        "Whether what ListenSpecial= names is opened for writing too."
    ),
    truth!(
        "KeepAlive",
        keep_alive,
        "no",
        "yes",
        "Whether the kernel asks silent peers now and then whether they are still there."
    ),
    truth!(
        "NoDelay",
        no_delay,
        "no",
        "yes",
        "Whether small messages are sent at once (TCP_NODELAY)."
    ),
    truth!(
        "ReusePort",
        reuse_port,
        "no",
        "yes",
        "Whether other sockets may listen on the same port."
    ),
    truth!(
        "FreeBind",
        free_bind,
        "no",
        "yes",
        "Whether an address that no interface has yet may be listened on."
    ),
    truth!(
        "PassCredentials",
        pass_credentials,
        "no",
        "yes",
        "Whether the peer's credentials come with each message (SO_PASSCRED)."
    ),
    row(
        "BindIPv6Only",
        "default|both|ipv6-only",
        "both",
        "Whether a socket for IPv6 takes IPv4 too.",
        |draft, given| {
            // As systemd, which takes a truth too.
            if let Ok(only) = boolean(given.value) {
                draft.socket.ipv6_only = Some(only);
                return Ok(());
            }
            draft.socket.ipv6_only = choice(
                given.value,
                &[
                    ("default", None),
                    ("both", Some(false)),
                    ("ipv6-only", Some(true)),
                ],
            )?;
            Ok(())
        },
    )
    .default("default"),
    row(
        "ReceiveBuffer",
        "BYTES",
        "1M",
        "The size of the socket's receive buffer.",
        |draft, given| size(given, &mut draft.socket.receive_buffer),
    ),
    row(
        "SendBuffer",
        "BYTES",
        "1M",
        "The size of the socket's send buffer.",
        |draft, given| size(given, &mut draft.socket.send_buffer),
    ),
    row(
        "PipeSize",
        "BYTES",
        "1M",
        "The size of the named pipe's buffer.",
        |draft, given| size(given, &mut draft.socket.pipe_size),
    ),
    row(
        "TriggerLimitIntervalSec",
        "TIME",
        "10s",
        "The time within which TriggerLimitBurst= starts are allowed; 0 switches the limit off.",
        |draft, given| {
            draft.socket.trigger_limit_interval = duration(given.value)?.unwrap_or_default();
            Ok(())
        },
    )
    .default("2s"),
    row(
        "TriggerLimitBurst",
        "NUMBER",
        "10",
        "How many starts are allowed within TriggerLimitIntervalSec=; one more and the socket \
         fails. Without it 200 with Accept=yes, otherwise 20.",
        |draft, given| {
            draft.socket.trigger_limit_burst = if given.is_empty() {
                None
            } else {
                Some(integer(given.value, 0, 1_000_000)?)
            };
            Ok(())
        },
    ),
];

/// A user or group; empty is nobody in particular.
fn user(given: &Given<'_>) -> Result<Option<String>, ValueError> {
    let text = given.expanded()?;
    (!text.is_empty()).then(|| paths::user(&text)).transpose()
}

fn size(given: &Given<'_>, to: &mut Option<u64>) -> Result<(), ValueError> {
    *to = if given.is_empty() {
        None
    } else {
        Some(bytes(given.value)?)
    };
    Ok(())
}

fn listen(draft: &mut Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let kind = match given.key {
        "ListenStream" => SocketKind::Stream,
        "ListenDatagram" => SocketKind::Datagram,
        "ListenSequentialPacket" => SocketKind::SequentialPacket,
        "ListenFIFO" => SocketKind::Fifo,
        _ => SocketKind::Special,
    };
    if given.is_empty() {
        // As in systemd: whatever is listened on is dropped.
        draft.socket.listen.clear();
        return Ok(());
    }
    let text = given.expanded()?;
    let text = paths::modern(given, text);
    let path = matches!(kind, SocketKind::Fifo | SocketKind::Special);
    let named = text.starts_with('/') || (text.starts_with('@') && text.len() > 1 && !path);
    if !(named || !path && kind != SocketKind::SequentialPacket && is_address(&text)) {
        return Err(
            ValueError::new(format!("{} is nothing to listen on", quote(&text))).help(if path {
                "write an absolute path"
            } else {
                "write an absolute path, @name, a port, or ADDRESS:PORT"
            }),
        );
    }
    if path {
        paths::absolute(&text)?;
    }
    if text == "/" {
        return Err(ValueError::new("/ is a directory").help("write the path of a socket"));
    }
    // sun_path of sockaddr_un(7) with its end.
    if named && !path && text.len() > 107 {
        return Err(ValueError::new("a socket's path has at most 107 bytes"));
    }
    if draft.socket.listen.len() >= super::given::MAX_LIST {
        return Err(ValueError::new("more sockets than anybody needs"));
    }
    draft.socket.listen.push((kind, text));
    Ok(())
}

/// A port, or an IP address with one.
fn is_address(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
        || text
            .parse::<core::net::SocketAddr>()
            .is_ok_and(|address| address.port() > 0)
}
