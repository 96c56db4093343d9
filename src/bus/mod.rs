//! The D-Bus wire: one raw message dispatcher for every connection, driven by the XML in `dbus/`.
//!
//! A message comes in, is checked against the contract (path, interface, member, signature), and
//! becomes an [`ask::Ask`]; the daemon answers with an [`ask::Told`], which is encoded by the same
//! contract. No ObjectServer. Nothing here knows how units work.
//!
//! The way of a call: `frame` (bounded reading) → [`serve`] → `dispatch` ([`contract`], then
//! [`authorise`]) → the daemon → `encode` ([`aether1`]) → the caller. Signals go from
//! [`publish`] into the same connections. [`client`] is the other end.

pub mod aether1;
mod arguments;
pub mod ask;
pub mod authorise;
pub mod client;
pub mod contract;
mod dispatch;
mod encode;
mod failure;
mod files;
mod frame;
pub mod path;
pub mod publish;
pub mod serve;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
