//! The fuzzer: libFuzzer over the target that `AETHER_FUZZ_TARGET` names; `tests/fuzz/run` builds
//! and starts it.
#![no_main]
#![expect(clippy::expect_used, reason = "a fuzzer ends where a promise breaks")]

use std::sync::OnceLock;

mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var_os("AETHER_FUZZ_TARGET").expect("AETHER_FUZZ_TARGET is set");
        let found = targets::ALL.iter().find(|(name, _)| wanted == *name);
        found.expect("a target of that name").1
    });
    target(bytes);
});
