//! Random bytes from the kernel.

use std::io::{self, Read};

/// 16 random bytes (`/dev/urandom`, which never blocks once the machine is up).
///
/// # Errors
/// Where the device is missing.
pub fn id() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The `number`th of a family of ids that only who knows `seed` can name (SplitMix64, each half).
#[must_use]
pub fn derive(seed: [u8; 16], number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    for (half, from) in id.chunks_exact_mut(8).zip(seed.chunks_exact(8)) {
        let mut state = [0; 8];
        state.copy_from_slice(from);
        let mut z =
            u64::from_le_bytes(state).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        half.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    id
}

/// 32 lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same bytes as an RFC 9562 version 4 UUID.
#[must_use]
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(id().unwrap(), id().unwrap());
        assert_eq!(derive([7; 16], 3), derive([7; 16], 3));
        assert_ne!(derive([7; 16], 3), derive([7; 16], 4));
    }
}
