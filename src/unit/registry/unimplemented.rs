//! What systemd has and this program has not: named in a warning, never taken for a typing mistake.

use super::Section;
use crate::unit::value::boolean;

/// Directives of systemd that are read and not acted upon, by section. `[Agent]` has `[Service]`'s.
pub const UNIMPLEMENTED: &[(Section, &[&str])] = &[
    (Section::Unit, UNIT),
    (Section::Service, SERVICE),
    (Section::Service, CONFINEMENT),
    (Section::Service, PATHS),
    (
        Section::Timer,
        &["DeferReactivation", "RandomizedOffsetSec", "WakeSystem"],
    ),
    (Section::Socket, SOCKET),
    (Section::Socket, SERVICE),
    (Section::Socket, CONFINEMENT),
    (Section::Socket, PATHS),
    (Section::Slice, SERVICE),
    (Section::Slice, CONFINEMENT),
    (Section::Slice, &["Slice"]),
    (Section::Sandbox, SANDBOX),
];

/// Whether systemd (or a later version of this program) has such a directive there.
#[must_use]
pub fn is_unimplemented(section: Section, key: &str) -> bool {
    // The commands of sockets, which would have [Service]'s directives, are not there.
    let service = Section::Service;
    if section == Section::Socket
        && (super::find(service, key).is_some() || super::legacy(service, key).is_some())
    {
        return true;
    }
    // In an agent they are taken for a line of [Sandbox] that stands in the wrong place.
    if section == Section::Agent && PATHS.contains(&key) {
        return false;
    }
    UNIMPLEMENTED.iter().any(|(other, keys)| {
        let same = *other == section || section == Section::Agent && *other == Section::Service;
        same && keys.contains(&key)
    })
}

/// Whether an assignment to a directive that is not implemented asks for what holds anyway:
/// `PrivateTmp=no`, `StandardOutput=journal`.
#[must_use]
pub fn holds_anyway(key: &str, value: &str) -> bool {
    let switched_off = || boolean(value) == Ok(false);
    if CONFINEMENT.contains(&key) || PATHS.contains(&key) {
        return value.is_empty() || switched_off();
    }
    HELD.iter()
        .any(|(held, values)| *held == key && (value.is_empty() || values.contains(&value)))
        || SWITCHES.contains(&key) && switched_off()
}

/// Whether a directive of `[Service]` that is not implemented would have confined the unit.
#[must_use]
pub fn is_confinement(key: &str) -> bool {
    CONFINEMENT.contains(&key) || PATHS.contains(&key)
}

/// systemd.unit(5).
const UNIT: &[&str] = &[
    "AssertCredential",
    "AssertPathIsEncrypted",
    "ConditionCredential",
    "ConditionFirmware",
    "ConditionPathIsEncrypted",
    "IgnoreOnSnapshot",
    "JobTimeoutRebootArgument",
    "JoinsNamespaceOf",
    "RebootArgument",
    "RequiresMountsFor",
    "RequiresOverridable",
    "RequisiteOverridable",
    "SourcePath",
    "SurviveFinalKillSignal",
    "WantsMountsFor",
];

/// systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.resource-control(5).
const SERVICE: &[&str] = &[
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "BPFProgram",
    "BindLogSockets",
    "BlockIOAccounting",
    "BlockIODeviceWeight",
    "BlockIOReadBandwidth",
    "BlockIOWeight",
    "BlockIOWriteBandwidth",
    "BusPolicy",
    "CPUAccounting",
    "CPUAffinity",
    "CPUQuotaPeriodSec",
    "CPUSchedulingPolicy",
    "CPUSchedulingPriority",
    "CPUSchedulingResetOnFork",
    "CacheDirectory",
    "CacheDirectoryMode",
    "Capabilities",
    "ConfigurationDirectory",
    "ConfigurationDirectoryMode",
    "CoredumpFilter",
    "CoredumpReceive",
    "DefaultMemoryLow",
    "DefaultMemoryMin",
    "DefaultStartupMemoryLow",
    "Delegate",
    "DelegateSubgroup",
    "DisableControllers",
    "ExecReloadPost",
    "ExecSearchPath",
    "ExtensionDirectories",
    "ExtensionImagePolicy",
    "ExtensionImages",
    "IOAccounting",
    "IODeviceLatencyTargetSec",
    "IODeviceWeight",
    "IOReadBandwidthMax",
    "IOReadIOPSMax",
    "IOSchedulingClass",
    "IOSchedulingPriority",
    "IOWeight",
    "IOWriteBandwidthMax",
    "IOWriteIOPSMax",
    "IPAccounting",
    "IPCNamespacePath",
    "IPEgressFilterPath",
    "IPIngressFilterPath",
    "IgnoreSIGPIPE",
    "ImportCredential",
    "KeyringMode",
    "LimitNICE",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "LogExtraFields",
    "LogFilterPatterns",
    "LogLevelMax",
    "LogNamespace",
    "LogRateLimitBurst",
    "LogRateLimitIntervalSec",
    "LogsDirectory",
    "LogsDirectoryMode",
    "ManagedOOMMemoryPressure",
    "ManagedOOMMemoryPressureDurationSec",
    "ManagedOOMMemoryPressureLimit",
    "ManagedOOMPreference",
    "ManagedOOMSwap",
    "MemoryAccounting",
    "MemoryKSM",
    "MemoryLow",
    "MemoryMin",
    "MemoryPressureThresholdSec",
    "MemoryPressureWatch",
    "MemoryZSwapMax",
    "MemoryZSwapWriteback",
    "MountAPIVFS",
    "MountFlags",
    "MountImagePolicy",
    "MountImages",
    "NFTSet",
    "NUMAMask",
    "NUMAPolicy",
    "NetClass",
    "NonBlocking",
    "OpenFile",
    "PAMName",
    "PermissionsStartOnly",
    "Personality",
    "RebootArgument",
    "RootEphemeral",
    "RootHash",
    "RootHashSignature",
    "RootImagePolicy",
    "RootVerity",
    "RuntimeDirectoryMode",
    "RuntimeDirectoryPreserve",
    "SetCredential",
    "SetCredentialEncrypted",
    "SetLoginEnvironment",
    "StandardInputData",
    "StandardInputText",
    "StartupAllowedCPUs",
    "StartupAllowedMemoryNodes",
    "StartupBlockIOWeight",
    "StartupCPUShares",
    "StartupCPUWeight",
    "StartupIOWeight",
    "StartupMemoryHigh",
    "StartupMemoryLow",
    "StartupMemoryMax",
    "StartupMemorySwapMax",
    "StartupMemoryZSwapMax",
    "StateDirectoryMode",
    "SysVStartPriority",
    "SyslogFacility",
    "SyslogIdentifier",
    "SyslogLevel",
    "SyslogLevelPrefix",
    "SystemCallErrorNumber",
    "SystemCallLog",
    "TTYColumns",
    "TTYPath",
    "TTYReset",
    "TTYRows",
    "TTYVHangup",
    "TTYVTDisallocate",
    "TasksAccounting",
    "TimeoutCleanSec",
    "TimerSlackNSec",
    "USBFunctionDescriptors",
    "USBFunctionStrings",
    "UnsetEnvironment",
    "UtmpIdentifier",
    "UtmpMode",
];

/// systemd.socket(5).
const SOCKET: &[&str] = &[
    "BindToDevice",
    "Broadcast",
    "DeferAcceptSec",
    "DeferTrigger",
    "DeferTriggerMaxSec",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStopPost",
    "ExecStopPre",
    "IPTOS",
    "IPTTL",
    "KeepAliveIntervalSec",
    "KeepAliveProbes",
    "KeepAliveTimeSec",
    "ListenMessageQueue",
    "ListenNetlink",
    "ListenUSBFunction",
    "Mark",
    "MessageQueueMaxMessages",
    "MessageQueueMessageSize",
    "PassFileDescriptorsToExec",
    "PassPIDFD",
    "PassPacketInfo",
    "PassSecurity",
    "PollLimitBurst",
    "PollLimitIntervalSec",
    "Priority",
    "SELinuxContextFromNet",
    "SmackLabel",
    "SmackLabelIPIn",
    "SmackLabelIPOut",
    "SocketProtocol",
    "TCPCongestion",
    "TimeoutSec",
    "Timestamping",
    "Transparent",
];

/// Those of systemd.exec(5) and systemd.resource-control(5) that take something away.
const CONFINEMENT: &[&str] = &[
    "AppArmorProfile",
    "BindPaths",
    "BindReadOnlyPaths",
    "DeviceAllow",
    "DevicePolicy",
    "IPAddressAllow",
    "IPAddressDeny",
    "InaccessiblePaths",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NetworkNamespacePath",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivatePIDs",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "RemoveIPC",
    "RestrictAddressFamilies",
    "RestrictFileSystems",
    "RestrictNamespaces",
    "RestrictNetworkInterfaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "RootDirectory",
    "RootDirectoryStartOnly",
    "RootImage",
    "RootImageOptions",
    "SELinuxContext",
    "SecureBits",
    "SmackProcessLabel",
    "SocketBindAllow",
    "SocketBindDeny",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "TemporaryFileSystem",
];

/// As [`CONFINEMENT`]; the first three have a namesake in `[Sandbox]`.
const PATHS: &[&str] = &[
    "ExecPaths",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "InaccessibleDirectories",
    "ReadOnlyDirectories",
    "ReadWriteDirectories",
];

/// Values that say how it is with us: output goes to the unit's log, input comes from nowhere.
const HELD: &[(&str, &[&str])] = &[
    ("RuntimeDirectoryMode", &["0755", "755"]),
    ("SyslogLevelPrefix", &["no", "false", "0", "off"]),
];

/// Those that have no effect when they are switched off.
const SWITCHES: &[&str] = &[
    "CPUSchedulingResetOnFork",
    "Delegate",
    "NonBlocking",
    "PermissionsStartOnly",
    "RuntimeDirectoryPreserve",
    "TTYReset",
    "TTYVHangup",
    "TTYVTDisallocate",
];

/// Ours, of a later version.
const SANDBOX: &[&str] = &["AllowedDomains", "ModelAccess"];
