//! `aether-agent`: Aether's own agents. So far `hello`, the first agent of every installation.

#![expect(
    clippy::disallowed_methods,
    reason = "it looks at files and starts programs to show what an agent may do"
)]

#[path = "agent/hello.rs"]
mod hello;
#[path = "agent/mcp.rs"]
mod mcp;
#[path = "agent/trials.rs"]
mod trials;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hello"] => hello::run(),
        [trials::WAIT] => trials::wait(),
        _ => {
            let _ = writeln!(
                std::io::stderr(),
                "usage: aether-agent hello\n  hello: meet your MCP server and your limits; needs no key and no network"
            );
            ExitCode::from(2)
        }
    }
}
