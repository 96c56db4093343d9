use super::super::names::{Directory, Entry};
use super::*;

fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

/// A tree of files: `etc` has priority over `usr`. A text `-> X` is a link to `/usr/u/X`.
fn search(unit: &str, files: &[(&str, &str)]) -> Found {
    let directories = ["/etc/u", "/usr/u"].map(|path| Directory {
        path: path.into(),
        real: path.into(),
        beside: files
            .iter()
            .filter_map(|(file, _)| {
                let file = file.strip_prefix(path)?.strip_prefix('/')?;
                Some(file.split_once('/')?.0.to_owned())
            })
            .collect(),
        entries: files
            .iter()
            .filter_map(|(file, text)| {
                let file = file.strip_prefix(path)?.strip_prefix('/')?;
                let entry = match text.strip_prefix("-> ") {
                    Some(to) => Entry::Link(Path::new("/usr/u").join(to)),
                    None => Entry::File,
                };
                Some((file.parse().ok()?, entry))
            })
            .collect(),
    });
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
    find(&name(unit), &Names::new(&directories), list, read)
}

fn files(found: Found) -> Files {
    let Found::Files(files) = found else {
        panic!("{found:?}");
    };
    files
}

fn paths(found: Found) -> Vec<String> {
    files(found)
        .sources
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

#[test]
fn an_alias_has_the_files_of_its_unit_and_drop_ins_of_every_name() {
    let tree = [
        ("/usr/u/a.agent", "x"),
        ("/etc/u/b.agent", "-> a.agent"),
        ("/etc/u/a.agent.d/20.conf", "own"),
        ("/etc/u/b.agent.d/10.conf", "alias"),
        ("/etc/u/b.agent.d/20.conf", "hidden"),
        ("/etc/u/agent.d/10.conf", "hidden"),
    ];
    let found = files(search("b.agent", &tree));
    assert_eq!(found.name, name("a.agent"));
    assert_eq!(found.links.aliases, [name("b.agent")]);
    assert_eq!(search("a.agent", &tree), Found::Files(found.clone()));
    assert_eq!(
        paths(Found::Files(found)),
        [
            "/usr/u/a.agent",
            "/etc/u/b.agent.d/10.conf",
            "/etc/u/a.agent.d/20.conf"
        ]
    );
}

#[test]
fn entries_of_wants_directories_are_units() {
    let tree = [
        ("/usr/u/a.target", "x"),
        ("/usr/u/c@.agent", "x"),
        ("/usr/u/b.agent", "x"),
        ("/etc/u/alias.agent", "-> b.agent"),
        ("/usr/u/a.target.wants/one.agent", "gone"),
        ("/usr/u/a.target.wants/masked.agent", "x"),
        ("/etc/u/a.target.wants/masked.agent", "null"),
        ("/etc/u/a.target.wants/alias.agent", "x"),
        ("/etc/u/a.target.wants/c@.agent", "x"),
        ("/etc/u/a.target.wants/README", "x"),
        ("/etc/u/a.target.requires/two.agent", "x"),
        ("/etc/u/a.target.upholds/three.agent", "x"),
    ];
    let links = files(search("a.target", &tree)).links;
    assert_eq!(links.wants, ["b.agent", "c@a.agent", "one.agent"].map(name));
    assert_eq!(links.requires, [name("two.agent")]);
    assert_eq!(links.upholds, [name("three.agent")]);
}

#[test]
fn wants_directories_of_a_template_are_its_instances_too() {
    let tree = [
        ("/usr/u/w@.target", "x"),
        ("/etc/u/w@.target.wants/c@.agent", "x"),
        ("/etc/u/w@x.target.wants/d.agent", "x"),
    ];
    let links = files(search("w@x.target", &tree)).links;
    assert_eq!(links.wants, ["c@x.agent", "d.agent"].map(name));
}

#[test]
fn a_target_comes_after_what_its_directory_pulls_in() {
    let tree = [
        ("/usr/u/a.target", "[Unit]\n"),
        ("/etc/u/a.target.wants/b.agent", "x"),
    ];
    let unit = files(search("a.target", &tree))
        .load(&Names::default(), &SpecifierFacts::default())
        .unit
        .unwrap();
    assert_eq!(unit.relations.wants, [name("b.agent")]);
    assert_eq!(unit.relations.members, [name("b.agent")]);
}

#[test]
fn a_timer_starts_the_agent_where_there_is_no_service() {
    let triggered = |files: &[(&str, &str)]| files_triggers(search("a.timer", files));
    let timer = ("/etc/u/a.timer", "[Timer]\nOnCalendar=daily\n");
    let agent = ("/etc/u/a.agent", "x");
    assert_eq!(triggered(&[timer]), "a.service");
    assert_eq!(triggered(&[timer, agent]), "a.agent");
    assert_eq!(
        triggered(&[timer, agent, ("/usr/u/a.service", "x")]),
        "a.service"
    );
    let other = (
        "/etc/u/a.timer",
        "[Timer]\nOnCalendar=daily\nUnit=a.service\n",
    );
    assert_eq!(triggered(&[other, agent]), "a.service");
}

fn files_triggers(found: Found) -> String {
    let loaded = files(found).load(&Names::default(), &SpecifierFacts::default());
    loaded.unit.unwrap().relations.triggers[0].to_string()
}
