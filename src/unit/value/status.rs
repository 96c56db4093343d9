//! Signals and exit statuses by name and number.

use super::{ValueError, integer};
use crate::unit::ExitSet;

/// Names of the signals of Linux (signal(7)); a signal's number is its place, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The real-time signals that programs may use.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Names of exit statuses (systemd.exec(5), "Process Exit Codes"; sysexits.h).
const STATUSES: [(&str, u8); 23] = [
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
];

fn by_name(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(after) = name.strip_prefix("RTMIN") {
        let offset: i32 = match after.strip_prefix('+') {
            Some(offset) => offset.parse().ok()?,
            None if after.is_empty() => 0,
            None => return None,
        };
        return REAL_TIME
            .start()
            .checked_add(offset)
            .filter(|number| offset >= 0 && REAL_TIME.contains(number));
    }
    if let Some(before) = name.strip_prefix("RTMAX") {
        let offset: i32 = match before.strip_prefix('-') {
            Some(offset) => offset.parse().ok()?,
            None if before.is_empty() => 0,
            None => return None,
        };
        return REAL_TIME
            .end()
            .checked_sub(offset)
            .filter(|number| offset >= 0 && REAL_TIME.contains(number));
    }
    let name = match name {
        "POLL" => "IO",
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        name => name,
    };
    let index = SIGNALS.iter().position(|known| *known == name)?;
    i32::try_from(index + 1).ok()
}

/// A signal: `SIGTERM`, `TERM`, `15`, `RTMIN+3`, `RTMAX-1`.
///
/// # Errors
/// When there is no such signal.
pub fn signal(text: &str) -> Result<i32, ValueError> {
    by_name(text)
        .or_else(|| integer(text, 1, 64).ok())
        .ok_or_else(|| {
            let bare = text.strip_prefix("SIG").unwrap_or(text);
            let help = super::super::nearest::nearest(bare, SIGNALS.into_iter()).map_or_else(
                || "write for example SIGTERM, SIGINT or 15".to_owned(),
                |name| format!("did you mean SIG{name}?"),
            );
            ValueError::unreadable(text, "a signal").help(help)
        })
}

/// Adds one word of an exit status list: a number, a status name or a signal name.
///
/// # Errors
/// When the word is none of these.
pub fn exit_status(text: &str, set: &mut ExitSet) -> Result<(), ValueError> {
    let code = text.parse::<u8>().ok().or_else(|| {
        STATUSES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, code)| *code)
    });
    if let Some(code) = code {
        if !set.codes.contains(&code) {
            set.codes.push(code);
        }
        return Ok(());
    }
    let Some(signal) = by_name(text) else {
        return Err(ValueError::unreadable(text, "an exit status")
            .help("write a number from 0 to 255, a name such as TEMPFAIL, or a signal"));
    };
    if !set.signals.contains(&signal) {
        set.signals.push(signal);
    }
    Ok(())
}
