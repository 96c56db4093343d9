//! What a unit has without its being written: defaults that depend on other directives, and the
//! dependencies that follow from its type ("IMPLICIT DEPENDENCIES" and "DEFAULT DEPENDENCIES" of
//! systemd.service(5), .timer, .socket, .path, .slice, .target).

use std::time::Duration;

use crate::name::{UnitName, UnitType};

use super::registry::Draft;
use super::{NotifyAccess, Relations, Service, SliceLimits, Source, StartType, Unit};

/// The unit that a draft describes; `triggered` is what it starts instead of the service of its own
/// name.
pub(super) fn complete(
    name: &UnitName,
    draft: Draft,
    sources: &[Source],
    triggered: Option<UnitName>,
) -> Unit {
    let Draft {
        kind,
        description,
        documentation,
        mut relations,
        start_limit,
        mut service,
        agent,
        sandbox,
        mcp,
        settings,
        conditions,
        slice,
        timeout_start_given,
        timeout_abort,
        notify_access,
        timer,
        timer_unit,
        mut socket,
        path,
        path_unit,
        max_concurrent,
        install,
        tools_given: _,
    } = draft;
    finish_service(
        &mut service,
        kind,
        timeout_start_given,
        timeout_abort,
        notify_access,
    );
    let runs = matches!(kind, UnitType::Service | UnitType::Agent);
    let slice = match kind {
        UnitType::Slice => name.parent_slice(),
        _ => slice.filter(|_| runs),
    };
    if let Some(slice) = &slice {
        need(&mut relations, slice);
    }
    match kind {
        UnitType::Service | UnitType::Agent => {
            for socket in &service.sockets {
                push(&mut relations.wants, socket);
                push(&mut relations.after, socket);
            }
        }
        UnitType::Timer => start(
            &mut relations,
            timer_unit.or(triggered).or_else(|| namesake(name)),
        ),
        UnitType::Path => start(
            &mut relations,
            path_unit.or(triggered).or_else(|| namesake(name)),
        ),
        UnitType::Socket => {
            if socket.service.is_empty() {
                let at = if socket.accept { "@" } else { "" };
                socket.service = format!("{}{at}.service", name.stem());
            }
            if !socket.accept {
                start(&mut relations, socket.service.parse().ok());
            }
            if socket.fd_name.is_empty() {
                name.as_str().clone_into(&mut socket.fd_name);
            }
        }
        UnitType::Target if settings.default_dependencies => {
            relations.members = members(&relations);
        }
        UnitType::Target | UnitType::Slice => {}
    }
    let resources = service.resources.clone();
    Unit {
        name: name.clone(),
        aliases: vec![],
        fragment: sources.first().map(|source| source.path.clone()),
        drop_ins: sources
            .iter()
            .skip(1)
            .map(|source| source.path.clone())
            .collect(),
        transient: false,
        description: description.unwrap_or_else(|| name.to_string()),
        documentation,
        relations,
        settings,
        conditions,
        slice,
        start_limit,
        service: runs.then_some(service),
        agent: (kind == UnitType::Agent).then(|| agent.into()),
        timer: (kind == UnitType::Timer).then(|| timer.into()),
        socket: (kind == UnitType::Socket).then(|| socket.into()),
        path: (kind == UnitType::Path).then(|| path.into()),
        slice_limits: (kind == UnitType::Slice).then(|| {
            Box::new(SliceLimits {
                resources,
                max_concurrent,
            })
        }),
        sandbox,
        mcp,
        install,
    }
}

fn finish_service(
    service: &mut Service,
    kind: UnitType,
    timeout_start_given: bool,
    timeout_abort: Option<Option<Duration>>,
    notify_access: Option<NotifyAccess>,
) {
    if service.start == StartType::Oneshot && !timeout_start_given {
        // What has something to finish may take as long as it likes.
        service.timeout_start = None;
    }
    service.timeout_abort = timeout_abort.unwrap_or(service.timeout_stop);
    let told = matches!(service.start, StartType::Notify | StartType::NotifyReload)
        || service.watchdog.is_some();
    service.notify_access = match notify_access {
        // What Type= and WatchdogSec= rest on cannot be shut off by mistake.
        Some(NotifyAccess::None) if told => NotifyAccess::Main,
        Some(access) => access,
        None if kind == UnitType::Agent => NotifyAccess::All,
        None if told => NotifyAccess::Main,
        None => NotifyAccess::None,
    };
}

/// The service of a timer's or path unit's own name.
fn namesake(name: &UnitName) -> Option<UnitName> {
    format!("{}.service", name.stem()).parse().ok()
}

fn start(relations: &mut Relations, unit: Option<UnitName>) {
    if let Some(unit) = unit {
        push(&mut relations.before, &unit);
        relations.triggers = vec![unit];
    }
}

fn need(relations: &mut Relations, unit: &UnitName) {
    push(&mut relations.requires, unit);
    push(&mut relations.after, unit);
}

/// A target is reached when what it pulls in is, unless it says that it comes before.
fn members(relations: &Relations) -> Vec<UnitName> {
    let mut members = vec![];
    for member in [
        &relations.requires,
        &relations.requisite,
        &relations.wants,
        &relations.binds_to,
        &relations.upholds,
    ]
    .into_iter()
    .flatten()
    .filter(|member| !relations.before.contains(member) && !relations.after.contains(member))
    {
        push(&mut members, member);
    }
    members
}

fn push(list: &mut Vec<UnitName>, unit: &UnitName) {
    if !list.contains(unit) {
        list.push(unit.clone());
    }
}
