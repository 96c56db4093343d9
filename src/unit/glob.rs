//! Shell patterns: `*`, `?` and `[a-z]`, as in glob(7).

/// Whether the pattern covers the whole text; linear in memory, never exponential in time.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        let fits = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => match class(&pattern[p..], text[t]) {
                Some((true, length)) => Some(length),
                Some((false, _)) => None,
                // A bracket that is never closed is a bracket.
                None => (text[t] == b'[').then_some(1),
            },
            Some(byte) => (*byte == text[t]).then_some(1),
            None => None,
        };
        match (fits, retry) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            // Only the last star needs to take one more byte.
            (None, Some((star, taken))) => {
                retry = Some((star, taken + 1));
                p = star + 1;
                t = taken + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether a byte is in the class that the pattern begins with, and how long that is.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let begin = if negated { 2 } else { 1 };
    // A bracket that comes first is a member.
    let end = pattern
        .iter()
        .skip(begin + 1)
        .position(|byte| *byte == b']')?
        + begin
        + 1;
    let members = pattern.get(begin..end)?;
    let mut found = false;
    let mut at = 0;
    while let Some(first) = members.get(at) {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some(b'-'), Some(last)) => {
                found |= (*first..=*last).contains(&byte);
                at += 3;
            }
            _ => {
                found |= *first == byte;
                at += 1;
            }
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "a.agent", true),
            ("*.agent", "a.agent", true),
            ("*.agent", "a.service", false),
            ("a?c*", "abc.agent", true),
            ("a?c", "abc.agent", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("", "a", false),
            ("a.agent", "a.agent", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]x]y", "]y", true),
            ("[ab", "[ab", true),
            ("[ab", "a", false),
            ("*[0-9].agent", "a1b2.agent", true),
            ("[", "[", true),
            ("[a-]", "-", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
