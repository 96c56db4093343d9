//! What the fuzzers keep (`tests/fuzz/corpus`), every file once more, and cut and spoilt copies of
//! them: an ordinary test run repeats what was found, and looks a little around it.

use std::path::Path;

#[path = "../fuzz/targets.rs"]
mod targets;

/// Cheap reproducible noise (xorshift).
fn next(noise: &mut u64) -> usize {
    *noise ^= *noise << 13;
    *noise ^= *noise >> 7;
    *noise ^= *noise << 17;
    usize::try_from(*noise >> 1).unwrap_or(0)
}

#[test]
fn every_corpus_passes_whole_and_spoilt() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut files: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        let mut noise = 0x9e37_79b9_7f4a_7c15;
        for file in files {
            let whole = std::fs::read(&file).unwrap();
            target(&whole);
            for _ in 0..100 {
                let mut spoilt = whole.clone();
                for _ in 0..=next(&mut noise) % 4 {
                    let at = next(&mut noise) % spoilt.len().max(1);
                    match next(&mut noise) % 3 {
                        0 => spoilt.truncate(at),
                        1 if at < spoilt.len() => spoilt[at] ^= 1 << (next(&mut noise) % 8),
                        _ => spoilt.insert(at.min(spoilt.len()), b"[]=%\\\"'\n;{}"[at % 11]),
                    }
                }
                target(&spoilt);
            }
        }
    }
}
