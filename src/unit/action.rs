//! What is done about the whole of Aether when a unit ends: `FailureAction=` and its like
//! (systemd.unit(5)).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Until where it goes down.
    pub end: End,
    /// How.
    pub haste: Haste,
}

/// What goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Aether.
    Exit,
    /// The machine, which then starts again.
    Reboot,
    /// The machine, which is switched off.
    Poweroff,
    /// The machine, which stands still.
    Halt,
    /// The machine's kernel, in favour of the one that was loaded (kexec(8)).
    Kexec,
}

/// How much time is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Haste {
    /// Every unit is stopped as it should be.
    Orderly,
    /// Every unit is killed; what was written is on the disks.
    Force,
    /// Nothing is done before.
    Immediate,
}

impl Action {
    /// Every action with its word.
    pub const WORDS: [(&'static str, Option<Self>); 14] = [
        ("none", None),
        ("exit", Self::new(End::Exit, Haste::Orderly)),
        ("exit-force", Self::new(End::Exit, Haste::Force)),
        ("reboot", Self::new(End::Reboot, Haste::Orderly)),
        ("reboot-force", Self::new(End::Reboot, Haste::Force)),
        ("reboot-immediate", Self::new(End::Reboot, Haste::Immediate)),
        ("poweroff", Self::new(End::Poweroff, Haste::Orderly)),
        ("poweroff-force", Self::new(End::Poweroff, Haste::Force)),
        (
            "poweroff-immediate",
            Self::new(End::Poweroff, Haste::Immediate),
        ),
        ("halt", Self::new(End::Halt, Haste::Orderly)),
        ("halt-force", Self::new(End::Halt, Haste::Force)),
        ("halt-immediate", Self::new(End::Halt, Haste::Immediate)),
        ("kexec", Self::new(End::Kexec, Haste::Orderly)),
        ("kexec-force", Self::new(End::Kexec, Haste::Force)),
    ];

    const fn new(end: End, haste: Haste) -> Option<Self> {
        Some(Self { end, haste })
    }

    /// Whether it is about the machine, which only its first process may end.
    #[must_use]
    pub const fn ends_the_machine(self) -> bool {
        !matches!(self.end, End::Exit)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS
            .iter()
            .find(|(_, action)| *action == Some(*self))
            .map_or("none", |(word, _)| word);
        f.write_str(word)
    }
}

/// Which action is taken when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// `FailureAction=`: when the unit has failed.
    pub failure: Option<Action>,
    /// `SuccessAction=`: when it has ended without failing.
    pub success: Option<Action>,
    /// `StartLimitAction=`: when it was started too often.
    pub start_limit: Option<Action>,
    /// `JobTimeoutAction=`: when a job of it took too long.
    pub job_timeout: Option<Action>,
    /// `FailureActionExitStatus=`; `None`: that of the main process.
    pub failure_status: Option<u8>,
    /// `SuccessActionExitStatus=`; `None`: that of the main process.
    pub success_status: Option<u8>,
}

impl Actions {
    /// Each that is written, under its directive's name.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, Action)> {
        [
            ("FailureAction", self.failure),
            ("SuccessAction", self.success),
            ("StartLimitAction", self.start_limit),
            ("JobTimeoutAction", self.job_timeout),
        ]
        .into_iter()
        .filter_map(|(key, action)| Some((key, action?)))
    }
}
