use super::*;

fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

/// `WantedBy=a.target b.target` and so on, one to a line.
fn install(text: &str) -> Install {
    let mut install = Install::default();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap();
        let units = value.split_whitespace().map(name).collect();
        match key {
            "WantedBy" => install.wanted_by = units,
            "RequiredBy" => install.required_by = units,
            "UpheldBy" => install.upheld_by = units,
            "Alias" => install.alias = units,
            "Also" => install.also = units,
            _ => panic!("{key}"),
        }
    }
    install
}

fn paths(unit: &str, install: &Install) -> Result<Vec<String>, String> {
    let wishes = wishes(&name(unit), install).map_err(|error| error.to_string())?;
    Ok(wishes
        .into_iter()
        .map(|wish| wish.path.display().to_string())
        .collect())
}

#[test]
fn links_of_an_install_section() {
    let all = install(
        "WantedBy=a.target b.target\nRequiredBy=a.target\nUpheldBy=c.target\nAlias=other.agent",
    );
    assert_eq!(
        paths("x.agent", &all).unwrap(),
        [
            "other.agent",
            "a.target.wants/x.agent",
            "b.target.wants/x.agent",
            "a.target.requires/x.agent",
            "c.target.upholds/x.agent"
        ]
    );
    assert!(paths("x.agent", &Install::default()).unwrap().is_empty());
}

#[test]
fn a_template_needs_an_instance_for_a_plain_unit() {
    let mut wanted = install("WantedBy=a.target");
    let error = paths("x@.agent", &wanted).unwrap_err();
    assert!(error.contains("x@main.agent"), "{error}");
    assert_eq!(
        paths("x@one.agent", &wanted).unwrap(),
        ["a.target.wants/x@one.agent"]
    );
    wanted.default_instance = Some("two".to_owned());
    assert_eq!(
        paths("x@.agent", &wanted).unwrap(),
        ["a.target.wants/x@two.agent"]
    );
    assert_eq!(
        paths("x@.agent", &install("WantedBy=a@.target")).unwrap(),
        ["a@.target.wants/x@.agent"]
    );
}

#[test]
fn aliases_are_of_the_units_own_kind() {
    let alias = |unit, alias: &str| paths(unit, &install(&format!("Alias={alias}")));
    assert_eq!(alias("x@.agent", "y@.agent").unwrap(), ["y@.agent"]);
    assert_eq!(alias("x@1.agent", "y@.agent").unwrap(), ["y@1.agent"]);
    assert_eq!(alias("x@1.agent", "y@1.agent").unwrap(), ["y@1.agent"]);
    for (unit, other, reason) in [
        ("x.agent", "y.service", "of another type"),
        ("x.agent", "y@.agent", "no template"),
        ("x@.agent", "y.agent", "is a template"),
        ("x@1.agent", "y@2.agent", "same instance"),
        ("x.agent", "x.agent", "own name"),
    ] {
        let error = alias(unit, other).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

/// `/etc` is local, `/run` runtime, `/usr` the vendor's; lines are `path -> target`.
fn trees(links: &[&str]) -> Vec<Tree> {
    [
        ("/run/t", Role::Transient),
        ("/etc/u", Role::Local),
        ("/run/u", Role::Runtime),
        ("/usr/u", Role::Vendor),
    ]
    .into_iter()
    .map(|(directory, role)| Tree {
        path: directory.into(),
        role,
        links: links
            .iter()
            .filter_map(|line| {
                let (path, target) = line.split_once(" -> ").unwrap();
                let path = Path::new(path).strip_prefix(directory).ok()?;
                Some((path.to_owned(), target.into()))
            })
            .collect(),
    })
    .collect()
}

fn state_of(unit: &str, file: &str, text: &str, links: &[&str]) -> &'static str {
    state(&name(unit), Path::new(file), &install(text), &trees(links)).as_str()
}

#[test]
fn states() {
    let wanted = "WantedBy=a.target";
    for (text, link, expected) in [
        (wanted, "/etc/u/q -> /q", "disabled"),
        ("", "/etc/u/q -> /q", "static"),
        ("Also=y.agent", "/etc/u/q -> /q", "indirect"),
        (
            wanted,
            "/etc/u/a.target.wants/x.agent -> /usr/u/x.agent",
            "enabled",
        ),
        // Anybody's wish counts.
        (
            "",
            "/etc/u/b.target.requires/x.agent -> /usr/u/x.agent",
            "enabled",
        ),
        (
            wanted,
            "/run/u/a.target.wants/x.agent -> /usr/u/x.agent",
            "enabled-runtime",
        ),
        (
            wanted,
            "/usr/u/a.target.wants/x.agent -> ../x.agent",
            "disabled",
        ),
        (
            "Alias=y.agent",
            "/etc/u/y.agent -> /usr/u/x.agent",
            "enabled",
        ),
        (wanted, "/etc/u/y.agent -> /usr/u/x.agent", "indirect"),
    ] {
        let found = state_of("x.agent", "/usr/u/x.agent", text, &[link]);
        assert_eq!(found, expected, "{text} {link}");
    }
    assert_eq!(
        state_of("x.agent", "/run/t/x.agent", wanted, &[]),
        "transient"
    );
}

#[test]
fn a_file_elsewhere_is_linked() {
    for (link, expected) in [
        ("/etc/u/x.agent -> /srv/x.agent", "linked"),
        ("/run/u/x.agent -> /srv/x.agent", "linked-runtime"),
    ] {
        let found = state_of("x.agent", "/srv/x.agent", "WantedBy=a.target", &[link]);
        assert_eq!(found, expected);
    }
}

#[test]
fn instances_and_their_template() {
    let link = ["/etc/u/a.target.wants/x@1.agent -> /usr/u/x@.agent"];
    let of = |unit| state_of(unit, "/usr/u/x@.agent", "WantedBy=a.target", &link);
    assert_eq!(of("x@1.agent"), "enabled");
    assert_eq!(of("x@2.agent"), "disabled");
    assert_eq!(of("x@.agent"), "indirect");
    let vendor = ["/usr/u/a.target.wants/x@1.agent -> ../x@.agent"];
    let found = state_of("x@1.agent", "/usr/u/x@.agent", "", &vendor);
    assert_eq!(found, "static");
}

#[test]
fn disabling_removes_names_and_links_to_them() {
    let trees = trees(&[
        "/etc/u/y.agent -> /usr/u/x.agent",
        "/etc/u/z.agent -> /etc/u/y.agent",
        "/etc/u/a.target.wants/x.agent -> /usr/u/x.agent",
        "/etc/u/a.target.wants/t@1.agent -> /usr/u/t@.agent",
        "/etc/u/a.target.wants/o.agent -> /usr/u/o.agent",
    ]);
    let removed = |unit| {
        removals(&BTreeSet::from([name(unit)]), &trees[1])
            .into_iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        removed("x.agent"),
        ["a.target.wants/x.agent", "y.agent", "z.agent"]
    );
    assert_eq!(removed("t@.agent"), ["a.target.wants/t@1.agent"]);
    assert_eq!(removed("t@1.agent"), ["a.target.wants/t@1.agent"]);
    assert!(removed("t@2.agent").is_empty());
}
