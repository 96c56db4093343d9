//! stub
use crate::unit::PathCondition;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
/// stub
#[derive(Debug)]
pub struct PathWatch(OwnedFd);
impl PathWatch {
    /// stub
    /// # Errors
    /// stub
    pub fn new(_: &[(PathCondition, PathBuf)]) -> io::Result<Self> {
        Ok(Self(std::os::unix::net::UnixStream::pair()?.0.into()))
    }
    /// stub
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    /// stub
    /// # Errors
    /// stub
    pub fn drain(&mut self) -> io::Result<bool> {
        Ok(false)
    }
    /// stub
    pub fn holds(&self) -> bool {
        false
    }
}
/// stub
/// # Errors
/// stub
pub fn pid_file(_: &Path, _: Option<u32>) -> io::Result<Option<u32>> {
    Ok(None)
}
