//! The kept descriptors, by name. They are held until removed, whoever hung up at their other end.
//!
//! Bounded twice: their number, and the length of all names, which must fit into one environment
//! string when they are given to the next daemon.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys::closing;
use crate::sys::fdstore::{MAX_NAMES, valid_name};

/// Most descriptors kept.
pub(super) const LIMIT: usize = 16_384;

/// Why descriptors are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the name is not valid")]
    Name,
    #[error("{LIMIT} are kept already")]
    Full,
    #[error("the names of all kept ones would not fit into the environment")]
    Names,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    kept: Vec<(String, OwnedFd)>,
    names: usize,
}

impl Store {
    /// Keeps all of them or none.
    pub(super) fn keep(&mut self, name: &str, fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        let names = self.names + fds.len() * (name.len() + 1);
        let refusal = if !valid_name(name) {
            Some(Refusal::Name)
        } else if self.kept.len() + fds.len() > LIMIT {
            Some(Refusal::Full)
        } else {
            (names > MAX_NAMES).then_some(Refusal::Names)
        };
        if let Some(refusal) = refusal {
            closing::close(fds);
            return Err(refusal);
        }
        self.names = names;
        self.kept
            .extend(fds.into_iter().map(|fd| (name.to_owned(), fd)));
        Ok(())
    }

    /// Closes all of this name.
    pub(super) fn discard(&mut self, name: &str) {
        let gone = self.kept.extract_if(.., |(kept, _)| kept == name);
        // Units store what they like.
        closing::close(gone.map(|(_, descriptor)| descriptor));
        self.names = self.kept.iter().map(|(name, _)| name.len() + 1).sum();
    }

    /// All, in ascending order of number, which is the order in which they can be put in place.
    pub(super) fn sorted(&mut self) -> &[(String, OwnedFd)] {
        self.kept.sort_by_key(|(_, fd)| fd.as_raw_fd());
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn fds(count: usize) -> Vec<OwnedFd> {
        (0..count)
            .map(|_| File::open("/dev/null").unwrap().into())
            .collect()
    }

    #[test]
    fn groups_by_name() {
        let mut store = Store::default();
        store.keep("a", fds(2)).unwrap();
        store.keep("b", fds(1)).unwrap();
        store.keep("a", fds(1)).unwrap();
        store.discard("a");
        let names: Vec<&str> = store.sorted().iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(store.keep("a:b", fds(1)), Err(Refusal::Name));
    }

    #[test]
    fn names_have_a_limit_together() {
        let mut store = Store::default();
        let name = "x".repeat(250);
        for _ in 0..4 {
            store.keep(&name, fds(100)).unwrap();
        }
        assert_eq!(store.keep(&name, fds(100)), Err(Refusal::Names));
        assert_eq!(store.sorted().len(), 400, "all or none");
        store.discard(&name);
        assert_eq!(store.names, 0);
    }
}
