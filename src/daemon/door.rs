//! The door: what is asked over the bus becomes a request or is answered from a view.
//!
//! Whether the caller may has been decided in [`crate::bus`]; every verb is written down here with
//! who asked.

use serde_json::json;

use crate::bus::ask::{Ask, Asked, Denial, Signal, Told};
use crate::daemon::Daemon;
use crate::daemon::load::transient_text;
use crate::engine::event::{Event, JobMode, Request, RequestId};
use crate::name::UnitName;
use crate::sys::file::write_whole;
use crate::sys::{clock, process};

impl Daemon {
    pub(super) fn answer(&mut self, asked: Asked) {
        let Asked {
            caller,
            mut ask,
            reply,
        } = asked;
        if !matches!(
            ask,
            Ask::Jobs | Ask::Manager | Ask::UnitOfProcess(_) | Ask::Listeners | Ask::Listener(_)
        ) {
            self.library.refresh();
        }
        if let Some(name) = ask.unit_mut() {
            // Whatever is done to an alias is done to its unit.
            *name = self.library.resolve(name);
        }
        let told = match ask {
            Ask::Request(request) => {
                self.note_request(&caller, &json!(request));
                match self.load_for(&request) {
                    Ok(()) => return self.request(request, reply),
                    Err(denial) => Err(denial),
                }
            }
            Ask::StartTransient {
                name,
                mode,
                properties,
            } => {
                let keys: Vec<&String> = properties.iter().map(|(key, _)| key).collect();
                self.note_request(
                    &caller,
                    &json!({ "start-transient": name, "properties": keys }),
                );
                match self.make_transient(&name, &properties) {
                    Ok(()) => return self.request(Request::Start { unit: name, mode }, reply),
                    Err(denial) => Err(denial),
                }
            }
            Ask::Unit(name) => self.look(&name).map(|mut facts| {
                facts.file_state = self.enabled_as(&name);
                Told::Unit(Box::new(facts))
            }),
            Ask::Units => Ok(Told::Units(self.all_facts())),
            Ask::Jobs => Ok(Told::Jobs(self.job_facts())),
            Ask::Manager => Ok(Told::Manager(Box::new(self.manager_facts()))),
            Ask::Processes(name) => Ok(Told::Processes(self.processes_of(&name))),
            Ask::UnitOfProcess(pid) => match self.tree.unit_of_pid(pid) {
                Ok(Some(name)) => Ok(Told::Unit(Box::new(self.unit_facts(&name)))),
                Ok(None) => Err(Denial::Failed(format!("process {pid} belongs to no unit"))),
                Err(error) => Err(Denial::Failed(format!("process {pid}: {error}"))),
            },
            Ask::Reload => {
                self.note_request(&caller, &json!("reload"));
                self.reload();
                Ok(Told::Done)
            }
            Ask::ReloadUnits => {
                self.note_request(&caller, &json!("reload"));
                Ok(Told::Reloaded(self.reload()))
            }
            Ask::UnitFiles(ask) => {
                let verb = format!("{:?}", ask.verb).to_lowercase();
                self.note_request(
                    &caller,
                    &json!({ verb: ask.files, "runtime": ask.runtime, "force": ask.force }),
                );
                self.change_files(&ask)
            }
            Ask::UnitFileState(name) => self.installer().state(&name).map(Told::FileState),
            Ask::ListUnitFiles => Ok(Told::FileStates(self.installer().states())),
            Ask::Record(on) => {
                self.note_request(&caller, &json!({ "record": on }));
                self.record_events(on)
            }
            Ask::Reexecute => {
                self.note_request(&caller, &json!("reexecute"));
                self.leaving = true;
                Ok(Told::Done)
            }
            Ask::Shutdown => {
                self.note_request(&caller, &json!("shutdown"));
                self.stop_everything();
                Ok(Told::Done)
            }
            Ask::Listeners => Ok(Told::Listeners(
                self.held
                    .iter()
                    .filter(|(_, held)| held.listener.is_some())
                    .map(|(name, _)| name.clone())
                    .collect(),
            )),
            Ask::Listener(name) => self.listener(&name),
        };
        // A caller that hung up has no use for the answer.
        let _ = reply.send(told);
    }

    /// Begins or ends the recording of events.
    fn record_events(&mut self, on: bool) -> Result<Told, Denial> {
        self.recorder = None;
        if on {
            // What is on its way belongs to the beginning.
            self.settle();
            let program = env!("CARGO_PKG_VERSION");
            let beginning = self.engine.beginning(program, crate::sys::zone::local());
            let path = self.places.recording();
            let recorder = super::recorder::Recorder::start(&path, &beginning);
            self.recorder = Some(recorder.map_err(|error| {
                Denial::Failed(format!("cannot record in {}: {error}", path.display()))
            })?);
        }
        Ok(Told::Done)
    }

    fn note_request(&mut self, caller: &crate::bus::ask::Caller, request: &serde_json::Value) {
        let data = json!({
            "uid": caller.uid, "pid": caller.pid, "by": caller.unit, "request": request,
        });
        self.journal
            .append(clock::now().realtime, None, "request", data);
    }

    fn request(
        &mut self,
        request: Request,
        reply: tokio::sync::oneshot::Sender<Result<Told, Denial>>,
    ) {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.waiting.insert(id, reply);
        self.feed(Event::Requested { id, request });
    }

    /// Reads the files of whatever the request names.
    fn load_for(&mut self, request: &Request) -> Result<(), Denial> {
        match request {
            Request::Start { unit, .. }
            | Request::Restart { unit, .. }
            | Request::Stop { unit, .. }
            | Request::TryRestart { unit, .. }
            | Request::Reload { unit, .. }
            | Request::ReloadOrRestart { unit, .. }
            | Request::Pause { unit, .. }
            | Request::Resume { unit }
            | Request::Send { unit, .. }
            | Request::Kill { unit, .. } => {
                if self.stopping
                    && matches!(request, Request::Start { .. } | Request::Restart { .. })
                {
                    return Err(Denial::Failed("Aether is being stopped".to_owned()));
                }
                match request {
                    // It was changed on disk because it is to run differently.
                    Request::Restart { .. } => self.load_anew(unit)?,
                    _ => self.load(unit)?,
                }
                match request {
                    Request::Start { .. } | Request::Restart { .. } => self.refuse_masked(unit),
                    _ => Ok(()),
                }
            }
            // Also of what has no file any more, and is known only because it failed.
            Request::ResetFailed { unit: Some(unit) } => match self.load(unit) {
                Err(_) if self.engine.definition(unit).is_some() => Ok(()),
                loaded => loaded,
            },
            Request::ResetFailed { unit: None } | Request::Cancel { .. } => Ok(()),
        }
    }

    fn listener(&self, name: &UnitName) -> Result<Told, Denial> {
        let socket = self
            .held
            .get(name)
            .and_then(|held| held.listener.as_ref())
            .ok_or_else(|| Denial::Failed(format!("{name} has no MCP socket now")))?
            .try_clone()
            .map_err(|error| Denial::Failed(format!("cannot copy the socket: {error}")))?;
        let tools = self
            .engine
            .definition(name)
            .map(|unit| unit.mcp.tools.clone())
            .unwrap_or_default();
        Ok(Told::Listener { socket, tools })
    }

    fn processes_of(&self, name: &UnitName) -> Vec<(String, u32, String)> {
        let Some(group) = self.held.get(name).and_then(|held| held.group.as_ref()) else {
            return vec![];
        };
        let path = group.path().to_owned();
        group
            .procs(true)
            .into_iter()
            .map(|pid| (path.clone(), pid, process::command_line(pid)))
            .collect()
    }

    fn make_transient(
        &mut self,
        name: &UnitName,
        properties: &[(String, Vec<String>)],
    ) -> Result<(), Denial> {
        if self.engine.view(name).is_some_and(|view| {
            !matches!(
                view.active,
                crate::engine::view::ActiveState::Inactive
                    | crate::engine::view::ActiveState::Failed
            )
        }) {
            return Err(Denial::Failed(format!(
                "{name} is running already; choose another name"
            )));
        }
        if self.library.has_name(name) && !self.library.is_transient(name) {
            return Err(Denial::Failed(format!(
                "{name} has a unit file; choose another name, or start that one"
            )));
        }
        let text = transient_text(name, properties)?;
        let path = self.places.transient().join(name.as_str());
        write_whole(&path, text.as_bytes())
            .map_err(|error| Denial::Failed(format!("cannot write {}: {error}", path.display())))?;
        self.library.refresh();
        let result = self.load(name);
        if result.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        result
    }

    /// Starts what is to run from the beginning: `default.target`, or else the target of all
    /// enabled agents.
    pub(super) fn start_default(&mut self) {
        for name in ["default.target", "agents.target"] {
            let Ok(name) = name.parse::<UnitName>() else {
                continue;
            };
            if !self.library.has_file(&name) {
                continue;
            }
            let unit = self.library.resolve(&name);
            if let Err(denial) = self.load(&unit) {
                tracing::error!("{name} is not started: {denial}");
                continue;
            }
            tracing::info!("starting {unit}");
            self.next_request += 1;
            let id = RequestId(self.next_request);
            let mode = JobMode::Replace;
            let request = Request::Start { unit, mode };
            self.feed(Event::Requested { id, request });
            return;
        }
    }

    /// Stops every unit; the loop ends when the last one is down.
    pub(super) fn stop_everything(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        tracing::info!("stopping every unit");
        let mut units: Vec<UnitName> = self.engine.views().map(|view| view.name).collect();
        // The agents' server goes last, so that agents can still use it while they end.
        units.sort_by_key(|name| (name.as_str() == super::load::HUB, name.clone()));
        for unit in units {
            self.next_request += 1;
            let id = RequestId(self.next_request);
            let request = Request::Stop {
                unit,
                mode: JobMode::Replace,
                force: true,
            };
            self.feed(Event::Requested { id, request });
        }
    }

    /// Tells subscribers of a unit that is new.
    pub(super) fn announce(&mut self, unit: &UnitName) {
        self.publish(Signal::UnitNew(unit.clone()));
    }
}
