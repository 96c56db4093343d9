//! `ConditionSecurity=`: which security technologies are there and in use.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::sys::statfs::{SELINUX_MAGIC, statfs};

use super::{compare, exists, line, virtualization};
use std::os::fd::AsRawFd;

/// Whether the technology is in use; one that is not known is not.
pub(super) fn in_use(name: &str) -> bool {
    match name {
        "selinux" => selinux(),
        "smack" => exists("/sys/fs/smackfs/"),
        "apparmor" => line("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| compare::truth(&text) == Some(true)),
        "audit" => audit(),
        "ima" => exists("/sys/kernel/security/ima/"),
        "tomoyo" => exists("/sys/kernel/security/tomoyo/version"),
        "uefi-secureboot" => secure_boot(),
        "tpm2" => tpm2(),
        _ => false,
    }
}

/// As selinux_enabled(3): its file system is mounted and can be written to, and it is configured.
fn selinux() -> bool {
    let mounted = ["/sys/fs/selinux", "/selinux"].iter().any(|place| {
        statfs(*place).is_ok_and(|found| {
            found.filesystem_type() == SELINUX_MAGIC
                && !found
                    .flags()
                    .contains(nix::sys::statvfs::FsFlags::ST_RDONLY)
        })
    });
    mounted && exists("/etc/selinux/config")
}

/// The kernel refuses the question itself where auditing is somebody else's.
fn audit() -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkAudit;
    let socket = match socket(AddressFamily::Netlink, SockType::Raw, flags, protocol) {
        Ok(socket) => socket,
        Err(Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::EPERM) => return false,
        Err(_) => return true,
    };
    // struct nlmsghdr: length, type AUDIT_GET_FEATURE, flag NLM_F_REQUEST, no sequence, no port.
    let mut request = [0_u8; 16];
    request[..4].copy_from_slice(&16_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&1019_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&1_u16.to_ne_bytes());
    let fd = socket.as_raw_fd();
    if let Err(errno) = send(fd, &request, MsgFlags::empty()) {
        return errno != Errno::ECONNREFUSED;
    }
    let mut answer = [0_u8; 1024];
    match recv(fd, &mut answer, MsgFlags::empty()) {
        Err(errno) => errno != Errno::ECONNREFUSED,
        // An error (type 2) has its number behind the header.
        Ok(length) => {
            let refused = (-(Errno::ECONNREFUSED as i32)).to_ne_bytes();
            !(length >= 20 && answer[4..6] == 2_u16.to_ne_bytes() && answer[16..20] == refused)
        }
    }
}

/// A container sees its host's firmware, which is none of its business.
fn efi() -> bool {
    !virtualization::is_container() && exists("/sys/firmware/efi/")
}

fn secure_boot() -> bool {
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    // Four bytes of attributes come first.
    efi() && fs::read(variable).is_ok_and(|value| value.len() == 5 && value[4] > 0)
}

fn tpm2() -> bool {
    efi() && exists("/sys/firmware/acpi/tables/TPM2") && exists("/sys/class/tpmrm")
}

/// Whether the machine is on mains; without any supply that tells, it is. `None`: it cannot be
/// found out.
pub(super) fn on_mains() -> Option<bool> {
    let supplies = match fs::read_dir("/sys/class/power_supply") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(true),
        other => other.ok()?,
    };
    let (mut online, mut discharging) = (false, false);
    for supply in supplies.flatten() {
        let supply = supply.path();
        let tells = |name: &str| line(supply.join(name)).ok();
        match tells("type").as_deref() {
            None => {}
            Some("Battery") => {
                let other = tells("scope").as_deref() == Some("Device")
                    || tells("present").and_then(|text| compare::truth(&text)) == Some(false);
                let status = tells("status");
                discharging |= !other && status.is_none_or(|status| status == "Discharging");
            }
            Some("USB") if !takes_power(&supply) => {}
            Some(_) => {
                online |= tells("online")
                    .and_then(|text| text.parse::<u32>().ok())
                    .is_some_and(|state| state > 0);
            }
        }
    }
    Some(online || !discharging)
}

/// A port of USB-C may give power instead.
fn takes_power(supply: &Path) -> bool {
    let (Ok(ports), Ok(device)) = (
        fs::read_dir("/sys/class/typec"),
        fs::canonicalize(supply.join("device")),
    ) else {
        return true;
    };
    let roles: Vec<String> = ports
        .flatten()
        .filter(|port| fs::canonicalize(port.path()).is_ok_and(|path| path.starts_with(&device)))
        .filter_map(|port| line(port.path().join("power_role")).ok())
        .collect();
    let any = |role: &str| roles.iter().any(|text| text.contains(role));
    any("[sink]") || !any("[source]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_in_use() {
        assert!(!in_use("nonsense"));
        assert!(!in_use(""));
    }
}
