//! The steps' one wording: name, description and exit code.
//!
//! Log, `status`, exit code and manual take theirs from here.

use super::{Step, StepName};

impl StepName {
    /// Every step, in the order in which they are done.
    pub const ALL: [Self; 11] = [
        Self::Descriptors,
        Self::Cgroup,
        Self::Limits,
        Self::Stdio,
        Self::Ruleset,
        Self::Ids,
        Self::Capabilities,
        Self::Directory,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Exec,
    ];

    /// The name in reports, logs and `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Cgroup => "cgroup",
            Self::Limits => "limits",
            Self::Stdio => "stdio",
            Self::Directory => "directory",
            Self::Ruleset => "ruleset",
            Self::Ids => "ids",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Landlock => "landlock",
            Self::Exec => "exec",
        }
    }

    /// What it does and why it stands where it does: one sentence for the manual and for `plan`.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Descriptors => {
                "Close inherited descriptors, reset signals, begin a session with a keyring of its \
                 own: nothing of the supervisor stays."
            }
            Self::Cgroup => {
                "Be in the unit's cgroup before anything costs memory, time or processes."
            }
            Self::Limits => {
                "Set resource limits, nice and OOM score while there is the privilege to raise \
                 them."
            }
            Self::Stdio => "Connect standard input, output and error, or the terminal.",
            Self::Ruleset => {
                "Open the allowed paths while they can all be opened; nothing is in force yet."
            }
            Self::Ids => "Become the unit's user and group, after all that needs root.",
            Self::Capabilities => "Give up the capabilities that the unit is not to have.",
            Self::Directory => {
                "Enter the working directory, which the unit's user must be able to, and set the \
                 umask."
            }
            Self::NoNewPrivileges => {
                "Let no exec add privilege; Landlock demands this of the unprivileged."
            }
            Self::Landlock => "Enter the ruleset: from here on only the allowed paths exist.",
            Self::Exec => "Become the program.",
        }
    }

    /// The stage's exit code when this step failed: systemd.exec(5)'s where it has the step. The
    /// two Landlock steps, which systemd does not have, take the codes of what serves the same end
    /// there: `NAMESPACE` for what is visible, `SECCOMP` for what is enforced.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Directory => 200,
            Self::Descriptors => 202,
            Self::Exec => 203,
            Self::Limits => 205,
            Self::Stdio => 208,
            Self::Ids => 217,
            Self::Capabilities => 218,
            Self::Cgroup => 219,
            Self::Ruleset => 226,
            Self::NoNewPrivileges => 227,
            Self::Landlock => 228,
        }
    }
}

impl Step {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> StepName {
        match self {
            Self::Descriptors => StepName::Descriptors,
            Self::Cgroup { .. } => StepName::Cgroup,
            Self::Limits { .. } => StepName::Limits,
            Self::Stdio(_) => StepName::Stdio,
            Self::Directory { .. } => StepName::Directory,
            Self::Ruleset(_) => StepName::Ruleset,
            Self::Ids { .. } => StepName::Ids,
            Self::Capabilities { .. } => StepName::Capabilities,
            Self::NoNewPrivileges => StepName::NoNewPrivileges,
            Self::Landlock => StepName::Landlock,
            Self::Exec => StepName::Exec,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_one_wording() {
        let all = StepName::ALL;
        assert!(all.is_sorted(), "the list is in the order of the steps");
        assert_eq!(all.last(), Some(&StepName::Exec));
        let names: BTreeSet<_> = all.iter().map(|step| step.as_str()).collect();
        let codes: BTreeSet<_> = all.iter().map(|step| step.exit_code()).collect();
        assert_eq!((names.len(), codes.len()), (all.len(), all.len()));
        for step in all {
            assert!(step.exit_code() >= 200, "{}", step.as_str());
            assert!(step.description().ends_with('.'), "{}", step.as_str());
            let serialised = serde_json::to_string(&step).unwrap();
            assert_eq!(serialised, format!("\"{}\"", step.as_str()));
        }
    }
}
