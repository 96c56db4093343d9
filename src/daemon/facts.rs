//! What is answered: facts about units, jobs and the manager, gathered when somebody asks.

use std::sync::Arc;

use crate::bus::ask::{JobFacts, ManagerFacts, UnitFacts};
use crate::daemon::Daemon;
use crate::engine::view::ActiveState;
use crate::name::{UnitName, UnitType};
use crate::plan::Ruleset;
use crate::sys::cgroup::Group;
use crate::sys::landlock;

impl Daemon {
    /// What there is to tell of a unit when somebody asks.
    pub(super) fn unit_facts(&self, name: &UnitName) -> UnitFacts {
        let group = self.held.get(name).and_then(|held| held.group.as_ref());
        let usage = group.map(Group::usage).unwrap_or_default();
        UnitFacts {
            memory_current: usage.memory,
            tasks_current: usage.tasks,
            cpu_usage: usage.cpu_nsec,
            ..self.own_facts(name)
        }
    }

    /// The same without what the kernel would have to be asked.
    pub(super) fn own_facts(&self, name: &UnitName) -> UnitFacts {
        let held = self.held.get(name);
        let agent = self.agents.get(name);
        let view = self.engine.view(name);
        let invocation_id = match (held, &view) {
            (Some(held), _) => held.invocation_id.clone(),
            (None, Some(view)) if view.invocation.0 > 0 => self.invocation_id(view.invocation),
            _ => String::new(),
        };
        let mut view = view;
        if let (Some(view), Some(held)) = (view.as_mut(), held)
            && !held.missing.is_empty()
        {
            let enforcement = view.enforcement.get_or_insert_default();
            enforcement.missing.extend(held.missing.iter().cloned());
        }
        UnitFacts {
            name: name.clone(),
            load_state: self
                .library
                .load_state(name, self.engine.definition(name).is_some()),
            need_reload: false,
            triggered_by: self
                .engine
                .triggered_by(name)
                .iter()
                .map(ToString::to_string)
                .collect(),
            unit: self.engine.definition(name).map(Arc::clone),
            diagnostics: self.library.diagnostics(name),
            view,
            control_group: held
                .and_then(|held| held.group.as_ref())
                .map(|group| group.path().to_owned())
                .unwrap_or_default(),
            invocation_id,
            memory_current: None,
            tasks_current: None,
            cpu_usage: None,
            uid: held.and_then(|held| held.uid),
            session_id: agent
                .and_then(|agent| agent.session.clone())
                .unwrap_or_default(),
            model: agent.map(|agent| agent.model.clone()).unwrap_or_default(),
            tokens_in: agent.map_or(0, |agent| agent.tokens_in),
            tokens_out: agent.map_or(0, |agent| agent.tokens_out),
            cost_micros: agent.map_or(0, super::agent::Agent::cost),
            last_activity: agent.map_or(0, |agent| agent.last_activity),
            log_directory: self.places.unit_log(name),
            file_state: None,
        }
    }

    /// Every unit that is loaded or has a file.
    pub(super) fn all_facts(&mut self) -> Vec<UnitFacts> {
        let mut names = self.library.names();
        names.extend(self.engine.views().map(|view| view.name));
        names.sort();
        names.dedup();
        for name in &names {
            if self.engine.definition(name).is_none() && !name.is_template() {
                // A list shows what the files say, so they are read; what is wrong is kept for
                // the list to show.
                let _ = self.define(name);
            }
        }
        self.settle();
        names
            .iter()
            .filter(|name| !name.is_template())
            .map(|name| self.unit_facts(name))
            .collect()
    }

    pub(super) fn job_facts(&self) -> Vec<JobFacts> {
        self.engine
            .jobs()
            .map(|(id, unit, kind, running)| JobFacts {
                id,
                unit,
                kind,
                running,
            })
            .collect()
    }

    pub(super) fn manager_facts(&self) -> ManagerFacts {
        let views: Vec<_> = self.engine.views().collect();
        let failed = views
            .iter()
            .filter(|view| view.active == ActiveState::Failed)
            .count();
        let mut missing = self.tree.missing().to_vec();
        if self.host.landlock_abi == 0 {
            missing.push(
                "this kernel has no Landlock: files and network are not confined by it".to_owned(),
            );
        } else {
            // Whatever any policy could ask for; a unit's own status says what concerns it.
            let everything = Ruleset {
                connect_tcp: Some(vec![]),
                bind_tcp: Some(vec![]),
                scoped: true,
                ..Ruleset::default()
            };
            missing.extend(landlock::missing(self.host.landlock_abi, &everything));
        }
        if !self.host.root {
            missing.push(
                "this manager is not root: units run as its own user, without users of their own"
                    .to_owned(),
            );
        }
        if self.keeper.is_none() {
            missing.push(
                "there is no keeper: if this daemon dies nobody starts another one".to_owned(),
            );
        }
        let lost = self.journal.failures();
        if lost > 0 {
            missing.push(format!(
                "{lost} entries of the event log could not be written"
            ));
        }
        let state = if self.stopping {
            "stopping"
        } else if failed > 0 {
            "degraded"
        } else {
            "running"
        };
        let landlock = match self.host.landlock_abi {
            0 => "none".to_owned(),
            abi => format!("ABI {abi}"),
        };
        ManagerFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scope: if self.places.system { "system" } else { "user" }.to_owned(),
            state: state.to_owned(),
            started: self.started,
            generation: self.generation,
            host: vec![
                ("cgroups".to_owned(), self.host.cgroups.clone()),
                ("landlock".to_owned(), landlock),
                (
                    "users".to_owned(),
                    if self.host.root {
                        "one per agent"
                    } else {
                        "the caller's"
                    }
                    .to_owned(),
                ),
            ],
            missing,
            unit_path: self.library.path(),
            control_group: self.tree.path().to_owned(),
            pid: std::process::id(),
            machine_id: self.library.machine_id().to_owned(),
            agents: u32::try_from(
                views
                    .iter()
                    .filter(|view| view.name.kind() == UnitType::Agent)
                    .count(),
            )
            .unwrap_or(u32::MAX),
            units: u32::try_from(views.len()).unwrap_or(u32::MAX),
            failed: u32::try_from(failed).unwrap_or(u32::MAX),
            jobs: u32::try_from(self.engine.jobs().count()).unwrap_or(u32::MAX),
            log_directory: self.places.log.clone(),
        }
    }
}
