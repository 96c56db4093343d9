//! A unit while it is being put together: every default of its type filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::{UnitName, UnitType};
use crate::unit::{
    Agent, Condition, Exec, ExitSet, FailureMode, Install, KillMode, Mcp, NotifyAccess, OomPolicy,
    PathUnit, Preserve, Relations, Resources, Restart, RuntimeKind, Sandbox, Service, Settings,
    SocketUnit, StartLimit, StartType, Stream, Timer,
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
    pub(crate) settings: Settings,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) slice: Option<UnitName>,
    /// Whether `TimeoutStartSec=` was given: a oneshot service has none otherwise.
    pub(crate) timeout_start_given: bool,
    pub(crate) timeout_abort: Option<Option<Duration>>,
    pub(crate) notify_access: Option<NotifyAccess>,
    pub(crate) timer: Timer,
    pub(crate) timer_unit: Option<UnitName>,
    pub(crate) socket: SocketUnit,
    pub(crate) path: PathUnit,
    pub(crate) path_unit: Option<UnitName>,
    pub(crate) max_concurrent: Option<u32>,
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
                exec_condition: vec![],
                exec_start_pre: vec![],
                exec_start: vec![],
                exec_start_post: vec![],
                exec_reload: vec![],
                exec_stop: vec![],
                exec_stop_post: vec![],
                remain_after_exit: false,
                restart: Restart::default(),
                restart_sec: Duration::from_millis(100),
                restart_steps: 0,
                restart_max_delay: None,
                success_exit: ExitSet::default(),
                restart_prevent_exit: ExitSet::default(),
                restart_force_exit: ExitSet::default(),
                restart_direct: false,
                timeout_start: Some(Duration::from_secs(if agent { 120 } else { 90 })),
                timeout_stop: Some(Duration::from_secs(90)),
                timeout_abort: None,
                runtime_max: None,
                start_failure_mode: FailureMode::default(),
                stop_failure_mode: FailureMode::default(),
                runtime_extra: Duration::ZERO,
                exit_cgroup: false,
                watchdog: None,
                pid_file: None,
                guess_main_pid: true,
                bus_name: None,
                notify_access: NotifyAccess::default(),
                fd_store_max: 0,
                fd_store_preserve: Preserve::default(),
                sockets: vec![],
                kill_mode: KillMode::default(),
                kill_signal: 15,
                restart_kill_signal: None,
                final_kill_signal: 9,
                watchdog_signal: 6,
                reload_signal: 1,
                send_sighup: false,
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
            settings: Settings::default(),
            conditions: vec![],
            slice: None,
            timeout_start_given: false,
            timeout_abort: None,
            notify_access: None,
            timer: timer(),
            timer_unit: None,
            socket: socket(),
            path: path(),
            path_unit: None,
            max_concurrent: None,
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
        standard_input: Stream::Null,
        standard_output: None,
        standard_error: None,
        capability_bounding: agent.then(Vec::new),
        ambient_capabilities: vec![],
        log_max_bytes: 16 << 20,
        log_max_files: 4,
    }
}

fn timer() -> Timer {
    Timer {
        monotonic: vec![],
        calendar: vec![],
        accuracy: Duration::from_secs(60),
        randomized_delay: Duration::ZERO,
        fixed_random_delay: false,
        persistent: false,
        remain_after_elapse: true,
        on_clock_change: false,
        on_timezone_change: false,
    }
}

fn path() -> PathUnit {
    PathUnit {
        watches: vec![],
        make_directory: false,
        directory_mode: 0o755,
        trigger_limit_interval: Duration::from_secs(2),
        trigger_limit_burst: 200,
    }
}

fn socket() -> SocketUnit {
    SocketUnit {
        listen: vec![],
        accept: false,
        service: String::new(),
        user: None,
        group: None,
        mode: 0o666,
        directory_mode: 0o755,
        backlog: u32::MAX,
        max_connections: 64,
        max_connections_per_source: 0,
        fd_name: String::new(),
        remove_on_stop: false,
        symlinks: vec![],
        flush_pending: false,
        writable: false,
        keep_alive: false,
        no_delay: false,
        reuse_port: false,
        free_bind: false,
        pass_credentials: false,
        ipv6_only: None,
        receive_buffer: None,
        send_buffer: None,
        pipe_size: None,
        trigger_limit_interval: Duration::from_secs(2),
        trigger_limit_burst: None,
    }
}
