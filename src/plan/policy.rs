//! Policies: `policies/*.policy`, what a confined unit may reach.
//!
//! Allow-only, because Landlock is: what no rule names is denied. A rule's reason is the comment
//! above it and travels with it to `aetherctl plan`. Paths keep their `%` until a unit's places
//! are known. Reading files is the daemon's work. Read next: [`super::compile`](mod@super::compile).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Access, Assignment, PathRule};
use crate::diagnostic::{Diagnostic, Severity};
use crate::unit::syntax::{self, Assignment as Line, Document};

/// Most rules of one policy, inherited ones included.
pub const MAX_RULES: usize = 1024;
/// Longest chain of `Extends=`.
const MAX_DEPTH: usize = 8;

/// The policies that come with the program, by name.
const SHIPPED: [(&str, &str); 4] = [
    ("none", include_str!("../../policies/none.policy")),
    ("strict", include_str!("../../policies/strict.policy")),
    ("coding", include_str!("../../policies/coding.policy")),
    ("service", include_str!("../../policies/service.policy")),
];

/// One policy. What is `None` was not said, and comes from the policy it extends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The file's stem.
    pub name: String,
    /// `Description=`.
    pub description: String,
    /// `Extends=`: the policy it adds to; `None` once resolved.
    pub extends: Option<String>,
    /// `Confine=`: whether Landlock is used at all; by default it is.
    pub confine: Option<bool>,
    /// `[Paths]`.
    pub paths: Vec<PolicyRule>,
    /// `ConnectTCP=`; by default none.
    pub connect_tcp: Option<Ports>,
    /// `BindTCP=`; by default none.
    pub bind_tcp: Option<Ports>,
    /// `Scoped=`; by default yes.
    pub scoped: Option<bool>,
    /// `NoNewPrivileges=`; by default yes.
    pub no_new_privileges: Option<bool>,
    /// `KeepCapabilities=`: names that stay in the bounding set of a service.
    pub keep_capabilities: Vec<String>,
}

/// A path as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// With specifiers.
    pub path: String,
    /// What is allowed beneath.
    pub access: Access,
    /// Written with `-`.
    pub optional: bool,
    /// The comment above.
    pub reason: String,
}

/// TCP ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// Not restricted.
    Any,
    /// These; an empty list is none.
    Only(Vec<u16>),
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No file of that name.
    #[error("policy {0:?} does not exist")]
    Missing(String),
    /// It extends itself, over however many others.
    #[error("policies extend each other in a circle or too deeply: {}", .0.join(" -> "))]
    Chain(Vec<String>),
    /// More than [`MAX_RULES`].
    #[error("policy {0:?} has more than {MAX_RULES} rules")]
    TooMany(String),
}

impl Policy {
    /// The policy of this name that comes with the program.
    #[must_use]
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Some(parse(Path::new(&format!("{name}.policy")), text).0)
    }

    /// The names of all that come with the program.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// The policy with everything it extends. `load` finds one by name: the daemon's files first,
    /// then [`Self::shipped`].
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn resolve(
        name: &str,
        mut load: impl FnMut(&str) -> Option<Self>,
    ) -> Result<Self, PolicyError> {
        let mut chain = vec![name.to_owned()];
        let missing = |name: &str| PolicyError::Missing(name.to_owned());
        let mut policy = load(name).ok_or_else(|| missing(name))?;
        while let Some(base) = policy.extends.take() {
            let seen = chain.contains(&base);
            chain.push(base.clone());
            if seen || chain.len() > MAX_DEPTH {
                return Err(PolicyError::Chain(chain));
            }
            let base = load(&base).ok_or_else(|| missing(&base))?;
            policy = policy.over(base);
            if policy.paths.len() > MAX_RULES {
                return Err(PolicyError::TooMany(name.to_owned()));
            }
        }
        Ok(policy)
    }

    /// `self` where it says something, else `base`; the paths of both.
    fn over(self, base: Self) -> Self {
        let mut paths = base.paths;
        paths.extend(self.paths);
        let mut keep = base.keep_capabilities;
        keep.extend(self.keep_capabilities);
        Self {
            name: self.name,
            description: self.description,
            extends: base.extends,
            confine: self.confine.or(base.confine),
            paths,
            connect_tcp: self.connect_tcp.or(base.connect_tcp),
            bind_tcp: self.bind_tcp.or(base.bind_tcp),
            scoped: self.scoped.or(base.scoped),
            no_new_privileges: self.no_new_privileges.or(base.no_new_privileges),
            keep_capabilities: keep,
        }
    }
}

impl PolicyRule {
    /// The rule in a unit's places; `None` where the unit has no such place, which denies.
    #[must_use]
    pub fn place(&self, policy: &str, places: &Assignment) -> Option<PathRule> {
        let mut path = String::new();
        let mut rest = self.path.as_str();
        while let Some((before, after)) = rest.split_once('%') {
            path.push_str(before);
            let mut letters = after.chars();
            let place = match letters.next() {
                Some('h') => &places.home,
                Some('w') => &places.workspace,
                Some('t') => &places.tmp,
                Some('r') => &places.runtime,
                Some('l') => &places.libexec,
                Some('%') => Path::new("%"),
                _ => return None,
            };
            if place.as_os_str().is_empty() {
                return None;
            }
            path.push_str(place.to_str()?);
            rest = letters.as_str();
        }
        path.push_str(rest);
        Some(PathRule {
            path: PathBuf::from(path),
            access: self.access,
            optional: self.optional,
            reason: format!("policy {policy}: {}", self.reason),
        })
    }
}

/// Reads a policy's text.
#[must_use]
pub fn parse(path: &Path, text: &str) -> (Policy, Vec<Diagnostic>) {
    let (document, diagnostics) = syntax::parse(path, text);
    let mut reader = Reader {
        document: &document,
        diagnostics,
        policy: Policy {
            name: path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
            ..Policy::default()
        },
    };
    for section in document.sections() {
        for line in &section.assignments {
            reader.read(&section.name, line);
        }
    }
    (reader.policy, reader.diagnostics)
}

struct Reader<'a> {
    document: &'a Document,
    diagnostics: Vec<Diagnostic>,
    policy: Policy,
}

impl Reader<'_> {
    fn read(&mut self, section: &str, line: &Line) {
        let value = line.value.trim();
        match (section, line.key.as_str()) {
            ("Policy", "Description") => self.policy.description = value.to_owned(),
            ("Policy", "Extends") => {
                self.policy.extends = Some(value.to_owned()).filter(|name| !name.is_empty());
            }
            ("Policy", "Confine") => self.policy.confine = self.boolean(line),
            ("Paths", "Read") => self.paths(line, Access::Read),
            ("Paths", "ReadExecute") => self.paths(line, Access::ReadExecute),
            ("Paths", "ReadWrite") => self.paths(line, Access::ReadWrite),
            ("Paths", "ReadWriteExecute") => self.paths(line, Access::ReadWriteExecute),
            ("Network", "ConnectTCP") => self.policy.connect_tcp = Some(self.ports(line)),
            ("Network", "BindTCP") => self.policy.bind_tcp = Some(self.ports(line)),
            ("Process", "Scoped") => self.policy.scoped = self.boolean(line),
            ("Process", "NoNewPrivileges") => {
                self.policy.no_new_privileges = self.boolean(line);
            }
            ("Process", "KeepCapabilities") => {
                let names = value.split_whitespace().map(str::to_owned);
                self.policy.keep_capabilities.extend(names);
            }
            _ => self.error(
                line,
                format!("{section}.{}= is no setting of a policy", line.key),
            ),
        }
    }

    fn error(&mut self, line: &Line, message: String) {
        let found = self
            .document
            .diagnose(Severity::Error, line.span, message, None);
        self.diagnostics.push(found);
    }

    fn boolean(&mut self, line: &Line) -> Option<bool> {
        match line.value.trim() {
            "yes" | "true" | "on" | "1" => Some(true),
            "no" | "false" | "off" | "0" => Some(false),
            other => {
                self.error(line, format!("{other:?} is neither yes nor no"));
                None
            }
        }
    }

    /// What cannot be read allows nothing.
    fn ports(&mut self, line: &Line) -> Ports {
        let words: Vec<&str> = line.value.split_whitespace().collect();
        if words == ["any"] {
            return Ports::Any;
        }
        let mut ports = vec![];
        for word in words {
            match word.parse() {
                Ok(port) => ports.push(port),
                Err(_) => self.error(line, format!("{word:?} is no TCP port")),
            }
        }
        Ports::Only(ports)
    }

    fn paths(&mut self, line: &Line, access: Access) {
        if line.value.trim().is_empty() {
            // As everywhere in unit files: an empty assignment takes back what was said above.
            self.policy.paths.retain(|rule| rule.access != access);
            return;
        }
        let reason = self.reason(line);
        if reason.is_empty() {
            let message = format!("{}= has no reason", line.key);
            let help = "write it as a comment in the line above".to_owned();
            let found = self
                .document
                .diagnose(Severity::Warning, line.span, message, Some(help));
            self.diagnostics.push(found);
        }
        for word in line.value.split_whitespace() {
            let (path, optional) = match word.strip_prefix('-') {
                Some(path) => (path, true),
                None => (word, false),
            };
            if let Some(fault) = fault(path) {
                self.error(line, format!("{path:?} {fault}"));
            } else if self.policy.paths.len() >= MAX_RULES {
                self.error(line, format!("more than {MAX_RULES} rules"));
                return;
            } else {
                self.policy.paths.push(PolicyRule {
                    path: path.to_owned(),
                    access,
                    optional,
                    reason: reason.clone(),
                });
            }
        }
    }

    /// The comment lines directly above, joined.
    fn reason(&self, line: &Line) -> String {
        let mut lines = vec![];
        for number in (1..line.span.line).rev() {
            match self.document.line(number).trim().strip_prefix(['#', ';']) {
                Some(text) => lines.push(text.trim()),
                None => break,
            }
        }
        lines.reverse();
        lines.join(" ")
    }
}

/// What is wrong with a path of a policy.
fn fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') && !path.starts_with('%') {
        return Some("is not an absolute path");
    }
    if path.split('/').any(|part| part == "..") {
        return Some("contains ..");
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        if !after.starts_with(['h', 'w', 't', 'r', 'l', '%']) {
            return Some("has a specifier other than %h %w %t %r %l %%");
        }
        rest = after.get(1..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Assignment {
        Assignment {
            home: "/h".into(),
            workspace: "/w".into(),
            tmp: "/t".into(),
            runtime: "/r".into(),
            libexec: "/l".into(),
            ..Assignment::default()
        }
    }

    #[test]
    fn shipped_policies_are_faultless_and_every_rule_has_a_reason() {
        for (name, text) in SHIPPED {
            let (policy, diagnostics) = parse(Path::new(&format!("{name}.policy")), text);
            assert_eq!(diagnostics, [], "{name}");
            assert_eq!(policy.name, name);
            assert!(!policy.description.is_empty(), "{name}");
            for rule in &policy.paths {
                assert!(rule.reason.len() > 10, "{name}: {}", rule.path);
            }
            let resolved = Policy::resolve(name, Policy::shipped).unwrap();
            assert_eq!(resolved.extends, None);
            // In [Network] and [Process] too.
            let mut above = "";
            for line in text.lines() {
                if line.contains('=') && !line.starts_with('#') {
                    let first = line.starts_with("Description=")
                        || line.starts_with("Extends=")
                        || line.starts_with("Confine=");
                    assert!(first || above.starts_with('#'), "{name}: {line}");
                }
                above = line;
            }
        }
    }

    #[test]
    fn nothing_shipped_opens_the_whole_of_etc_proc_or_the_root() {
        for (name, _) in SHIPPED {
            let policy = Policy::resolve(name, Policy::shipped).unwrap();
            for rule in &policy.paths {
                let path = rule.path.trim_end_matches('/');
                // The hub must see which cgroup a peer is in, and no agent gets this policy.
                if name == "service" && path == "/proc" {
                    assert_eq!(rule.access, Access::Read);
                    continue;
                }
                assert!(
                    ![
                        "", "/etc", "/proc", "/root", "/home", "/var", "/run", "/dev", "/sys"
                    ]
                    .contains(&path),
                    "{name}: {path}"
                );
                assert!(!path.starts_with("/etc/shadow") && !path.starts_with("/etc/ssl/private"));
            }
        }
    }

    #[test]
    fn a_policy_extends_another() {
        let coding = Policy::resolve("coding", Policy::shipped).unwrap();
        assert_eq!(coding.connect_tcp, Some(Ports::Any));
        assert_eq!(coding.scoped, Some(true));
        assert!(coding.paths.iter().any(|rule| rule.path == "/usr"));
        assert!(coding.paths.iter().any(|rule| rule.path == "%w"));
    }

    #[test]
    fn circles_and_missing_policies_are_errors() {
        let circle = |name: &str| {
            let base = if name == "a" { "b" } else { "a" };
            Some(Policy {
                name: name.to_owned(),
                extends: Some(base.to_owned()),
                ..Policy::default()
            })
        };
        assert_eq!(
            Policy::resolve("a", circle),
            Err(PolicyError::Chain(vec!["a".into(), "b".into(), "a".into()]))
        );
        assert_eq!(
            Policy::resolve("x", |_| None),
            Err(PolicyError::Missing("x".into()))
        );
    }

    #[test]
    fn faults_are_found_and_allow_nothing() {
        let text = "[Paths]\n# why\nRead=etc -/ok /a/../b /%q\nWrite=/x\n[Network]\nConnectTCP=443 \
                    https\n[Process]\nScoped=perhaps\n";
        let (policy, diagnostics) = parse(Path::new("/p/bad.policy"), text);
        let messages: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "\"etc\" is not an absolute path",
                "\"/a/../b\" contains ..",
                "\"/%q\" has a specifier other than %h %w %t %r %l %%",
                "Paths.Write= is no setting of a policy",
                "\"https\" is no TCP port",
                "\"perhaps\" is neither yes nor no",
            ]
        );
        assert_eq!(policy.paths.len(), 1);
        assert!(policy.paths[0].optional);
        assert_eq!(policy.paths[0].reason, "why");
        assert_eq!(policy.connect_tcp, Some(Ports::Only(vec![443])));
        assert_eq!(policy.scoped, None);
    }

    #[test]
    fn rules_find_their_places() {
        let rule = |path: &str| PolicyRule {
            path: path.to_owned(),
            access: Access::Read,
            optional: false,
            reason: String::new(),
        };
        let placed = |path: &str, places: &Assignment| {
            rule(path)
                .place("p", places)
                .map(|rule| rule.path.display().to_string())
        };
        assert_eq!(placed("%h/x", &places()).as_deref(), Some("/h/x"));
        assert_eq!(placed("/a%%b", &places()).as_deref(), Some("/a%b"));
        let nowhere = Assignment::default();
        assert_eq!(placed("%r", &nowhere), None, "no such place: no rule");
    }
}
