//! Landlock rulesets from plans (landlock(7)).
//!
//! Asks for everything ABI 6 can do and takes what the kernel has; what it lacks is named in a
//! sentence each, never dropped in silence. Rights to pathname sockets (ABI 9) and UDP (ABI 10)
//! are not asked for: our sockets check their peers themselves. Read next: [`crate::stage`].

#![expect(
    unsafe_code,
    reason = "asking the kernel for its ABI is a plain system call"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::ptr;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope, make_bitflags,
};

use super::trusted::{TrustError, open_trusted};
use crate::plan::{Access, Enforcement, PathRule, Ruleset};

/// The ABI whose rights are asked for.
const WANTED: ABI = ABI::V6;

/// Why a ruleset could not be built or entered.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// A path that must be there cannot be opened.
    #[error("path {} ({reason}) cannot be opened: {source}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Who asked for it.
        reason: String,
        /// Why not.
        source: io::Error,
    },
    /// A path leads through a link that the unit may have planted to widen its sandbox.
    #[error("path {} ({reason}) cannot be allowed: {source}", path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// Who asked for it.
        reason: String,
        /// Which link, and who may have put it there.
        source: TrustError,
    },
    /// The kernel refused.
    #[error("landlock: {0}")]
    Kernel(#[from] landlock::RulesetError),
}

impl LandlockError {
    /// The errno behind it, 0 where there is none.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Path { source, .. } => source.raw_os_error().unwrap_or(0),
            Self::Untrusted { .. } => libc::ELOOP,
            Self::Kernel(_) => io::Error::last_os_error().raw_os_error().unwrap_or(0),
        }
    }
}

/// A ruleset whose paths are open, not yet in force.
#[derive(Debug)]
pub struct Prepared {
    ruleset: Option<RulesetCreated>,
    enforcement: Enforcement,
}

/// The highest ABI of the running kernel; 0: no Landlock.
#[must_use]
pub fn abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no memory and returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(abi).unwrap_or(0)
}

/// What of `ruleset` a kernel with this ABI does not enforce.
#[must_use]
pub fn missing(abi: u32, ruleset: &Ruleset) -> Vec<String> {
    let mut missing = vec![];
    if abi == 0 {
        missing.push("Landlock is not available: files are not confined".to_owned());
    } else {
        if abi < 3 {
            missing.push(format!(
                "Landlock ABI {abi} does not confine truncation: files outside can be emptied"
            ));
        }
        if abi < 5 {
            missing.push(format!(
                "Landlock ABI {abi} does not confine ioctl on device nodes"
            ));
        }
    }
    if abi < 4 && ruleset.connect_tcp.is_some() {
        missing.push(format!(
            "Landlock ABI {abi} does not confine TCP: every port can be connected to"
        ));
    }
    if abi < 4 && ruleset.bind_tcp.is_some() {
        missing.push(format!(
            "Landlock ABI {abi} does not confine TCP: every port can be bound"
        ));
    }
    if abi < 6 && ruleset.scoped {
        missing.push(format!(
            "Landlock ABI {abi} has no scopes: processes outside can be signalled and their \
             abstract sockets reached"
        ));
    }
    missing
}

/// The kernel's rights for one of ours. Device nodes can never be made.
fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let nodes = make_bitflags!(AccessFs::{MakeChar | MakeBlock});
    let write = AccessFs::from_write(WANTED) & !nodes;
    match access {
        Access::Read => read,
        Access::ReadExecute => read | AccessFs::Execute,
        Access::ReadWrite => read | write,
        Access::ReadWriteExecute => read | write | AccessFs::Execute,
    }
}

/// Opens the paths and builds the ruleset, as far as this kernel goes.
///
/// # Errors
/// When a path that is not optional cannot be opened or leads through a link that the unit may
/// have planted, or the kernel refuses.
pub fn prepare(plan: &Ruleset) -> Result<Prepared, LandlockError> {
    let abi = abi();
    let mut enforcement = Enforcement {
        landlock_abi: abi,
        missing: missing(abi, plan),
    };
    if abi == 0 {
        return Ok(Prepared {
            ruleset: None,
            enforcement,
        });
    }
    let mut attributes = landlock::Ruleset::default().handle_access(AccessFs::from_all(WANTED))?;
    if plan.connect_tcp.is_some() {
        attributes = attributes.handle_access(AccessNet::ConnectTcp)?;
    }
    if plan.bind_tcp.is_some() {
        attributes = attributes.handle_access(AccessNet::BindTcp)?;
    }
    if plan.scoped {
        attributes = attributes.scope(Scope::from_all(WANTED))?;
    }
    let mut ruleset = attributes.create()?;
    for rule in &plan.paths {
        if let Some(parent) = open(rule, &mut enforcement.missing)? {
            ruleset = ruleset.add_rule(PathBeneath::new(parent, rights(rule.access)))?;
        }
    }
    for port in plan.connect_tcp.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    for port in plan.bind_tcp.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    enforcement.missing.shrink_to_fit();
    Ok(Prepared {
        ruleset: Some(ruleset.no_new_privs(false)),
        enforcement,
    })
}

/// `None`: missing, or not to be trusted, and the rule may be left out.
fn open(rule: &PathRule, left_out: &mut Vec<String>) -> Result<Option<OwnedFd>, LandlockError> {
    let (path, reason) = (&rule.path, &rule.reason);
    match open_trusted(path) {
        Ok(parent) => Ok(Some(parent)),
        Err(TrustError::System(source))
            if rule.optional
                && matches!(
                    source.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
                ) =>
        {
            Ok(None)
        }
        Err(source @ TrustError::Link { .. }) if rule.optional => {
            left_out.push(format!(
                "Path {} ({reason}) is not allowed by the sandbox: {source}",
                path.display()
            ));
            Ok(None)
        }
        Err(TrustError::System(source)) => Err(LandlockError::Path {
            path: path.clone(),
            reason: reason.clone(),
            source,
        }),
        Err(source) => Err(LandlockError::Untrusted {
            path: path.clone(),
            reason: reason.clone(),
            source,
        }),
    }
}

/// Enters the ruleset; no_new_privs must be set already (or CAP_SYS_ADMIN held).
///
/// # Errors
/// When the kernel refuses.
pub fn enforce(prepared: Prepared) -> Result<Enforcement, LandlockError> {
    if let Some(ruleset) = prepared.ruleset {
        ruleset.restrict_self()?;
    }
    Ok(prepared.enforcement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_said() {
        let everything = Ruleset {
            connect_tcp: Some(vec![]),
            bind_tcp: Some(vec![]),
            scoped: true,
            ..Ruleset::default()
        };
        let counts: Vec<usize> = (0..=7).map(|abi| missing(abi, &everything).len()).collect();
        assert_eq!(counts, [4, 5, 5, 4, 2, 1, 0, 0]);
        let files_only = Ruleset::default();
        assert_eq!(
            missing(0, &files_only),
            ["Landlock is not available: files are not confined"]
        );
        assert!(missing(5, &files_only).is_empty());
    }

    #[test]
    fn rights_grow_with_the_word_and_never_make_device_nodes() {
        let all = rights(Access::ReadWriteExecute);
        for access in [Access::Read, Access::ReadExecute, Access::ReadWrite] {
            assert!(all.contains(rights(access)));
        }
        assert!(!rights(Access::ReadWrite).contains(AccessFs::Execute));
        assert!(!all.contains(AccessFs::MakeChar));
        assert!(!all.contains(AccessFs::MakeBlock));
    }

    #[test]
    fn a_missing_path_is_an_error_unless_optional() {
        let rule = |optional| PathRule {
            path: "/nonexistent/aether".into(),
            access: Access::Read,
            optional,
            reason: "test".to_owned(),
        };
        let ruleset = |optional| Ruleset {
            paths: vec![rule(optional)],
            ..Ruleset::default()
        };
        assert!(prepare(&ruleset(true)).is_ok());
        if abi() > 0 {
            let error = prepare(&ruleset(false)).unwrap_err();
            assert_eq!(error.errno(), libc::ENOENT);
        }
    }
}
