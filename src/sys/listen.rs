//! stub
use crate::sys::file::Owner;
use crate::unit::SocketUnit;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
/// stub
#[derive(Debug)]
pub struct Peer {
    /// stub
    pub instance: String,
}
/// stub
/// # Errors
/// stub
pub fn owner(_: &SocketUnit) -> io::Result<Owner> {
    Err(io::ErrorKind::Unsupported.into())
}
/// stub
/// # Errors
/// stub
pub fn open(_: &SocketUnit, _: Owner) -> Result<Vec<OwnedFd>, (String, io::Error)> {
    Ok(vec![])
}
/// stub
/// # Errors
/// stub
pub fn accept(_: impl AsFd, _: u64) -> io::Result<Option<(OwnedFd, Peer)>> {
    Ok(None)
}
/// stub
/// # Errors
/// stub
pub fn remove(_: &SocketUnit) -> io::Result<()> {
    Ok(())
}
/// stub
/// # Errors
/// stub
pub fn flush(_: impl AsFd) -> io::Result<()> {
    Ok(())
}
