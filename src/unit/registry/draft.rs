//! A unit while it is being put together: every default of its type filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::UnitType;
use crate::unit::{
    Agent, Exec, ExitSet, Install, KillMode, Mcp, OomPolicy, Relations, Resources, Restart,
    RuntimeKind, Sandbox, Service, StartLimit, StartType,
};

/// Whatever the type, a draft has all parts; what does not belong to the type is dropped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub(crate) kind: UnitType,
    pub(crate) description: Option<String>,
    pub(crate) documentation: Vec<String>,
    pub(crate) relations: Relations,
    pub(crate) start_limit: StartLimit,
    pub(crate) service: Service,
    pub(crate) agent: Agent,
    pub(crate) sandbox: Sandbox,
    pub(crate) mcp: Mcp,
    /// Whether `Tools=` was given: only then is its default replaced.
    pub(crate) tools_given: bool,
    pub(crate) install: Install,
}

impl Draft {
    pub(crate) fn new(kind: UnitType) -> Self {
        let agent = kind == UnitType::Agent;
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Self {
            kind,
            description: None,
            documentation: vec![],
            relations: Relations::default(),
            start_limit: StartLimit::default(),
            service: Service {
                start: StartType::default(),
                exec_start_pre: vec![],
                exec_start: vec![],
                exec_start_post: vec![],
                exec_stop: vec![],
                exec_stop_post: vec![],
                remain_after_exit: false,
                restart: Restart::default(),
                restart_sec: Duration::from_millis(100),
                restart_steps: 0,
                restart_max_delay: None,
                success_exit: ExitSet::default(),
                restart_prevent_exit: ExitSet::default(),
                timeout_start: Some(Duration::from_secs(if agent { 120 } else { 90 })),
                timeout_stop: Some(Duration::from_secs(90)),
                runtime_max: None,
                kill_mode: KillMode::default(),
                kill_signal: 15,
                oom_policy: OomPolicy::default(),
                exec: exec(agent),
                resources: Resources {
                    // A model decides what an agent starts, so there is always a limit: out of the
                    // way of builds and tests, and a fork bomb ends long before the machine does.
                    tasks_max: agent.then_some(1024),
                    ..Resources::default()
                },
            },
            agent: Agent {
                runtime: RuntimeKind::default(),
                runtime_binary: None,
                goal: String::new(),
                model: None,
                role: None,
                workspace: None,
                terminal: false,
                allowed_tools: vec![],
                permission_mode: None,
            },
            sandbox: Sandbox {
                policy: if agent { "coding" } else { "none" }.to_owned(),
                read_only_paths: vec![],
                read_write_paths: vec![],
                exec_paths: vec![],
                connect_tcp: None,
                bind_tcp: None,
                require: vec![],
            },
            mcp: Mcp {
                tools: if agent {
                    words("memory agents")
                } else {
                    vec![]
                },
                servers: vec![],
            },
            tools_given: false,
            install: Install::default(),
        }
    }
}

fn exec(agent: bool) -> Exec {
    Exec {
        user: None,
        group: None,
        supplementary_groups: vec![],
        dynamic_user: agent,
        working_directory: None,
        environment: BTreeMap::new(),
        environment_files: vec![],
        pass_environment: vec![],
        umask: if agent { 0o077 } else { 0o022 },
        nice: None,
        oom_score_adjust: None,
        limits: BTreeMap::new(),
        state_directories: vec![],
        runtime_directories: vec![],
        no_new_privileges: agent,
        capability_bounding: agent.then(Vec::new),
        ambient_capabilities: vec![],
        log_max_bytes: 16 << 20,
        log_max_files: 4,
    }
}
