//! `plan`: what starting a unit would do, step by step, without daemon and root.
//!
//! What only the daemon decides at a start (a dynamic uid, the cgroup's place) is assumed, and
//! each assumption is said. Everything else is what the daemon itself computes with.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::exit::{Exit, Problem};
use super::find;
use super::screen::{Screen, Tone, clean};
use super::{time, verify};
use crate::engine::event::Role;
use crate::place::Places;
use crate::plan::{self, Assignment, ExecPlan, PlanError};
use crate::runtime::{self, Launch};
use crate::sys::policyfile::{self, PolicyFault};
use crate::sys::{host, unitfile};
use crate::unit::Unit;

/// First uid of the range from which dynamic users are taken (systemd's own range).
const DYNAMIC_UID: u32 = 61_184;

/// What is assumed, as sentences.
type Assumptions = Vec<String>;

/// `plan`.
pub(super) fn run(screen: Screen, places: &Places, word: &str) -> anyhow::Result<Exit> {
    let target = find::target(places, word)?;
    if target.name.is_template() {
        return Err(Problem::usage(format!("{} is a template", target.name))
            .help(format!("name an instance: {}@x", target.name.prefix()))
            .into());
    }
    let loaded = target.load(&find::names(places), &unitfile::specifiers(places));
    for diagnostic in &loaded.diagnostics {
        eprint(&verify::render(diagnostic, false));
    }
    let Some(unit) = loaded.unit else {
        return Err(Problem::new(format!("{} cannot be loaded", target.name))
            .help(format!("all of it: aetherctl verify {word}"))
            .into());
    };
    let mut assumed = vec![];
    let mut assignment = assign(&unit, places, &mut assumed);
    let policy = policyfile::find(&places.policies, &unit.sandbox.policy)
        .map_err(|fault| unusable(fault, &unit.sandbox.policy, places))?;
    let launch = prepare(&unit, &mut assignment, &mut assumed)?;
    let mut host = host::probe();
    if places.system && !host.root {
        (host.user, host.home) = ("root".to_owned(), PathBuf::from("/root"));
    }
    if !host.root && nix::unistd::geteuid().as_raw() != assignment.uid {
        assumed.push("not run as root: a real start by you would keep your own uid".to_owned());
    }
    let mut plans = vec![];
    for role in roles(&unit) {
        if role != Role::Main(0) {
            assignment.found = found(&unit, role, &assignment, &mut assumed);
        }
        let plan =
            plan::compile(&unit, &launch, role, &policy, &assignment, &host).map_err(|error| {
                match error {
                    PlanError::Unmet { .. } => Problem::new(error.to_string())
                        .exit(Exit::Refused)
                        .help("see Require= in [Sandbox]".to_owned()),
                    other => Problem::new(other.to_string()),
                }
            })?;
        plans.push((role, plan));
    }
    if plans.is_empty() {
        return Err(Problem::new(format!("{} runs nothing", unit.name)).into());
    }
    if screen.json {
        screen.print_json(&value(&unit, &launch, &plans, &assumed)?)?;
    } else {
        screen.print(&render(screen, &unit, &launch, &plans, &assumed))?;
    }
    Ok(Exit::Done)
}

fn eprint(text: &str) {
    use std::io::Write as _;
    // Remarks; the plan itself goes to standard output.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn unusable(fault: PolicyFault, name: &str, places: &Places) -> Problem {
    let error = match fault {
        PolicyFault::Wrong(found) => {
            for diagnostic in &found {
                eprint(&verify::render(diagnostic, false));
            }
            return Problem::new(format!("the policy {name} cannot be used"));
        }
        PolicyFault::Unreadable { .. } => {
            return Problem::new(format!("failed to read the policy {name}: {fault}"));
        }
        PolicyFault::Unresolved(error) => error,
    };
    let places: Vec<String> = places
        .policies
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Problem::new(error.to_string()).help(format!(
        "policies are *.policy files in {}, and those that come with Aether",
        places.join(", ")
    ))
}

/// What the daemon would decide, as far as it can be known.
fn assign(unit: &Unit, places: &Places, assumed: &mut Assumptions) -> Assignment {
    let exec = unit.service.as_ref().map(|service| &service.exec);
    let own = nix::unistd::geteuid().as_raw();
    let dynamic = exec.is_some_and(|exec| exec.dynamic_user && exec.user.is_none());
    let (mut uid, mut gid, mut name) = (own, nix::unistd::getegid().as_raw(), String::new());
    if places.system {
        (uid, gid) = (0, 0);
    }
    if let Some(user) = exec.and_then(|exec| exec.user.as_deref()) {
        match look_up(user) {
            Some(found) => (uid, gid, name) = found,
            None => assumed.push(format!("there is no user {user} here; uid {uid} is shown")),
        }
    } else if dynamic && places.system {
        (uid, gid) = (DYNAMIC_UID, DYNAMIC_UID);
        assumed.push(format!("uid {uid}: a dynamic one is chosen at the start"));
    }
    let home = match unit.agent {
        Some(_) => places.home(&unit.name),
        None => PathBuf::from("/"),
    };
    let workspace = match unit.agent.as_ref().map(|agent| agent.workspace.as_deref()) {
        Some(Some(path)) if path.starts_with('/') => PathBuf::from(path),
        Some(Some(name)) => places.shared_workspace(name),
        Some(None) => places.workspace(&unit.name),
        None => PathBuf::from("/"),
    };
    assumed.push("the cgroup's place below the manager's is chosen at the start".to_owned());
    Assignment {
        uid,
        gid,
        home,
        workspace,
        user: name,
        tmp: places.unit_tmp(&unit.name),
        runtime: places.unit_runtime(&unit.name),
        expect_cgroup: Some(format!("0::/{}/{}", places.cgroup, unit.name)),
        mcp_socket: (!unit.mcp.tools.is_empty()).then(|| places.mcp_socket(&unit.name)),
        libexec: places.libexec.clone(),
        invocation_id: "0".repeat(32),
        ..Assignment::default()
    }
}

fn look_up(user: &str) -> Option<(u32, u32, String)> {
    use nix::unistd::{Uid, User};
    let found = match user.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(user),
    };
    let user = found.ok().flatten()?;
    Some((user.uid.as_raw(), user.gid.as_raw(), user.name))
}

/// What the runtime needs; the program is found as the daemon finds it.
fn prepare(
    unit: &Unit,
    assignment: &mut Assignment,
    assumed: &mut Assumptions,
) -> Result<Launch, Problem> {
    let path = plan::search_path(unit, Role::Main(0), assignment);
    let candidates = runtime::candidates(unit, &path);
    let mut program = candidates
        .iter()
        .find_map(|candidate| host::executable(candidate));
    if program.is_none()
        && let Some(first) = candidates.first()
    {
        assumed.push(format!(
            "the program was not found here; {} is shown",
            first.display()
        ));
        program = Some(first.clone());
    }
    assignment.found.clone_from(&program);
    if unit.agent.is_none() {
        return Ok(Launch::default());
    }
    let facts = runtime::Facts {
        home: assignment.home.clone(),
        workspace: assignment.workspace.clone(),
        tmp: assignment.tmp.clone(),
        config: assignment.home.join(".claude"),
        mcp_socket: assignment.mcp_socket.clone().unwrap_or_default(),
        mcp_program: assignment.libexec.join("aether-mcp"),
        program,
        session: "00000000-0000-4000-8000-000000000000".to_owned(),
        ..runtime::Facts::default()
    };
    runtime::prepare(unit, &facts).map_err(|failure| {
        let problem = Problem::new(format!("{}: {}", failure.step, failure.detail));
        match failure.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    })
}

/// A program that the unit names without a path, where the daemon would find it.
fn found(
    unit: &Unit,
    role: Role,
    assignment: &Assignment,
    assumed: &mut Assumptions,
) -> Option<PathBuf> {
    let program = &plan::command_of(unit, role)?.program;
    let path = plan::search_path(unit, role, assignment);
    host::find_program(program, &path).or_else(|| {
        let shown = PathBuf::from("/usr/bin").join(program);
        assumed.push(format!(
            "{program} was not found here; {} is shown",
            shown.display()
        ));
        Some(shown)
    })
}

/// Every process of a start and a stop, in order.
fn roles(unit: &Unit) -> Vec<Role> {
    let Some(service) = &unit.service else {
        return vec![];
    };
    let many = |count: usize, role: fn(u16) -> Role| {
        (0..u16::try_from(count).unwrap_or(u16::MAX)).map(role)
    };
    let main = if unit.agent.is_some() {
        1
    } else {
        service.exec_start.len()
    };
    many(service.exec_condition.len(), Role::Condition)
        .chain(many(service.exec_start_pre.len(), Role::StartPre))
        .chain(many(main, Role::Main))
        .chain(many(service.exec_start_post.len(), Role::StartPost))
        .chain(many(service.exec_reload.len(), Role::Reload))
        .chain(many(service.exec_stop.len(), Role::Stop))
        .chain(many(service.exec_stop_post.len(), Role::StopPost))
        .collect()
}

fn title(role: Role) -> String {
    let (directive, index) = match role {
        Role::Condition(index) => ("ExecCondition", index),
        Role::StartPre(index) => ("ExecStartPre", index),
        Role::Main(0) => return "Main process".to_owned(),
        Role::Main(index) => ("ExecStart", index),
        Role::StartPost(index) => ("ExecStartPost", index),
        Role::Reload(index) => ("ExecReload", index),
        Role::Stop(index) => ("ExecStop", index),
        Role::StopPost(index) => ("ExecStopPost", index),
    };
    format!("{directive}= ({})", index + 1)
}

/// The limits of the unit's cgroup, which holds every process of it, as they would be written.
fn limits(unit: &Unit) -> Vec<(&'static str, String)> {
    let Some(service) = &unit.service else {
        return vec![];
    };
    let r = &service.resources;
    let bytes = |value: Option<u64>| value.map(time::bytes);
    let percent = |thousandths: u32| format!("{}%", f64::from(thousandths) / 10.0);
    [
        ("MemoryHigh", bytes(r.memory_high)),
        ("MemoryMax", bytes(r.memory_max)),
        ("MemorySwapMax", bytes(r.memory_swap_max)),
        ("CPUQuota", r.cpu_quota.map(percent)),
        ("CPUWeight", r.cpu_weight.map(|weight| weight.to_string())),
        ("TasksMax", r.tasks_max.map(|tasks| tasks.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

fn render(
    screen: Screen,
    unit: &Unit,
    launch: &Launch,
    plans: &[(Role, ExecPlan)],
    assumed: &Assumptions,
) -> String {
    let mut out = String::new();
    for sentence in assumed {
        let text = format!("# assumed: {}\n", clean(sentence, false));
        out.push_str(&screen.tint(Tone::Dim, &text));
    }
    let limits: Vec<String> = limits(unit)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let _ = match limits.is_empty() {
        true => writeln!(out, "# limits: none"),
        false => writeln!(out, "# limits: {}", limits.join(" ")),
    };
    for file in &launch.files {
        let kept = if file.keep {
            ", kept when it is there"
        } else {
            ""
        };
        let owner = if file.locked { "root's" } else { "the agent's" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "# writes {} (mode {:04o}, {owner}{kept})",
            file.path.display(),
            file.mode
        );
    }
    if let Some(input) = &launch.first_input {
        let first = clean(input, false);
        let _ = writeln!(
            out,
            "# says first: {}",
            first.lines().next().unwrap_or_default()
        );
    }
    for (role, plan) in plans {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&screen.tint(Tone::Strong, &title(*role)));
        out.push_str(": ");
        out.push_str(&plan::render(plan));
    }
    out
}

fn value(
    unit: &Unit,
    launch: &Launch,
    plans: &[(Role, ExecPlan)],
    assumed: &Assumptions,
) -> serde_json::Result<Value> {
    let plans = plans
        .iter()
        .map(|(role, plan)| {
            Ok(json!({ "role": serde_json::to_value(role)?, "plan": serde_json::to_value(plan)? }))
        })
        .collect::<serde_json::Result<Vec<_>>>()?;
    let files: Vec<Value> = launch
        .files
        .iter()
        .map(|file| {
            json!({
                "path": file.path, "mode": format!("{:04o}", file.mode), "content": file.content,
                "keep": file.keep, "locked": file.locked,
            })
        })
        .collect();
    Ok(json!({
        "unit": unit.name, "assumed": assumed, "files": files,
        "limits": unit.service.as_ref().map(|service| &service.resources),
        "first_input": launch.first_input, "plans": plans,
    }))
}
