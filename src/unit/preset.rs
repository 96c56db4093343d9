//! Preset files: which units are enabled where nobody has decided yet (systemd.preset(5)).
//!
//! Pure: the texts come from `*.preset` files, in the order of their names. Read next:
//! [`super::install`].

use crate::name::UnitName;

use super::glob;

/// What presets say about a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preset {
    /// It is to be enabled; with the instances of a template, if any are listed.
    Enable(Vec<UnitName>),
    /// It is not to be enabled.
    Disable,
    /// It is to stay as it is.
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Enable,
    Disable,
    Ignore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    word: Word,
    pattern: String,
    instances: Vec<String>,
}

/// All rules, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presets(Vec<Rule>);

impl Presets {
    /// Adds the rules of one file; the numbers of the lines that are none are returned.
    pub fn add(&mut self, text: &str) -> Vec<usize> {
        let mut wrong = vec![];
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            let word = match words.next() {
                Some("enable") => Word::Enable,
                Some("disable") => Word::Disable,
                Some("ignore") => Word::Ignore,
                _ => {
                    wrong.push(number + 1);
                    continue;
                }
            };
            let Some(pattern) = words.next() else {
                wrong.push(number + 1);
                continue;
            };
            let instances = match word {
                Word::Enable => words.map(ToOwned::to_owned).collect(),
                Word::Disable | Word::Ignore => vec![],
            };
            self.0.push(Rule {
                word,
                pattern: pattern.to_owned(),
                instances,
            });
        }
        wrong
    }

    /// What the first rule that fits says; without one the unit is enabled.
    #[must_use]
    pub fn of(&self, name: &UnitName) -> Preset {
        for rule in &self.0 {
            let instances = rule.instances_of(name);
            if instances.is_none() && !glob::matches(&rule.pattern, name.as_str()) {
                continue;
            }
            return match rule.word {
                Word::Enable => Preset::Enable(instances.unwrap_or_default()),
                Word::Disable => Preset::Disable,
                Word::Ignore => Preset::Ignore,
            };
        }
        Preset::Enable(vec![])
    }
}

impl Rule {
    /// Of a rule that lists instances: the ones meant, if it is about this template or one of them.
    fn instances_of(&self, name: &UnitName) -> Option<Vec<UnitName>> {
        if self.instances.is_empty() || name.template()? != self.pattern {
            return None;
        }
        if name.is_template() {
            let instances = self.instances.iter();
            return Some(instances.filter_map(|it| name.with_instance(it)).collect());
        }
        let listed = self
            .instances
            .iter()
            .any(|it| Some(it.as_str()) == name.instance());
        listed.then(Vec::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str) -> Preset {
        let mut presets = Presets::default();
        assert_eq!(presets.add(text), Vec::<usize>::new());
        presets.of(&name.parse().unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let text = "# what we want\nenable a.*\n;\ndisable *.agent\nignore web-?.service\n";
        assert_eq!(of(text, "a.agent"), Preset::Enable(vec![]));
        assert_eq!(of(text, "b.agent"), Preset::Disable);
        assert_eq!(of(text, "web-1.service"), Preset::Ignore);
        assert_eq!(of(text, "web.service"), Preset::Enable(vec![]));
        assert_eq!(of("", "web.service"), Preset::Enable(vec![]));
    }

    #[test]
    fn a_rule_may_list_instances_of_a_template() {
        let text = "enable t@.service one two\ndisable *\n";
        let instances = ["t@one.service", "t@two.service"].map(|name| name.parse().unwrap());
        assert_eq!(of(text, "t@.service"), Preset::Enable(instances.to_vec()));
        assert_eq!(of(text, "t@two.service"), Preset::Enable(vec![]));
        assert_eq!(of(text, "t@three.service"), Preset::Disable);
    }

    #[test]
    fn lines_that_are_no_rules_are_named() {
        let mut presets = Presets::default();
        assert_eq!(presets.add("enable\n\nenabel x\ndisable *\n"), [1, 3]);
        assert_eq!(presets.of(&"x.agent".parse().unwrap()), Preset::Disable);
    }
}
