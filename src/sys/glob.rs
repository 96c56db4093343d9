//! Shell patterns (glob(7)): whether a text matches, and whether any path does.
//!
//! Who asks says how many paths are enough: a unit's directory may hold more than we care to list.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How many alternatives the braces of one pattern may stand for together.
const MAX_BRACES: usize = 256;
/// How many entries of directories one search looks at. A pattern may lead where a unit makes
/// files, and who searches has other things to do.
const MAX_ENTRIES: usize = 65_536;

/// Whether `text` matches `pattern` as fnmatch(3) without flags has it: `*` and `?` stand for
/// slashes and leading dots too. With `fold` the letters of ASCII match in either case.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8], fold: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let next = if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        } else if t == text.len() {
            if p == pattern.len() {
                return true;
            }
            // A longer star leaves even less text.
            return false;
        } else {
            one(&pattern[p..], text[t], fold)
        };
        match (next, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, swallowed))) => {
                p = after;
                t = swallowed + 1;
                star = Some((after, t));
            }
            (None, None) => return false,
        }
    }
}

/// How many bytes of the pattern stand for this byte of the text; `None`: it does not match.
fn one(pattern: &[u8], byte: u8, fold: bool) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match bracket(pattern, byte, fold) {
            Some((true, length)) => Some(length),
            Some((false, _)) => None,
            // Without its end it is an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        b'\\' => {
            let literal = *pattern.get(1)?;
            same(literal, byte, fold).then_some(2)
        }
        literal => same(literal, byte, fold).then_some(1),
    }
}

fn same(a: u8, b: u8, fold: bool) -> bool {
    a == b || fold && a.eq_ignore_ascii_case(&b)
}

/// Whether a bracket expression has the byte, and its length; `None` when it never ends.
fn bracket(pattern: &[u8], byte: u8, fold: bool) -> Option<(bool, usize)> {
    let mut i = 1;
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    i += usize::from(negated);
    let start = i;
    let mut found = false;
    let member = |test: &dyn Fn(u8) -> bool| {
        test(byte) || fold && (test(byte.to_ascii_lowercase()) || test(byte.to_ascii_uppercase()))
    };
    loop {
        let first = *pattern.get(i)?;
        if first == b']' && i > start {
            return Some((found != negated, i + 1));
        }
        if let Some((class, length)) = class(&pattern[i..]) {
            found |= member(&|byte| class(&byte));
            i += length;
            continue;
        }
        let (low, length) = literal(&pattern[i..])?;
        i += length;
        if pattern.get(i) == Some(&b'-') && pattern.get(i + 1).is_some_and(|end| *end != b']') {
            let (high, length) = literal(&pattern[i + 1..])?;
            i += 1 + length;
            found |= member(&|byte| (low..=high).contains(&byte));
        } else {
            found |= member(&|byte| byte == low);
        }
    }
}

fn literal(pattern: &[u8]) -> Option<(u8, usize)> {
    match *pattern.first()? {
        b'\\' => Some((*pattern.get(1)?, 2)),
        byte => Some((byte, 1)),
    }
}

type Class = fn(&u8) -> bool;

/// `[:name:]`, with its length.
fn class(pattern: &[u8]) -> Option<(Class, usize)> {
    const CLASSES: [(&[u8], Class); 12] = [
        (b"alnum", u8::is_ascii_alphanumeric),
        (b"alpha", u8::is_ascii_alphabetic),
        (b"blank", |byte| matches!(byte, b' ' | b'\t')),
        (b"cntrl", u8::is_ascii_control),
        (b"digit", u8::is_ascii_digit),
        (b"graph", u8::is_ascii_graphic),
        (b"lower", u8::is_ascii_lowercase),
        (b"print", |byte| (b' '..=b'~').contains(byte)),
        (b"punct", u8::is_ascii_punctuation),
        (b"space", |byte| matches!(byte, b' ' | 9..=13)),
        (b"upper", u8::is_ascii_uppercase),
        (b"xdigit", u8::is_ascii_hexdigit),
    ];
    let rest = pattern.strip_prefix(b"[:")?;
    let end = rest.windows(2).position(|pair| pair == b":]")?;
    let (_, class) = CLASSES.iter().find(|(name, _)| *name == &rest[..end])?;
    Some((*class, end + 4))
}

/// The first path found that matches the absolute `pattern`, as glob(3) with braces has it: no
/// wildcard stands for a slash or for the dot that a name begins with, and a link at the end need
/// not lead anywhere. Names `.` and `..` are never found.
#[must_use]
pub fn first(pattern: &Path) -> Option<PathBuf> {
    find(pattern, 1).pop()
}

/// As [`first`], at most so many paths, in no order.
#[must_use]
pub fn find(pattern: &Path, most: usize) -> Vec<PathBuf> {
    let mut effort = MAX_ENTRIES;
    let found = search(pattern, most, &mut effort);
    if effort == 0 && found.len() < most {
        let pattern = pattern.display();
        tracing::warn!("{pattern}: only the first {MAX_ENTRIES} entries were looked at");
    }
    found
}

fn search(pattern: &Path, most: usize, effort: &mut usize) -> Vec<PathBuf> {
    let mut alternatives = vec![];
    braces(pattern.as_os_str().as_bytes(), &mut alternatives);
    let mut found = vec![];
    for pattern in alternatives {
        let Some(rest) = pattern.strip_prefix(b"/") else {
            continue;
        };
        let parts: Vec<&[u8]> = rest
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .collect();
        // As in a shell, only a directory matches a pattern that ends in a slash.
        let directory = pattern.ends_with(b"/");
        below(
            PathBuf::from("/"),
            &parts,
            directory,
            most,
            effort,
            &mut found,
        );
    }
    found
}

fn below(
    mut here: PathBuf,
    parts: &[&[u8]],
    directory: bool,
    most: usize,
    effort: &mut usize,
    found: &mut Vec<PathBuf>,
) {
    for (depth, part) in parts.iter().enumerate() {
        if !part.iter().any(|byte| b"*?[".contains(byte)) {
            here.push(OsStr::from_bytes(&unescaped(part)));
            continue;
        }
        let Ok(entries) = fs::read_dir(&here) else {
            return;
        };
        for entry in entries.flatten() {
            if found.len() >= most || *effort == 0 {
                return;
            }
            *effort -= 1;
            let name = entry.file_name();
            let hidden = name.as_bytes().starts_with(b".");
            let meant = !hidden || part.starts_with(b".") || part.starts_with(b"\\.");
            if meant && matches(part, name.as_bytes(), false) {
                let rest = &parts[depth + 1..];
                below(here.join(name), rest, directory, most, effort, found);
            }
        }
        return;
    }
    let there = if directory {
        here.is_dir()
    } else {
        fs::symlink_metadata(&here).is_ok()
    };
    if there && found.len() < most {
        found.push(here);
    }
}

fn unescaped(part: &[u8]) -> Vec<u8> {
    let mut bytes = part.iter().copied();
    let mut plain = vec![];
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => bytes.next().unwrap_or(b'\\'),
            byte => byte,
        });
    }
    plain
}

/// `a{b,c}` becomes `ab` and `ac`; braces that do not pair are ordinary characters.
fn braces(pattern: &[u8], found: &mut Vec<Vec<u8>>) {
    if found.len() >= MAX_BRACES {
        return;
    }
    let Some((open, close, commas)) = pair(pattern) else {
        found.push(pattern.to_vec());
        return;
    };
    let mut begin = open + 1;
    for end in commas.into_iter().chain([close]) {
        let mut one = pattern[..open].to_vec();
        one.extend_from_slice(&pattern[begin..end]);
        one.extend_from_slice(&pattern[close + 1..]);
        braces(&one, found);
        begin = end + 1;
    }
}

/// The first braces that pair, and the commas between them.
fn pair(pattern: &[u8]) -> Option<(usize, usize, Vec<usize>)> {
    let mut open = None;
    let mut commas = vec![];
    let (mut depth, mut i) = (0_usize, 0);
    while i < pattern.len() {
        match pattern[i] {
            b'\\' => i += 1,
            // As in glob(3), an empty pair is left alone.
            b'{' if open.is_none() && pattern.get(i + 1) == Some(&b'}') => i += 1,
            b'{' => {
                depth += 1;
                open = open.or(Some(i));
            }
            b',' if depth == 1 => commas.push(i),
            b'}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return open.map(|open| (open, i, commas));
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_match_as_fnmatch_has_it() {
        for (pattern, text, holds) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("*", "a/.b", true),
            ("**", "abc", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a*b*c", "aXbYbZc", true),
            ("*.socket", "x.socket.socket", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[abc]", "b", true),
            ("[!abc]", "b", false),
            ("[^abc]", "d", true),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a-]", "-", true),
            ("[[:digit:]]*", "6.1", true),
            ("[[:alpha:][:digit:]_]", "_", true),
            ("[[:upper:]]", "a", false),
            ("[abc", "[abc", true),
            ("[abc", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("a\\", "a\\", false),
            ("6.*", "6.18.44", true),
        ] {
            let found = matches(pattern.as_bytes(), text.as_bytes(), false);
            assert_eq!(found, holds, "{pattern} {text}");
        }
        assert!(matches(b"BUILD-[A-Z]*", b"build-x1", true));
        assert!(!matches(b"BUILD", b"build", false));
        // Many stars in a long text are no work without end.
        assert!(!matches(&b"*a".repeat(200), &[b'b'; 20_000], false));
    }

    #[test]
    fn a_search_comes_to_an_end_however_many_files_there_are() {
        let place = tempfile::tempdir().unwrap();
        for directory in 0..10 {
            let directory = place.path().join(directory.to_string());
            fs::create_dir(&directory).unwrap();
            for file in 0..10 {
                fs::write(directory.join(file.to_string()), "").unwrap();
            }
        }
        let all = place.path().join("*/*");
        let look = |mut effort| (search(&all, 999, &mut effort).len(), effort);
        assert_eq!(look(500), (100, 390));
        // One directory and what is in it, or most of it.
        assert_eq!(look(10), (9, 0));
        assert_eq!(look(0), (0, 0));
    }

    #[test]
    fn paths_match_as_glob_has_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join("a/sub")).unwrap();
        fs::create_dir_all(root.join("b/.hidden")).unwrap();
        fs::write(root.join("b/x*y"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
        for (pattern, found) in [
            ("a", Some("a")),
            ("?", Some("")),
            ("a/*", Some("a/sub")),
            ("*/sub", Some("a/sub")),
            ("*/*/*", None),
            ("b/*h*", None),
            ("b/.h*", Some("b/.hidden")),
            ("b/x\\*y", Some("b/x*y")),
            ("dang*", Some("dangling")),
            ("{c,b}/x?y", Some("b/x*y")),
            ("{a/{nothing,sub},c}", Some("a/sub")),
            ("a/s*/", Some("a/sub")),
            ("b/x*/", None),
            ("c*", None),
        ] {
            let wanted = found.map(|found| root.join(found));
            let path = first(&root.join(pattern));
            if found == Some("") {
                assert!(path.is_some(), "{pattern}");
            } else {
                assert_eq!(path, wanted, "{pattern}");
            }
        }
        assert_eq!(find(&root.join("?"), 9).len(), 2);
        assert_eq!(find(&root.join("{a,b,c,a}"), 9).len(), 3);
        assert_eq!(find(&root.join("{a,b,c,a}"), 2).len(), 2);
        assert_eq!(first(Path::new("relative*")), None);
        assert_eq!(first(Path::new("/")), Some(PathBuf::from("/")));
    }
}
