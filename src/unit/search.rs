//! Which files make up a unit: search path, templates, drop-ins, masks (systemd.unit(5)).
//!
//! Pure: the caller passes closures that list a directory and read a file, so that the daemon and
//! `aetherctl verify` find the same files by the same rules. Directories come in order of
//! priority. Read next: [`super::assemble`], which takes what is found here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::name::UnitName;

use super::assemble::Source;

/// Most drop-ins of one unit.
pub const MAX_DROP_INS: usize = 256;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The fragment, then its drop-ins in the order in which they apply.
    Files(Vec<Source>),
    /// The fragment is empty or a link to /dev/null: the unit must not be started.
    Masked(PathBuf),
    /// There is no fragment.
    Missing,
    /// A file is there and cannot be used: the reader said so, or there are too many. The unit
    /// must not be loaded from what is left.
    Unreadable(PathBuf),
}

/// What a reader makes of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The file's text.
    Text(String),
    /// A link to /dev/null.
    Masked,
    /// There is no such file.
    Absent,
    /// There is one, and it cannot be read (permission, no UTF-8, larger than
    /// [`MAX_FILE`](super::syntax::MAX_FILE)).
    Unreadable,
}

/// The names under which a unit's fragment is looked for: its own, then its template's.
#[must_use]
pub fn fragment_names(name: &UnitName) -> Vec<String> {
    let own = name.as_str().to_owned();
    let template = name.template().filter(|template| *template != own);
    std::iter::once(own).chain(template).collect()
}

/// Names of the drop-in directories, the least specific first: `agent.d`, `web-.agent.d`,
/// `web-shop-.agent.d`, `web-shop@.agent.d`, `web-shop@a.agent.d`.
#[must_use]
pub fn drop_in_names(name: &UnitName) -> Vec<String> {
    let suffix = name.kind().suffix();
    let mut names = vec![format!("{suffix}.d")];
    let prefix = name.prefix();
    let at = if name.instance().is_some() { "@" } else { "" };
    for (end, _) in prefix.match_indices('-') {
        // A dash at the very end is the name itself: "web-.agent" has "web-.agent.d" once.
        if end + 1 < prefix.len() || !at.is_empty() {
            names.push(format!("{}{at}.{suffix}.d", &prefix[..=end]));
        }
    }
    for fragment in fragment_names(name).into_iter().rev() {
        let directory = format!("{fragment}.d");
        if !names.contains(&directory) {
            names.push(directory);
        }
    }
    names
}

/// The drop-ins that apply, in order: by file name, whatever directory they are in; of two with
/// the same file name the one in the more specific directory, then the one in the directory of
/// higher priority.
pub fn drop_ins(
    name: &UnitName,
    directories: &[PathBuf],
    mut list: impl FnMut(&Path) -> Vec<String>,
) -> Vec<PathBuf> {
    let mut chosen: BTreeMap<String, PathBuf> = BTreeMap::new();
    // The most specific name comes first; within it the directory of highest priority.
    for directory_name in drop_in_names(name).iter().rev() {
        for directory in directories {
            let place = directory.join(directory_name);
            for file in list(&place) {
                if is_drop_in(&file) {
                    let path = place.join(&file);
                    chosen.entry(file).or_insert(path);
                }
            }
        }
    }
    chosen.into_values().collect()
}

/// Finds and reads a unit's files. `list` gives the file names in a directory (none when there is
/// no such directory), `read` what is at a path.
pub fn find(
    name: &UnitName,
    directories: &[PathBuf],
    list: impl FnMut(&Path) -> Vec<String>,
    mut read: impl FnMut(&Path) -> Content,
) -> Found {
    let mut sources = vec![];
    // Any directory's own file goes before every directory's template.
    let candidates = fragment_names(name).into_iter().flat_map(|file| {
        directories
            .iter()
            .map(move |directory| directory.join(&file))
    });
    for path in candidates {
        match read(&path) {
            Content::Text(text) if text.is_empty() => return Found::Masked(path),
            Content::Text(text) => {
                sources.push(Source { path, text });
                break;
            }
            Content::Masked => return Found::Masked(path),
            Content::Unreadable => return Found::Unreadable(path),
            Content::Absent => {}
        }
    }
    if sources.is_empty() {
        return Found::Missing;
    }
    let drop_ins = drop_ins(name, directories, list);
    if let Some(path) = drop_ins.get(MAX_DROP_INS) {
        return Found::Unreadable(path.clone());
    }
    for path in drop_ins {
        match read(&path) {
            Content::Text(text) => sources.push(Source { path, text }),
            // A mask, or gone since it was listed: what it masked stays away.
            Content::Masked | Content::Absent => {}
            // It may hold the line that confines the unit.
            Content::Unreadable => return Found::Unreadable(path),
        }
    }
    Found::Files(sources)
}

/// Whether a file in a drop-in directory is one.
fn is_drop_in(file: &str) -> bool {
    file.ends_with(".conf") && !file.starts_with('.') && !file.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        text.parse().unwrap()
    }

    /// A tree of files: `etc` has priority over `usr`.
    fn search(unit: &str, files: &[(&str, &str)]) -> Found {
        let directories = ["/etc/u", "/usr/u"].map(PathBuf::from);
        let list = |directory: &Path| {
            files
                .iter()
                .filter_map(|(path, _)| {
                    let path = Path::new(path);
                    (path.parent() == Some(directory))
                        .then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
                })
                .collect()
        };
        let read = |path: &Path| match files.iter().find(|(known, _)| Path::new(known) == path) {
            Some((_, "null")) => Content::Masked,
            Some((_, "bad")) => Content::Unreadable,
            Some((_, text)) => Content::Text((*text).to_owned()),
            None => Content::Absent,
        };
        find(&name(unit), &directories, list, read)
    }

    fn paths(found: Found) -> Vec<String> {
        let Found::Files(sources) = found else {
            panic!("{found:?}");
        };
        sources
            .into_iter()
            .map(|source| source.path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn drop_in_directories_from_general_to_special() {
        assert_eq!(
            drop_in_names(&name("coder.agent")),
            ["agent.d", "coder.agent.d"]
        );
        assert_eq!(
            drop_in_names(&name("web-shop-a.agent")),
            [
                "agent.d",
                "web-.agent.d",
                "web-shop-.agent.d",
                "web-shop-a.agent.d"
            ]
        );
        assert_eq!(
            drop_in_names(&name("web-shop@a-b.agent")),
            [
                "agent.d",
                "web-@.agent.d",
                "web-shop@.agent.d",
                "web-shop@a-b.agent.d"
            ]
        );
        assert_eq!(
            drop_in_names(&name("web-.agent")),
            ["agent.d", "web-.agent.d"]
        );
        assert_eq!(drop_in_names(&name("c@.agent")), ["agent.d", "c@.agent.d"]);
    }

    #[test]
    fn the_first_directory_has_the_fragment() {
        let files = [("/usr/u/a.agent", "x"), ("/etc/u/a.agent", "y")];
        assert_eq!(paths(search("a.agent", &files)), ["/etc/u/a.agent"]);
        assert_eq!(paths(search("a.agent", &files[..1])), ["/usr/u/a.agent"]);
        assert_eq!(search("b.agent", &files), Found::Missing);
    }

    #[test]
    fn an_instance_falls_back_to_its_template() {
        let files = [("/etc/u/c@.agent", "x"), ("/usr/u/c@own.agent", "y")];
        assert_eq!(paths(search("c@a.agent", &files)), ["/etc/u/c@.agent"]);
        assert_eq!(paths(search("c@own.agent", &files)), ["/usr/u/c@own.agent"]);
    }

    #[test]
    fn an_empty_file_and_a_link_to_null_mask() {
        let masked = Found::Masked("/etc/u/a.agent".into());
        for content in ["", "null"] {
            let files = [("/usr/u/a.agent", "x"), ("/etc/u/a.agent", content)];
            assert_eq!(search("a.agent", &files), masked);
        }
    }

    #[test]
    fn drop_ins_go_by_name_and_the_special_one_wins() {
        let files = [
            ("/etc/u/c@.agent", "x"),
            ("/etc/u/agent.d/50.conf", "type"),
            ("/etc/u/agent.d/90.conf", "type"),
            ("/usr/u/c@a.agent.d/50.conf", "instance"),
            ("/usr/u/c@.agent.d/20.conf", "vendor"),
            ("/etc/u/c@.agent.d/20.conf", "local"),
            ("/etc/u/c@.agent.d/.hidden.conf", "no"),
            ("/etc/u/c@.agent.d/README", "no"),
            ("/etc/u/other.agent.d/10.conf", "no"),
        ];
        assert_eq!(
            paths(search("c@a.agent", &files)),
            [
                "/etc/u/c@.agent",
                "/etc/u/c@.agent.d/20.conf",
                "/usr/u/c@a.agent.d/50.conf",
                "/etc/u/agent.d/90.conf",
            ]
        );
    }

    #[test]
    fn a_masked_drop_in_hides_those_below_it() {
        let files = [
            ("/etc/u/a.agent", "x"),
            ("/etc/u/a.agent.d/10.conf", "null"),
            ("/usr/u/a.agent.d/10.conf", "y"),
        ];
        assert_eq!(paths(search("a.agent", &files)), ["/etc/u/a.agent"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_left_out() {
        let files = [("/etc/u/a.agent", "x"), ("/etc/u/a.agent.d/10.conf", "bad")];
        let bad = Found::Unreadable("/etc/u/a.agent.d/10.conf".into());
        assert_eq!(search("a.agent", &files), bad);
        let files = [("/etc/u/a.agent", "bad"), ("/usr/u/a.agent", "x")];
        let bad = Found::Unreadable("/etc/u/a.agent".into());
        assert_eq!(search("a.agent", &files), bad);
    }

    #[test]
    fn drop_ins_have_a_limit() {
        let names: Vec<String> = (0..=MAX_DROP_INS)
            .map(|n| format!("/etc/u/a.agent.d/{n}.conf"))
            .collect();
        let mut files = vec![("/etc/u/a.agent", "x")];
        files.extend(names.iter().map(|name| (name.as_str(), "y")));
        assert!(matches!(search("a.agent", &files), Found::Unreadable(_)));
    }
}
