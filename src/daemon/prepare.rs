//! One start, step by step: user → directories → cgroup → program → files → policy → plan → stage.
//!
//! Each step fails with its own name, so that `status` can say which. The names before the stage's
//! own: `user`, `directory`, `cgroup`, `binary`, `files`, `policy`, `plan`, `pipe`, `socket`,
//! `spawn`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::daemon::hands::{Born, Made, Start, Workshop};
use crate::daemon::users::Users;
use crate::daemon::who::{resolve_user, share};
use crate::engine::event::Role;
use crate::name::UnitName;
use crate::plan::{Assignment, Failure};
use crate::runtime::{self, GeneratedFile, Launch, Memory};
use crate::sys::cgroup::{Kind, Part};
use crate::sys::file::{Owner, directory_beneath, read_beneath, read_regular, write_beneath};
use crate::sys::user::{give, own_uid};
use crate::sys::watch::Shortage;
use crate::sys::{host, limits, pipe, policyfile, process, pty};
use crate::unit::{Stream, Unit};

/// Largest `EnvironmentFile=`, in bytes.
const ENVIRONMENT_FILE_MAX: u64 = 1 << 20;

pub(super) fn fail(step: &str, detail: impl Into<String>) -> Failure {
    Failure {
        step: step.to_owned(),
        errno: 0,
        detail: detail.into(),
        help: None,
    }
}

pub(super) fn broke(step: &str, what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let (step, what) = (step.to_owned(), what.into());
    move |error| Failure {
        step,
        errno: error.raw_os_error().unwrap_or(0),
        detail: format!("{what}: {error}"),
        help: None,
    }
}

/// Carries one start out.
pub(crate) fn start(workshop: &Workshop, users: &mut Users, order: Start) -> Result<Born, Failure> {
    let unit = &*order.unit;
    let service = unit
        .service
        .as_ref()
        .ok_or_else(|| fail("plan", "the unit runs nothing"))?;
    let mut made = Made::default();
    let mut who = resolve_user(workshop, users, unit, &mut made.missing)?;
    let mut changed = None;
    if share(workshop, users, unit, &mut who)? && service.exec.dynamic_user {
        // Its own group is its alone, so this opens nothing but the shared workspace.
        let mut sharing = unit.clone();
        if let Some(service) = &mut sharing.service {
            service.exec.umask &= !0o070;
        }
        changed = Some(sharing);
    }
    let owner = Owner {
        uid: who.uid,
        gid: who.gid,
    };
    made.uid = who.uid;
    if !order.grouped {
        // After a crash of the machine something may be there from before.
        let state = workshop.places.unit_state(&unit.name);
        workshop
            .sweeper
            .discard(&workshop.places.state, &state, Path::new("tmp"))
            .map_err(broke(
                "directory",
                format!("cannot clear {}/tmp", state.display()),
            ))?;
    }
    let mut assignment = directories(workshop, unit, owner)?;
    assignment.uid = who.uid;
    assignment.gid = who.gid;
    assignment.groups = who.groups;
    assignment.libexec.clone_from(&workshop.places.libexec);
    assignment.invocation_id.clone_from(&order.invocation_id);
    assignment.notify_socket = Some(workshop.notify_socket.clone());
    assignment.runtime = workshop.places.unit_runtime(&unit.name);
    assignment.user = who.name;
    // Our own soft limit was raised; programs that use select(2) rely on the ordinary one.
    assignment.open_files = limits::get("NOFILE").ok().map(|(_, hard)| hard);
    assignment.oom_score_adjust = workshop.oom_score_adjust;
    environment(workshop, unit, &mut assignment)?;
    assignment.told = order.told.clone();
    assignment.passed = order.passed.iter().map(|(name, _)| name.clone()).collect();

    let slice = order.slices.last().map(|(name, _)| name);
    let cgroup = workshop.tree.group(&unit.name, slice);
    if !order.grouped {
        made.missing.extend(
            workshop
                .tree
                .make_slices(&order.slices)
                .map_err(|error| fail("cgroup", format!("cannot make a slice: {error}")))?,
        );
        made.missing.extend(
            cgroup.create(&service.resources).map_err(|error| {
                fail("cgroup", format!("cannot make the unit's cgroup: {error}"))
            })?,
        );
        made.shortage = Shortage::of(&cgroup);
    }
    let part = if matches!(order.role, Role::Main(_)) {
        Part::Agent
    } else {
        Part::Control
    };
    if part == Part::Control && workshop.tree.kind() != Kind::None {
        cgroup
            .add(part)
            .map_err(|error| fail("cgroup", error.to_string()))?;
    }
    // A leaf in which something still runs is joined by writing.
    let whole = !order.killed || cgroup.renew(part).is_ok();
    made.rewatch = order.killed && whole && part == Part::Agent;
    let inside = cgroup.open(part).ok().filter(|_| whole);
    assignment.join = cgroup.join_files(part, inside.is_some());
    assignment.expect_cgroup = cgroup.expect(part);

    if !unit.mcp.tools.is_empty() && workshop.tree.kind() == Kind::None {
        made.missing.push(
            "Tools=: this host has no cgroups, so nobody could know which agent calls an MCP \
             server: it runs without one"
                .to_owned(),
        );
        // Its configuration must not promise what is not there.
        changed
            .get_or_insert_with(|| unit.clone())
            .mcp
            .tools
            .clear();
    }
    let unit = changed.as_ref().unwrap_or(unit);
    if !unit.mcp.tools.is_empty() {
        let socket = workshop.places.mcp_socket(&unit.name);
        if !order.listening {
            made.listener = Some(listen(&socket, owner)?);
        }
        assignment.mcp_socket = Some(socket);
    }
    let launch = launch(workshop, unit, &order, &assignment)?;
    write_files(workshop, unit, &launch.files, owner)?;
    let policy = policyfile::find(&workshop.places.policies, &unit.sandbox.policy)
        .map_err(|fault| fail("policy", fault.to_string()))?;
    if let Some(command) = crate::plan::command_of(unit, order.role)
        && launch.program.as_os_str().is_empty()
    {
        let path = crate::plan::search_path(unit, order.role, &assignment);
        assignment.found = host::find_program(&command.program, &path);
    }
    let plan = crate::plan::compile(
        unit,
        &launch,
        order.role,
        &policy,
        &assignment,
        &workshop.host,
    )
    .map_err(|error| fail("plan", error.to_string()))?;

    // The descriptors follow the plan in the order of the standard streams.
    let terminal = unit.agent.as_ref().is_some_and(|agent| agent.terminal)
        && matches!(order.role, Role::Main(_));
    let mut passed: Vec<OwnedFd> = vec![];
    if terminal {
        let pair =
            pty::open(pty::Size::default()).map_err(broke("pipe", "cannot open a terminal"))?;
        pty::give(pair.slave.as_fd(), who.uid)
            .map_err(broke("pipe", "cannot give the terminal to the unit's user"))?;
        made.terminal = Some(pair.master);
        passed.push(pair.slave);
    } else {
        if launch.input && matches!(order.role, Role::Main(_)) {
            let (reader, writer) =
                pipe::input_pipe().map_err(broke("pipe", "cannot make a pipe"))?;
            made.stdin = Some(writer);
            passed.push(reader);
        }
        let (input, output, error) = crate::plan::streams(unit, order.role);
        let socket = || -> Result<OwnedFd, Failure> {
            let (_, fd) = order.passed.first().ok_or_else(|| {
                fail(
                    "pipe",
                    "there is no socket to be a standard stream: it was not started by one",
                )
            })?;
            fd.try_clone()
                .map_err(broke("pipe", "cannot copy a socket"))
        };
        if input == Stream::Socket {
            passed.push(socket()?);
        }
        let (out, err) = match order.output {
            Some(pair) => pair,
            None => {
                let cannot = || broke("pipe", "cannot make a pipe");
                let (out_reader, out) = pipe::pipe().map_err(cannot())?;
                let (err_reader, err) = pipe::pipe().map_err(cannot())?;
                let again =
                    |fd: &OwnedFd| fd.try_clone().map_err(broke("pipe", "cannot copy a pipe"));
                made.stdout = Some((out_reader, again(&out)?));
                made.stderr = Some((err_reader, again(&err)?));
                (out, err)
            }
        };
        for (stream, pipe) in [(output, out), (error, err)] {
            match stream {
                Stream::Null => {}
                Stream::Log => passed.push(pipe),
                Stream::Socket => passed.push(socket()?),
            }
        }
    }
    passed.extend(order.passed.into_iter().map(|(_, fd)| fd));
    let borrowed: Vec<BorrowedFd<'_>> = passed.iter().map(AsFd::as_fd).collect();
    let (child, report) = process::start(
        &workshop.stage,
        &plan,
        &borrowed,
        inside.as_ref().map(AsFd::as_fd),
    )?;
    made.structured = launch.structured && matches!(order.role, Role::Main(_));
    made.first_input = launch.first_input;
    made.session = launch.session;
    let start_time = process::start_time(child.pid).unwrap_or(0);
    Ok(Born {
        child,
        start_time,
        report,
        made,
    })
}

/// What `EnvironmentFile=` and `PassEnvironment=` add.
fn environment(
    workshop: &Workshop,
    unit: &Unit,
    assignment: &mut Assignment,
) -> Result<(), Failure> {
    let Some(exec) = unit.service.as_ref().map(|service| &service.exec) else {
        return Ok(());
    };
    if unit.agent.is_none() {
        // Services of ours find the supervisor, and know their peers, by these.
        let places = &workshop.places;
        for (name, value) in [
            ("AETHER_RUNTIME_DIR", places.runtime.display().to_string()),
            ("AETHER_CONTROL_GROUP", workshop.tree.path().to_owned()),
            (
                "STATE_DIRECTORY",
                joined(&places.unit_state(&unit.name), &exec.state_directories),
            ),
            (
                "RUNTIME_DIRECTORY",
                joined(&places.runtime_directories(), &exec.runtime_directories),
            ),
        ] {
            if !value.is_empty() {
                assignment.passed_environment.push((name.to_owned(), value));
            }
        }
    }
    for name in &exec.pass_environment {
        if let Some(value) = workshop.environment.get(name) {
            assignment
                .passed_environment
                .push((name.clone(), value.clone()));
        }
    }
    for (path, optional) in &exec.environment_files {
        // It may lie where an agent writes, so it is not trusted to be a file.
        let read = read_regular(path, ENVIRONMENT_FILE_MAX)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
        match read {
            Ok(text) => assignment.file_environment.extend(assignments(&text)),
            Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(broke(
                    "files",
                    format!("EnvironmentFile={}", path.display()),
                )(error));
            }
        }
    }
    Ok(())
}

/// `$STATE_DIRECTORY` and its like (systemd.exec(5)): absolute, separated by colons.
fn joined(root: &Path, names: &[PathBuf]) -> String {
    let all: Vec<String> = names
        .iter()
        .map(|name| root.join(name).display().to_string())
        .collect();
    all.join(":")
}

/// `KEY=value` lines; comments and blank lines are passed over, one pair of quotes is taken off.
fn assignments(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            let value = value.trim();
            let bare = ['"', '\'']
                .iter()
                .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
                .unwrap_or(value);
            (key.trim().to_owned(), bare.to_owned())
        })
        .collect()
}

/// Makes a directory of ours (not the unit's), which others may pass through.
pub(super) fn ours(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(broke(
            "directory",
            format!("cannot make {}", path.display()),
        ))
}

fn directories(workshop: &Workshop, unit: &Unit, owner: Owner) -> Result<Assignment, Failure> {
    let places = &workshop.places;
    let (state, runtime) = (
        places.unit_state(&unit.name),
        places.unit_runtime(&unit.name),
    );
    ours(&state)?;
    ours(&runtime)?;
    let within = |root: &Path, name: &Path, mode: u32| {
        directory_beneath(root, name, owner, mode).map_err(broke(
            "directory",
            format!("cannot make {}", root.join(name).display()),
        ))
    };
    within(&state, Path::new("home"), 0o700)?;
    // A fresh directory for temporary files; it is the unit's alone.
    within(&state, Path::new("tmp"), 0o700)?;
    let home = places.home(&unit.name);
    let workspace = match unit
        .agent
        .as_ref()
        .and_then(|agent| agent.workspace.as_deref())
    {
        None if unit.agent.is_none() => home.clone(),
        None => {
            within(&state, Path::new("workspace"), 0o700)?;
            places.workspace(&unit.name)
        }
        Some(path) if path.starts_with('/') => PathBuf::from(path),
        // Made by `share` already.
        Some(name) => places.shared_workspace(name),
    };
    let mut made = vec![];
    if let Some(service) = &unit.service {
        for name in &service.exec.state_directories {
            // A dynamic user's state is its own alone; systemd hides it below /var/lib/private.
            let mode = if service.exec.dynamic_user {
                0o700
            } else {
                0o755
            };
            within(&state, name, mode)?;
            made.push(state.join(name));
        }
        for name in &service.exec.runtime_directories {
            let root = places.runtime_directories();
            ours(&root)?;
            within(&root, name, 0o755)?;
            made.push(root.join(name));
        }
    }
    Ok(Assignment {
        home,
        workspace,
        tmp: places.unit_tmp(&unit.name),
        directories: made,
        ..Assignment::default()
    })
}

/// A listening socket that only the unit's user (and root) can connect to.
fn listen(path: &Path, owner: Owner) -> Result<OwnedFd, Failure> {
    let cannot = |error| broke("socket", format!("cannot listen on {}", path.display()))(error);
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error)),
    }
    let listener = UnixListener::bind(path).map_err(cannot)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    if owner.uid != own_uid() {
        give(path, owner.uid, owner.gid).map_err(cannot)?;
    }
    listener.set_nonblocking(true).map_err(cannot)?;
    Ok(listener.into())
}

fn launch(
    workshop: &Workshop,
    unit: &Unit,
    order: &Start,
    assignment: &Assignment,
) -> Result<Launch, Failure> {
    // Only an agent's main process has a runtime; everything else is a command line.
    if unit.agent.is_none() || !matches!(order.role, Role::Main(_)) {
        return Ok(Launch::default());
    }
    let path = crate::plan::search_path(unit, order.role, assignment);
    let program = runtime::candidates(unit, &path)
        .into_iter()
        .find_map(|candidate| host::executable(&candidate));
    let facts = runtime::Facts {
        home: assignment.home.clone(),
        workspace: assignment.workspace.clone(),
        tmp: assignment.tmp.clone(),
        config: assignment.home.join(".claude"),
        generated: workshop.places.unit_runtime(&unit.name),
        mcp_socket: assignment.mcp_socket.clone().unwrap_or_default(),
        mcp_program: workshop.places.libexec.join("aether-mcp"),
        program,
        session: order.session.clone(),
        resume: order.resume && order.begun,
        memories: recent_memories(workshop, &unit.name),
        environment: vec![],
    };
    runtime::prepare(unit, &facts)
}

/// The few memories that the hub keeps ready for every unit; data from another process, so it is
/// bounded and may be missing.
fn recent_memories(workshop: &Workshop, unit: &UnitName) -> Vec<Memory> {
    let path = workshop.places.recent_memories(unit);
    let state = &workshop.places.state;
    path.strip_prefix(state)
        .ok()
        .and_then(|relative| read_beneath(state, relative, 64 * 1024).ok())
        .and_then(|bytes| serde_json::from_slice::<Vec<(String, String)>>(&bytes).ok())
        .unwrap_or_default()
        .into_iter()
        .map(|(layer, text)| Memory { layer, text })
        .collect()
}

fn write_files(
    workshop: &Workshop,
    unit: &Unit,
    files: &[GeneratedFile],
    owner: Owner,
) -> Result<(), Failure> {
    let root = workshop.places.unit_runtime(&unit.name);
    let state = workshop.places.unit_state(&unit.name);
    let system = Owner {
        gid: owner.gid,
        ..Owner::ourselves()
    };
    for file in files {
        let cannot = || broke("files", format!("cannot write {}", file.path.display()));
        let (base, relative) = if let Ok(relative) = file.path.strip_prefix(&root) {
            (&root, relative)
        } else if let Ok(relative) = file.path.strip_prefix(&state) {
            (&state, relative)
        } else {
            return Err(fail(
                "files",
                format!("{} is outside the unit's directories", file.path.display()),
            ));
        };
        // What is not the agent's to change is root's, and the agent's group may read it.
        let (by, mode) = if file.locked {
            (system, file.mode | (file.mode & 0o400) >> 3)
        } else {
            (owner, file.mode)
        };
        // What is on the way there is the unit's, whoever owns the file.
        write_beneath(
            base,
            relative,
            (by, mode),
            owner,
            file.content.as_bytes(),
            file.keep,
        )
        .map_err(cannot())?;
    }
    Ok(())
}

/// Removes the directories of a unit that there is no more, as far as nothing is in them: a dynamic
/// user's number is not given to another while its unit has a place.
pub(crate) fn forget(workshop: &Workshop, unit: &UnitName) {
    let places = &workshop.places;
    for directory in [places.home(unit), places.unit_state(unit)] {
        let _ = std::fs::remove_dir(directory);
    }
}

/// Removes what [`start`] made for an invocation; never home, workspace or logs.
pub(crate) fn release(
    workshop: &Workshop,
    unit: &UnitName,
    slice: Option<&UnitName>,
    runtime_directories: &[PathBuf],
) -> Vec<String> {
    let mut problems = vec![];
    if let Err(error) = workshop.tree.group(unit, slice).remove() {
        problems.push(format!("cannot remove the cgroup: {error}"));
    }
    if let Some(slice) = slice {
        workshop.tree.remove_slices(slice);
    }
    let places = &workshop.places;
    let mut discard = |root: &Path, parent: &Path, name: &Path| {
        if let Err(error) = workshop.sweeper.discard(root, parent, name) {
            let path = parent.join(name);
            problems.push(format!("cannot remove {}: {error}", path.display()));
        }
    };
    let unit_path = Path::new(unit.as_str());
    discard(&places.runtime, &places.runtime.join("unit"), unit_path);
    discard(&places.state, &places.unit_state(unit), Path::new("tmp"));
    for name in runtime_directories {
        discard(&places.runtime, &places.runtime_directories(), name);
    }
    problems
}
