//! From a unit to its launch: the facts a runtime needs, where its program may be, and which
//! runtime answers.
//!
//! Finding and reading files is the daemon's work: it tries [`candidates`] in order and gives the
//! first that exists, links followed, as [`Facts::program`]. Read next: `claude`.

use std::path::{Path, PathBuf};

use crate::plan::Failure;
use crate::runtime::{Launch, claude, command};
use crate::unit::{RuntimeKind, Unit};

/// What the daemon knows about this start of the unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The agent's home.
    pub home: PathBuf,
    /// Its workspace, where it starts.
    pub workspace: PathBuf,
    /// A directory for temporary files of its own.
    pub tmp: PathBuf,
    /// The runtime's configuration directory, kept from start to start and writable by the agent.
    pub config: PathBuf,
    /// A directory of the supervisor's that the agent can only read: settings, MCP servers.
    pub generated: PathBuf,
    /// The unit's MCP socket.
    pub mcp_socket: PathBuf,
    /// The program `aether-mcp`.
    pub mcp_program: PathBuf,
    /// The runtime's program: absolute, links followed; `None` where no candidate exists.
    pub program: Option<PathBuf>,
    /// The session, a UUID.
    pub session: String,
    /// Continue that session rather than begin it.
    pub resume: bool,
    /// What the agent remembered lately, most important first.
    pub memories: Vec<Memory>,
    /// Environment from the daemon; wins over the runtime's, loses against `Environment=`.
    pub environment: Vec<(String, String)>,
}

/// One remembered text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where it comes from: `episodic`, `shared` …
    pub layer: String,
    /// What was remembered.
    pub text: String,
}

/// Makes the launch of a unit.
///
/// # Errors
/// Step `binary` where the program is missing, `goal`, `mcp` or `path` where a value cannot be
/// passed on.
pub fn prepare(unit: &Unit, facts: &Facts) -> Result<Launch, Failure> {
    match &unit.agent {
        Some(agent) if agent.runtime == RuntimeKind::ClaudeCode => {
            claude::prepare(unit, agent, facts)
        }
        _ => command::prepare(unit, facts),
    }
}

/// Where the unit's program may be, best first; `path` is the unit's `PATH`.
///
/// Relative directories in `path` are passed over: what they name depends on where one stands.
#[must_use]
pub fn candidates(unit: &Unit, path: &str) -> Vec<PathBuf> {
    let name = match &unit.agent {
        Some(agent) => match (&agent.runtime_binary, agent.runtime) {
            (Some(binary), _) => return vec![binary.clone()],
            (None, RuntimeKind::ClaudeCode) => claude::PROGRAM,
            (None, RuntimeKind::Command) => command::program(unit),
        },
        None => command::program(unit),
    };
    if name.is_empty() {
        return vec![];
    }
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    let directories = path.split(':').map(Path::new);
    directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .collect()
}

/// A failure of this room; there is never an errno here.
pub(super) fn failure(step: &str, detail: String, help: Option<&str>) -> Failure {
    Failure {
        step: step.to_owned(),
        errno: 0,
        detail,
        help: help.map(str::to_owned),
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::unit::Command;

    /// An agent of Claude Code with this goal.
    pub(crate) fn agent(goal: &str) -> Unit {
        let mut unit = Unit::unwritten("coder.agent".parse().unwrap());
        unit.mcp.tools = vec!["memory".into()];
        if let Some(agent) = &mut unit.agent {
            agent.runtime = RuntimeKind::ClaudeCode;
            agent.goal = goal.into();
        }
        unit
    }

    /// Facts that are all there.
    pub(crate) fn facts() -> Facts {
        Facts {
            home: "/a/home".into(),
            workspace: "/a/ws".into(),
            tmp: "/a/tmp".into(),
            config: "/a/home/.claude".into(),
            generated: "/run/a".into(),
            mcp_socket: "/run/a/mcp.sock".into(),
            mcp_program: "/usr/bin/aether-mcp".into(),
            program: Some("/opt/claude/claude".into()),
            session: "00000000-0000-4000-8000-000000000001".into(),
            ..Facts::default()
        }
    }

    #[test]
    fn a_name_is_looked_for_in_absolute_directories_only() {
        let mut unit = agent("x");
        assert_eq!(
            candidates(&unit, "/usr/bin:bin::/opt/bin:."),
            [Path::new("/usr/bin/claude"), Path::new("/opt/bin/claude")]
        );
        unit.agent.as_mut().unwrap().runtime_binary = Some("/x/claude".into());
        assert_eq!(candidates(&unit, "/usr/bin"), [Path::new("/x/claude")]);
    }

    #[test]
    fn a_command_is_run_as_it_stands_and_gets_nothing() {
        let mut unit = agent("--help");
        unit.agent.as_mut().unwrap().runtime = RuntimeKind::Command;
        assert_eq!(candidates(&unit, "/bin"), Vec::<PathBuf>::new());
        assert_eq!(prepare(&unit, &facts()).unwrap_err().step, "binary");
        unit.service.as_mut().unwrap().exec_start = vec![Command {
            program: "worker".into(),
            argv: vec!["worker".into(), "-x".into()],
            ..Command::default()
        }];
        assert_eq!(candidates(&unit, "/bin"), [Path::new("/bin/worker")]);
        let launch = prepare(&unit, &facts()).unwrap();
        assert_eq!(launch.argv, ["worker", "-x"]);
        assert!(launch.files.is_empty() && launch.environment.is_empty());
        assert!(!launch.input && !launch.structured && launch.first_input.is_none());
        let absent = Facts {
            program: None,
            ..facts()
        };
        let failure = prepare(&unit, &absent).unwrap_err();
        assert!(failure.detail.contains("worker"), "{failure:?}");
    }
}
