//! What plans look like, and what they may never look like.

use super::*;
use crate::plan::{StepName, render};
use crate::unit::Resources;

fn exec() -> Exec {
    Exec {
        user: None,
        group: None,
        supplementary_groups: vec![],
        dynamic_user: true,
        working_directory: None,
        environment: [("COLOUR".to_owned(), "deep red".to_owned())].into(),
        environment_files: vec![],
        pass_environment: vec![],
        umask: 0o22,
        nice: None,
        oom_score_adjust: None,
        limits: [("NOFILE".to_owned(), (1024, u64::MAX))].into(),
        state_directories: vec![],
        runtime_directories: vec![],
        no_new_privileges: false,
        standard_input: Stream::Null,
        standard_output: None,
        standard_error: None,
        capability_bounding: None,
        ambient_capabilities: vec![],
        log_max_bytes: 0,
        log_max_files: 0,
    }
}

fn command(line: &str) -> Command {
    let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
    Command {
        program: argv[0].clone(),
        argv,
        ..Command::default()
    }
}

fn unit(name: &str, line: &str) -> Unit {
    let name: UnitName = name.parse().unwrap();
    let mut unit = Unit::unwritten(name);
    unit.sandbox.policy = "tiny".to_owned();
    unit.sandbox.read_only_paths = vec!["-/srv/docs".into()];
    unit.sandbox.bind_tcp = Some(vec![8080]);
    unit.mcp.tools = vec![];
    if let Some(service) = &mut unit.service {
        service.exec_start = vec![command(line)];
        service.exec = exec();
        service.resources = Resources::default();
    }
    unit
}

fn launch(line: &str) -> Launch {
    let command = command(line);
    Launch {
        program: command.program.into(),
        argv: command.argv,
        environment: vec![("COLOUR".to_owned(), "blue".to_owned())],
        input: true,
        ..Launch::default()
    }
}

fn tiny() -> Policy {
    let text = "[Paths]\n# programs\nReadExecute=/usr\n# its own\nReadWrite=%h\n[Network]\n# why\n\
                ConnectTCP=443\n";
    super::super::policy::parse(Path::new("tiny.policy"), text).0
}

fn assignment() -> Assignment {
    Assignment {
        uid: 61000,
        gid: 61000,
        home: "/state/home".into(),
        workspace: "/state/workspace".into(),
        tmp: "/state/tmp".into(),
        expect_cgroup: Some("0::/aether/coder.agent/agent".to_owned()),
        invocation_id: "0123456789abcdef0123456789abcdef".to_owned(),
        notify_socket: Some("/run/aether/notify".into()),
        ..Assignment::default()
    }
}

fn host() -> Host {
    Host {
        landlock_abi: 4,
        root: true,
        cgroups: "unified".to_owned(),
        last_capability: 40,
        user: "root".to_owned(),
        home: "/root".into(),
    }
}

fn plan(unit: &Unit, launch: &Launch, role: Role, policy: &Policy) -> ExecPlan {
    compile(unit, launch, role, policy, &assignment(), &host()).unwrap()
}

fn names(plan: &ExecPlan) -> Vec<StepName> {
    plan.steps.iter().map(Step::name).collect()
}

#[test]
fn an_agent_in_full() {
    let unit = unit("coder.agent", "/bin/sh -c ${COLOUR}");
    let made = plan(
        &unit,
        &launch("/bin/sh -c ${COLOUR} $COLOUR"),
        Role::Main(0),
        &tiny(),
    );
    insta::assert_snapshot!(render(&made), @r"
    coder.agent
      program /bin/sh
      argv /bin/sh -c 'deep red' deep red
      environment
        AETHER_UNIT=coder.agent
        COLOUR=deep red
        HOME=/state/home
        INVOCATION_ID=0123456789abcdef0123456789abcdef
        LANG=C.UTF-8
        LOGNAME=61000
        NOTIFY_SOCKET=/run/aether/notify
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        SHELL=/bin/sh
        TMPDIR=/state/tmp
        USER=61000
      1. descriptors: Close inherited descriptors, reset signals, begin a session with a keyring of its own: nothing of the supervisor stays.
      2. cgroup: Be in the unit's cgroup before anything costs memory, time or processes.
          expect 0::/aether/coder.agent/agent
      3. limits: Set resource limits, nice and OOM score while there is the privilege to raise them.
          NOFILE 1024:infinity
      4. stdio: Connect standard input, output and error, or the terminal.
          input supervisor, output supervisor, error supervisor
      5. ruleset: Open the allowed paths while they can all be opened; nothing is in force yet.
          ReadExecute      /usr  # policy tiny: programs
          ReadWrite        /state/home  # policy tiny: its own
          Read             -/srv/docs  # the unit's ReadOnlyPaths=
          ReadExecute      -/bin/sh  # the program itself
          ConnectTCP       443
          BindTCP          8080
          Scoped           yes
      6. ids: Become the unit's user and group, after all that needs root.
          uid 61000, gid 61000, groups none
      7. capabilities: Give up the capabilities that the unit is not to have.
          bounding none
          ambient none
      8. directory: Enter the working directory, which the unit's user must be able to, and set the umask.
          /state/workspace, umask 0022
      9. no-new-privileges: Let no exec add privilege; Landlock demands this of the unprivileged.
      10. landlock: Enter the ruleset: from here on only the allowed paths exist.
      11. exec: Become the program.
    ");
}

#[test]
fn steps_are_in_the_documented_order_and_agents_are_always_confined() {
    let none = Policy::resolve("none", Policy::shipped).unwrap();
    let coding = Policy::resolve("coding", Policy::shipped).unwrap();
    for policy in [&none, &coding, &tiny(), &Policy::default()] {
        for role in [Role::Main(0), Role::StartPre(0), Role::StopPost(0)] {
            let mut unit = unit("coder.agent", "/bin/true");
            let own = unit.service.as_mut().unwrap();
            own.exec_start_pre = vec![command("/bin/true")];
            own.exec_stop_post = vec![command("/bin/true")];
            own.exec.ambient_capabilities = vec!["CAP_SYS_ADMIN".to_owned()];
            own.exec.capability_bounding = Some(vec!["CAP_SYS_ADMIN".to_owned()]);
            let made = plan(&unit, &launch("/bin/true"), role, policy);
            let names = names(&made);
            assert!(names.is_sorted(), "{names:?}");
            assert!(names.contains(&StepName::NoNewPrivileges));
            assert!(made.steps.contains(&Step::Capabilities {
                bounding: vec![],
                ambient: vec![]
            }));
            let confined = policy.confine != Some(false);
            assert_eq!(names.contains(&StepName::Landlock), confined);
            assert_eq!(names.contains(&StepName::Ruleset), confined);
        }
    }
}

#[test]
fn a_privileged_command_keeps_root_and_a_runtime_never_does() {
    let mut unit = unit("coder.agent", "/bin/true");
    let mut plus = command("/bin/true");
    plus.privileged = true;
    let own = unit.service.as_mut().unwrap();
    own.exec_start_pre = vec![plus.clone()];
    own.exec_start = vec![plus];
    let made = plan(&unit, &launch("/bin/true"), Role::StartPre(0), &tiny());
    assert!(!names(&made).contains(&StepName::Ids));
    let made = plan(&unit, &launch("/bin/true"), Role::Main(0), &tiny());
    assert!(names(&made).contains(&StepName::Ids));
    assert!(names(&made).contains(&StepName::Landlock));
}

#[test]
fn a_privileged_command_has_nothing_of_the_agents() {
    let mut unit = unit("coder.agent", "/bin/true");
    let mut plus = command("make $FROM_FILE $COLOUR ${HOME}");
    plus.privileged = true;
    let own = unit.service.as_mut().unwrap();
    own.exec_start_pre = vec![plus];
    for name in ["HOME", "PATH", "USER", "LOGNAME", "SHELL"] {
        let value = "/state/workspace".to_owned();
        own.exec.environment.insert(name.to_owned(), value);
    }
    let assignment = Assignment {
        found: Some("/usr/bin/make".into()),
        libexec: "/usr/libexec/aether".into(),
        file_environment: vec![
            ("FROM_FILE".to_owned(), "planted".to_owned()),
            ("PATH".to_owned(), "/state/workspace".to_owned()),
        ],
        ..assignment()
    };
    let role = Role::StartPre(0);
    let compile = |unit: &Unit| {
        compile(
            unit,
            &launch("/bin/true"),
            role,
            &tiny(),
            &assignment,
            &host(),
        )
        .unwrap()
    };
    let made = compile(&unit);
    assert_eq!(made.argv, ["make", "deep", "red", "/root"]);
    let fixed = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec/aether";
    let expected = [
        ("AETHER_UNIT", "coder.agent"),
        ("COLOUR", "deep red"),
        ("HOME", "/root"),
        ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
        ("LANG", "C.UTF-8"),
        ("LOGNAME", "root"),
        ("NOTIFY_SOCKET", "/run/aether/notify"),
        ("PATH", fixed),
        ("SHELL", "/bin/sh"),
        ("USER", "root"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(made.environment, expected);
    assert_eq!(crate::plan::search_path(&unit, role, &assignment), fixed);
    let main = crate::plan::search_path(&unit, Role::Main(0), &assignment);
    assert_eq!(main, "/state/workspace");
    let directory = |plan: &ExecPlan| {
        plan.steps.iter().find_map(|step| match step {
            Step::Directory { path, .. } => Some(path.clone()),
            _ => None,
        })
    };
    assert_eq!(directory(&made), Some("/".into()));
    let exec = &mut unit.service.as_mut().unwrap().exec;
    exec.working_directory = Some(WorkingDirectory::Path("/srv".into()));
    assert_eq!(directory(&compile(&unit)), Some("/srv".into()));
    unit.service.as_mut().unwrap().exec.working_directory = Some(WorkingDirectory::Home);
    assert_eq!(directory(&compile(&unit)), Some(assignment.home.clone()));
}

#[test]
fn a_service_is_as_it_says() {
    let none = Policy {
        confine: Some(false),
        ..Policy::default()
    };
    let mut unit = unit("web.service", "/bin/web $COLOUR");
    let made = plan(&unit, &Launch::default(), Role::Main(0), &none);
    assert_eq!(made.argv, ["/bin/web", "deep", "red"]);
    let expected = [
        StepName::Descriptors,
        StepName::Cgroup,
        StepName::Limits,
        StepName::Stdio,
        StepName::Ids,
        StepName::Directory,
        StepName::Exec,
    ];
    assert_eq!(names(&made), expected);
    let exec = &mut unit.service.as_mut().unwrap().exec;
    exec.ambient_capabilities = vec!["CAP_NET_BIND_SERVICE".to_owned()];
    exec.capability_bounding = Some(vec![]);
    let made = plan(&unit, &Launch::default(), Role::Main(0), &none);
    assert!(made.steps.contains(&Step::Capabilities {
        bounding: vec!["CAP_NET_BIND_SERVICE".to_owned()],
        ambient: vec!["CAP_NET_BIND_SERVICE".to_owned()],
    }));
}

#[test]
fn a_colon_leaves_dollars_alone() {
    let mut unit = unit("web.service", "/bin/web $COLOUR ${COLOUR}");
    unit.service.as_mut().unwrap().exec_start[0].no_environment = true;
    let made = plan(&unit, &Launch::default(), Role::Main(0), &tiny());
    assert_eq!(made.argv, ["/bin/web", "$COLOUR", "${COLOUR}"]);
}

#[test]
fn a_unit_cannot_speak_for_us_in_its_environment() {
    let mut unit = unit("web.service", "/bin/web");
    let own = &mut unit.service.as_mut().unwrap().exec.environment;
    for name in [
        "AETHER_UNIT",
        "NOTIFY_SOCKET",
        "AETHER_MCP_SOCKET",
        "INVOCATION_ID",
    ] {
        own.insert(name.to_owned(), "forged".to_owned());
    }
    let made = plan(&unit, &Launch::default(), Role::Main(0), &tiny());
    assert!(made.environment.iter().all(|(_, value)| value != "forged"));
    assert!(
        made.environment
            .contains(&("AETHER_UNIT".to_owned(), "web.service".to_owned()))
    );
}

#[test]
fn a_terminal_is_for_the_main_process() {
    let mut unit = unit("coder.agent", "/bin/true");
    unit.agent.as_mut().unwrap().terminal = true;
    unit.service.as_mut().unwrap().exec_start_pre = vec![command("/bin/true")];
    let is_terminal = |role| {
        plan(&unit, &launch("/bin/true"), role, &tiny())
            .steps
            .iter()
            .any(|step| matches!(step, Step::Stdio(stdio) if stdio.terminal))
    };
    assert!(is_terminal(Role::Main(0)));
    assert!(!is_terminal(Role::StartPre(0)));
}

#[test]
fn what_is_required_and_missing_refuses() {
    let mut unit = unit("coder.agent", "/bin/true");
    let mut ask = |requirement: &str, policy: &Policy| {
        unit.sandbox.require = vec![requirement.to_owned()];
        compile(
            &unit,
            &launch("/bin/true"),
            Role::Main(0),
            policy,
            &assignment(),
            &host(),
        )
        .map(|_| ())
        .map_err(|error| error.to_string())
    };
    assert_eq!(ask("landlock:4", &tiny()), Ok(()));
    assert_eq!(ask("cgroup", &tiny()), Ok(()));
    assert_eq!(
        ask("landlock:5", &tiny()).unwrap_err(),
        "coder.agent requires landlock:5, and this host has Landlock ABI 4"
    );
    let none = Policy::resolve("none", Policy::shipped).unwrap();
    assert!(ask("landlock", &none).is_err());
    assert!(ask("landlock:x", &tiny()).is_err());
    assert!(ask("seccomp", &tiny()).is_err());
}

#[test]
fn what_cannot_be_run_is_an_error() {
    let mut web = unit("web.service", "web");
    let run = |unit: &Unit, role| {
        compile(
            unit,
            &Launch::default(),
            role,
            &tiny(),
            &assignment(),
            &host(),
        )
        .unwrap_err()
    };
    assert!(matches!(
        run(&web, Role::Main(0)),
        PlanError::NotFound { .. }
    ));
    assert!(matches!(
        run(&web, Role::Main(1)),
        PlanError::NoCommand { .. }
    ));
    assert!(matches!(
        run(&web, Role::Stop(0)),
        PlanError::NoCommand { .. }
    ));
    let found = Assignment {
        found: Some("/opt/web".into()),
        ..assignment()
    };
    let made = compile(
        &web,
        &Launch::default(),
        Role::Main(0),
        &tiny(),
        &found,
        &host(),
    )
    .unwrap();
    assert_eq!(
        (made.program, made.argv[0].as_str()),
        ("/opt/web".into(), "web")
    );
    web.service.as_mut().unwrap().exec_start[0] = command("/bin/a \0");
    assert!(matches!(run(&web, Role::Main(0)), PlanError::Nul { .. }));
    web.service = None;
    assert!(matches!(run(&web, Role::Main(0)), PlanError::Nothing(_)));
}
