//! What only a whole unit shows: directives that need, exclude or silence each other.

use crate::diagnostic::Severity;
use crate::name::UnitType;

use super::assemble::Loader;
use super::registry::Section;
use super::syntax::Document;
use super::{Restart, RuntimeKind, SocketKind, StartType};

/// Says everything about the unit as a whole. A directive that was written and could not be read
/// has had its diagnostic and is not said to be missing.
pub(super) fn check(loader: &mut Loader<'_>, documents: &[Document]) {
    match loader.name.kind() {
        UnitType::Service | UnitType::Agent => {
            resolve_type(loader);
            command(loader, documents);
            restart(loader, documents);
            exit_type(loader, documents);
            user(loader, documents);
        }
        UnitType::Timer => {
            let timer = &loader.draft.timer;
            let never = timer.monotonic.is_empty()
                && timer.calendar.is_empty()
                && !timer.on_clock_change
                && !timer.on_timezone_change;
            let help = "write for example OnCalendar=daily or OnUnitActiveSec=1h";
            let keys = ["OnCalendar", "OnActiveSec", "OnBootSec", "OnUnitActiveSec"];
            nothing(
                loader,
                documents,
                never,
                &keys,
                "the timer never elapses",
                help,
            );
        }
        UnitType::Path => {
            let none = loader.draft.path.watches.is_empty();
            let help = "write for example PathExists=/srv/go";
            let keys = [
                "PathExists",
                "PathExistsGlob",
                "PathChanged",
                "PathModified",
                "DirectoryNotEmpty",
            ];
            nothing(
                loader,
                documents,
                none,
                &keys,
                "the path unit watches nothing",
                help,
            );
        }
        UnitType::Socket => {
            let socket = &loader.draft.socket;
            // What systemd would have listened on has been named.
            let later = ["ListenMessageQueue", "ListenNetlink", "ListenUSBFunction"]
                .iter()
                .any(|key| loader.was_warned_of(Section::Socket, key));
            let none = socket.listen.is_empty() && !later;
            let accept = socket.accept;
            let help = "write for example ListenStream=/run/shop.sock";
            let keys = [
                "ListenStream",
                "ListenDatagram",
                "ListenSequentialPacket",
                "ListenFIFO",
                "ListenSpecial",
            ];
            let one = socket
                .listen
                .iter()
                .all(|(kind, _)| matches!(kind, SocketKind::Stream | SocketKind::SequentialPacket));
            let named = !socket.service.is_empty();
            nothing(
                loader,
                documents,
                none,
                &keys,
                "the socket listens on nothing",
                help,
            );
            if accept && !one {
                let message = "Accept=yes needs sockets that have connections".to_owned();
                loader.refuse(documents, "Accept", message, "write Accept=no");
            }
            if accept && named {
                let message = "Service= has no meaning with Accept=yes".to_owned();
                let help = "name the template after the socket: NAME@.service";
                loader.refuse(documents, "Service", message, help);
            }
        }
        UnitType::Slice => {
            if !loader.name.names_slice() {
                let message = format!("{} cannot be the name of a slice", loader.name);
                let help = "its dashes are steps of the tree, as a-b.slice stands below a.slice: \
                            write one at a time, and none at the ends";
                loader.refuse(documents, "", message, help);
            }
        }
        UnitType::Target => {}
    }
}

/// What `Type=` is when nobody wrote it (systemd.service(5)); but with us what has a command is
/// `exec`.
fn resolve_type(loader: &mut Loader<'_>) {
    if loader.was_given("Type") {
        return;
    }
    let succeeds = succeeds(loader);
    let service = &mut loader.draft.service;
    if service.bus_name.is_some() {
        service.start = StartType::Dbus;
    } else if service.exec_start.is_empty()
        && (!service.exec_stop.is_empty() || succeeds)
        && loader.name.kind() == UnitType::Service
    {
        service.start = StartType::Oneshot;
    }
}

/// What can only be waited for as a whole has no end to be waited for (systemd.service(5)).
fn exit_type(loader: &mut Loader<'_>, documents: &[Document]) {
    let service = &loader.draft.service;
    if service.exit_cgroup && service.start == StartType::Oneshot {
        let message = "ExitType=cgroup is not for Type=oneshot".to_owned();
        loader.refuse(
            documents,
            "ExitType",
            message,
            "write Type=exec, or ExitType=main",
        );
    }
}

/// Whether the unit is there for what happens when it succeeds, and may run nothing itself.
fn succeeds(loader: &Loader<'_>) -> bool {
    loader.draft.settings.actions.success.is_some()
}

/// Refuses a unit in which nothing that makes it what it is has been written.
fn nothing(
    loader: &mut Loader<'_>,
    documents: &[Document],
    none: bool,
    keys: &[&str],
    message: &str,
    help: &str,
) {
    if none && !keys.iter().any(|key| loader.failed(key)) {
        let key = keys.iter().find(|key| loader.was_given(key)).unwrap_or(&"");
        loader.refuse(documents, key, message.to_owned(), help);
    } else if none && !loader.name.is_template() {
        loader.unusable();
    }
}

fn command(loader: &mut Loader<'_>, documents: &[Document]) {
    let service = &loader.draft.service;
    let (count, start) = (service.exec_start.len(), service.start);
    let agent = loader.name.kind() == UnitType::Agent;
    let own_command = agent && loader.draft.agent.runtime != RuntimeKind::Command;
    if own_command {
        if loader.draft.agent.goal.is_empty() {
            if !loader.was_given("Goal") {
                let message = "Runtime=claude-code needs Goal=".to_owned();
                let help = "write what the agent shall reach: Goal=Make the failing tests pass";
                loader.refuse(documents, "Runtime", message, help);
            } else if !loader.failed("Goal") {
                let message = "Goal= is empty, and Runtime=claude-code needs one".to_owned();
                loader.refuse(documents, "Goal", message, "");
            }
            loader.unusable();
        }
        if count > 0 {
            let message = "ExecStart= has no effect with Runtime=claude-code, ignoring".to_owned();
            let help = "write Runtime=command to run a program of your own";
            loader.find(documents, Severity::Warning, "ExecStart", message, help);
        }
        return;
    }
    let only_stops = start == StartType::Oneshot
        && (service.remain_after_exit && !service.exec_stop.is_empty() || succeeds(loader));
    if start == StartType::Dbus && service.bus_name.is_none() && !loader.failed("BusName") {
        let message = "Type=dbus needs BusName=".to_owned();
        let help = "write the name that the service acquires: BusName=org.example.Shop";
        loader.refuse(documents, "Type", message, help);
    }
    if count == 0 && !only_stops && !loader.failed("ExecStart") && !loader.failed("Runtime") {
        let help = "write ExecStart=/path/to/program";
        let (key, message, help) = if loader.was_given("ExecStart") {
            (
                "ExecStart",
                "ExecStart= is empty, and there is nothing to run",
                help,
            )
        } else if agent && loader.was_given("Runtime") {
            ("Runtime", "Runtime=command needs ExecStart=", help)
        } else if agent {
            let help = "write Runtime=claude-code with Goal=, or ExecStart=/path/to/program";
            ("", "the agent has neither Runtime= nor ExecStart=", help)
        } else {
            ("", "the service has no ExecStart=", help)
        };
        loader.refuse(documents, key, message.to_owned(), help);
    }
    if count > 1 && start != StartType::Oneshot {
        let message = format!("{count} commands in ExecStart=, which only Type=oneshot may have");
        let help = "write Type=oneshot, or ExecStart= alone to drop the earlier commands";
        loader.refuse(documents, "ExecStart", message, help);
    }
}

fn restart(loader: &mut Loader<'_>, documents: &[Document]) {
    let service = &loader.draft.service;
    let (start, restart) = (service.start, service.restart);
    let (steps, longest) = (service.restart_steps, service.restart_max_delay);
    let first = service.restart_sec;
    if start == StartType::Oneshot && service.runtime_max.is_some() {
        let message = "RuntimeMaxSec= has no effect with Type=oneshot".to_owned();
        let help = "write TimeoutStartSec= to limit how long it runs";
        loader.find(documents, Severity::Warning, "RuntimeMaxSec", message, help);
    }
    if start == StartType::Oneshot && matches!(restart, Restart::Always | Restart::OnSuccess) {
        let message = "Type=oneshot cannot be started again after success".to_owned();
        let help = "write Restart=on-failure";
        loader.refuse(documents, "Restart", message, help);
    }
    if steps > 0 && longest.is_none() && !loader.was_given("RestartMaxDelaySec") {
        let message = "RestartSteps= has no effect without RestartMaxDelaySec=".to_owned();
        let help = "write for example RestartMaxDelaySec=5min";
        loader.find(documents, Severity::Warning, "RestartSteps", message, help);
    }
    if steps == 0 && longest.is_some() && !loader.was_given("RestartSteps") {
        let message = "RestartMaxDelaySec= has no effect without RestartSteps=".to_owned();
        let help = "write for example RestartSteps=5";
        loader.find(
            documents,
            Severity::Warning,
            "RestartMaxDelaySec",
            message,
            help,
        );
    }
    if longest.is_some_and(|longest| longest < first) {
        let message = "RestartMaxDelaySec= is shorter than RestartSec=".to_owned();
        loader.find(
            documents,
            Severity::Warning,
            "RestartMaxDelaySec",
            message,
            "",
        );
    }
}

fn user(loader: &mut Loader<'_>, documents: &[Document]) {
    let exec = &loader.draft.service.exec;
    let Some(user) = exec.user.clone().filter(|_| exec.dynamic_user) else {
        return;
    };
    let message = format!("with DynamicUser=yes an existing user {user} is used as it is");
    let help = "write DynamicUser=no to mean that user, or leave User= out";
    loader.find(documents, Severity::Warning, "User", message, help);
}
