//! One call: checked against the contract, authorised, and turned into a question.
//!
//! Nothing is deserialised before path, interface, member and signature are known to be right, and
//! nothing reaches the daemon before [`authorise`] has agreed. Read next: `encode`, the way back.

use zbus::message::{Header, Message};
use zbus::{OwnedVariant, Variant};

use crate::bus::arguments::{Options, directive_values, job_mode, known, limit, unit_name};
use crate::bus::ask::{Ask, Caller};
use crate::bus::authorise::{Action, authorise};
use crate::bus::contract::{self, Interface, Method, STANDARD};
use crate::bus::encode::{Answer, Filter};
use crate::bus::failure::Failure;
use crate::bus::path::Object;
use crate::engine::event::{Request, Whom};
use crate::name::{JobId, UnitName};

/// What a call comes to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A question for the daemon, and how its answer is told.
    Ask(Box<Ask>, Answer),
    /// An answer that needs no question.
    Tell(Answer),
    /// Signals from now on.
    Subscribe,
    /// No more signals.
    Unsubscribe,
}

/// What the dispatcher knows about a call beside the message.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) message: &'a Message,
    pub(crate) caller: &'a Caller,
    pub(crate) manager_uid: u32,
}

impl Call<'_> {
    /// Decides what the call comes to.
    pub(crate) fn step(&self) -> Result<Step, Failure> {
        let header = self.message.header();
        let (object, interface, method) = resolve(&header)?;
        let signature = header.signature().to_string_no_parens();
        if signature != method.input {
            return Err(Failure::invalid(format!(
                "{}.{} takes {:?}, not {signature:?}",
                interface.name, method.name, method.input
            )));
        }
        match interface.name {
            "org.freedesktop.DBus.Peer" => match method.name {
                "Ping" => Ok(Step::Tell(Answer::Nothing)),
                _ => self.ask(&Action::Read, Ask::Manager, Answer::MachineId),
            },
            "org.freedesktop.DBus.Introspectable" => self.introspect(object),
            "org.freedesktop.DBus.Properties" => self.properties(object, method.name),
            "org.aether1.Manager" => self.manager(method.name),
            "org.aether1.Unit" => {
                let unit = self.named(object)?;
                self.unit(unit, method.name)
            }
            "org.aether1.Agent" => {
                let unit = self.named(object)?;
                self.agent(unit, method.name)
            }
            "org.aether1.Job" => {
                let Object::Job(job) = object else {
                    return Err(unknown_object(&header));
                };
                let (options,): (Options,) = self.body()?;
                known(&options, &[])?;
                self.request(
                    Action::ManageUnits,
                    Request::Cancel { job },
                    Answer::Nothing,
                )
            }
            "org.aether1.Hub" => self.hub(method.name),
            _ => Err(missing(interface, method)),
        }
    }

    pub(super) fn body<T>(&self) -> Result<T, Failure>
    where
        T: for<'d> zbus::wire::DynamicDeserialize<'d>,
    {
        self.message
            .body()
            .deserialize()
            .map_err(|error| Failure::invalid(format!("the arguments cannot be read: {error}")))
    }

    pub(super) fn allow(&self, action: &Action) -> Result<(), Failure> {
        authorise(self.caller, self.manager_uid, action).map_err(|denial| Failure::of(&denial))
    }

    pub(super) fn ask(&self, action: &Action, ask: Ask, answer: Answer) -> Result<Step, Failure> {
        self.allow(action)?;
        Ok(Step::Ask(Box::new(ask), answer))
    }

    fn request(&self, action: Action, request: Request, answer: Answer) -> Result<Step, Failure> {
        self.ask(&action, Ask::Request(request), answer)
    }

    /// The unit an object path names, `/unit/self` included.
    fn named(&self, object: Object) -> Result<UnitName, Failure> {
        match (object, &self.caller.unit) {
            (Object::Unit(unit), _) => Ok(unit),
            (Object::SelfUnit, Some(unit)) => Ok(unit.clone()),
            _ => Err(Failure::new(
                "org.aether1.Error.NoSuchUnit",
                "the caller belongs to no unit".to_owned(),
            )),
        }
    }

    fn introspect(&self, object: Object) -> Result<Step, Failure> {
        match object {
            Object::Units => self.ask(&Action::Read, Ask::Units, Answer::Introspect(object)),
            Object::Jobs => self.ask(&Action::Read, Ask::Jobs, Answer::Introspect(object)),
            other => Ok(Step::Tell(Answer::Introspect(other))),
        }
    }

    fn properties(&self, object: Object, method: &str) -> Result<Step, Failure> {
        let (interface, property) = match method {
            "Get" => {
                let (interface, property): (String, String) = self.body()?;
                (interface, Some(property))
            }
            "GetAll" => {
                let (interface,): (String,) = self.body()?;
                (interface, None)
            }
            _ => {
                return Err(Failure::new(
                    "org.freedesktop.DBus.Error.PropertyReadOnly",
                    "properties are changed by methods".to_owned(),
                ));
            }
        };
        let served = object.interfaces();
        // An empty name means every interface of the object, as with systemd.
        let standard = STANDARD.contains(&interface.as_str());
        if !interface.is_empty() && !standard && !served.contains(&interface.as_str()) {
            return Err(Failure::new(
                "org.freedesktop.DBus.Error.UnknownInterface",
                format!("there is no interface {interface:?} here"),
            ));
        }
        if let Some(property) = &property {
            let there = served
                .iter()
                .filter(|name| interface.is_empty() || **name == interface)
                .filter_map(|name| contract::interface(name))
                .any(|interface| interface.property(property).is_some());
            if !there {
                return Err(Failure::unknown_property(&interface, property));
            }
        }
        let answer = Answer::Properties {
            interface,
            property,
        };
        match object {
            _ if standard => Ok(Step::Tell(answer)),
            Object::Manager => self.ask(&Action::Read, Ask::Manager, answer),
            Object::Job(job) => self.ask(
                &Action::Read,
                Ask::Jobs,
                Answer::JobProperties(job, Box::new(answer)),
            ),
            Object::Unit(_) | Object::SelfUnit => {
                let unit = self.named(object)?;
                self.ask(&Action::ReadUnit(unit.clone()), Ask::Unit(unit), answer)
            }
            Object::Above(_) | Object::Units | Object::Jobs | Object::Hub => Ok(Step::Tell(answer)),
        }
    }

    fn manager(&self, method: &str) -> Result<Step, Failure> {
        match method {
            "GetUnit" | "LoadUnit" => {
                let (name,): (String,) = self.body()?;
                let unit = unit_name(&name)?;
                let answer = Answer::UnitPath {
                    must_exist: method == "GetUnit",
                };
                self.ask(&Action::ReadUnit(unit.clone()), Ask::Unit(unit), answer)
            }
            "GetUnitByPID" => {
                let (pid,): (u32,) = self.body()?;
                match (&self.caller.unit, pid) {
                    (Some(unit), 0) => self.ask(
                        &Action::ReadUnit(unit.clone()),
                        Ask::Unit(unit.clone()),
                        Answer::UnitOfProcess,
                    ),
                    (_, pid) => {
                        let pid = if pid == 0 { self.caller.pid } else { pid };
                        self.ask(
                            &Action::Read,
                            Ask::UnitOfProcess(pid),
                            Answer::UnitOfProcess,
                        )
                    }
                }
            }
            "StartUnit"
            | "StopUnit"
            | "RestartUnit"
            | "TryRestartUnit"
            | "ReloadUnit"
            | "ReloadOrRestartUnit"
            | "ReloadOrTryRestartUnit" => {
                let (name, mode, options): (String, String, Options) = self.body()?;
                self.verb(
                    method.trim_end_matches("Unit"),
                    unit_name(&name)?,
                    &mode,
                    &options,
                )
            }
            "KillUnit" => {
                let (name, whom, signal, options): (String, String, i32, Options) = self.body()?;
                self.kill(unit_name(&name)?, &whom, signal, &options)
            }
            "ResetFailedUnit" => {
                let (name, options): (String, Options) = self.body()?;
                self.reset_failed(Some(unit_name(&name)?), &options)
            }
            "ResetFailed" => {
                let (options,): (Options,) = self.body()?;
                self.reset_failed(None, &options)
            }
            "StartTransientUnit" => self.start_transient(),
            "ListUnits" => {
                let (states, patterns, options): (Vec<String>, Vec<String>, Options) =
                    self.body()?;
                known(&options, &[])?;
                limit(states.len().max(patterns.len()))?;
                let filter = Filter { states, patterns };
                self.ask(&Action::Read, Ask::Units, Answer::Units(filter))
            }
            "ListAgents" => {
                let (options,): (Options,) = self.body()?;
                known(&options, &[])?;
                self.ask(&Action::Read, Ask::Units, Answer::Agents)
            }
            "GetUnitProcesses" => {
                let (name,): (String,) = self.body()?;
                self.processes(unit_name(&name)?)
            }
            "ListJobs" => self.ask(&Action::Read, Ask::Jobs, Answer::Jobs),
            "CancelJob" => {
                let (id, options): (u32, Options) = self.body()?;
                known(&options, &[])?;
                let request = Request::Cancel { job: JobId(id) };
                self.request(Action::ManageUnits, request, Answer::Nothing)
            }
            "StartRecording" | "StopRecording" | "Reload" | "ReloadUnits" | "Reexecute"
            | "Shutdown" => {
                let (options,): (Options,) = self.body()?;
                known(&options, &[])?;
                let (ask, answer) = match method {
                    "Reload" => (Ask::Reload, Answer::Nothing),
                    "ReloadUnits" => (Ask::ReloadUnits, Answer::Reloaded),
                    "StartRecording" => (Ask::Record(true), Answer::Nothing),
                    "StopRecording" => (Ask::Record(false), Answer::Nothing),
                    "Reexecute" => (Ask::Reexecute, Answer::Nothing),
                    _ => (Ask::Shutdown, Answer::Nothing),
                };
                self.ask(&Action::ManageDaemon, ask, answer)
            }
            "Subscribe" => {
                let (options,): (Options,) = self.body()?;
                known(&options, &[])?;
                self.allow(&Action::Subscribe)?;
                Ok(Step::Subscribe)
            }
            "Unsubscribe" => Ok(Step::Unsubscribe),
            other => self.unit_files(other),
        }
    }

    fn unit(&self, unit: UnitName, method: &str) -> Result<Step, Failure> {
        match method {
            "Start" | "Stop" | "Restart" | "TryRestart" | "Reload" | "ReloadOrRestart"
            | "ReloadOrTryRestart" => {
                let (mode, options): (String, Options) = self.body()?;
                self.verb(method, unit, &mode, &options)
            }
            "Kill" => {
                let (whom, signal, options): (String, i32, Options) = self.body()?;
                self.kill(unit, &whom, signal, &options)
            }
            "ResetFailed" => {
                let (options,): (Options,) = self.body()?;
                self.reset_failed(Some(unit), &options)
            }
            "GetProcesses" => self.processes(unit),
            other => Err(unimplemented_method(other)),
        }
    }

    fn agent(&self, unit: UnitName, method: &str) -> Result<Step, Failure> {
        match method {
            "Pause" => {
                let (how, options): (String, Options) = self.body()?;
                known(&options, &["reason"])?;
                if how != "freeze" {
                    return Err(Failure::new(
                        "org.freedesktop.DBus.Error.NotSupported",
                        format!("pausing by {how:?} is not supported; use \"freeze\""),
                    ));
                }
                let reason = match options.get("reason").map(|reason| &**reason) {
                    None => String::new(),
                    Some(Variant::Str(reason)) if reason.len() <= 1024 => reason.to_string(),
                    Some(_) => {
                        return Err(Failure::invalid(
                            "reason must be a text of at most 1024 bytes".to_owned(),
                        ));
                    }
                };
                self.request(
                    Action::ControlAgent,
                    Request::Pause { unit, reason },
                    Answer::Job,
                )
            }
            "Resume" => {
                let (options,): (Options,) = self.body()?;
                known(&options, &[])?;
                self.request(Action::ControlAgent, Request::Resume { unit }, Answer::Job)
            }
            "SendInput" => {
                let (text, options): (String, Options) = self.body()?;
                known(&options, &[])?;
                self.request(
                    Action::ControlAgent,
                    Request::Send { unit, text },
                    Answer::Input,
                )
            }
            other => Err(unimplemented_method(other)),
        }
    }

    fn hub(&self, method: &str) -> Result<Step, Failure> {
        match method {
            "Listeners" => self.ask(&Action::ServeAgents, Ask::Listeners, Answer::Listeners),
            "GetListener" => {
                let (name,): (String,) = self.body()?;
                let ask = Ask::Listener(unit_name(&name)?);
                self.ask(&Action::ServeAgents, ask, Answer::Listener)
            }
            other => Err(unimplemented_method(other)),
        }
    }

    fn verb(
        &self,
        verb: &str,
        unit: UnitName,
        mode: &str,
        options: &Options,
    ) -> Result<Step, Failure> {
        known(options, if verb == "Stop" { &["force"] } else { &[] })?;
        let mode = job_mode(mode)?;
        let request = match verb {
            "Start" => Request::Start { unit, mode },
            "Restart" => Request::Restart { unit, mode },
            "TryRestart" => Request::TryRestart { unit, mode },
            "Reload" => Request::Reload { unit, mode },
            "ReloadOrRestart" | "ReloadOrTryRestart" => Request::ReloadOrRestart {
                unit,
                mode,
                only_running: verb == "ReloadOrTryRestart",
            },
            _ => Request::Stop {
                unit,
                mode,
                force: match options.get("force").map(|force| &**force) {
                    None => false,
                    Some(Variant::Bool(force)) => *force,
                    Some(_) => return Err(Failure::invalid("force must be a boolean".to_owned())),
                },
            },
        };
        self.request(Action::ManageUnits, request, Answer::Job)
    }

    fn kill(
        &self,
        unit: UnitName,
        whom: &str,
        signal: i32,
        options: &Options,
    ) -> Result<Step, Failure> {
        known(options, &[])?;
        let whom = match whom {
            "main" => Whom::Main,
            "control" => Whom::Control,
            "all" => Whom::All,
            _ => {
                return Err(Failure::invalid(format!(
                    "whom is main, control or all, not {whom:?}"
                )));
            }
        };
        if !(1..=64).contains(&signal) {
            return Err(Failure::invalid(format!("there is no signal {signal}")));
        }
        let request = Request::Kill { unit, whom, signal };
        self.request(Action::ManageUnits, request, Answer::Nothing)
    }

    fn reset_failed(&self, unit: Option<UnitName>, options: &Options) -> Result<Step, Failure> {
        known(options, &[])?;
        let request = Request::ResetFailed { unit };
        self.request(Action::ManageUnits, request, Answer::Nothing)
    }

    fn processes(&self, unit: UnitName) -> Result<Step, Failure> {
        let action = Action::ReadUnit(unit.clone());
        self.ask(&action, Ask::Processes(unit), Answer::Processes)
    }

    fn start_transient(&self) -> Result<Step, Failure> {
        type Named = Vec<(String, OwnedVariant)>;
        let (name, mode, properties, aux): (String, String, Named, Vec<(String, Named)>) =
            self.body()?;
        if !aux.is_empty() {
            return Err(Failure::invalid("aux must be empty".to_owned()));
        }
        limit(properties.len())?;
        let properties = properties
            .iter()
            .map(|(key, value)| Ok((key.clone(), directive_values(key, value)?)))
            .collect::<Result<_, Failure>>()?;
        let ask = Ask::StartTransient {
            name: unit_name(&name)?,
            mode: job_mode(&mode)?,
            properties,
        };
        self.ask(&Action::ManageUnits, ask, Answer::Job)
    }
}

/// Finds the object, interface and method a call is for.
fn resolve(header: &Header<'_>) -> Result<(Object, &'static Interface, &'static Method), Failure> {
    let path = header.path().map_or("", |path| path.as_str());
    let object = Object::parse(path).ok_or_else(|| unknown_object(header))?;
    let member = header.member().map_or("", |member| member.as_str());
    let served = object.interfaces().iter().chain(&STANDARD);
    let mut served = served.filter_map(|name| contract::interface(name));
    let Some(asked) = header.interface() else {
        // Without an interface the first method of that name is meant.
        let found = served.find_map(|interface| Some((interface, interface.method(member)?)));
        let (interface, method) =
            found.ok_or_else(|| unknown_method(member, &format!("the object {path}")))?;
        return Ok((object, interface, method));
    };
    let interface = served.find(|interface| interface.name == asked.as_str());
    let interface = interface.ok_or_else(|| {
        Failure::new(
            "org.freedesktop.DBus.Error.UnknownInterface",
            format!("there is no interface {asked} at {path}"),
        )
    })?;
    let method = interface
        .method(member)
        .ok_or_else(|| unknown_method(member, interface.name))?;
    Ok((object, interface, method))
}

fn unknown_object(header: &Header<'_>) -> Failure {
    let path = header.path().map_or("", |path| path.as_str());
    Failure::new(
        "org.freedesktop.DBus.Error.UnknownObject",
        format!("there is no object {path}"),
    )
}

fn unknown_method(member: &str, place: &str) -> Failure {
    Failure::new(
        "org.freedesktop.DBus.Error.UnknownMethod",
        format!("there is no method {member} of {place}"),
    )
}

/// A method that is in the contract and not here; a test calls every method to find these.
pub(super) fn unimplemented_method(member: &str) -> Failure {
    unknown_method(member, "this version")
}

fn missing(interface: &Interface, method: &Method) -> Failure {
    unknown_method(method.name, interface.name)
}
