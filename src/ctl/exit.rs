//! How the command ends: exit codes, and problems that carry one with a way out.

use std::fmt;

/// Exit codes; the list stands in `--help` too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done, or so.
    Done = 0,
    /// Failed, or not so.
    NotSo = 1,
    /// Wrong usage.
    Usage = 2,
    /// No Aether is running here.
    NoDaemon = 3,
    /// Not allowed, or others need it.
    Refused = 4,
    /// Ended by SIGINT (Ctrl-C) while it waited, as the shell counts it.
    Interrupted = 130,
    /// Ended by SIGTERM while it waited.
    Terminated = 143,
}

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    exit: Exit,
    text: String,
    help: Vec<String>,
}

impl Problem {
    /// A failure.
    pub(super) fn new(text: String) -> Self {
        Self {
            exit: Exit::NotSo,
            text,
            help: vec![],
        }
    }

    /// A wrong word on the command line.
    pub(super) fn usage(cause: impl fmt::Display) -> Self {
        Self::new(cause.to_string()).exit(Exit::Usage)
    }

    /// With another exit code.
    pub(super) const fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// With a way out.
    pub(super) fn help(mut self, help: String) -> Self {
        self.help.push(help);
        self
    }

    /// Its exit code.
    pub(super) const fn code(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        for help in &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
