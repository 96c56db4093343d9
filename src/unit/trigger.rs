//! Units that start other units: timers, sockets and paths (systemd.timer(5), systemd.socket(5),
//! systemd.path(5)). What they start is in their relations.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calendar::Calendar;

/// `[Timer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// `OnActiveSec=`, `OnBootSec=` and their like.
    pub monotonic: Vec<(TimerBase, Duration)>,
    /// `OnCalendar=`.
    pub calendar: Vec<Calendar>,
    /// `AccuracySec=`: how far an elapse may be put off to fall together with others.
    pub accuracy: Duration,
    /// `RandomizedDelaySec=`: each elapse is put off by a random time of up to this.
    pub randomized_delay: Duration,
    /// `FixedRandomDelay=`: the random time is the same for every elapse.
    pub fixed_random_delay: bool,
    /// `Persistent=`: an elapse that was missed while the timer was inactive is made up for.
    pub persistent: bool,
    /// `RemainAfterElapse=`: the timer stays loaded and active when nothing is to come.
    pub remain_after_elapse: bool,
    /// `OnClockChange=`: elapses when the clock of the day jumps.
    pub on_clock_change: bool,
    /// `OnTimezoneChange=`: elapses when the local time zone is changed.
    pub on_timezone_change: bool,
}

/// What a monotonic timer counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerBase {
    /// `OnActiveSec=`: the timer's own activation.
    Active,
    /// `OnBootSec=`: the machine's start.
    Boot,
    /// `OnStartupSec=`: the manager's start.
    Startup,
    /// `OnUnitActiveSec=`: the last activation of the unit.
    UnitActive,
    /// `OnUnitInactiveSec=`: the last deactivation of the unit.
    UnitInactive,
}

/// `[Path]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathUnit {
    /// What is watched, in order.
    pub watches: Vec<(PathCondition, PathBuf)>,
    /// `MakeDirectory=`: the watched directories are made first.
    pub make_directory: bool,
    /// `DirectoryMode=`: with this mode.
    pub directory_mode: u32,
    /// `TriggerLimitIntervalSec=`; zero: no limit.
    pub trigger_limit_interval: Duration,
    /// `TriggerLimitBurst=`.
    pub trigger_limit_burst: u32,
}

/// What about a path starts the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathCondition {
    /// `PathExists=`.
    Exists,
    /// `PathExistsGlob=`.
    ExistsGlob,
    /// `PathChanged=`: a file was written and closed, or entries came and went.
    Changed,
    /// `PathModified=`: as `Changed`, and on every write.
    Modified,
    /// `DirectoryNotEmpty=`.
    DirectoryNotEmpty,
}

/// `[Socket]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SocketUnit {
    /// What is listened on, in the order in which the descriptors are passed.
    pub listen: Vec<(SocketKind, String)>,
    /// `Accept=`: one instance of a template for each connection.
    pub accept: bool,
    /// `Service=`: what is started; a template's name with `Accept=yes`.
    pub service: String,
    /// `SocketUser=`.
    pub user: Option<String>,
    /// `SocketGroup=`.
    pub group: Option<String>,
    /// `SocketMode=`.
    pub mode: u32,
    /// `DirectoryMode=`.
    pub directory_mode: u32,
    /// `Backlog=`.
    pub backlog: u32,
    /// `MaxConnections=`.
    pub max_connections: u32,
    /// `MaxConnectionsPerSource=`; zero: no limit of its own.
    pub max_connections_per_source: u32,
    /// `FileDescriptorName=`; empty: the unit's name.
    pub fd_name: String,
    /// `RemoveOnStop=`.
    pub remove_on_stop: bool,
    /// `Symlinks=`.
    pub symlinks: Vec<PathBuf>,
    /// `FlushPending=`.
    pub flush_pending: bool,
    /// `Writable=`.
    pub writable: bool,
    /// `KeepAlive=`, of each connection.
    pub keep_alive: bool,
    /// `NoDelay=`.
    pub no_delay: bool,
    /// `ReusePort=`.
    pub reuse_port: bool,
    /// `FreeBind=`.
    pub free_bind: bool,
    /// `PassCredentials=`.
    pub pass_credentials: bool,
    /// `BindIPv6Only=`: `both`, `ipv6-only`; `None`: as the kernel has it.
    pub ipv6_only: Option<bool>,
    /// `ReceiveBuffer=` in bytes.
    pub receive_buffer: Option<u64>,
    /// `SendBuffer=` in bytes.
    pub send_buffer: Option<u64>,
    /// `PipeSize=` in bytes.
    pub pipe_size: Option<u64>,
    /// `TriggerLimitIntervalSec=`; zero: no limit.
    pub trigger_limit_interval: Duration,
    /// `TriggerLimitBurst=`; `None`: 200 with `Accept=yes`, otherwise 20.
    pub trigger_limit_burst: Option<u32>,
}

/// What kind of address is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketKind {
    /// `ListenStream=`: a path, an abstract name, a port or an address with a port.
    Stream,
    /// `ListenDatagram=`.
    Datagram,
    /// `ListenSequentialPacket=`: Unix sockets only.
    SequentialPacket,
    /// `ListenFIFO=`: a named pipe.
    Fifo,
    /// `ListenSpecial=`: a device or file, opened.
    Special,
}
