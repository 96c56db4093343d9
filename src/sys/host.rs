//! Facts about this machine that plans depend on ([`Host`]), gathered once at start.
//!
//! Looks, never changes anything. The cgroup hierarchy is `cgroup`'s to describe.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::trusted::{TrustError, resolve_trusted};
use crate::plan::Host;

/// What is known without looking at cgroups; [`Host::cgroups`] stays empty.
#[must_use]
pub fn probe() -> Host {
    Host {
        landlock_abi: super::landlock::abi(),
        root: nix::unistd::geteuid().is_root(),
        cgroups: String::new(),
        last_capability: last_capability(),
        user: super::user::own_name(),
        home: super::user::own_home(),
    }
}

/// From `/proc`; without it the last one that the kernels of this program's time have.
fn last_capability() -> u8 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(40)
}

/// The first executable file of this name in the directories of `path` (`PATH`).
#[must_use]
pub fn find_program(name: &str, path: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(name))
        .find(|file| executable(file).is_some())
}

/// The real file behind `path`, links followed, if it can be executed by anyone. A sandbox must
/// allow the real file; its name alone is not enough.
///
/// Behind a link that a unit may have planted there could be anything, so there the name itself
/// stands, and the sandbox allows what its own rules say.
#[must_use]
pub fn executable(path: &Path) -> Option<PathBuf> {
    let real = match resolve_trusted(path) {
        Ok(real) => real,
        Err(TrustError::Link { .. }) => path.to_owned(),
        Err(TrustError::System(_)) => return None,
    };
    let data = std::fs::metadata(&real).ok()?;
    (data.is_file() && data.permissions().mode() & 0o111 != 0).then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let host = probe();
        assert!(
            host.last_capability >= 37,
            "CAP_AUDIT_READ is older than us"
        );
        assert_eq!(host.root, nix::unistd::geteuid().is_root());
    }

    #[test]
    fn a_program_is_found_in_its_path_only() {
        let found = find_program("sh", "relative:/nonexistent:/bin:/usr/bin");
        assert_eq!(found.as_deref(), Some(Path::new("/bin/sh")));
        assert_eq!(find_program("sh", "/nonexistent"), None);
        assert_eq!(find_program("passwd", "/etc"), None);
    }
}
