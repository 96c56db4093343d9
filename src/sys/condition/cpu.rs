//! What the processor says of itself (CPUID); only those of the x86 family say anything.

/// The features that systemd.unit(5) lists: leaf, register (of eax, ebx, ecx, edx), bit.
const FEATURES: [(&str, u32, usize, u32); 52] = [
    ("pni", 1, 2, 0),
    ("pclmul", 1, 2, 1),
    ("monitor", 1, 2, 3),
    ("ssse3", 1, 2, 9),
    ("fma3", 1, 2, 12),
    ("cx16", 1, 2, 13),
    ("sse4_1", 1, 2, 19),
    ("sse4_2", 1, 2, 20),
    ("movbe", 1, 2, 22),
    ("popcnt", 1, 2, 23),
    ("aes", 1, 2, 25),
    ("xsave", 1, 2, 26),
    ("osxsave", 1, 2, 27),
    ("avx", 1, 2, 28),
    ("f16c", 1, 2, 29),
    ("rdrand", 1, 2, 30),
    ("fpu", 1, 3, 0),
    ("vme", 1, 3, 1),
    ("de", 1, 3, 2),
    ("pse", 1, 3, 3),
    ("tsc", 1, 3, 4),
    ("msr", 1, 3, 5),
    ("pae", 1, 3, 6),
    ("mce", 1, 3, 7),
    ("cx8", 1, 3, 8),
    ("apic", 1, 3, 9),
    ("sep", 1, 3, 11),
    ("mtrr", 1, 3, 12),
    ("pge", 1, 3, 13),
    ("mca", 1, 3, 14),
    ("cmov", 1, 3, 15),
    ("pat", 1, 3, 16),
    ("pse36", 1, 3, 17),
    ("clflush", 1, 3, 19),
    ("mmx", 1, 3, 23),
    ("fxsr", 1, 3, 24),
    ("sse", 1, 3, 25),
    ("sse2", 1, 3, 26),
    ("ht", 1, 3, 28),
    ("bmi1", 7, 1, 3),
    ("avx2", 7, 1, 5),
    ("bmi2", 7, 1, 8),
    ("rdseed", 7, 1, 18),
    ("adx", 7, 1, 19),
    ("sha_ni", 7, 1, 29),
    ("lahf_lm", 0x8000_0001, 2, 0),
    ("abm", 0x8000_0001, 2, 5),
    ("syscall", 0x8000_0001, 3, 11),
    ("rdtscp", 0x8000_0001, 3, 27),
    ("lm", 0x8000_0001, 3, 29),
    ("constant_tsc", 0x8000_0007, 3, 8),
    // Its bit is the hypervisor's own, which no real processor sets.
    ("hypervisor", 1, 2, 31),
];

/// Whether the processor has a feature of that list.
pub(super) fn has(feature: &str) -> bool {
    let feature = feature.to_ascii_lowercase();
    feature != "hypervisor" && bit(&feature)
}

fn bit(feature: &str) -> bool {
    FEATURES
        .iter()
        .find(|(name, ..)| *name == feature)
        .is_some_and(|(_, leaf, register, bit)| {
            ask(*leaf).is_some_and(|answer| answer[*register] >> bit & 1 == 1)
        })
}

/// Who runs this machine, by the signature that it gives; `None`: nobody, or it does not say.
pub(super) fn hypervisor() -> Option<&'static str> {
    const SIGNATURES: [(&[u8; 12], &str); 10] = [
        (b"XenVMMXenVMM", "xen"),
        (b"KVMKVMKVM\0\0\0", "kvm"),
        (b"Linux KVM Hv", "kvm"),
        (b"TCGTCGTCGTCG", "qemu"),
        (b"VMwareVMware", "vmware"),
        (b"Microsoft Hv", "microsoft"),
        (b"bhyve bhyve ", "bhyve"),
        (b"QNXQVMBSQG\0\0", "qnx"),
        (b"ACRNACRNACRN", "acrn"),
        (b"SRESRESRESRE", "sre"),
    ];
    if !bit("hypervisor") {
        return None;
    }
    let [_, b, c, d] = leaf(0x4000_0000)?;
    let signature = [b, c, d].map(u32::to_ne_bytes).concat();
    let known = SIGNATURES.iter().find(|(known, _)| known[..] == signature);
    Some(known.map_or(super::virtualization::OTHER, |(_, name)| *name))
}

/// A leaf, when the processor has that many.
fn ask(number: u32) -> Option<[u32; 4]> {
    let [most, ..] = leaf(number & 0x8000_0000)?;
    (most >= number).then(|| leaf(number)).flatten()
}

#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    unused_unsafe,
    reason = "the instruction is called directly; newer compilers have it as a safe function"
)]
fn leaf(number: u32) -> Option<[u32; 4]> {
    // SAFETY: every processor of this family has the instruction, and it changes nothing.
    let answer = unsafe { std::arch::x86_64::__cpuid_count(number, 0) };
    Some([answer.eax, answer.ebx, answer.ecx, answer.edx])
}

#[cfg(not(target_arch = "x86_64"))]
fn leaf(_number: u32) -> Option<[u32; 4]> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_that_the_kernel_sees() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let Some(flags) = text.lines().find_map(|line| line.strip_prefix("flags")) else {
            return;
        };
        let flags: Vec<&str> = flags.split_whitespace().collect();
        for feature in ["sse2", "lm", "syscall", "sse4_2", "avx2", "sha_ni", "vme"] {
            assert_eq!(has(feature), flags.contains(&feature), "{feature}");
        }
        assert!(has("SSE2"));
        assert!(!has("nonsense"));
        assert!(!has("hypervisor"));
        assert_eq!(hypervisor().is_some(), flags.contains(&"hypervisor"));
    }
}
