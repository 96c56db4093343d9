//! ULIDs: 48 bits of milliseconds and 80 of chance in 26 characters that sort by time.
//!
//! Pure; clock and chance are the caller's.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The 26 characters (Crockford's base 32) of a time in milliseconds and ten random bytes.
#[must_use]
pub fn encode(milliseconds: u64, chance: [u8; 10]) -> String {
    let mut bits = u128::from(milliseconds & 0xFFFF_FFFF_FFFF) << 80;
    for (index, byte) in chance.iter().rev().enumerate() {
        bits |= u128::from(*byte) << (8 * index);
    }
    (0..26)
        .rev()
        .map(|index| {
            let five = usize::try_from((bits >> (5 * index)) & 31).unwrap_or(0);
            char::from(ALPHABET[five])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_specification_encodes() {
        assert_eq!(
            encode(1_469_918_176_385, [0; 10]),
            "01ARYZ6S410000000000000000"
        );
        assert_eq!(encode(u64::MAX, [255; 10]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert!(encode(1, [255; 10]) < encode(2, [0; 10]));
    }
}
