//! A daemon for tests: answers every question with canned facts and keeps what it was asked.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::bus::ask::{
    Ask, Asked, Caller, ChangedFiles, Denial, FileChange, JobFacts, ManagerFacts, Reloaded, Signal,
    Told, UnitFacts,
};
use crate::bus::client::Client;
use crate::bus::publish::Publisher;
use crate::bus::serve::{Limits, serve};
use crate::engine::event::{
    Answer, ExitStatus, InputId, JobResult, JobType, Now, Refusal, Request,
};
use crate::engine::view::{ActiveState, FreezerState, Outcome, View};
use crate::name::{Invocation, JobId, UnitName};
use crate::plan::{Enforcement, Failure};
use crate::unit::install::FileState;
use crate::unit::{RuntimeKind, Unit};

pub(crate) fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

/// A unit with something in every field that is shown.
fn definition(name: &UnitName, file: &str) -> Unit {
    let mut unit = Unit::unwritten(name.clone());
    unit.fragment = Some(PathBuf::from("/etc/aether/units").join(file));
    unit.drop_ins = vec!["/etc/aether/units/x.conf".into()];
    unit.transient = true;
    unit.description = format!("about {name}");
    unit.documentation = vec!["man:x(1)".to_owned()];
    unit.service = None;
    if let Some(agent) = &mut unit.agent {
        agent.runtime = RuntimeKind::ClaudeCode;
        "a secret".clone_into(&mut agent.goal);
        agent.workspace = Some("shop".to_owned());
        agent.terminal = true;
    }
    unit
}

pub(crate) fn facts(unit: &str) -> UnitFacts {
    let name = name(unit);
    let now = Now {
        monotonic: 7,
        realtime: 8,
    };
    UnitFacts {
        load_state: "loaded",
        need_reload: false,
        triggered_by: vec![],
        unit: Some(Arc::new(definition(&name, unit))),
        diagnostics: vec![],
        view: Some(View {
            name: name.clone(),
            description: String::new(),
            active: ActiveState::Active,
            sub: "running".to_owned(),
            outcome: Outcome::Success,
            why: "because".to_owned(),
            failure: Some(Failure {
                step: "landlock".to_owned(),
                errno: 1,
                detail: String::new(),
                help: None,
            }),
            status_text: "ready".to_owned(),
            main_pid: Some(42),
            control_pid: None,
            exit: Some(ExitStatus::Killed(9)),
            enforcement: Some(Enforcement {
                landlock_abi: 7,
                missing: vec!["no network rules".to_owned()],
            }),
            job: Some((JobId(5), JobType::Start)),
            restarts: 3,
            restart_at: None,
            invocation: Invocation(1),
            freezer: FreezerState::Frozen,
            pause_reason: "lunch".to_owned(),
            waiting_inputs: 2,
            turns: 4,
            last_turn: None,
            since: now,
            active_enter: Some(now),
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
            unmet: None,
            unmet_assert: false,
            triggered_by: None,
            next_elapse: (None, None),
            last_trigger: None,
            accepted: 0,
            waits_for_approval: false,
            holder: None,
        }),
        control_group: "/aether/x".to_owned(),
        invocation_id: "000102030405060708090a0b0c0d0e0f".to_owned(),
        memory_current: Some(1024),
        tasks_current: None,
        cpu_usage: Some(9),
        uid: Some(61001),
        session_id: "s".to_owned(),
        model: "m".to_owned(),
        tokens_in: 1,
        tokens_out: 2,
        cost_micros: 3,
        last_activity: 4,
        log_directory: "/var/log/aether/x".into(),
        file_state: Some((FileState::Enabled, "enabled")),
        name,
    }
}

/// A unit whose file could not be found.
pub(crate) fn not_found(unit: &str) -> UnitFacts {
    UnitFacts {
        load_state: "not-found",
        unit: None,
        view: None,
        memory_current: None,
        uid: None,
        ..facts(unit)
    }
}

fn job() -> JobFacts {
    JobFacts {
        id: JobId(5),
        unit: name("coder.agent"),
        kind: JobType::Start,
        running: true,
    }
}

/// A running fake.
#[derive(Debug)]
pub(crate) struct Fake {
    directory: tempfile::TempDir,
    pub(crate) signals: Publisher,
    /// Every question, as `Debug` shows it.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn root() -> Caller {
    Caller {
        uid: 0,
        pid: 77,
        unit: None,
    }
}

impl Fake {
    /// Serves as if every client were `caller`; `units` is what lists show.
    pub(crate) fn start(caller: Caller, units: Vec<UnitFacts>, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::UnixListener::bind(directory.path().join("s")).unwrap();
        let (asks, inbox) = mpsc::channel(64);
        let signals = Publisher::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        // In a thread of its own, so that answers and signals race as they can.
        let daemon = daemon(inbox, units, signals.clone(), Arc::clone(&asked));
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(daemon);
        });
        // Whoever runs the tests is the manager's user; uid 0 stands for them.
        let own = std::fs::metadata(directory.path()).unwrap().uid();
        let identify = move |stream: &tokio::net::UnixStream| {
            let real = stream.peer_cred()?;
            let uid = if caller.uid == 0 {
                real.uid()
            } else {
                caller.uid
            };
            Ok(Caller {
                uid,
                ..caller.clone()
            })
        };
        tokio::spawn(serve(
            vec![listener],
            own,
            identify,
            asks,
            signals.clone(),
            limits,
        ));
        Self {
            directory,
            signals,
            asked,
        }
    }

    pub(crate) fn new() -> Self {
        let units = vec![facts("coder.agent"), facts("web.service")];
        Self::start(root(), units, Limits::default())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }

    pub(crate) fn last_asked(&self) -> String {
        self.asked
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

async fn daemon(
    mut inbox: mpsc::Receiver<Asked>,
    units: Vec<UnitFacts>,
    signals: Publisher,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut held = Vec::new();
    while let Some(question) = inbox.recv().await {
        asked.lock().unwrap().push(format!("{:?}", question.ask));
        if matches!(&question.ask, Ask::Processes(unit) if unit.as_str() == "stuck.service") {
            // Never answered, as a freeze that the kernel does not confirm.
            held.push(question);
            continue;
        }
        let ended = match &question.ask {
            Ask::Request(Request::Start { unit, .. }) => Some(unit.clone()),
            _ => None,
        };
        let _ = question.reply.send(answer(question.ask, &units));
        if let Some(unit) = ended {
            // At once after the reply: the narrowest race there can be.
            signals.publish(&Signal::JobRemoved {
                id: JobId(5),
                unit,
                result: JobResult::Done,
            });
        }
    }
}

fn answer(ask: Ask, units: &[UnitFacts]) -> Result<Told, Denial> {
    let job_answer = Ok(Told::Answer(Answer::Job(JobId(5))));
    match ask {
        Ask::Request(Request::Send { .. }) => Ok(Told::Answer(Answer::Input(InputId(11)))),
        Ask::Request(Request::Stop { unit, force, .. }) if !force => {
            Err(Denial::Refused(Refusal::NeededBy {
                unit,
                dependents: vec![name("other.agent")],
            }))
        }
        Ask::Request(
            Request::Kill { .. } | Request::ResetFailed { .. } | Request::Cancel { .. },
        ) => Ok(Told::Answer(Answer::Done)),
        Ask::Request(_) | Ask::StartTransient { .. } => job_answer,
        Ask::Unit(unit) if unit.as_str() == "missing.agent" => {
            Ok(Told::Unit(Box::new(not_found(unit.as_str()))))
        }
        Ask::Unit(unit) if unit.as_str() == "nofile.agent" => Err(Denial::NoUnitFile {
            name: unit,
            searched: vec!["/etc/aether/units".into()],
        }),
        Ask::Unit(unit) => Ok(Told::Unit(Box::new(facts(unit.as_str())))),
        Ask::UnitOfProcess(_) => Ok(Told::Unit(Box::new(facts("coder.agent")))),
        Ask::Units => Ok(Told::Units(units.to_vec())),
        Ask::Jobs => Ok(Told::Jobs(vec![job()])),
        Ask::Manager => Ok(Told::Manager(Box::new(ManagerFacts {
            version: "1".to_owned(),
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
            host: vec![("cgroup".to_owned(), "unified".to_owned())],
            agents: 6,
            ..ManagerFacts::default()
        }))),
        Ask::Processes(_) => Ok(Told::Processes(vec![(
            "/aether/x".to_owned(),
            42,
            "sleep 1".to_owned(),
        )])),
        Ask::ReloadUnits => Ok(Told::Reloaded(vec![Reloaded {
            unit: name("coder.agent"),
            what: "changed",
            text: String::new(),
        }])),
        Ask::UnitFiles(_) => Ok(Told::UnitFiles(ChangedFiles {
            carries_install_info: true,
            changes: vec![FileChange {
                kind: "symlink",
                path: "/etc/aether/units/a".into(),
                source: "/usr/a".to_owned(),
            }],
        })),
        Ask::UnitFileState(_) => Ok(Told::FileState(FileState::Enabled)),
        Ask::ListUnitFiles => Ok(Told::FileStates(vec![(
            "/etc/aether/units/a.agent".into(),
            FileState::Static,
        )])),
        Ask::Reload | Ask::Record(_) | Ask::Reexecute | Ask::Shutdown => Ok(Told::Done),
        Ask::Listeners => Ok(Told::Listeners(vec![name("coder.agent")])),
        Ask::Listener(_) => {
            let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
            Ok(Told::Listener {
                socket: socket.into(),
                tools: vec!["memory".to_owned()],
            })
        }
    }
}
