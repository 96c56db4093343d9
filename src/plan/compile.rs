//! `compile`: one process of a unit → its [`ExecPlan`].
//!
//! Pure, so a plan can be shown, compared and tested without root. Every right an agent has is
//! decided here; the stage adds none. Read next: [`super::policy`] for the rules' source.

use std::path::{Path, PathBuf};

use super::policy::Ports;
use super::{
    Access, Assignment, ExecPlan, Host, PathRule, Policy, Ruleset, Stdio, Step, VERSION,
    environment,
};
use crate::engine::event::Role;
use crate::name::UnitName;
use crate::runtime::Launch;
use crate::unit::{Command, Exec, Stream, Unit, WorkingDirectory};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A target, for one.
    #[error("{0} has nothing to run")]
    Nothing(UnitName),
    /// The unit has no such command.
    #[error("{unit} has no command for {role:?}")]
    NoCommand {
        /// Which.
        unit: UnitName,
        /// What for.
        role: Role,
    },
    /// The program was named without a path and was not found.
    #[error("program {program:?} of {unit} was not found in its PATH")]
    NotFound {
        /// Which.
        unit: UnitName,
        /// As it was named.
        program: String,
    },
    /// A string that cannot be handed to a program.
    #[error("{what} of {unit} contains a NUL byte")]
    Nul {
        /// Which.
        unit: UnitName,
        /// Where.
        what: &'static str,
    },
    /// `Require=` names something that this host does not have.
    #[error("{unit} requires {requirement}, and this host has {found}")]
    Unmet {
        /// Which.
        unit: UnitName,
        /// As written.
        requirement: String,
        /// What there is.
        found: String,
    },
}

/// The plan for one process. `policy` is the unit's, resolved ([`Policy::resolve`]).
///
/// # Errors
/// [`PlanError`].
pub fn compile(
    unit: &Unit,
    launch: &Launch,
    role: Role,
    policy: &Policy,
    assignment: &Assignment,
    host: &Host,
) -> Result<ExecPlan, PlanError> {
    let service = unit
        .service
        .as_ref()
        .ok_or_else(|| PlanError::Nothing(unit.name.clone()))?;
    require(unit, policy, host)?;
    // Every agent's main process is described by its runtime; the rest are command lines.
    let launched = (unit.agent.is_some() && matches!(role, Role::Main(_))).then_some(launch);
    let terminal = launched.is_some() && unit.agent.as_ref().is_some_and(|agent| agent.terminal);
    let privileged = is_privileged(unit, role);
    let elevated = is_elevated(unit, role);
    let environment = environment::compose(
        unit,
        launched,
        assignment,
        terminal,
        privileged.then_some(host),
    );
    let command = command(unit, launched, role)?;
    let program = program(unit, &command, assignment)?;
    let argv = if command.no_environment {
        command.argv.clone()
    } else {
        environment::substitute(&command.argv, &environment)
    };
    let environment: Vec<_> = environment.into_iter().collect();
    check(unit, &program, &argv, &environment)?;

    let confinement = Confinement {
        unit,
        exec: &service.exec,
        policy,
        assignment,
        agent: unit.agent.is_some(),
        privileged,
        elevated,
    };
    // The commands around the main process have the log alone.
    let (input, output, error) = streams(unit, role);
    let stdio = Stdio {
        input: !terminal
            && (launched.is_some_and(|launch| launch.input) || input == Stream::Socket),
        output: !terminal && output != Stream::Null,
        error: !terminal && error != Stream::Null,
        terminal,
    };
    Ok(ExecPlan {
        version: VERSION,
        unit: unit.name.to_string(),
        steps: confinement.steps(stdio, &program, launched),
        program,
        argv,
        environment,
        passed: assignment.passed.len(),
    })
}

/// The command line for a role. A launched one needs no substitution: nobody typed it into a unit.
fn command(unit: &Unit, launched: Option<&Launch>, role: Role) -> Result<Command, PlanError> {
    if let Some(launch) = launched {
        return Ok(Command {
            program: launch.program.to_string_lossy().into_owned(),
            argv: launch.argv.clone(),
            // A plain command comes from `ExecStart=`, whose `$` a person wrote.
            no_environment: unit
                .agent
                .as_ref()
                .is_none_or(|agent| agent.runtime != crate::unit::RuntimeKind::Command)
                || main_command(unit, role).is_some_and(|command| command.no_environment),
            ..Command::default()
        });
    }
    command_of(unit, role)
        .cloned()
        .ok_or_else(|| PlanError::NoCommand {
            unit: unit.name.clone(),
            role,
        })
}

fn main_command(unit: &Unit, role: Role) -> Option<&Command> {
    command_of(unit, role).or_else(|| unit.service.as_ref()?.exec_start.first())
}

/// The command line that a unit's file has for a role.
#[must_use]
pub fn command_of(unit: &Unit, role: Role) -> Option<&Command> {
    let service = unit.service.as_ref()?;
    let (list, index) = match role {
        Role::Condition(index) => (&service.exec_condition, index),
        Role::StartPre(index) => (&service.exec_start_pre, index),
        Role::Main(index) => (&service.exec_start, index),
        Role::StartPost(index) => (&service.exec_start_post, index),
        Role::Reload(index) => (&service.exec_reload, index),
        Role::Stop(index) => (&service.exec_stop, index),
        Role::StopPost(index) => (&service.exec_stop_post, index),
    };
    list.get(usize::from(index))
}

/// Whether a process is privileged: `+` exists for commands that an administrator wrote, never for
/// what a runtime runs.
pub(super) fn is_privileged(unit: &Unit, role: Role) -> bool {
    let runs = unit.agent.is_some() && matches!(role, Role::Main(_));
    !runs && command_of(unit, role).is_some_and(|command| command.privileged)
}

/// Where a process's standard streams lead: the commands around the main one have the log alone.
#[must_use]
pub fn streams(unit: &Unit, role: Role) -> (Stream, Stream, Stream) {
    match &unit.service {
        Some(service) if matches!(role, Role::Main(_)) && unit.agent.is_none() => {
            let exec = &service.exec;
            (exec.standard_input, exec.output(), exec.error())
        }
        _ => (Stream::Null, Stream::Log, Stream::Log),
    }
}

/// Whether a process keeps the manager's own user inside the unit's sandbox (`!`).
fn is_elevated(unit: &Unit, role: Role) -> bool {
    let runs = unit.agent.is_some() && matches!(role, Role::Main(_));
    !runs && command_of(unit, role).is_some_and(|command| command.elevated)
}

fn program(unit: &Unit, command: &Command, places: &Assignment) -> Result<PathBuf, PlanError> {
    let named = PathBuf::from(&command.program);
    if named.is_absolute() {
        return Ok(named);
    }
    places
        .found
        .clone()
        .filter(|found| found.is_absolute())
        .ok_or_else(|| PlanError::NotFound {
            unit: unit.name.clone(),
            program: command.program.clone(),
        })
}

fn check(
    unit: &Unit,
    program: &Path,
    argv: &[String],
    environment: &[(String, String)],
) -> Result<(), PlanError> {
    let program = program.to_string_lossy();
    for (what, bad) in [
        ("the program", program.contains('\0')),
        (
            "the command line",
            argv.iter().any(|word| word.contains('\0')),
        ),
        (
            "the environment",
            environment
                .iter()
                .any(|(name, value)| name.contains(['\0', '=']) || value.contains('\0')),
        ),
    ] {
        if bad {
            return Err(PlanError::Nul {
                unit: unit.name.clone(),
                what,
            });
        }
    }
    Ok(())
}

/// `Require=`: what must be enforceable, or there is no start.
fn require(unit: &Unit, policy: &Policy, host: &Host) -> Result<(), PlanError> {
    for requirement in &unit.sandbox.require {
        let (name, argument) = requirement
            .split_once(':')
            .map_or((requirement.as_str(), None), |(name, argument)| {
                (name, Some(argument))
            });
        let (met, found) = match name {
            "landlock" if policy.confine == Some(false) => (
                false,
                format!("policy {}, which does not use it", policy.name),
            ),
            "landlock" => {
                let wanted = argument.map_or(Ok(1), str::parse::<u32>);
                (
                    wanted.is_ok_and(|wanted| host.landlock_abi >= wanted),
                    format!("Landlock ABI {}", host.landlock_abi),
                )
            }
            "cgroup" => (
                !matches!(host.cgroups.as_str(), "" | "none") && argument.is_none(),
                "no writable cgroup".to_owned(),
            ),
            "root" | "user" => (
                host.root && argument.is_none(),
                "a manager that cannot change users".to_owned(),
            ),
            // What we do not know we cannot promise.
            _ => (false, "no such thing to require".to_owned()),
        };
        if !met {
            return Err(PlanError::Unmet {
                unit: unit.name.clone(),
                requirement: requirement.clone(),
                found,
            });
        }
    }
    Ok(())
}

/// The limit of open files, after `Limit`.
const OPEN_FILES: &str = "NOFILE";

/// What decides about a process's rights.
struct Confinement<'a> {
    unit: &'a Unit,
    exec: &'a Exec,
    policy: &'a Policy,
    assignment: &'a Assignment,
    agent: bool,
    privileged: bool,
    elevated: bool,
}

impl Confinement<'_> {
    fn steps(&self, stdio: Stdio, program: &Path, launch: Option<&Launch>) -> Vec<Step> {
        let ruleset = self.ruleset(program, launch);
        let mut steps = vec![
            Step::Descriptors,
            Step::Cgroup {
                join: self.assignment.join.clone(),
                expect: self.assignment.expect_cgroup.clone(),
            },
        ];
        steps.extend(self.limits());
        steps.push(Step::Stdio(stdio));
        let directory = Step::Directory {
            path: self.directory(),
            umask: self.exec.umask,
        };
        if self.privileged {
            steps.extend([directory, Step::Exec]);
            return steps;
        }
        let confined = ruleset.is_some();
        steps.extend(ruleset.map(Step::Ruleset));
        if !self.elevated {
            steps.push(Step::Ids {
                uid: self.assignment.uid,
                gid: self.assignment.gid,
                groups: self.assignment.groups.clone(),
            });
            steps.extend(self.capabilities());
        }
        steps.push(directory);
        // Landlock demands it of everyone without CAP_SYS_ADMIN.
        if self.agent
            || confined
            || self.exec.no_new_privileges
            || self.policy.no_new_privileges == Some(true)
        {
            steps.push(Step::NoNewPrivileges);
        }
        if confined {
            steps.push(Step::Landlock);
        }
        steps.push(Step::Exec);
        steps
    }

    fn limits(&self) -> Option<Step> {
        let exec = self.exec;
        let mut limits: Vec<(String, u64, u64)> = exec
            .limits
            .iter()
            .map(|(name, (soft, hard))| (name.clone(), *soft, *hard))
            .collect();
        if let Some(hard) = self.assignment.open_files
            && !exec.limits.contains_key(OPEN_FILES)
        {
            limits.push((OPEN_FILES.to_owned(), hard.min(1024), hard));
        }
        let oom_score_adjust = exec.oom_score_adjust.or(self.assignment.oom_score_adjust);
        if limits.is_empty() && exec.nice.is_none() && oom_score_adjust.is_none() {
            return None;
        }
        Some(Step::Limits {
            limits,
            nice: exec.nice,
            oom_score_adjust,
        })
    }

    fn directory(&self) -> PathBuf {
        match &self.exec.working_directory {
            Some(WorkingDirectory::Path(path)) => return path.clone(),
            Some(WorkingDirectory::Home) => return self.assignment.home.clone(),
            None => {}
        }
        // What root does beside files of the agent's it takes from there: modules, settings.
        if self.agent && !self.privileged {
            self.assignment.workspace.clone()
        } else {
            PathBuf::from("/")
        }
    }

    /// Agents have none. A service keeps what it says, else what its policy says; with neither
    /// there is nothing to do.
    fn capabilities(&self) -> Option<Step> {
        if self.agent {
            return Some(Step::Capabilities {
                bounding: vec![],
                ambient: vec![],
            });
        }
        let ambient = self.exec.ambient_capabilities.clone();
        let confined = self.policy.confine != Some(false);
        let mut bounding = match &self.exec.capability_bounding {
            Some(kept) => kept.clone(),
            None if confined => self.policy.keep_capabilities.clone(),
            // systemd's default: everything stays.
            None if ambient.is_empty() => return None,
            None => caps_all(),
        };
        for name in &ambient {
            if !bounding.contains(name) {
                bounding.push(name.clone());
            }
        }
        Some(Step::Capabilities { bounding, ambient })
    }

    fn ruleset(&self, program: &Path, launch: Option<&Launch>) -> Option<Ruleset> {
        if self.policy.confine == Some(false) {
            return None;
        }
        let mut paths: Vec<PathRule> = self
            .policy
            .paths
            .iter()
            .filter_map(|rule| rule.place(&self.policy.name, self.assignment))
            .collect();
        let sandbox = &self.unit.sandbox;
        for (directive, list, access) in [
            ("ReadOnlyPaths=", &sandbox.read_only_paths, Access::Read),
            (
                "ReadWritePaths=",
                &sandbox.read_write_paths,
                Access::ReadWrite,
            ),
            ("ExecPaths=", &sandbox.exec_paths, Access::ReadExecute),
        ] {
            paths.extend(list.iter().map(|path| asked(directive, path, access)));
        }
        if let Some(launch) = launch {
            paths.extend(launch.paths.iter().cloned());
        }
        paths.extend(self.assignment.directories.iter().map(|path| PathRule {
            path: path.clone(),
            access: Access::ReadWrite,
            optional: false,
            reason: "the unit's StateDirectory= or RuntimeDirectory=".to_owned(),
        }));
        paths.push(PathRule {
            path: program.to_owned(),
            access: Access::ReadExecute,
            // A missing program is the exec step's to report.
            optional: true,
            reason: "the program itself".to_owned(),
        });
        let ports = |own: &Option<Vec<u16>>, policy: &Option<Ports>| match (own, policy) {
            (Some(own), _) => Some(own.clone()),
            (None, Some(Ports::Any)) => None,
            (None, Some(Ports::Only(ports))) => Some(ports.clone()),
            (None, None) => Some(vec![]),
        };
        Some(Ruleset {
            paths,
            connect_tcp: ports(&sandbox.connect_tcp, &self.policy.connect_tcp),
            bind_tcp: ports(&sandbox.bind_tcp, &self.policy.bind_tcp),
            scoped: self.policy.scoped.unwrap_or(true),
        })
    }
}

/// A path from the unit's own file, with `-` for "may be missing".
fn asked(directive: &str, path: &Path, access: Access) -> PathRule {
    let (path, optional) = match path.to_str().and_then(|text| text.strip_prefix('-')) {
        Some(path) => (PathBuf::from(path), true),
        None => (path.to_owned(), false),
    };
    PathRule {
        path,
        access,
        optional,
        reason: format!("the unit's {directive}"),
    }
}

/// Every capability by name, for services that only raise ambient ones.
fn caps_all() -> Vec<String> {
    const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID \
        SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK \
        IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT \
        SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL \
        SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
        CHECKPOINT_RESTORE";
    NAMES
        .split_whitespace()
        .map(|name| format!("CAP_{name}"))
        .collect()
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
