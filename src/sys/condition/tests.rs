//! Every kind of condition, line by line beside what `systemd-analyze condition` says of the same
//! machine.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::unit::condition::KINDS;

/// Lines that need nothing to be made first.
const LINES: &[&str] = &[
    "Architecture=x86-64",
    "Architecture=arm64",
    "Architecture=native",
    "Architecture=pdp11",
    "Virtualization=yes",
    "Virtualization=no",
    "Virtualization=vm",
    "Virtualization=container",
    "Virtualization=kvm",
    "Virtualization=docker",
    "Virtualization=podman",
    "Virtualization=vm-other",
    "Virtualization=none",
    "Virtualization=private-users",
    "Host=*",
    "Host=no-such-host",
    "Host=?*",
    "Host=[!x]*",
    "Host=0123456789abcdef0123456789abcdef",
    "KernelCommandLine=quiet",
    "KernelCommandLine=no-such-word",
    "KernelCommandLine=root",
    "KernelCommandLine=console=ttyS0",
    "KernelCommandLine=--addr",
    "KernelVersion=>=3.0",
    "KernelVersion=>= 3.0",
    "KernelVersion=<3.0",
    "KernelVersion=<=3.0",
    "KernelVersion=!=3.0",
    "KernelVersion=<>3.0",
    "KernelVersion==3.0",
    "KernelVersion===3.0",
    "KernelVersion=$=*",
    "KernelVersion=!$=*",
    "KernelVersion=[0-9]*.*",
    "KernelVersion=>=3.0 <100",
    "KernelVersion=>=3.0 <4",
    "KernelVersion=\">= 3.0\" \"!$= 3.*\"",
    "KernelVersion=>=",
    "KernelVersion=<100 >=",
    "KernelVersion=\"3.0",
    "Environment=AETHER_CONDITION",
    "Environment=AETHER_CONDITION=a b",
    "Environment=AETHER_CONDITION=a",
    "Environment=AETHER",
    "Environment=AETHER_CONDITION=",
    "Security=selinux",
    "Security=smack",
    "Security=apparmor",
    "Security=audit",
    "Security=ima",
    "Security=tomoyo",
    "Security=uefi-secureboot",
    "Security=tpm2",
    "Security=nonsense",
    "Capability=CAP_CHOWN",
    "Capability=CAP_NET_ADMIN",
    "Capability=cap_sys_module",
    "Capability=CAP_SYS_PTRACE",
    "Capability=12",
    "Capability=99",
    "Capability=CAP_NONSENSE",
    "ACPower=yes",
    "ACPower=no",
    "ACPower=false",
    "ACPower=perhaps",
    "NeedsUpdate=/etc",
    "NeedsUpdate=/var",
    "NeedsUpdate=/proc",
    "NeedsUpdate=/nothing",
    "FirstBoot=yes",
    "FirstBoot=no",
    "FirstBoot=perhaps",
    "PathExists=/etc/passwd",
    "PathExists=/nothing",
    "PathExistsGlob=/etc/pass*",
    "PathExistsGlob=/etc/{nothing,group}",
    "PathExistsGlob=/nothing*",
    "PathExistsGlob=/*/passwd",
    "PathIsDirectory=/etc",
    "PathIsDirectory=/etc/passwd",
    "PathIsSymbolicLink=/proc/self",
    "PathIsSymbolicLink=/etc",
    "PathIsMountPoint=/",
    "PathIsMountPoint=/proc",
    "PathIsMountPoint=/etc",
    "PathIsMountPoint=/nothing",
    "PathIsReadWrite=/tmp",
    "PathIsReadWrite=/proc",
    "PathIsReadWrite=/sys",
    "PathIsReadWrite=/nothing",
    "DirectoryNotEmpty=/etc",
    "DirectoryNotEmpty=/etc/passwd",
    "DirectoryNotEmpty=/nothing",
    "FileNotEmpty=/etc/passwd",
    "FileNotEmpty=/etc",
    "FileNotEmpty=/dev/null",
    "FileIsExecutable=/bin/sh",
    "FileIsExecutable=/etc/passwd",
    "FileIsExecutable=/etc",
    "User=root",
    "User=nobody",
    "User=0",
    "User=00",
    "User=@system",
    "User=daemon",
    "User=no-such-user",
    "User=65535",
    "Group=root",
    "Group=0",
    "Group=daemon",
    "Group=no-such-group",
    "Group=4242",
    "ControlGroupController=v1",
    "ControlGroupController=v2",
    "ControlGroupController=cpu",
    "ControlGroupController=memory pids",
    "ControlGroupController=io",
    "ControlGroupController=cpuset",
    "ControlGroupController=nonsense",
    "ControlGroupController=memory nonsense",
    "ControlGroupController=bpf-firewall",
    "Memory=1",
    "Memory=>=64M",
    "Memory=<64M",
    "Memory=100T",
    "Memory=<= 100T",
    "Memory=!=1.5G",
    "Memory=>1G 512M",
    "Memory=nonsense",
    "CPUs=1",
    "CPUs=>0",
    "CPUs=<1",
    "CPUs=>= 1",
    "CPUs==100000",
    "CPUs=!=100000",
    "CPUs=<>100000",
    "CPUs=nonsense",
    "CPUFeature=sse2",
    "CPUFeature=SSE2",
    "CPUFeature=lm",
    "CPUFeature=fma3",
    "CPUFeature=pclmul",
    "CPUFeature=osxsave",
    "CPUFeature=rdseed",
    "CPUFeature=avx512f",
    "CPUFeature=hypervisor",
    "CPUFeature=nonsense",
    "OSRelease=ID=debian",
    "OSRelease=ID!=debian",
    "OSRelease=ID=debian VERSION_ID>=12",
    "OSRelease=VERSION_ID<=11",
    "OSRelease=VERSION_ID<>11",
    "OSRelease=ID$=deb*",
    "OSRelease=ID!$=deb*",
    "OSRelease=\"NAME=Debian GNU/Linux\"",
    "OSRelease=NO_SUCH_KEY=x",
    "OSRelease=NO_SUCH_KEY!=x",
    "OSRelease=ID",
    "OSRelease=1D=x",
    "MemoryPressure=100%",
    "MemoryPressure=100%/10sec",
    "MemoryPressure=100%/1min",
    "MemoryPressure=100.00%/5min",
    "MemoryPressure=1000‰",
    "MemoryPressure=100",
    "MemoryPressure=101%",
    "MemoryPressure=10%/2min",
    "CPUPressure=100%",
    "CPUPressure=10000‱/1min",
    "IOPressure=100%",
    "IOPressure=100% / 1min",
    "IOPressure=%",
    "MemoryPressure=no-such.slice:100%",
    "CPUPressure=no-such.slice:nonsense",
];

/// Where we differ, and what is so here.
const DIFFERENT: &[(&str, Option<bool>)] = &[
    // systemd looks for the parent of what a link leads to, and the root has none; its manual says
    // nothing of links, and the root is a mount point.
    ("PathIsMountPoint=/proc/self/root", Some(true)),
];

fn parsed(line: &str) -> Condition {
    let (name, argument) = line.split_once('=').unwrap();
    let (_, kind) = KINDS.iter().find(|(known, _)| *known == name).unwrap();
    Condition {
        kind: *kind,
        argument: argument.trim_start().to_owned(),
        negate: false,
        triggering: false,
        assert: false,
    }
}

/// `None`: there is no such program, or of another version than the manual that we follow.
fn systemd(lines: &[String]) -> Option<Vec<Option<bool>>> {
    let version = Command::new("systemd-analyze").arg("--version").output();
    if !version.ok()?.stdout.starts_with(b"systemd 252 ") {
        return None;
    }
    let output = Command::new("systemd-analyze")
        .arg("condition")
        // Each of these is looked at, whatever the others say.
        .args(lines.iter().map(|line| {
            let (name, argument) = line.split_once('=').unwrap();
            format!("Condition{name}=|{}", argument.replace('%', "%%"))
        }))
        .env("AETHER_CONDITION", "a b")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let told = told.lines().filter_map(|line| {
        if line.contains("Couldn't determine result for ") {
            Some(None)
        } else if line.contains(": Condition") {
            Some(Some(line.ends_with(" succeeded.")))
        } else {
            None
        }
    });
    // The list that it keeps is the other way round.
    let mut told: Vec<_> = told.collect();
    told.reverse();
    assert_eq!(told.len(), lines.len(), "{told:?}");
    Some(told)
}

fn made(root: &Path) -> Vec<String> {
    for directory in ["empty", "hidden", "full"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::write(root.join("hidden/.x"), "").unwrap();
    fs::write(root.join("hidden/x.bak"), "").unwrap();
    fs::write(root.join("full/x"), "").unwrap();
    fs::write(root.join("file"), "").unwrap();
    fs::create_dir(root.join("full/.dots")).unwrap();
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, root.join(from)).unwrap();
    link("nowhere", "dangling");
    link("full", "link");
    link("/proc", "proc");
    [
        ("PathExists", "dangling"),
        ("PathExists", "link"),
        ("PathExistsGlob", "dang*"),
        ("PathExistsGlob", "*/x"),
        ("PathExistsGlob", "*/*d*"),
        ("PathExistsGlob", "*/.d*"),
        ("PathExistsGlob", "{empty,link}/?"),
        ("PathExistsGlob", "[e-f]*/[!a-w]"),
        ("PathExistsGlob", "full"),
        ("PathExistsGlob", "dangling/*"),
        ("PathIsDirectory", "link"),
        ("PathIsSymbolicLink", "link"),
        ("PathIsSymbolicLink", "dangling"),
        ("PathIsSymbolicLink", "file"),
        ("PathIsMountPoint", "proc"),
        ("PathIsMountPoint", "link"),
        ("PathIsReadWrite", "file"),
        ("PathIsReadWrite", "dangling"),
        ("DirectoryNotEmpty", "empty"),
        ("DirectoryNotEmpty", "hidden"),
        ("DirectoryNotEmpty", "full"),
        ("DirectoryNotEmpty", "link"),
        ("FileNotEmpty", "file"),
        ("FileIsExecutable", "file"),
        ("NeedsUpdate", "full"),
    ]
    .iter()
    .map(|(kind, name)| format!("{kind}={}", root.join(name).display()))
    .collect()
}

#[test]
fn lines_hold_as_systemd_says() {
    let place = tempfile::tempdir().unwrap();
    let mut lines: Vec<String> = LINES.iter().map(ToString::to_string).collect();
    lines.extend(made(place.path()));
    let release = nix::sys::utsname::uname().unwrap();
    let release = release.release().to_str().unwrap();
    for operator in ["", "=", "==", "!=", "<>", "<", "<=", ">", ">=", "$=", "!$="] {
        lines.push(format!("KernelVersion={operator}{release}"));
    }
    let environment =
        std::env::vars_os().chain([(OsString::from("AETHER_CONDITION"), OsString::from("a b"))]);
    let facts = facts(environment);
    let ours: Vec<_> = lines.iter().map(|l| look(&parsed(l), &facts)).collect();
    for (line, ours) in lines.iter().zip(&ours) {
        assert_eq!(holds(&parsed(line), &facts), *ours == Some(true));
    }
    for (line, ours) in DIFFERENT {
        assert_eq!(look(&parsed(line), &facts), *ours, "{line}");
    }
    let Some(theirs) = systemd(&lines) else {
        return;
    };
    let different: Vec<_> = lines
        .iter()
        .zip(ours.iter().zip(&theirs))
        .filter(|(_, (ours, theirs))| ours != theirs)
        .collect();
    assert!(different.is_empty(), "{different:#?}");
    for (name, _) in KINDS {
        let of = |line: &String| line.starts_with(&format!("{name}="));
        assert!(lines.iter().any(of), "{name} is not in the table");
    }
}

#[test]
fn versions_are_ordered_as_systemd_says() {
    let versions = [
        "1", "1.0", "1~rc1", "1-1", "1^a", "1a", "01", "1_0", "", "a", "1.a-2", "10",
    ];
    let probe = Command::new("systemd-analyze")
        .args(["compare-versions", "1", "2"])
        .output();
    if !probe.is_ok_and(|output| output.status.code() == Some(12)) {
        return;
    }
    for (i, a) in versions.iter().enumerate() {
        for b in &versions[i..] {
            let output = Command::new("systemd-analyze")
                .args(["compare-versions", a, b])
                .output()
                .unwrap();
            let order = match output.status.code() {
                Some(11) => std::cmp::Ordering::Greater,
                Some(12) => std::cmp::Ordering::Less,
                _ => std::cmp::Ordering::Equal,
            };
            assert_eq!(compare::versions(a, b), order, "{a} {b}");
        }
    }
}

#[test]
fn what_the_daemon_knows_counts() {
    let known = Facts {
        unified: Some(true),
        controllers: ["cpu".to_owned(), "memory".to_owned()].into(),
        slices: None,
        uid: 1000,
        machine_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
        environment: vec!["A=b".into()],
    };
    for (line, holds) in [
        ("ControlGroupController=v2", Some(true)),
        ("ControlGroupController=v1", Some(false)),
        ("ControlGroupController=cpu memory", Some(true)),
        ("ControlGroupController=cpu pids", Some(false)),
        ("User=1000", Some(true)),
        ("User=root", Some(false)),
        ("User=@system", Some(false)),
        ("Host=01234567-89ab-cdef-0123-456789abcdef", Some(true)),
        ("Host=f123456789abcdef0123456789abcdef", Some(false)),
        ("Environment=A", Some(true)),
        ("Environment=A=c", Some(false)),
    ] {
        assert_eq!(look(&parsed(line), &known), holds, "{line}");
    }
    let unknown = Facts {
        unified: None,
        machine_id: None,
        ..known
    };
    assert_eq!(look(&parsed("ControlGroupController=cpu"), &unknown), None);
    assert_eq!(look(&parsed("ControlGroupController=v1"), &unknown), None);
}
