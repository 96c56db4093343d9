//! Laws over the table of directives.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::name::UnitName;
use crate::unit::{Source, SpecifierFacts, Unit, load};

const KINDS: [(&str, UnitType); 6] = [
    ("t.agent", UnitType::Agent),
    ("t.service", UnitType::Service),
    ("t.timer", UnitType::Timer),
    ("t.socket", UnitType::Socket),
    ("t.path", UnitType::Path),
    ("t.slice", UnitType::Slice),
];

fn apply(row: &'static Directive, draft: &mut Draft, value: &str) {
    let name = KINDS
        .iter()
        .find(|(_, kind)| *kind == draft.kind)
        .unwrap()
        .0;
    let name: UnitName = name.parse().unwrap();
    let facts = SpecifierFacts::default();
    let mut given = Given::new(row.key, value, &name, &facts);
    let result = (row.apply)(draft, &mut given);
    assert_eq!((result, given.notes), (Ok(()), vec![]), "{row:?}{value}");
}

#[test]
fn no_directive_stands_twice() {
    for section in Section::ALL {
        let mut seen = BTreeSet::new();
        for row in rows_of(section) {
            assert!(seen.insert(row.key), "{row:?} stands twice");
        }
    }
}

#[test]
fn every_row_explains_itself() {
    for row in directives() {
        assert!(
            row.doc.ends_with('.') && row.doc.len() > 25,
            "{row:?}: {:?}",
            row.doc
        );
        assert!(!row.doc.contains("  "), "{row:?}: {:?}", row.doc);
        assert!(!row.syntax.is_empty() && !row.example.is_empty(), "{row:?}");
        let good = row.key.chars().all(|c| c.is_ascii_alphanumeric());
        assert!(
            good && row.key.starts_with(|c: char| c.is_ascii_uppercase()),
            "{row:?}"
        );
    }
}

#[test]
fn every_default_means_what_holds_without_it() {
    for (_, kind) in KINDS {
        for row in directives() {
            let fresh = Draft::new(kind);
            let mut draft = fresh.clone();
            apply(row, &mut draft, row.default_for(kind));
            draft.tools_given = false;
            assert_eq!(draft, fresh, "{row:?}{}", row.default_for(kind));
        }
    }
}

#[test]
fn every_example_changes_the_unit() {
    for row in directives() {
        let changed = KINDS.iter().any(|(_, kind)| {
            let mut draft = Draft::new(*kind);
            let fresh = draft.clone();
            if row.key != "Alias" || *kind == UnitType::Agent {
                apply(row, &mut draft, row.example);
            }
            draft.tools_given = false;
            draft != fresh
        });
        // What it says holds in any case.
        let idle = row.key == "SendSIGKILL";
        assert!(changed != idle, "{row:?}{} changes nothing", row.example);
    }
}

#[test]
fn lists_are_emptied_by_an_empty_value() {
    // Dependencies cannot be taken back, as in systemd.
    let kept = |row: &&Directive| row.section == Section::Unit && row.syntax == "UNIT…";
    for row in directives()
        .filter(|row| row.shape == Shape::List)
        .filter(|row| !kept(row))
    {
        let mut once = Draft::new(UnitType::Agent);
        apply(row, &mut once, "");
        let mut again = Draft::new(UnitType::Agent);
        apply(row, &mut again, row.example);
        apply(row, &mut again, "");
        assert_eq!(once, again, "{row:?}");
    }
}

#[test]
fn unimplemented_names_are_not_implemented() {
    let mut seen = BTreeSet::new();
    for (section, keys) in UNIMPLEMENTED {
        for key in *keys {
            assert!(
                find(*section, key).is_none(),
                "[{}] {key}= is implemented",
                section.name()
            );
            assert!(seen.insert((section, key)), "{key} stands twice");
        }
    }
}

#[test]
fn all_of_the_sandbox_is_guarded() {
    for row in rows_of(Section::Sandbox) {
        assert!(row.guard, "{row:?}");
    }
    for key in [
        "User",
        "Group",
        "DynamicUser",
        "NoNewPrivileges",
        "CapabilityBoundingSet",
        "MemoryMax",
        "TasksMax",
        "UMask",
        "ExecStart",
    ] {
        assert!(find(Section::Agent, key).unwrap().guard, "{key}");
    }
}

/// Every field of [`Unit`] can be written: a field added without a directive does not compile
/// here (the patterns name all of them) or fails.
#[test]
fn every_field_has_a_directive() {
    let mut text = String::new();
    for section in Section::ALL
        .into_iter()
        .filter(|section| section.belongs_to(UnitType::Agent))
    {
        text += &format!("[{}]\n", section.name());
        for row in rows_of(section) {
            text += &format!("{}={}\n", row.key, row.example);
            if matches!(row.key, "DynamicUser" | "NoNewPrivileges") {
                text = text.replace(&format!("{}=yes\n", row.key), "");
            }
        }
    }
    // The example of ExitType= is not for that of Type=.
    let text = text.replace("\nType=oneshot\n", "\nType=notify\n");
    let path = PathBuf::from("t.agent");
    let load = |text: &str| {
        let source = Source {
            path: path.clone(),
            text: text.to_owned(),
        };
        load(
            &"t.agent".parse().unwrap(),
            &[source],
            &SpecifierFacts::default(),
        )
    };
    let loaded = load(&text);
    let full = loaded
        .unit
        .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    let plain = load("[Agent]\nExecStart=/bin/true\n").unit.unwrap();
    let Unit {
        name: _,
        aliases: _,
        fragment: _,
        drop_ins: _,
        transient: _,
        description,
        documentation,
        relations,
        settings,
        conditions,
        slice,
        start_limit,
        service,
        agent,
        timer: _,
        socket: _,
        path: _,
        slice_limits: _,
        sandbox,
        mcp,
        install,
    } = full;
    macro_rules! differ {
        ($from:expr; $($field:ident),*) => { $(assert_ne!($field, $from.$field, stringify!($field));)* };
    }
    differ!(plain; description, documentation, settings, conditions, slice, start_limit);
    let crate::unit::Relations {
        requires,
        requisite,
        wants,
        binds_to,
        part_of,
        upholds,
        conflicts,
        before,
        after,
        on_failure,
        on_success,
        propagates_reload_to,
        reload_propagated_from,
        propagates_stop_to,
        stop_propagated_from,
        members: _,
        triggers: _,
    } = relations;
    differ!(plain.relations; requires, requisite, wants, binds_to, part_of, upholds, conflicts, before, after, on_failure, on_success, propagates_reload_to, reload_propagated_from, propagates_stop_to, stop_propagated_from);
    let crate::unit::Install {
        wanted_by,
        required_by,
        upheld_by,
        alias,
        also,
        default_instance,
    } = install;
    differ!(plain.install; wanted_by, required_by, upheld_by, alias, also, default_instance);
    let crate::unit::Mcp { tools, servers } = mcp;
    differ!(plain.mcp; tools, servers);
    let crate::unit::Sandbox {
        policy,
        read_only_paths,
        read_write_paths,
        exec_paths,
        connect_tcp,
        bind_tcp,
        require,
    } = sandbox;
    differ!(plain.sandbox; policy, read_only_paths, read_write_paths, exec_paths, connect_tcp, bind_tcp, require);
    let crate::unit::Agent {
        runtime,
        runtime_binary,
        goal,
        model,
        role,
        workspace,
        terminal,
        allowed_tools,
        permission_mode,
    } = *agent.unwrap();
    differ!(plain.agent.as_ref().unwrap(); runtime, runtime_binary, goal, model, role, workspace, terminal, allowed_tools, permission_mode);
    let plain = plain.service.unwrap();
    let crate::unit::Service {
        start,
        exec_start_pre,
        exec_start,
        exec_start_post,
        exec_stop,
        exec_stop_post,
        remain_after_exit,
        restart,
        restart_sec,
        restart_steps,
        restart_max_delay,
        success_exit,
        restart_prevent_exit,
        timeout_start,
        timeout_stop,
        runtime_max,
        kill_mode,
        kill_signal,
        oom_policy,
        exec_condition,
        exec_reload,
        restart_force_exit,
        restart_direct,
        timeout_abort,
        watchdog,
        pid_file,
        guess_main_pid,
        bus_name,
        notify_access,
        fd_store_max,
        fd_store_preserve,
        sockets,
        restart_kill_signal,
        final_kill_signal,
        watchdog_signal,
        reload_signal,
        send_sighup,
        exec,
        resources,
        exit_cgroup,
        start_failure_mode,
        stop_failure_mode,
        runtime_extra,
    } = service.unwrap();
    differ!(plain; start, exec_start_pre, exec_start, exec_start_post, exec_stop, exec_stop_post, remain_after_exit, restart, restart_sec, restart_steps, restart_max_delay, success_exit, restart_prevent_exit, timeout_start, timeout_stop, runtime_max, kill_mode, kill_signal, oom_policy, exec_condition, exec_reload, restart_force_exit, restart_direct, timeout_abort, watchdog, pid_file, guess_main_pid, bus_name, notify_access, fd_store_max, fd_store_preserve, sockets, restart_kill_signal, final_kill_signal, watchdog_signal, reload_signal, send_sighup, exit_cgroup, start_failure_mode, stop_failure_mode, runtime_extra);
    let crate::unit::Resources {
        memory_high,
        memory_max,
        memory_swap_max,
        cpu_quota,
        cpu_weight,
        tasks_max,
    } = resources;
    differ!(plain.resources; memory_high, memory_max, memory_swap_max, cpu_quota, cpu_weight, tasks_max);
    // The two that are on for agents are changed for services in the example test.
    let crate::unit::Exec {
        user,
        group,
        supplementary_groups,
        dynamic_user: _,
        working_directory,
        environment,
        environment_files,
        pass_environment,
        umask,
        nice,
        oom_score_adjust,
        limits,
        state_directories,
        runtime_directories,
        no_new_privileges: _,
        standard_input,
        standard_output,
        standard_error,
        capability_bounding,
        ambient_capabilities,
        log_max_bytes,
        log_max_files,
    } = exec;
    differ!(plain.exec; user, group, supplementary_groups, working_directory, environment, environment_files, pass_environment, umask, nice, oom_score_adjust, limits, state_directories, runtime_directories, standard_input, standard_output, standard_error, capability_bounding, ambient_capabilities, log_max_bytes, log_max_files);
}
