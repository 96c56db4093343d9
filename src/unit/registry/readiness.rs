//! `[Service]` and `[Agent]`: how a unit tells that it is ready and alive, and what it leaves with
//! the manager (sd_notify(3), systemd.service(5)).

use super::{Directive, Given, Section};
use crate::name::UnitType;
use crate::unit::value::{ValueError, boolean, choice, duration, integer, quote};
use crate::unit::{NotifyAccess, Preserve, Stream};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Service, key, syntax, example, doc, apply)
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "WatchdogSec",
        "TIME",
        "30s",
        "The longest time between two WATCHDOG=1 (sd_notify(3)) of the running unit; a silent one \
         is ended with WatchdogSignal= and the result watchdog. Time for which it is paused does \
         not count.",
        |draft, given| {
            draft.service.watchdog = duration(given.value)?.filter(|time| !time.is_zero());
            Ok(())
        },
    )
    .default("0"),
    row(
        "NotifyAccess",
        "none|main|exec|all",
        "exec",
        "Whose notifications count: nobody's, the main process's, also those of the Exec…= \
         commands, or every process's. Without it main where Type= or WatchdogSec= needs them and \
         all for agents.",
        |draft, given| {
            draft.notify_access = if given.is_empty() {
                None
            } else {
                Some(choice(
                    given.value,
                    &[
                        ("none", NotifyAccess::None),
                        ("main", NotifyAccess::Main),
                        ("exec", NotifyAccess::Exec),
                        ("all", NotifyAccess::All),
                    ],
                )?)
            };
            Ok(())
        },
    ),
    row(
        "PIDFile",
        "PATH",
        "/run/shop.pid",
        "Where a service of Type=forking writes the number of its main process; below /run unless \
         absolute.",
        |draft, given| {
            let text = given.text()?;
            let text = super::paths::modern(given, text);
            draft.service.pid_file = match text.as_str() {
                "" => None,
                text if text.starts_with('/') => Some(super::paths::absolute(text)?),
                text => Some(super::paths::absolute(&format!(
                    "{}/{text}",
                    given.facts.runtime_directory
                ))?),
            };
            Ok(())
        },
    )
    .guard(),
    row(
        "GuessMainPID",
        "yes|no",
        "no",
        "Whether the only process that a service of Type=forking leaves is taken as the main one \
         when there is no PIDFile=.",
        |draft, given| {
            draft.service.guess_main_pid = boolean(given.value)?;
            Ok(())
        },
    )
    .default("yes"),
    row(
        "BusName",
        "NAME",
        "org.example.Shop",
        "The name on the bus that a service of Type=dbus acquires.",
        |draft, given| {
            let name = given.expanded()?;
            let word = |part: &str| {
                !part.is_empty()
                    && part
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
                    && !part.starts_with(|c: char| c.is_ascii_digit())
            };
            if !name.is_empty()
                && (name.len() > 255 || !name.contains('.') || !name.split('.').all(word))
            {
                return Err(ValueError::unreadable(&name, "a name on the bus")
                    .help("write words with dots between them: org.example.Shop"));
            }
            draft.service.bus_name = Some(name).filter(|name| !name.is_empty());
            Ok(())
        },
    ),
    row(
        "FileDescriptorStoreMax",
        "NUMBER",
        "16",
        "How many descriptors the unit may leave with the manager (FDSTORE=1 of sd_notify(3)), to \
         be handed back when it is started again.",
        |draft, given| {
            draft.service.fd_store_max = integer(given.value, 0, 65_536)?;
            Ok(())
        },
    )
    .default("0"),
    row(
        "FileDescriptorStorePreserve",
        "no|restart|yes",
        "yes",
        "How long stored descriptors are kept: until the unit is down; until it is down and will \
         not be restarted; until the unit is forgotten.",
        |draft, given| {
            draft.service.fd_store_preserve = choice(
                given.value,
                &[
                    ("no", Preserve::No),
                    ("restart", Preserve::Restart),
                    ("yes", Preserve::Yes),
                ],
            )?;
            Ok(())
        },
    )
    .default("restart"),
    row(
        "Sockets",
        "UNIT…",
        "shop.socket",
        "Socket units whose sockets are passed to the main process, beside the one of the unit's \
         own name.",
        |draft, given| {
            let list = &mut draft.service.sockets;
            given.units(list)?;
            let before = list.len();
            list.retain(|unit| unit.kind() == UnitType::Socket);
            if list.len() < before {
                return Err(ValueError::new("it names a unit that is no socket")
                    .help("write names that end in .socket"));
            }
            Ok(())
        },
    )
    .list(),
    row(
        "StandardInput",
        "null|socket",
        "socket",
        "What the main process reads: nothing, or the connection (or the one socket) that started \
         it.",
        |draft, given| {
            let known = [("null", Stream::Null), ("socket", Stream::Socket)];
            if let Some(stream) = stream(given, &known) {
                draft.service.exec.standard_input = stream;
            }
            Ok(())
        },
    )
    .default("null"),
    row(
        "StandardOutput",
        "journal|inherit|null|socket",
        "null",
        "Where the main process writes: to the unit's log (journal), nowhere, or to the socket; \
         without it, or with inherit, to the socket where StandardInput= is that, otherwise to the \
         log.",
        |draft, given| {
            draft.service.exec.standard_output = output(given, draft.service.exec.standard_output);
            Ok(())
        },
    ),
    row(
        "StandardError",
        "journal|inherit|null|socket",
        "null",
        "As StandardOutput=; without it, or with inherit, to the socket where StandardOutput= is \
         that, otherwise to the log.",
        |draft, given| {
            draft.service.exec.standard_error = output(given, draft.service.exec.standard_error);
            Ok(())
        },
    ),
    row(
        "Slice",
        "UNIT",
        "builders.slice",
        "Below which slice the unit's processes stand, and with it which limits they share with \
         others (systemd.slice(5)).",
        |draft, given| {
            let mut list = vec![];
            given.units(&mut list)?;
            if let Some(other) = list.iter().find(|unit| unit.kind() != UnitType::Slice) {
                return Err(ValueError::new(format!("{other} is no slice"))
                    .help("write a name that ends in .slice"));
            }
            if let Some(other) = list.iter().find(|unit| !unit.names_slice()) {
                return Err(
                    ValueError::new(format!("{other} cannot be the name of a slice"))
                        .help("write dashes one at a time, and none at the ends: a-b.slice"),
                );
            }
            if list.len() > 1 {
                return Err(ValueError::new("a unit stands in one slice"));
            }
            draft.slice = list.pop().filter(|slice| slice.as_str() != "-.slice");
            Ok(())
        },
    )
    .guard(),
];

/// One of these streams; another one is named and passed over.
fn stream<T: Copy>(given: &mut Given<'_>, known: &[(&str, T)]) -> Option<T> {
    let found = known.iter().find(|(word, _)| *word == given.value);
    if found.is_none() {
        let message = format!("{} is not implemented, ignoring", quote(given.value));
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let help = format!("implemented are {}", words.join(", "));
        given.warn(ValueError::new(message).help(help));
    }
    found.map(|(_, stream)| *stream)
}

fn output(given: &mut Given<'_>, before: Option<Stream>) -> Option<Stream> {
    if given.is_empty() {
        return None;
    }
    if let Some(new) = match given.value {
        "syslog" => Some("journal"),
        "syslog+console" => Some("journal+console"),
        _ => None,
    } {
        let message = format!("{} is an old word for {new}", given.value);
        given.warn(ValueError::new(message).help(format!("write {new}")));
    }
    let known = [
        ("inherit", None),
        ("null", Some(Stream::Null)),
        ("journal", Some(Stream::Log)),
        ("journal+console", Some(Stream::Log)),
        ("syslog", Some(Stream::Log)),
        ("syslog+console", Some(Stream::Log)),
        ("socket", Some(Stream::Socket)),
    ];
    stream(given, &known).unwrap_or(before)
}
