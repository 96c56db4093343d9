//! Capability sets of the calling thread (capabilities(7)).
//!
//! Names come as text from plans; a name this program does not know is an error, a number the
//! kernel knows and we do not is dropped with the rest. Read next: [`super::landlock`].

#![expect(
    unsafe_code,
    reason = "dropping capabilities newer than the crate's list"
)]

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

/// Why the sets could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// Not a name of a capability.
    #[error("{0:?} is not a capability")]
    Unknown(String),
    /// The kernel refused a change of this set.
    #[error("the {set} set cannot be changed: {source}")]
    Refused {
        /// Which set.
        set: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl CapabilityError {
    /// The errno behind it, 0 where there is none.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Unknown(_) => 0,
            Self::Refused { source, .. } => source.raw_os_error().unwrap_or(0),
        }
    }
}

fn read_names(names: &[String]) -> Result<CapsHashSet, CapabilityError> {
    names
        .iter()
        .map(|name| {
            caps::to_canonical(name)
                .parse::<Capability>()
                .map_err(|_| CapabilityError::Unknown(name.clone()))
        })
        .collect()
}

/// Whether this thread may empty its bounding set.
#[must_use]
pub fn may_drop_bounding() -> bool {
    caps::has_cap(None, CapSet::Permitted, Capability::CAP_SETPCAP).unwrap_or(false)
}

/// Leaves `bounding` in the bounding set and raises `ambient` in all sets. A process of uid 0
/// keeps what the bounding set leaves it (exec would give it back anyway); every other keeps
/// `ambient` only.
///
/// # Errors
/// [`CapabilityError`].
pub fn confine(bounding: &[String], ambient: &[String], root: bool) -> Result<(), CapabilityError> {
    let bounding = read_names(bounding)?;
    let ambient = read_names(ambient)?;
    if may_drop_bounding() {
        caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP)
            .map_err(|_| last_error("effective"))?;
        drop_bounding(&bounding)?;
    }
    let permitted = if root {
        let held = caps::read(None, CapSet::Permitted).map_err(|_| last_error("permitted"))?;
        held.intersection(&bounding).copied().collect()
    } else {
        ambient.clone()
    };
    caps::clear(None, CapSet::Ambient).map_err(|_| last_error("ambient"))?;
    // Inheritable before permitted: CAP_SETPCAP, which allows it, is about to go.
    for (set, name, value) in [
        (CapSet::Inheritable, "inheritable", &ambient),
        (CapSet::Effective, "effective", &permitted),
        (CapSet::Permitted, "permitted", &permitted),
    ] {
        caps::set(None, set, value).map_err(|_| last_error(name))?;
    }
    for capability in ambient {
        caps::raise(None, CapSet::Ambient, capability).map_err(|_| last_error("ambient"))?;
    }
    Ok(())
}

/// The crate's error hides errno; the failing call was the last one made.
fn last_error(set: &'static str) -> CapabilityError {
    CapabilityError::Refused {
        set,
        source: io::Error::last_os_error(),
    }
}

fn drop_bounding(keep: &CapsHashSet) -> Result<(), CapabilityError> {
    let keep: u64 = keep
        .iter()
        .map(Capability::bitmask)
        .fold(0, |all, bit| all | bit);
    for number in 0..64_u8 {
        if keep >> number & 1 == 1 {
            continue;
        }
        // SAFETY: takes numbers only.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, u64::from(number), 0, 0, 0) };
        if done != 0 {
            let error = last_error("bounding");
            // The kernel's list ends here.
            return if error.errno() == libc::EINVAL && number > 0 {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_unknown_ones_are_errors() {
        let set = read_names(&["CAP_CHOWN".into(), "cap_kill".into()]).unwrap();
        assert_eq!(set.len(), 2);
        assert!(matches!(
            read_names(&["CAP_FLY".into()]),
            Err(CapabilityError::Unknown(name)) if name == "CAP_FLY"
        ));
    }

    #[test]
    fn a_thread_can_give_everything_up() {
        // Capabilities belong to the thread, so this test takes one for itself.
        std::thread::spawn(|| {
            if !may_drop_bounding() {
                return;
            }
            confine(&[], &[], false).unwrap();
            for set in [CapSet::Permitted, CapSet::Effective, CapSet::Bounding] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
        })
        .join()
        .unwrap();
    }
}
