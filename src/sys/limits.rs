//! Resource limits by the names of `Limit…=` (setrlimit(2), systemd.exec(5)).
//!
//! Knows names and sets values; which value is right is the plan's business.

#![expect(unsafe_code, reason = "setrlimit by a number found in a table")]

use std::io;

/// Name after `RLIMIT_`, and the kernel's number.
#[cfg(target_env = "gnu")]
type Number = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Number = libc::c_int;

const TABLE: [(&str, Number); 16] = [
    ("AS", libc::RLIMIT_AS),
    ("CORE", libc::RLIMIT_CORE),
    ("CPU", libc::RLIMIT_CPU),
    ("DATA", libc::RLIMIT_DATA),
    ("FSIZE", libc::RLIMIT_FSIZE),
    ("LOCKS", libc::RLIMIT_LOCKS),
    ("MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("NICE", libc::RLIMIT_NICE),
    ("NOFILE", libc::RLIMIT_NOFILE),
    ("NPROC", libc::RLIMIT_NPROC),
    ("RSS", libc::RLIMIT_RSS),
    ("RTPRIO", libc::RLIMIT_RTPRIO),
    ("RTTIME", libc::RLIMIT_RTTIME),
    ("SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("STACK", libc::RLIMIT_STACK),
];

/// Every name that is known.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

fn number(name: &str) -> io::Result<Number> {
    TABLE
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Soft and hard limit of this process; `u64::MAX` is infinity.
///
/// # Errors
/// As getrlimit(2); `EINVAL` for an unknown name.
pub fn get(name: &str) -> io::Result<(u64, u64)> {
    let number = number(name)?;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills a structure of the right size.
    match unsafe { libc::getrlimit(number, &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets soft and hard limit of this process.
///
/// # Errors
/// As setrlimit(2): `EPERM` when the hard limit would rise without CAP_SYS_RESOURCE; `EINVAL` for
/// an unknown name.
pub fn set(name: &str, soft: u64, hard: u64) -> io::Result<()> {
    let number = number(name)?;
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the kernel reads a structure of the right size.
    match unsafe { libc::setrlimit(number, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_to_the_kernel() {
        for name in names() {
            let (soft, hard) = get(name).unwrap();
            assert!(soft <= hard, "{name}");
        }
        assert_eq!(get("TEA").unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
