//! Whether this machine is a virtual one or a container, and which: what systemd-detect-virt(1)
//! says, found the same way and in the same order.

use std::fs;
use std::io;
use std::path::Path;

use super::{cpu, exists, line, text, unified};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A machine of its own.
    Nothing,
    /// A virtual machine of this kind.
    Machine(&'static str),
    /// A container of this kind.
    Container(&'static str),
}

/// The innermost: a container in a virtual machine is a container.
pub(super) fn detect() -> Option<Found> {
    if let Some(kind) = container()? {
        return Some(Found::Container(kind));
    }
    Some(machine()?.map_or(Found::Nothing, Found::Machine))
}

/// Whether this is a container; where that cannot be found out it counts as none.
pub(super) fn is_container() -> bool {
    matches!(container(), Some(Some(_)))
}

const CONTAINERS: [&str; 9] = [
    "lxc",
    "lxc-libvirt",
    "systemd-nspawn",
    "docker",
    "podman",
    "rkt",
    "wsl",
    "proot",
    "pouch",
];

/// `None`: it cannot be found out.
fn container() -> Option<Option<&'static str>> {
    // OpenVZ has /proc/bc only outside of its containers.
    if exists("/proc/vz") && !exists("/proc/bc") {
        return Some(Some("openvz"));
    }
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_default();
    if release.contains("Microsoft") || release.contains("WSL") {
        return Some(Some("wsl"));
    }
    if traced_by_proot() {
        return Some(Some("proot"));
    }
    for told in ["/run/host/container-manager", "/run/systemd/container"] {
        match line(told) {
            Ok(name) if !name.is_empty() => return Some(Some(named(&name))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return None,
            _ => {}
        }
    }
    // Only root may read it; then the files below must do.
    let first = fs::read("/proc/1/environ").unwrap_or_default();
    let told = first
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"container="));
    if let Some(name) = told {
        return Some(Some(named(&String::from_utf8_lossy(name))));
    }
    Some(by_files().or_else(|| in_cgroup_namespace().then_some("container-other")))
}

fn named(name: &str) -> &'static str {
    // Images carry this whatever runs them.
    if name == "oci" {
        return by_files().unwrap_or("container-other");
    }
    let known = CONTAINERS.into_iter().find(|known| *known == name);
    known.unwrap_or("container-other")
}

fn by_files() -> Option<&'static str> {
    // The second one may have been left in an image by accident.
    [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")]
        .into_iter()
        .find_map(|(file, kind)| exists(file).then_some(kind))
}

fn traced_by_proot() -> bool {
    let Ok(status) = text("/proc/self/status") else {
        return false;
    };
    let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"));
    let Some(Ok(pid @ 1..)) = tracer.map(|pid| pid.trim().parse::<u32>()) else {
        return false;
    };
    line(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("proot"))
}

/// Files that the root of a hierarchy has, or has not.
fn in_cgroup_namespace() -> bool {
    if !exists("/proc/self/ns/cgroup") {
        return false;
    }
    match unified() {
        None => false,
        Some(true) => {
            exists("/sys/fs/cgroup/cgroup.events")
                && (exists("/sys/fs/cgroup/cgroup.type") || !exists("/sys/kernel/cgroup/features"))
        }
        Some(false) => {
            exists("/sys/fs/cgroup/systemd") && !exists("/sys/fs/cgroup/systemd/release_agent")
        }
    }
}

/// `None`: it cannot be found out.
fn machine() -> Option<Option<&'static str>> {
    let firmware = firmware();
    // These look like others to the processor, so they go first.
    if let Ok(Some(kind @ ("oracle" | "xen" | "amazon" | "parallels"))) = firmware {
        return Some(Some(kind));
    }
    if text("/proc/cpuinfo").is_ok_and(|cpus| {
        cpus.lines()
            .find_map(|l| l.strip_prefix("vendor_id\t: "))
            .is_some_and(|vendor| vendor.starts_with("User Mode Linux"))
    }) {
        return Some(Some("uml"));
    }
    let xen = exists("/proc/xen");
    let governs = xen && governs_xen()?;
    if xen && !governs {
        return Some(Some("xen"));
    }
    let mut other = false;
    let mut take = |kind: Option<&'static str>| {
        other |= kind == Some(OTHER);
        kind.filter(|kind| *kind != OTHER)
    };
    let by_processor = take(cpu::hypervisor());
    if by_processor.is_some() || governs {
        return Some(by_processor.or(other.then_some(OTHER)));
    }
    let found = match take(firmware.ok()?) {
        Some(kind) => Some(kind),
        None => match take(by_hypervisor()?) {
            Some(kind) => Some(kind),
            None => match take(by_device_tree()?) {
                Some(kind) => Some(kind),
                None => by_sysinfo(),
            },
        },
    };
    Some(found.or(other.then_some(OTHER)))
}

/// A virtual machine of which nothing more is known.
pub(super) const OTHER: &str = "vm-other";

/// By the names that the firmware gives to the machine (DMI).
fn firmware() -> io::Result<Option<&'static str>> {
    const FILES: [&str; 5] = [
        // The name of the product tells KVM from plain QEMU.
        "product_name",
        "sys_vendor",
        "board_vendor",
        "bios_vendor",
        "product_version",
    ];
    const VENDORS: [(&str, &str); 15] = [
        ("KVM", "kvm"),
        ("OpenStack", "kvm"),
        ("KubeVirt", "kvm"),
        ("Amazon EC2", "amazon"),
        ("QEMU", "qemu"),
        ("VMware", "vmware"),
        ("VMW", "vmware"),
        ("innotek GmbH", "oracle"),
        ("VirtualBox", "oracle"),
        ("Xen", "xen"),
        ("Bochs", "bochs"),
        ("Parallels", "parallels"),
        ("BHYVE", "bhyve"),
        ("Hyper-V", "microsoft"),
        ("Apple Virtualization", "apple"),
    ];
    if cfg!(not(any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "loongarch64"
    ))) {
        return Ok(None);
    }
    let mut found = None;
    for file in FILES {
        let vendor = match line(Path::new("/sys/class/dmi/id").join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let known = VENDORS.iter().find(|(start, _)| vendor.starts_with(start));
        if let Some((_, kind)) = known {
            found = Some(*kind);
            break;
        }
    }
    Ok(match (found, smbios()) {
        // Amazon's machines and virtual machines have the same names.
        (Some("amazon"), Some(false)) => None,
        (Some("amazon"), None) => {
            let metal = line("/sys/class/dmi/id/product_name");
            let metal = metal.is_ok_and(|name| name.ends_with(".metal"));
            (!metal).then_some("amazon")
        }
        (None, Some(true)) => Some(OTHER),
        (found, _) => found,
    })
}

/// The bit of the SMBIOS' own table that says "virtual machine" (DSP0134, 7.1.2.2).
fn smbios() -> Option<bool> {
    let table = fs::read("/sys/firmware/dmi/entries/0-0/raw").ok()?;
    if table.get(1).is_none_or(|length| *length < 20) {
        return None;
    }
    table.get(19).map(|byte| byte & 1 << 4 != 0)
}

/// Whether this is Xen's own domain, which is no virtual machine.
fn governs_xen() -> Option<bool> {
    const DOM0: u32 = 11;
    match line("/sys/hypervisor/properties/features") {
        Ok(features) => {
            if let Ok(features) = u64::from_str_radix(features.trim(), 16) {
                return Some(features & 1 << DOM0 != 0);
            }
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return None,
        Err(_) => {}
    }
    match line("/proc/xen/capabilities") {
        Ok(all) => Some(all.split(',').any(|one| one == "control_d")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

fn by_hypervisor() -> Option<Option<&'static str>> {
    match line("/sys/hypervisor/type") {
        Ok(kind) if kind == "xen" => Some(Some("xen")),
        Ok(_) => Some(Some(OTHER)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        Err(_) => None,
    }
}

fn by_device_tree() -> Option<Option<&'static str>> {
    if cfg!(not(any(
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    ))) {
        return Some(None);
    }
    let tree = Path::new("/proc/device-tree");
    // Each text of a device tree ends in a zero.
    let told = |file: &str| {
        line(tree.join(file)).map(|value| value.split('\0').next().unwrap_or_default().to_owned())
    };
    match told("hypervisor/compatible") {
        Ok(kind) => Some(Some(match kind.as_str() {
            "linux,kvm" => "kvm",
            kind if kind.contains("xen") => "xen",
            kind if kind.contains("vmware") => "vmware",
            _ => OTHER,
        })),
        Err(error) if error.kind() != io::ErrorKind::NotFound => None,
        Err(_) => {
            let there = |file: &str| exists(tree.join(file));
            if there("ibm,partition-name")
                && there("hmc-managed?")
                && !there("chosen/qemu,graphic-width")
            {
                return Some(Some("powervm"));
            }
            let mut entries = match fs::read_dir(tree) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(None),
                other => other.ok()?,
            };
            let fw = entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("fw-cfg"))
            });
            let qemu = fw || told("compatible").is_ok_and(|kind| kind == "qemu,pseries");
            Some(qemu.then_some("qemu"))
        }
    }
}

/// z/VM and its like tell in a file of their own.
fn by_sysinfo() -> Option<&'static str> {
    if cfg!(not(target_arch = "s390x")) {
        return None;
    }
    let sysinfo = text("/proc/sysinfo").ok()?;
    let program = sysinfo
        .lines()
        .find_map(|l| l.strip_prefix("VM00 Control Program:"))?;
    let zvm = program.trim_start().starts_with("z/VM");
    Some(if zvm { "zvm" } else { "kvm" })
}

/// Whether we are in a user namespace of our own; `None`: it cannot be found out.
pub(super) fn in_user_namespace() -> Option<bool> {
    for file in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let map = match text(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.ok()?,
        };
        let mut fields = map.split_ascii_whitespace().map(str::parse::<u32>);
        match (fields.next(), fields.next(), fields.next()) {
            // Nothing is mapped yet, as happens only in a new one.
            (None, ..) => return Some(true),
            (Some(Ok(0)), Some(Ok(0)), Some(Ok(u32::MAX))) => {}
            (Some(Ok(_)), Some(Ok(_)), Some(Ok(_))) => return Some(true),
            _ => return None,
        }
    }
    match line("/proc/self/setgroups") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        other => Some(other.ok()?.trim() == "deny"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_own_word_is_taken_when_it_is_known() {
        assert_eq!(named("podman"), "podman");
        assert_eq!(named("lxc-libvirt"), "lxc-libvirt");
        assert_eq!(named("something"), "container-other");
        assert!(named("oci") != "oci");
    }

    #[test]
    fn this_machine_is_something() {
        let found = detect();
        assert!(found.is_some());
        assert_eq!(
            is_container(),
            matches!(found, Some(Found::Container(_))),
            "{found:?}"
        );
        if let Some(Some(kind)) = machine() {
            assert!(!kind.is_empty());
        }
    }
}
