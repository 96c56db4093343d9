//! The hub: one MCP server per unit on a Unix socket of its own, and the memory behind them.
//!
//! `aether-hub` runs as a service under its own uid, so that SQLite and the MCP protocol live
//! outside the supervisor: it may crash or lose its disk while every agent goes on. [`serve`]
//! accepts and checks peers, [`throttle`] limits what each may cost, [`tools`] is what one
//! connection may call, [`store`] owns the database on a thread of its own, [`memory`] decides what
//! is found and in which order, [`link`] is what the hub wants to know from the supervisor. Nothing
//! here decides who may do what to a unit: aetherd does. Start reading at [`tools`].

#![expect(
    clippy::disallowed_methods,
    reason = "it owns the database's files and reads its clock"
)]

pub mod link;
pub mod memory;
pub mod program;
mod recent;
pub mod rows;
pub mod schema;
pub mod serve;
pub mod store;
pub mod supervised;
pub mod throttle;
pub mod tools;
pub mod turns;
pub mod ulid;
pub mod words;

pub use link::Supervisor;
pub use store::Store;
