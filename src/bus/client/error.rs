//! Why a call came to nothing, and what the command's exit code says about it.

use std::io;
use std::path::PathBuf;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("connect to {path}: {source}; is aetherd running? start it with `aetherctl up`")]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The socket is there and the connection could not be made.
    #[error("connect to {path}: {reason}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The daemon answered with an error.
    #[error("{message}")]
    Refused {
        /// The D-Bus error's name (`org.aether1.Error.NoSuchUnit`).
        name: String,
        /// The daemon's sentence.
        message: String,
    },
    /// The connection ended: the daemon was stopped or restarted.
    #[error("talk to aetherd: the connection ended while {0}")]
    Lost(&'static str),
    /// The answer is not what the contract says: another version is running.
    #[error("understand aetherd: {0}")]
    Protocol(String),
}

/// Groups of [`ClientError`] by what a person does about them; the command's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// It is not so, or did not work.
    Failed,
    /// There is no daemon to talk to.
    NoDaemon,
    /// The caller may not.
    Denied,
}

impl ErrorClass {
    /// The exit code of `aetherctl`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::NoDaemon => 3,
            Self::Denied => 4,
        }
    }
}

impl ClientError {
    /// Its group.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotRunning { .. } | Self::Connect { .. } | Self::Lost(_) => ErrorClass::NoDaemon,
            Self::Refused { .. } if self.is("AccessDenied") => ErrorClass::Denied,
            Self::Refused { .. } | Self::Protocol(_) => ErrorClass::Failed,
        }
    }

    /// Whether the daemon answered with this error: the last element of its name
    /// (`NoSuchUnit`, `NeededByOthers`, `AccessDenied`).
    #[must_use]
    pub fn is(&self, error: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.rsplit('.').next() == Some(error))
    }

    /// What a failed call means.
    pub(super) fn of(error: &zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => Self::Refused {
                name: name.to_string(),
                message: text.clone().unwrap_or_else(|| name.to_string()),
            },
            zbus::Error::FDO(error) => {
                use zbus::DBusError;
                Self::Refused {
                    name: error.name().to_string(),
                    message: error.description().unwrap_or_default().to_owned(),
                }
            }
            zbus::Error::InputOutput(source) if source.kind() == io::ErrorKind::TimedOut => {
                Self::Protocol("no answer in time".to_owned())
            }
            zbus::Error::InputOutput(_) => Self::Lost("waiting for an answer"),
            other => Self::Protocol(other.to_string()),
        }
    }
}
