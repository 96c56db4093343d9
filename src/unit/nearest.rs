//! "Did you mean": the nearest of the known names.

/// Longest name that is compared; nobody mistypes more.
const MAX_LENGTH: usize = 64;

/// The name of `known` that `text` most likely meant.
pub(crate) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    // Three typing mistakes in a long word, one in a short one.
    let most = (text.len() / 3).clamp(1, 3);
    known
        .map(|name| (distance(text, name), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours; case does not count.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().map(|c| c.to_ascii_lowercase()).collect();
    let right: Vec<char> = right.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before_last: Vec<usize> = vec![];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b;
            if swapped {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["MemoryMax", "MemoryHigh", "TasksMax", "User", "UMask"];
        for (text, expected) in [
            ("MemoyrMax", Some("MemoryMax")),
            ("memorymax", Some("MemoryMax")),
            ("Usr", Some("User")),
            ("TaskMax", Some("TasksMax")),
            ("Colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, known.into_iter()), expected, "{text}");
        }
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(nearest(&"x".repeat(100_000), known.into_iter()), None);
    }
}
