//! Answers on their way back: what the daemon told, as the message the contract promises.
//!
//! Lists are filtered here, so that the daemon has one question for each kind of list.

use std::collections::HashMap;
use std::fmt::Write as _;

use zbus::Variant;
use zbus::message::{Flags, Message};

use crate::bus::aether1::{self, Interfaces};
use crate::bus::ask::{Denial, JobFacts, Told, UnitFacts};
use crate::bus::contract::{self, STANDARD};
use crate::bus::failure::Failure;
use crate::bus::path::{self, Object};
use crate::engine::event::Answer as Outcome;
use crate::engine::view::ActiveState;
use crate::name::{JobId, UnitType};
use crate::unit::glob;

/// How an answer is told.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Nothing,
    MachineId,
    Introspect(Object),
    Properties {
        interface: String,
        property: Option<String>,
    },
    JobProperties(JobId, Box<Answer>),
    Job,
    Input,
    UnitPath {
        must_exist: bool,
    },
    UnitOfProcess,
    Units(Filter),
    Agents,
    Jobs,
    Processes,
    Listeners,
    Listener,
    Reloaded,
    ChangedFiles {
        info: bool,
    },
    FileState,
    FileStates,
}

/// Which units a list shows; an empty list of words means all.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) states: Vec<String>,
    pub(crate) patterns: Vec<String>,
}

/// Whether the caller wants an answer at all.
pub(crate) fn wants_reply(call: &Message) -> bool {
    !call
        .primary_header()
        .flags()
        .contains(Flags::NO_REPLY_EXPECTED)
}

/// The error reply to `call`.
pub(crate) fn error(call: &Message, failure: &Failure) -> zbus::Result<Message> {
    // A nul byte cannot travel in a D-Bus text.
    let text = failure.text.replace('\0', "");
    Message::error(&call.header(), failure.name).build(&(text,))
}

/// The reply to `call` when the daemon has told `told` (`None` where nothing was asked).
pub(crate) fn reply(
    call: &Message,
    answer: &Answer,
    told: Option<Result<Told, Denial>>,
) -> zbus::Result<Message> {
    let told = match told.transpose() {
        Ok(told) => told,
        Err(denial) => return error(call, &Failure::of(&denial)),
    };
    match encode(call, answer, told)? {
        Ok(message) => Ok(message),
        Err(failure) => error(call, &failure),
    }
}

fn encode(
    call: &Message,
    answer: &Answer,
    told: Option<Told>,
) -> zbus::Result<Result<Message, Failure>> {
    let header = call.header();
    let back = || Message::method_return(&header);
    Ok(Ok(match (answer, told) {
        (Answer::Nothing, _) => back().build(&())?,
        (Answer::MachineId, Some(Told::Manager(facts))) if !facts.machine_id.is_empty() => {
            back().build(&(facts.machine_id,))?
        }
        (Answer::MachineId, _) => {
            return Ok(Err(Failure::new(
                "org.freedesktop.DBus.Error.FileNotFound",
                "this machine has no /etc/machine-id".to_owned(),
            )));
        }
        (Answer::Introspect(object), told) => back().build(&(introspect(object, told),))?,
        (
            Answer::Properties {
                interface,
                property,
            },
            told,
        ) => {
            let all = match told {
                Some(Told::Unit(facts)) => aether1::of_unit(&facts),
                Some(Told::Manager(facts)) => aether1::of_manager(&facts),
                _ => Vec::new(),
            };
            return properties(call, interface, property.as_deref(), &all);
        }
        (Answer::JobProperties(id, wanted), Some(Told::Jobs(jobs))) => {
            let Some(job) = jobs.iter().find(|job| job.id == *id) else {
                return Ok(Err(Failure::new(
                    "org.freedesktop.DBus.Error.UnknownObject",
                    format!("there is no job {id}"),
                )));
            };
            let Answer::Properties {
                interface,
                property,
            } = &**wanted
            else {
                return Ok(Err(mismatch()));
            };
            let all = aether1::of_job(job);
            return properties(call, interface, property.as_deref(), &all);
        }
        (Answer::Job, Some(Told::Answer(Outcome::Job(id)))) => {
            back().build(&(aether1::job_path(Some(id)),))?
        }
        // There was nothing to do, so there is no job.
        (Answer::Job, Some(Told::Answer(Outcome::Done))) => {
            back().build(&(aether1::job_path(None),))?
        }
        (Answer::Input, Some(Told::Answer(Outcome::Input(id)))) => back().build(&(id.0,))?,
        (Answer::UnitPath { must_exist }, Some(Told::Unit(facts))) => {
            if *must_exist && facts.load_state == "not-found" {
                return Ok(Err(Failure::new(
                    "org.aether1.Error.NoSuchUnit",
                    format!("there is no unit {}", facts.name),
                )));
            }
            back().build(&(aether1::unit_path(&facts.name),))?
        }
        (Answer::UnitOfProcess, Some(Told::Unit(facts))) => back().build(&(
            aether1::unit_path(&facts.name),
            facts.name.as_str(),
            aether1::invocation_bytes(&facts.invocation_id),
        ))?,
        (Answer::Units(filter), Some(Told::Units(units))) => {
            let shown = units.iter().filter(|unit| filter.shows(unit));
            back().build(&(shown.map(unit_row).collect::<Vec<_>>(),))?
        }
        (Answer::Agents, Some(Told::Units(units))) => {
            let agents = units
                .iter()
                .filter(|unit| unit.name.kind() == UnitType::Agent);
            back().build(&(agents.map(agent_row).collect::<Vec<_>>(),))?
        }
        (Answer::Jobs, Some(Told::Jobs(jobs))) => {
            back().build(&(jobs.iter().map(job_row).collect::<Vec<_>>(),))?
        }
        (Answer::Processes, Some(Told::Processes(processes))) => back().build(&(processes,))?,
        (Answer::Reloaded, Some(Told::Reloaded(units))) => {
            let rows = units
                .iter()
                .map(|it| (it.unit.as_str(), it.what, &*it.text));
            back().build(&(rows.collect::<Vec<_>>(),))?
        }
        (Answer::ChangedFiles { info }, Some(Told::UnitFiles(changed))) => {
            let rows: Vec<(&str, String, &str)> = changed
                .changes
                .iter()
                .map(|it| (it.kind, it.path.display().to_string(), &*it.source))
                .collect();
            match info {
                true => back().build(&(changed.carries_install_info, rows))?,
                false => back().build(&(rows,))?,
            }
        }
        (Answer::FileState, Some(Told::FileState(state))) => back().build(&(state.as_str(),))?,
        (Answer::FileStates, Some(Told::FileStates(files))) => {
            let rows = files
                .iter()
                .map(|(path, state)| (path.display().to_string(), state.as_str()));
            back().build(&(rows.collect::<Vec<_>>(),))?
        }
        (Answer::Listeners, Some(Told::Listeners(units))) => {
            let names: Vec<&str> = units.iter().map(|unit| unit.as_str()).collect();
            back().build(&(names,))?
        }
        (Answer::Listener, Some(Told::Listener { socket, tools })) => {
            back().build(&(zbus::OwnedFd::from(socket), tools))?
        }
        _ => return Ok(Err(mismatch())),
    }))
}

/// The daemon answered another question: a defect, told rather than hidden.
fn mismatch() -> Failure {
    Failure::new(
        "org.freedesktop.DBus.Error.Failed",
        "the daemon gave an answer of the wrong kind".to_owned(),
    )
}

fn properties(
    call: &Message,
    interface: &str,
    property: Option<&str>,
    all: &Interfaces,
) -> zbus::Result<Result<Message, Failure>> {
    let values = all
        .iter()
        .filter(|(name, _)| interface.is_empty() || *name == interface)
        .flat_map(|(_, values)| values);
    let header = call.header();
    let back = Message::method_return(&header);
    let Some(wanted) = property else {
        let map: HashMap<&str, &Variant<'_>> = values.map(|(name, value)| (*name, value)).collect();
        return back.build(&(map,)).map(Ok);
    };
    let mut values = values;
    match values.find(|(name, _)| *name == wanted) {
        Some((_, value)) => back.build(&(value,)).map(Ok),
        None => Ok(Err(Failure::unknown_property(interface, wanted))),
    }
}

type UnitRow<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    zbus::ObjectPath<'static>,
    u32,
    &'a str,
    zbus::ObjectPath<'static>,
);

fn unit_row(facts: &UnitFacts) -> UnitRow<'_> {
    let view = facts.view.as_ref();
    let job = view.and_then(|view| view.job);
    (
        facts.name.as_str(),
        facts
            .unit
            .as_ref()
            .map_or(facts.name.as_str(), |unit| unit.description.as_str()),
        facts.load_state,
        active(facts),
        sub(facts),
        "",
        aether1::unit_path(&facts.name),
        job.map_or(0, |(id, _)| id.0),
        job.map_or("", |(_, kind)| aether1::job_word(kind)),
        aether1::job_path(job.map(|(id, _)| id)),
    )
}

type AgentRow<'a> = (
    &'a str,
    zbus::ObjectPath<'static>,
    &'a str,
    &'a str,
    &'a str,
    u32,
    u64,
    u64,
    u64,
);

fn agent_row(facts: &UnitFacts) -> AgentRow<'_> {
    (
        facts.name.as_str(),
        aether1::unit_path(&facts.name),
        aether1::agent_state(facts),
        aether1::runtime_word(facts),
        &facts.model,
        facts
            .view
            .as_ref()
            .and_then(|view| view.main_pid)
            .unwrap_or(0),
        facts.tokens_in,
        facts.tokens_out,
        facts.cost_micros,
    )
}

type JobRow<'a> = (
    u32,
    &'a str,
    &'a str,
    &'a str,
    zbus::ObjectPath<'static>,
    zbus::ObjectPath<'static>,
);

fn job_row(job: &JobFacts) -> JobRow<'_> {
    (
        job.id.0,
        job.unit.as_str(),
        aether1::job_word(job.kind),
        aether1::job_state(job),
        aether1::job_path(Some(job.id)),
        aether1::unit_path(&job.unit),
    )
}

fn active(facts: &UnitFacts) -> &'static str {
    let view = facts.view.as_ref();
    view.map_or(ActiveState::Inactive, |view| view.active)
        .as_str()
}

fn sub(facts: &UnitFacts) -> &str {
    facts.view.as_ref().map_or("dead", |view| view.sub.as_str())
}

impl Filter {
    fn shows(&self, facts: &UnitFacts) -> bool {
        let states = [facts.load_state, active(facts), sub(facts)];
        (self.states.is_empty() || self.states.iter().any(|it| states.contains(&it.as_str())))
            && (self.patterns.is_empty()
                || self
                    .patterns
                    .iter()
                    .any(|pattern| glob::matches(pattern, facts.name.as_str())))
    }
}

fn introspect(object: &Object, told: Option<Told>) -> String {
    let mut xml = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    );
    let served = object.interfaces().iter().chain(&STANDARD);
    for interface in served.filter_map(|name| contract::interface(name)) {
        xml.push_str("  ");
        xml.push_str(interface.xml);
        xml.push('\n');
    }
    let children: Vec<String> = match (object, told) {
        (Object::Above(child), _) => vec![(*child).to_owned()],
        (Object::Manager, _) => ["hub", "job", "unit"].map(ToOwned::to_owned).to_vec(),
        (Object::Units, Some(Told::Units(units))) => units
            .iter()
            .map(|unit| path::escape(unit.name.as_str()))
            .collect(),
        (Object::Jobs, Some(Told::Jobs(jobs))) => {
            jobs.iter().map(|job| job.id.to_string()).collect()
        }
        _ => Vec::new(),
    };
    for child in children {
        // Writing to a String cannot fail.
        let _ = writeln!(xml, "  <node name=\"{child}\"/>");
    }
    xml.push_str("</node>\n");
    xml
}
