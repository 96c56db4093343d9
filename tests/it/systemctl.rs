//! Links of unit files against systemctl: the same files, the same commands, the same links and
//! words. systemctl works on a directory of its own (`--root`), ours without a daemon.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::live::Aether;

/// The same files for systemctl and for us, without any daemon.
struct Both {
    aether: Aether,
    root: PathBuf,
}

/// A unit directory of theirs and of ours.
const DIRECTORIES: [(&str, &str); 4] = [
    ("etc/systemd/system", "units"),
    ("run/systemd/system", "run/units"),
    ("usr/lib/systemd/system", "vendor"),
    ("etc/systemd/system-preset", "units-preset"),
];

impl Both {
    fn new() -> Self {
        let aether = Aether::prepare();
        let root = aether.root.path().join("theirs");
        let both = Self { aether, root };
        for (theirs, ours) in DIRECTORIES {
            fs::create_dir_all(both.root.join(theirs)).unwrap();
            fs::create_dir_all(both.ours(ours)).unwrap();
        }
        fs::create_dir_all(both.root.join("srv")).unwrap();
        both
    }

    fn ours(&self, path: &str) -> PathBuf {
        self.aether.root.path().join(path)
    }

    /// Writes `PLACE/NAME` of one of [`DIRECTORIES`] for both.
    fn write(&self, path: &str, text: &str) {
        let (place, name) = path.split_once('/').unwrap();
        for file in self.pair(place, name) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    fn link(&self, path: &str, target: &str) {
        let (place, name) = path.split_once('/').unwrap();
        for file in self.pair(place, name) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            symlink(target, file).unwrap();
        }
    }

    fn pair(&self, place: &str, name: &str) -> [PathBuf; 2] {
        let at = |ours: &str| DIRECTORIES.iter().find(|(_, it)| *it == ours).unwrap();
        let (theirs, ours) = match place {
            "local" => at("units"),
            "runtime" => at("run/units"),
            "vendor" => at("vendor"),
            _ => at("units-preset"),
        };
        [
            self.root.join(theirs).join(name),
            self.ours(ours).join(name),
        ]
    }

    /// Runs both; exit codes and the words on standard output.
    fn run(&self, arguments: &[&str]) -> [(i32, Vec<String>); 2] {
        self.run_each(arguments, arguments)
    }

    /// Runs each with arguments of its own.
    fn run_each(&self, theirs: &[&str], ours: &[&str]) -> [(i32, Vec<String>); 2] {
        let theirs = Command::new("systemctl")
            .arg(format!("--root={}", self.root.display()))
            .args(theirs)
            .output()
            .unwrap();
        let unit_path = format!(
            "{}:{}",
            self.ours("units").display(),
            self.ours("vendor").display()
        );
        let ours = self
            .aether
            .command(ours)
            .env("AETHER_UNIT_PATH", unit_path)
            .output()
            .unwrap();
        [theirs, ours].map(|output| {
            let words = String::from_utf8_lossy(&output.stdout);
            let words = words.lines().map(ToOwned::to_owned).collect();
            (output.status.code().unwrap(), words)
        })
    }

    /// Every link and file in the local and runtime directories, and where links lead.
    fn trees(&self) -> [BTreeMap<String, String>; 2] {
        let mut both = [BTreeMap::new(), BTreeMap::new()];
        for place in ["local", "runtime"] {
            for (tree, directory) in both.iter_mut().zip(self.pair(place, "")) {
                collect(&directory, place, tree);
            }
        }
        both
    }

    /// Both do the same, and the same is there afterwards.
    fn same(&self, arguments: &[&str]) {
        let [theirs, ours] = self.run(arguments);
        assert_eq!(ours.0, theirs.0, "exit code of {arguments:?}");
        let [theirs, ours] = self.trees();
        pretty_assertions::assert_eq!(ours, theirs, "after {arguments:?}");
    }

    /// Both call these units' state the same.
    fn same_words(&self, units: &[&str]) {
        for unit in units {
            let [theirs, ours] = self.run(&["is-enabled", unit]);
            assert_eq!(ours, theirs, "is-enabled {unit}");
        }
    }
}

fn collect(directory: &Path, name: &str, tree: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), &path, tree);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            let target = target.file_name().unwrap().to_string_lossy().into_owned();
            tree.insert(path, target);
        } else {
            tree.insert(path, "a file".to_owned());
        }
    }
}

/// A service with this in `[Install]`.
fn service(install: &str) -> String {
    format!("[Service]\nExecStart=/bin/true\n[Install]\n{install}\n")
}

fn furnished() -> Both {
    let both = Both::new();
    for (name, install) in [
        (
            "a.service",
            "WantedBy=multi.target\nAlias=a-alias.service\nAlso=b.service",
        ),
        ("b.service", "RequiredBy=multi.target other.target"),
        ("c.service", "WantedBy=multi.target"),
        ("also.service", "Also=b.service"),
        ("t@.service", "WantedBy=multi.target\nDefaultInstance=main"),
        ("n@.service", "WantedBy=multi.target"),
        ("al@.service", "Alias=la@.service"),
        ("it@.service", "WantedBy=wt@%i.target wt@.target"),
        (
            "gone.service",
            "WantedBy=multi.target\nAlso=missing.service",
        ),
    ] {
        both.write(&format!("vendor/{name}"), &service(install));
    }
    both.write("vendor/static.service", "[Service]\nExecStart=/bin/true\n");
    for target in ["multi.target", "other.target", "wt@.target"] {
        both.write(&format!("vendor/{target}"), "[Unit]\n");
    }
    both.link("vendor/calias.service", "c.service");
    both
}

const ALL: [&str; 16] = [
    "a.service",
    "a-alias.service",
    "b.service",
    "c.service",
    "calias.service",
    "also.service",
    "t@.service",
    "t@main.service",
    "t@x.service",
    "n@.service",
    "n@x.service",
    "n@y.service",
    "al@.service",
    "it@.service",
    "static.service",
    "multi.target",
];

#[test]
fn enable_and_disable_make_the_same_links_as_systemctl() {
    let both = furnished();
    let there: Vec<&str> = ALL
        .into_iter()
        .filter(|it| *it != "a-alias.service")
        .collect();
    both.same_words(&there);
    for unit in [
        "a", "static", "t@", "n@x", "n@", "al@", "al@q", "it@", "it@z", "calias", "gone",
    ] {
        both.same(&["enable", &format!("{unit}.service")]);
    }
    both.same_words(&ALL);
    both.same(&["enable", "a-alias.service"]);
    both.same(&["enable", "nothing.service"]);
    both.same(&["reenable", "a.service", "c.service"]);
    both.same_words(&ALL);
    for unit in ["n@x", "t@", "calias", "a-alias", "it@z", "static", "al@"] {
        both.same(&["disable", &format!("{unit}.service")]);
    }
    both.same_words(&there);
}

#[test]
fn masks_and_runtime_links_are_the_same_as_systemctls() {
    let both = furnished();
    both.same(&["mask", "b.service", "nothing.service"]);
    both.same_words(&["b.service", "nothing.service"]);
    both.same(&["enable", "b.service"]);
    both.same(&["enable", "a.service"]);
    both.same(&["disable", "b.service"]);
    both.same(&["unmask", "b.service", "nothing.service"]);
    both.same(&["unmask", "b.service"]);
    both.same(&["mask", "--runtime", "b.service"]);
    both.same_words(&["b.service"]);
    both.same(&["unmask", "--runtime", "b.service"]);
    both.same(&["enable", "--runtime", "b.service"]);
    both.same_words(&["b.service"]);
    both.same(&["disable", "b.service"]);
    both.same(&["disable", "--runtime", "b.service"]);
    both.same_words(&["b.service"]);
    both.write("local/own.service", &service("WantedBy=multi.target"));
    both.same(&["mask", "own.service"]);
    both.same(&["mask", "--force", "own.service"]);
    both.same(&["enable", "own.service"]);
    both.same_words(&["own.service"]);
}

#[test]
fn links_to_files_elsewhere_are_the_same_as_systemctls() {
    let both = furnished();
    // Below their root the path is another one, so that only what links lead to can be the same.
    let ours = both.ours("l.service");
    fs::write(&ours, service("WantedBy=multi.target")).unwrap();
    fs::write(
        both.root.join("srv/l.service"),
        service("WantedBy=multi.target"),
    )
    .unwrap();
    let ours = ours.display().to_string();
    let path = |verb: &str| {
        let [theirs, ours] = both.run_each(&[verb, "/srv/l.service"], &[verb, &ours]);
        assert_eq!(ours.0, theirs.0, "exit code of {verb}");
        let [theirs, ours] = both.trees();
        assert_eq!(ours, theirs, "after {verb}");
    };
    path("link");
    both.same_words(&["l.service"]);
    both.same(&["enable", "l.service"]);
    both.same_words(&["l.service"]);
    both.same(&["mask", "l.service"]);
    both.same(&["unmask", "l.service"]);
    both.same(&["revert", "l.service"]);
    both.same(&["disable", "l.service"]);
    path("enable");
    both.same_words(&["l.service"]);
}

#[test]
fn reverting_leaves_the_same_as_systemctl() {
    let both = furnished();
    both.write("local/c.service", &service("WantedBy=other.target"));
    both.write("local/c.service.d/x.conf", "[Unit]\n");
    both.write("local/own.service", &service("WantedBy=multi.target"));
    both.write("local/own.service.d/x.conf", "[Unit]\n");
    both.same(&["revert", "c.service"]);
    both.same(&["revert", "own.service"]);
    both.same(&["mask", "b.service"]);
    both.same(&["revert", "b.service"]);
}

#[test]
fn presets_decide_the_same_as_for_systemctl() {
    let both = furnished();
    both.write("preset/90-last.preset", "disable *\n");
    both.write(
        "preset/10-first.preset",
        "# what is wanted\nenable c.service\nenable t@.service p q\nenable al*\nignore b.*\n",
    );
    both.same(&["enable", "a.service"]);
    both.same(&[
        "preset",
        "a.service",
        "b.service",
        "c.service",
        "t@.service",
    ]);
    both.same_words(&[
        "a.service",
        "b.service",
        "c.service",
        "t@.service",
        "t@p.service",
    ]);
    both.same(&["enable", "static.service", "n@x.service"]);
    both.same(&["preset-all", "--preset-mode=enable-only"]);
    both.same(&["preset-all"]);
    both.same_words(&ALL.map(|unit| {
        if unit == "a-alias.service" {
            "a.service"
        } else {
            unit
        }
    }));
    let both = furnished();
    both.same(&["preset-all"]);
    both.same(&["preset-all", "--preset-mode=disable-only"]);
}
