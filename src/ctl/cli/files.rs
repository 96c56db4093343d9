//! Verbs about unit files and links between them.

use clap::{Args, Subcommand, ValueEnum};

use super::Units;
use crate::bus::ask::PresetMode;

/// What to do with unit files; needs no running Aether.
#[derive(Debug, Subcommand)]
pub(in crate::ctl) enum Installation {
    /// Have units started with Aether, as their [Install] says.
    Enable {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        how: How,
        /// Start them, too.
        #[arg(long)]
        now: bool,
    },
    /// Have units no longer started with Aether: remove every link to them.
    Disable {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        runtime: Runtime,
        /// Stop them, too.
        #[arg(long)]
        now: bool,
    },
    /// Disable, then enable: the links are again what [Install] says.
    Reenable {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        how: How,
        /// Start them, too.
        #[arg(long)]
        now: bool,
    },
    /// Enable or disable units as the preset files say.
    Preset {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        mode: Mode,
    },
    /// The same for every unit.
    PresetAll {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        mode: Mode,
    },
    /// Whether units are enabled: 0 if one is, 1 if none is, 4 if there are none; prints how.
    IsEnabled(Units),
    /// Make it impossible to start units.
    Mask {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        how: How,
        /// Stop them, too.
        #[arg(long)]
        now: bool,
    },
    /// Undo that.
    Unmask {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Make unit files known that lie elsewhere.
    Link {
        /// Paths of unit files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Remove what was changed about units that come with a program: drop-ins, overrides, masks.
    Revert(Units),
    /// Every unit file, and whether it is enabled.
    ListUnitFiles(ListFiles),
}

/// `--runtime`.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::ctl) struct Runtime {
    /// Only until the next boot.
    #[arg(long)]
    pub(in crate::ctl) runtime: bool,
}

/// How links are made.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::ctl) struct How {
    #[command(flatten)]
    pub(in crate::ctl) runtime: Runtime,
    /// Replace links that are in the way.
    #[arg(short, long)]
    pub(in crate::ctl) force: bool,
}

/// `--preset-mode`.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::ctl) struct Mode {
    /// Whether both is done.
    #[arg(long, value_name = "MODE", default_value = "full")]
    pub(in crate::ctl) preset_mode: ModeArg,
}

/// What `--preset-mode` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::ctl) enum ModeArg {
    Full,
    EnableOnly,
    DisableOnly,
}

impl From<Mode> for PresetMode {
    fn from(mode: Mode) -> Self {
        match mode.preset_mode {
            ModeArg::Full => Self::Full,
            ModeArg::EnableOnly => Self::EnableOnly,
            ModeArg::DisableOnly => Self::DisableOnly,
        }
    }
}

/// `list-unit-files`.
#[derive(Debug, Args)]
pub(in crate::ctl) struct ListFiles {
    /// Only units whose file is in this state (enabled, disabled, static, masked …).
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub(in crate::ctl) state: Vec<String>,
    /// Only units of this type (agent, service …).
    #[arg(short, long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(in crate::ctl) types: Vec<String>,
    /// Only units whose name matches; `*` and `?` as in the shell.
    #[arg(value_name = "PATTERN")]
    pub(in crate::ctl) patterns: Vec<String>,
}
