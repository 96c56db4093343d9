//! Capabilities by name, and the set of those that a unit may ever have.

use super::{Draft, Given};
use crate::unit::nearest::nearest;
use crate::unit::value::{Escapes, ValueError};

/// The capabilities of Linux 6 (capabilities(7)), in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

pub(super) fn capability(text: &str) -> Result<&'static str, ValueError> {
    let upper = text.to_ascii_uppercase();
    if let Some(known) = CAPABILITIES.into_iter().find(|known| *known == upper) {
        return Ok(known);
    }
    let error = ValueError::unreadable(text, "a capability");
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let short = CAPABILITIES
        .into_iter()
        .filter_map(|known| known.strip_prefix("CAP_"));
    Err(match nearest(bare, short) {
        Some(name) => error.help(format!("did you mean CAP_{name}?")),
        None => error.help("write for example CAP_NET_BIND_SERVICE"),
    })
}

pub(super) fn ambient(draft: &mut Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let list = &mut draft.service.exec.ambient_capabilities;
    if given.is_empty() {
        list.clear();
        return Ok(());
    }
    for word in given.words(Escapes::Keep)? {
        match capability(&word.text) {
            Ok(name) if list.iter().any(|known| known == name) => {}
            Ok(name) => list.push(name.to_owned()),
            // The unit has one privilege less.
            Err(error) => given.warn(error.at(word.range)),
        }
    }
    Ok(())
}

pub(super) fn bounding(draft: &mut Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let set = &mut draft.service.exec.capability_bounding;
    if given.is_empty() {
        *set = Some(vec![]);
        return Ok(());
    }
    let invert = given.value.starts_with('~');
    let mut named = vec![];
    for word in given.words(Escapes::Keep)? {
        let text = if invert && word.range.start == 0 {
            &word.text[1..]
        } else {
            word.text.as_str()
        };
        match capability(text) {
            _ if text.is_empty() => {}
            Ok(name) => named.push(name),
            // One that is not taken away would leave the unit weaker than it is written.
            Err(error) if invert => given.error(error.at(word.range)),
            // One that is not there, or not yet, is not kept.
            Err(error) => given.warn(error.at(word.range)),
        }
    }
    let all = || CAPABILITIES.map(str::to_owned).to_vec();
    *set = match (set.take(), invert) {
        _ if invert && named.is_empty() => None,
        (old, true) => {
            let mut left = old.unwrap_or_else(all);
            left.retain(|name| !named.contains(&name.as_str()));
            Some(left)
        }
        (old, false) => {
            let mut list = old.unwrap_or_default();
            for name in named {
                if !list.iter().any(|known| known == name) {
                    list.push(name.to_owned());
                }
            }
            Some(list)
        }
    };
    Ok(())
}
