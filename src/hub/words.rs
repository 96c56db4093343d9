//! How a question becomes words: split as SQLite's tokenizer splits, stopwords dropped, each word
//! quoted for FTS5; and the pieces to scan for where words do not exist (Chinese, emoji).
//!
//! Pure. It neither stems (FTS5's porter does) nor ranks ([`super::memory`] does).

/// Most words of one question that are looked up; each costs a walk over its postings.
pub const MAX_WORDS: usize = 16;

/// Words too common to tell one memory from another, sorted for binary search.
const STOPWORDS: &[&str] = &[
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at",
    "be", "because", "been", "before", "being", "both", "but", "by", "can", "could", "did", "do",
    "does", "doing", "done", "during", "each", "for", "from", "get", "had", "has", "have", "he",
    "her", "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "let",
    "may", "me", "might", "more", "most", "must", "my", "no", "nor", "not", "of", "on", "once",
    "only", "or", "other", "our", "out", "over", "own", "shall", "she", "should", "so", "some",
    "such", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
    "those", "through", "to", "too", "under", "until", "up", "us", "very", "was", "we", "were",
    "what", "when", "where", "whether", "which", "while", "who", "whom", "whose", "why", "will",
    "with", "would", "you", "your", "yours",
];

/// The beginning of a text, in whole characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The words of a text as unicode61 sees them: runs of letters and digits, in lower case, with
/// English possessives and contractions cut (`user's` is `user`, not `user s`).
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric() && !is_mark(c) && !is_apostrophe(c)) {
        for (index, part) in run.split(is_apostrophe).enumerate() {
            let tail =
                index > 0 && matches!(part, "s" | "S" | "t" | "re" | "ve" | "ll" | "d" | "m");
            if !part.is_empty() && !tail {
                words.push(part.to_lowercase());
            }
        }
    }
    words
}

/// The distinct words of a question that are worth looking up, at most [`MAX_WORDS`]. Where only
/// stopwords were asked for, they are kept: "who am I" must find something.
#[must_use]
pub fn keywords(question: &str) -> Vec<String> {
    let mut all = Vec::new();
    for word in split(question) {
        if !all.contains(&word) && all.len() < 4 * MAX_WORDS {
            all.push(word);
        }
    }
    let mut kept: Vec<String> = all
        .iter()
        .filter(|word| STOPWORDS.binary_search(&word.as_str()).is_err())
        .cloned()
        .collect();
    if kept.is_empty() {
        kept = all;
    }
    kept.truncate(MAX_WORDS);
    kept
}

/// An FTS5 expression of these words. Each is quoted, so nothing an agent writes is syntax.
#[must_use]
pub fn expression(words: &[String], operator: &str) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("\"{}\"", word.replace('"', "")))
        .collect();
    quoted.join(operator)
}

/// Whether the tokenizer would make one long word of text in this script.
#[must_use]
pub fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1100..=0x11FF | 0x1780..=0x17FF
        | 0x2E80..=0x30FF | 0x3130..=0x318F | 0x31A0..=0x31FF | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0xFF66..=0xFF9D
        | 0x2_0000..=0x3_FFFF)
}

/// Substrings to look for where the index cannot help: pairs of characters in unspaced scripts,
/// beginnings of other non-ASCII words (their endings inflect), anything else whole.
#[must_use]
pub fn pieces(question: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut words = split(question);
    if words.is_empty() {
        words = question.split_whitespace().map(str::to_lowercase).collect();
    }
    for word in words {
        let chars: Vec<char> = word.chars().collect();
        let mut add = |piece: &[char]| {
            let piece: String = piece.iter().collect();
            if !piece.is_empty() && !found.contains(&piece) && found.len() < 4 * MAX_WORDS {
                found.push(piece);
            }
        };
        if chars.iter().any(|c| is_unspaced(*c)) {
            for run in chars.split(|c| !is_unspaced(*c)) {
                if run.len() < 2 {
                    add(run);
                }
                run.windows(2).for_each(&mut add);
            }
            for run in chars.split(|c| is_unspaced(*c)) {
                add(run);
            }
        } else if !word.is_ascii() {
            add(&chars[..chars.len().min(3.max(chars.len().saturating_sub(2)))]);
        } else if STOPWORDS.binary_search(&word.as_str()).is_err() {
            add(&chars);
        }
    }
    found
}

/// How alike two texts are: shared words over all words, 0 to 1.
#[must_use]
pub fn likeness(a: &str, b: &str) -> f64 {
    let set = |text: &str| -> std::collections::BTreeSet<String> {
        split(text)
            .into_iter()
            .filter(|word| STOPWORDS.binary_search(&word.as_str()).is_err())
            .map(|word| {
                word.strip_suffix('s')
                    .map_or(word.clone(), ToOwned::to_owned)
            })
            .collect()
    };
    let (a, b) = (set(a), set(b));
    let either = a.union(&b).count();
    if either == 0 {
        return 0.0;
    }
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    count(a.intersection(&b).count()) / count(either)
}

/// Combining marks belong to the word they stand in.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x0900..=0x0DFF
        | 0x0E31..=0x0E4E | 0x0EB1..=0x0ECE | 0x102B..=0x103E | 0x17B4..=0x17D3)
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stopwords_are_sorted() {
        assert!(STOPWORDS.is_sorted());
    }

    #[test]
    fn a_question_becomes_its_telling_words() {
        assert_eq!(
            keywords("What is the user's deploy-key?"),
            ["user", "deploy", "key"]
        );
        assert_eq!(keywords("who am I"), ["who", "am", "i"]);
        assert_eq!(keywords("don\u{2019}t restart"), ["don", "restart"]);
        assert!(keywords("?!").is_empty());
        assert_eq!(keywords(&"w ".repeat(99)), ["w"]);
        let many: String = (0..99).map(|n| format!("w{n} ")).collect();
        assert_eq!(keywords(&many).len(), MAX_WORDS);
    }

    #[test]
    fn nothing_typed_is_fts_syntax() {
        let words = keywords("NEAR(a\" OR text:* AND \"b) ^x -y");
        let text = expression(&words, " AND ");
        assert!(
            text.split(" AND ")
                .all(|w| w.starts_with('"') && w.ends_with('"')),
            "{text}"
        );
    }

    #[test]
    fn pieces_of_scripts_without_words() {
        assert_eq!(pieces("東京の天気"), ["東京", "京の", "の天", "天気"]);
        assert_eq!(pieces("серверы"), ["серве"]);
        assert_eq!(pieces("🚀"), ["🚀"]);
    }

    #[test]
    fn likeness_is_of_words() {
        assert!(likeness("The deploy key is in vault", "deploy keys: in the vault") > 0.9);
        assert!(likeness("cats", "databases of the user") < 0.1);
        assert!(likeness("", "") < 0.1);
    }
}
