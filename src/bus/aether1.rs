//! Facts as properties of `org.aether1.*`, with exactly the types that the contract declares.
//!
//! Values only: which of them are asked for, and how they travel, is `encode`'s and `publish`'s.

use std::collections::HashMap;

use zbus::{ObjectPath, Variant};

use crate::bus::ask::{JobFacts, ManagerFacts, UnitFacts};
use crate::bus::path;
use crate::diagnostic::Severity;
use crate::engine::event::{ExitStatus, JobType, Now};
use crate::engine::view::{ActiveState, FreezerState, Outcome};
use crate::name::{UnitName, UnitType};
use crate::runtime::AgentEvent;
use crate::unit::{RuntimeKind, Service};

/// Names and values of one interface.
pub type Values = Vec<(&'static str, Variant<'static>)>;

/// The properties of an object, by interface.
pub type Interfaces = Vec<(&'static str, Values)>;

/// systemd's way to say that a number is not known.
const UNSET: u64 = u64::MAX;

/// The properties of a unit.
#[must_use]
pub fn of_unit(facts: &UnitFacts) -> Interfaces {
    let mut all = vec![("org.aether1.Unit", unit(facts))];
    if facts.name.kind() == UnitType::Agent {
        all.push(("org.aether1.Agent", agent(facts)));
    }
    all
}

/// Those of them that can change without its files being read again: among them are all that are
/// told of by a signal.
pub(crate) fn changing_of_unit(facts: &UnitFacts) -> Interfaces {
    let mut values = state(facts);
    values.extend(process(facts));
    let mut all = vec![("org.aether1.Unit", values)];
    if facts.name.kind() == UnitType::Agent {
        all.push(("org.aether1.Agent", agent(facts)));
    }
    all
}

/// The properties of the manager.
#[must_use]
pub fn of_manager(facts: &ManagerFacts) -> Interfaces {
    let values = vec![
        ("Version", facts.version.clone().into()),
        ("Scope", facts.scope.clone().into()),
        ("SystemState", facts.state.clone().into()),
        ("NNames", facts.units.into()),
        ("NFailedUnits", facts.failed.into()),
        ("NJobs", facts.jobs.into()),
        ("NAgents", facts.agents.into()),
        ("UnitPath", paths(&facts.unit_path)),
        ("ControlGroup", facts.control_group.clone().into()),
        ("StartupTimestamp", facts.started.realtime.into()),
        ("StartupTimestampMonotonic", facts.started.monotonic.into()),
        ("Host", Variant::from(facts.host.clone())),
        ("Missing", facts.missing.clone().into()),
        ("Generation", facts.generation.into()),
        ("LogDirectory", text(facts.log_directory.display())),
        ("DaemonPID", facts.pid.into()),
    ];
    vec![("org.aether1.Manager", values)]
}

/// The properties of a job.
#[must_use]
pub fn of_job(job: &JobFacts) -> Interfaces {
    let unit = (job.unit.to_string(), unit_path(&job.unit));
    let values = vec![
        ("Id", job.id.0.into()),
        ("Unit", unit.into()),
        ("JobType", job_word(job.kind).into()),
        ("State", job_state(job).into()),
    ];
    vec![("org.aether1.Job", values)]
}

/// `waiting` or `running`.
pub(crate) const fn job_state(job: &JobFacts) -> &'static str {
    if job.running { "running" } else { "waiting" }
}

/// The job type's word.
pub(crate) const fn job_word(kind: JobType) -> &'static str {
    match kind {
        JobType::Start => "start",
        JobType::Stop => "stop",
        JobType::Restart => "restart",
        JobType::Reload => "reload",
        JobType::VerifyActive => "verify-active",
        JobType::Pause => "pause",
        JobType::Resume => "resume",
    }
}

/// A unit's path as a value.
pub(crate) fn unit_path(name: &UnitName) -> ObjectPath<'static> {
    ObjectPath::from_string_unchecked(path::unit(name))
}

/// A job's path as a value; `/` for none.
pub(crate) fn job_path(id: Option<crate::name::JobId>) -> ObjectPath<'static> {
    ObjectPath::from_string_unchecked(path::job(id))
}

/// What an agent is doing, in one word.
pub(crate) fn agent_state(facts: &UnitFacts) -> &'static str {
    let Some(view) = &facts.view else {
        return "inactive";
    };
    match view.active {
        ActiveState::Activating => "starting",
        ActiveState::Deactivating => "stopping",
        ActiveState::Failed => "failed",
        ActiveState::Inactive if view.outcome == Outcome::Completed => "done",
        ActiveState::Inactive => "inactive",
        ActiveState::Active if is_paused(facts) => "paused",
        ActiveState::Active | ActiveState::Reloading => "working",
    }
}

/// `Runtime=` as it is written.
pub(crate) fn runtime_word(facts: &UnitFacts) -> &'static str {
    match facts.unit.as_ref().and_then(|unit| unit.agent.as_ref()) {
        Some(agent) => match agent.runtime {
            RuntimeKind::ClaudeCode => "claude-code",
            RuntimeKind::Command => "command",
        },
        None => "",
    }
}

fn is_paused(facts: &UnitFacts) -> bool {
    let freezer = facts.view.as_ref().map(|view| view.freezer);
    matches!(freezer, Some(FreezerState::Frozen | FreezerState::Freezing))
}

fn unit(facts: &UnitFacts) -> Values {
    let mut values = definition(facts);
    values.extend(state(facts));
    values.extend(process(facts));
    values
}

/// What comes from the unit's file.
fn definition(facts: &UnitFacts) -> Values {
    let unit = facts.unit.as_deref();
    let loaded = unit.is_some() && facts.load_state == "loaded";
    let name = facts.name.to_string();
    let names = |list: fn(&crate::unit::Relations) -> &Vec<UnitName>| -> Variant<'static> {
        let listed = unit.map(|unit| list(&unit.relations).iter());
        let names: Vec<String> = listed
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        names.into()
    };
    let diagnostics: Vec<String> = facts.diagnostics.iter().map(ToString::to_string).collect();
    let limits = unit.and_then(|unit| unit.service.as_ref()).map(limits);
    vec![
        ("Id", name.clone().into()),
        ("Names", all_names(facts).into()),
        (
            "Description",
            unit.map_or(name, |unit| unit.description.clone()).into(),
        ),
        (
            "Documentation",
            unit.map_or_else(Vec::new, |unit| unit.documentation.clone())
                .into(),
        ),
        ("LoadState", facts.load_state.into()),
        ("LoadError", load_error(facts).into()),
        ("LoadDiagnostics", diagnostics.into()),
        (
            "FragmentPath",
            unit.and_then(|unit| unit.fragment.as_ref())
                .map_or_else(|| "".into(), |path| text(path.display())),
        ),
        (
            "DropInPaths",
            paths(unit.map_or(&[], |unit| &unit.drop_ins)),
        ),
        (
            "UnitFileState",
            facts
                .file_state
                .map_or("", |(state, _)| state.as_str())
                .into(),
        ),
        (
            "UnitFilePreset",
            facts.file_state.map_or("", |(_, preset)| preset).into(),
        ),
        ("Transient", unit.is_some_and(|unit| unit.transient).into()),
        ("Requires", names(|relations| &relations.requires)),
        ("Wants", names(|relations| &relations.wants)),
        ("PartOf", names(|relations| &relations.part_of)),
        ("Conflicts", names(|relations| &relations.conflicts)),
        ("Triggers", names(|relations| &relations.triggers)),
        ("TriggeredBy", facts.triggered_by.clone().into()),
        (
            "Slice",
            unit.and_then(|unit| unit.slice.as_ref())
                .map_or_else(String::new, ToString::to_string)
                .into(),
        ),
        ("NeedDaemonReload", facts.need_reload.into()),
        ("Before", names(|relations| &relations.before)),
        ("After", after(unit).into()),
        ("CanStart", (loaded && !facts.name.is_template()).into()),
        ("CanStop", loaded.into()),
        (
            "CanFreeze",
            (loaded && facts.name.kind() == UnitType::Agent).into(),
        ),
        ("ResourceLimits", limits.unwrap_or_default().into()),
        ("LogDirectory", text(facts.log_directory.display())),
    ]
}

/// `After=`, and what a target comes after because it pulls it in.
fn after(unit: Option<&crate::unit::Unit>) -> Vec<String> {
    let relations = unit.map(|unit| &unit.relations);
    relations
        .into_iter()
        .flat_map(|relations| relations.after.iter().chain(&relations.members))
        .map(ToString::to_string)
        .collect()
}

/// Every name of a unit, its own first.
fn all_names(facts: &UnitFacts) -> Vec<String> {
    let aliases = facts.unit.iter().flat_map(|unit| &unit.aliases);
    std::iter::once(&facts.name)
        .chain(aliases)
        .map(ToString::to_string)
        .collect()
}

/// Which state it is in and since when.
fn state(facts: &UnitFacts) -> Values {
    let view = facts.view.as_ref();
    let job = view.and_then(|view| view.job).map(|(id, _)| id);
    let enforcement = view.and_then(|view| view.enforcement.as_ref());
    let failure = view.and_then(|view| view.failure.as_ref());
    let mut values: Values = vec![
        (
            "ActiveState",
            view.map_or(ActiveState::Inactive, |view| view.active)
                .as_str()
                .into(),
        ),
        (
            "SubState",
            view.map_or_else(|| "dead".to_owned(), |view| view.sub.clone())
                .into(),
        ),
        (
            "FreezerState",
            view.map_or(FreezerState::Running, |view| view.freezer)
                .as_str()
                .into(),
        ),
        (
            "Why",
            view.map_or_else(String::new, |view| view.why.clone())
                .into(),
        ),
        (
            "Result",
            view.map_or(Outcome::Success, |view| view.outcome)
                .as_str()
                .into(),
        ),
        (
            "FailureStep",
            failure
                .map_or_else(String::new, |failure| failure.step.clone())
                .into(),
        ),
        (
            "FailureHelp",
            failure
                .and_then(|failure| failure.help.clone())
                .unwrap_or_default()
                .into(),
        ),
        (
            "SandboxPolicy",
            facts
                .unit
                .as_ref()
                .map_or_else(String::new, |unit| unit.sandbox.policy.clone())
                .into(),
        ),
        // Before the first start nothing was looked at, which is "no" as in systemd.
        (
            "ConditionResult",
            view.is_some_and(|view| tried(view) && (view.unmet.is_none() || view.unmet_assert))
                .into(),
        ),
        (
            "AssertResult",
            view.is_some_and(|view| tried(view) && !view.unmet_assert)
                .into(),
        ),
        (
            "NextElapseUSecRealtime",
            view.and_then(|view| view.next_elapse.0).unwrap_or(0).into(),
        ),
        (
            "NextElapseUSecMonotonic",
            view.and_then(|view| view.next_elapse.1).unwrap_or(0).into(),
        ),
        (
            "NAccepted",
            view.map_or(0, |view| u32::try_from(view.accepted).unwrap_or(u32::MAX))
                .into(),
        ),
        (
            "LastTriggerUSec",
            view.and_then(|view| view.last_trigger)
                .map_or(0, |at| at.realtime)
                .into(),
        ),
        ("Job", (job.map_or(0, |id| id.0), job_path(job)).into()),
        (
            "RestartAtMonotonic",
            view.and_then(|view| view.restart_at)
                .unwrap_or(UNSET)
                .into(),
        ),
        ("NRestarts", view.map_or(0, |view| view.restarts).into()),
        (
            "StatusText",
            view.map_or_else(String::new, |view| view.status_text.clone())
                .into(),
        ),
        (
            "SandboxMissing",
            enforcement
                .map_or_else(Vec::new, |it| it.missing.clone())
                .into(),
        ),
        (
            "LandlockABI",
            enforcement.map_or(u32::MAX, |it| it.landlock_abi).into(),
        ),
    ];
    let mut time = |real: &'static str, monotonic: &'static str, at: Option<Now>| {
        let at = at.unwrap_or_default();
        values.push((real, at.realtime.into()));
        values.push((monotonic, at.monotonic.into()));
    };
    time(
        "StateChangeTimestamp",
        "StateChangeTimestampMonotonic",
        view.map(|view| view.since),
    );
    time(
        "ActiveEnterTimestamp",
        "ActiveEnterTimestampMonotonic",
        view.and_then(|view| view.active_enter),
    );
    time(
        "ActiveExitTimestamp",
        "ActiveExitTimestampMonotonic",
        view.and_then(|view| view.active_exit),
    );
    time(
        "InactiveExitTimestamp",
        "InactiveExitTimestampMonotonic",
        view.and_then(|view| view.inactive_exit),
    );
    time(
        "InactiveEnterTimestamp",
        "InactiveEnterTimestampMonotonic",
        view.and_then(|view| view.inactive_enter),
    );
    values
}

/// Whether somebody has tried to start it.
fn tried(view: &crate::engine::view::View) -> bool {
    view.inactive_exit.is_some()
}

/// Its processes and what they use.
fn process(facts: &UnitFacts) -> Values {
    let view = facts.view.as_ref();
    // The numbers of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0: not known.
    let (code, status) = match view.and_then(|view| view.exit) {
        Some(ExitStatus::Exited(status)) => (1, i32::from(status)),
        Some(ExitStatus::Killed(signal)) => (2, signal),
        Some(ExitStatus::Dumped(signal)) => (3, signal),
        Some(ExitStatus::Unknown | ExitStatus::Unseen) | None => (0, 0),
    };
    vec![
        ("ControlGroup", facts.control_group.clone().into()),
        (
            "InvocationID",
            invocation_bytes(&facts.invocation_id).into(),
        ),
        (
            "MainPID",
            view.and_then(|view| view.main_pid).unwrap_or(0).into(),
        ),
        (
            "ControlPID",
            view.and_then(|view| view.control_pid).unwrap_or(0).into(),
        ),
        ("ExecMainCode", code.into()),
        ("ExecMainStatus", status.into()),
        ("UID", facts.uid.unwrap_or(u32::MAX).into()),
        (
            "MemoryCurrent",
            facts.memory_current.unwrap_or(UNSET).into(),
        ),
        ("TasksCurrent", facts.tasks_current.unwrap_or(UNSET).into()),
        ("CPUUsageNSec", facts.cpu_usage.unwrap_or(UNSET).into()),
    ]
}

fn agent(facts: &UnitFacts) -> Values {
    let view = facts.view.as_ref();
    let agent = facts.unit.as_ref().and_then(|unit| unit.agent.as_ref());
    vec![
        ("Runtime", runtime_word(facts).into()),
        ("Model", facts.model.clone().into()),
        ("SessionId", facts.session_id.clone().into()),
        ("State", agent_state(facts).into()),
        (
            "Workspace",
            agent
                .and_then(|agent| agent.workspace.clone())
                .unwrap_or_default()
                .into(),
        ),
        ("Terminal", agent.is_some_and(|agent| agent.terminal).into()),
        ("Paused", is_paused(facts).into()),
        (
            "PauseReason",
            view.map_or_else(String::new, |view| view.pause_reason.clone())
                .into(),
        ),
        (
            "WaitingInputs",
            view.map_or(0, |view| view.waiting_inputs).into(),
        ),
        ("Turn", view.map_or(0, |view| view.turns).into()),
        ("TokensIn", facts.tokens_in.into()),
        ("TokensOut", facts.tokens_out.into()),
        ("CostMicros", facts.cost_micros.into()),
        ("LastActivityTimestamp", facts.last_activity.into()),
    ]
}

/// The limits that are set; what is not limited is not there.
fn limits(service: &Service) -> HashMap<&'static str, Variant<'static>> {
    let resources = &service.resources;
    let micros = |limit: std::time::Duration| u64::try_from(limit.as_micros()).unwrap_or(UNSET);
    let wide = [
        ("MemoryHigh", resources.memory_high),
        ("MemoryMax", resources.memory_max),
        ("MemorySwapMax", resources.memory_swap_max),
        ("TasksMax", resources.tasks_max),
        ("RuntimeMaxUSec", service.runtime_max.map(micros)),
    ];
    let narrow = [
        ("CPUQuotaPerMille", resources.cpu_quota),
        ("CPUWeight", resources.cpu_weight),
    ];
    let wide = wide
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?.into())));
    let narrow = narrow
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?.into())));
    wide.chain(narrow).collect()
}

fn load_error(facts: &UnitFacts) -> (String, String) {
    let first = facts
        .diagnostics
        .iter()
        .find(|it| it.severity == Severity::Error);
    match facts.load_state {
        "loaded" => (String::new(), String::new()),
        "not-found" => (
            "org.aether1.Error.NoSuchUnit".to_owned(),
            format!("there is no unit file for {}", facts.name),
        ),
        _ => (
            "org.aether1.Error.BadUnitSetting".to_owned(),
            first.map_or_else(String::new, ToString::to_string),
        ),
    }
}

/// The 16 bytes of 32 hex digits; none for anything else.
pub(crate) fn invocation_bytes(hex: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if hex.len() != 32 {
        return Vec::new();
    }
    hex.as_bytes()
        .chunks(2)
        .map(byte)
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_default()
}

fn text(shown: impl std::fmt::Display) -> Variant<'static> {
    shown.to_string().into()
}

fn paths(list: &[std::path::PathBuf]) -> Variant<'static> {
    list.iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<String>>()
        .into()
}

/// Kind and summary of an agent's event: never what was said, read or written.
pub(crate) fn activity(event: &AgentEvent) -> (&'static str, String) {
    match event {
        AgentEvent::Session { model, .. } => ("session", model.clone()),
        AgentEvent::InputConsumed { .. } => ("input-consumed", String::new()),
        AgentEvent::Text { .. } => ("text", String::new()),
        AgentEvent::Thinking { .. } => ("thinking", String::new()),
        AgentEvent::ToolUse { tool, .. } => ("tool-use", tool.clone()),
        AgentEvent::ToolResult { is_error, .. } => (
            "tool-result",
            if *is_error { "error" } else { "ok" }.to_owned(),
        ),
        AgentEvent::Retry { attempt, .. } => ("retry", format!("attempt {attempt}")),
        AgentEvent::TurnEnded(turn) => ("turn-ended", turn.subtype.clone()),
        AgentEvent::PermissionAsked { tool, .. } => ("permission-asked", tool.clone()),
        AgentEvent::Garbled { .. } => ("garbled", String::new()),
    }
}
