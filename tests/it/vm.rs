//! Aether on a real machine with pure cgroup v2 and the distribution's own kernel (older Landlock),
//! booted under QEMU's software emulation. Needs qemu-system-x86 and the image of
//! `tests/vm/image.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Directory with `vmlinuz`, `initrd` and `root.img`.
fn image() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/image.sh");
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} failed; it needs mmdebstrap",
        script.display()
    );
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Boots a guest whose first process is `init` and lets it run `test.sh` out of the directory;
/// everything the guest printed.
pub(crate) fn boot(payload: &Path, init: &str) -> String {
    let image = image();
    let place = tempfile::tempdir().unwrap();
    let disk = place.path().join("payload.img");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(payload)
        .arg(&disk)
        .arg("1G")
        .status()
        .unwrap();
    assert!(made.success(), "mke2fs failed");
    let drive =
        |path: &Path, more: &str| format!("file={},format=raw,if=virtio{more}", path.display());
    let output = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-m",
            "1024",
            "-smp",
            "2",
        ])
        .args([
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .args(["-nic", "none"])
        .arg("-kernel")
        .arg(image.join("vmlinuz"))
        .arg("-initrd")
        .arg(image.join("initrd"))
        .arg("-append")
        .arg(format!(
            "console=ttyS0 root=/dev/vda rw quiet panic=-1 init={init}"
        ))
        // The image is shared by all runs: what a guest writes is thrown away.
        .args(["-drive", &drive(&image.join("root.img"), ",snapshot=on")])
        .args(["-drive", &drive(&disk, "")])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("qemu-system-x86_64 (Debian package qemu-system-x86)");
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

const PURE_V2: &str = r#"
set -u
export AETHER_UNIT_PATH=/run/units:/payload/units AETHER_POLICY_PATH=/payload/policies
export PATH=/payload/bin:$PATH NO_COLOR=1
mkdir -p /run/units /run/bin
cat >/run/units/hog.agent <<U
[Agent]
Runtime=command
MemoryMax=48M
MemorySwapMax=0
ExecStart=/usr/bin/python3 -c 'x = bytearray(300 << 20)'
[MCP]
Tools=
U
cat >/run/units/bomb.agent <<U
[Agent]
Runtime=command
TasksMax=10
ExecStart=/usr/bin/python3 -c 'import os, signal\ntry:\n  while os.fork(): pass\nexcept OSError as e: print("stopped:", e, flush=True)\nsignal.pause()' 
[MCP]
Tools=
U
cat >/run/units/sleeper.agent <<U
[Agent]
Runtime=command
ExecStart=/bin/sleep infinity
[MCP]
Tools=
U
echo "VM: kernel $(uname -r)"
aetherctl up || { cat /var/log/aether/keeper.log; exit 1; }
aetherctl status
aetherctl start sleeper.agent && echo "VM: sleeper started"
cat /sys/fs/cgroup/aether/sleeper.agent/agent/cgroup.procs | grep -q . && echo "VM: sleeper is in its cgroup"
aetherctl pause sleeper.agent && grep -q 'frozen 1' /sys/fs/cgroup/aether/sleeper.agent/agent/cgroup.events && echo "VM: sleeper frozen"
aetherctl stop sleeper.agent && [ ! -e /sys/fs/cgroup/aether/sleeper.agent ] && echo "VM: sleeper gone"
aetherctl run --name hogwait.agent -p Type=exec -- /bin/true >/dev/null 2>&1
aetherctl start hog.agent
i=0; while aetherctl is-active hog.agent >/dev/null 2>&1 && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.2; done
echo "VM: hog: $(aetherctl show hog.agent -p Result)"
aetherctl start bomb.agent
cat /sys/fs/cgroup/aether/bomb.agent/pids.max | sed 's/^/VM: bomb pids.max /'
i=0; while ! aetherctl logs bomb.agent | grep stopped: && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.2; done
cat /sys/fs/cgroup/aether/bomb.agent/pids.events | sed 's/^/VM: bomb pids.events /'
aetherctl stop bomb.agent
aetherctl start hello.agent
i=0; while aetherctl is-active hello.agent >/dev/null 2>&1 && [ $i -lt 300 ]; do i=$((i+1)); sleep 0.2; done
aetherctl logs hello.agent
echo "VM: hello: $(aetherctl show hello.agent -p SubState)"
aetherctl start sleeper.agent
before=$(aetherctl show sleeper.agent -p MainPID)
kill -9 "$(pidof aetherd)"
aetherctl status >/dev/null
after=$(aetherctl show sleeper.agent -p MainPID)
[ "$before" = "$after" ] && echo "VM: adopted $after"
aetherctl down && echo "VM: down"
ls -d /sys/fs/cgroup/aether 2>/dev/null || echo "VM: nothing left"
"#;

/// Boots with the programs, units and policies and runs the script.
fn boot_with_aether(test: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let payload = place.path();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir(payload.join("bin")).unwrap();
    for (name, path) in [
        ("aether-init", env!("CARGO_BIN_EXE_aether-init")),
        ("aetherd", env!("CARGO_BIN_EXE_aetherd")),
        ("aetherctl", env!("CARGO_BIN_EXE_aetherctl")),
        ("aether-hub", env!("CARGO_BIN_EXE_aether-hub")),
        ("aether-mcp", env!("CARGO_BIN_EXE_aether-mcp")),
        ("aether-agent", env!("CARGO_BIN_EXE_aether-agent")),
    ] {
        std::fs::copy(path, payload.join("bin").join(name)).unwrap();
    }
    for directory in ["units", "policies"] {
        let to = payload.join(directory);
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(source.join(directory))
            .unwrap()
            .map(Result::unwrap)
        {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    std::fs::write(payload.join("test.sh"), test).unwrap();
    boot(payload, "/sbin/vm-init")
}

#[test]
fn pure_cgroup_v2_with_the_distributions_kernel() {
    let said = boot_with_aether(PURE_V2);
    let has = |text: &str| assert!(said.contains(text), "no {text:?} in:\n{said}");
    has("VM: sleeper started");
    has("unified");
    has("VM: sleeper is in its cgroup");
    has("VM: sleeper frozen");
    has("VM: sleeper gone");
    has("oom-kill");
    has("VM: bomb pids.max 10");
    has("VM: bomb pids.events max ");
    has("VM: hello: ");
    has("completed");
    has("VM: adopted ");
    has("VM: down");
    has("VM: nothing left");
    // Debian 12's 6.1 has Landlock ABI 2: what that lacks must be said.
    if said.contains("VM: kernel 6.1.") {
        has("ABI 2");
    }
}
