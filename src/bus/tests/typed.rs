//! The typed client, call by call, and who may do what.

use crate::bus::ask::{Caller, ChangeFiles, FileVerb, PresetMode, Signal};
use crate::bus::authorise::HUB_UNIT;
use crate::bus::client::{Client, ClientError, ClientSignal, ErrorClass, JobPath};
use crate::bus::fake::{Fake, facts, name, root};
use crate::bus::path;
use crate::bus::serve::Limits;
use crate::engine::event::{JobMode, JobResult, Whom};
use crate::name::JobId;

#[tokio::test]
async fn verbs_arrive_as_they_were_sent() {
    let fake = Fake::new();
    let client = fake.client().await;
    let unit = name("coder@1.agent");
    let job = JobPath("/org/aether1/job/5".to_owned());

    assert_eq!(client.start_unit(&unit, JobMode::Fail).await.unwrap(), job);
    assert!(fake.last_asked().contains("Start") && fake.last_asked().contains("mode: Fail"));
    assert_eq!(client.wait_for_job(&job).await.unwrap(), JobResult::Done);
    assert_eq!(
        client
            .stop_unit(&unit, JobMode::Replace, true)
            .await
            .unwrap(),
        job
    );
    assert!(fake.last_asked().contains("force: true"));
    assert_eq!(
        client
            .restart_unit(&unit, JobMode::IgnoreDependencies)
            .await
            .unwrap(),
        job
    );
    assert!(fake.last_asked().contains("IgnoreDependencies"));
    assert_eq!(client.pause(&unit, "lunch").await.unwrap(), job);
    assert!(fake.last_asked().contains("Pause") && fake.last_asked().contains("lunch"));
    assert_eq!(client.resume(&unit).await.unwrap(), job);
    assert_eq!(client.send_input(&unit, "héllo\n").await.unwrap(), 11);
    assert!(fake.last_asked().contains(r#"text: "héllo\n""#));
    client.kill_unit(&unit, Whom::Main, 15).await.unwrap();
    assert!(fake.last_asked().contains("whom: Main, signal: 15"));
    client.reset_failed(Some(&unit)).await.unwrap();
    assert!(fake.last_asked().contains("ResetFailed { unit: Some"));
    client.reset_failed(None).await.unwrap();
    assert!(fake.last_asked().contains("ResetFailed { unit: None"));
    client.cancel_job(JobId(9)).await.unwrap();
    assert!(fake.last_asked().contains("Cancel { job: JobId(9) }"));
    client.reload().await.unwrap();
    assert_eq!(fake.last_asked(), "Reload");
    let ask = ChangeFiles {
        verb: FileVerb::Enable,
        files: vec!["coder.agent".to_owned()],
        runtime: true,
        force: false,
    };
    for verb in [
        FileVerb::Enable,
        FileVerb::Disable,
        FileVerb::Reenable,
        FileVerb::Preset(PresetMode::EnableOnly),
        FileVerb::Mask,
        FileVerb::Unmask,
        FileVerb::Link,
    ] {
        let ask = ChangeFiles {
            verb,
            ..ask.clone()
        };
        let (_, changes) = client.change_files(&ask).await.unwrap();
        assert_eq!(changes[0].0, "symlink");
        assert_eq!(fake.last_asked(), format!("UnitFiles({ask:?})"));
    }
    let state = client.unit_file_state(&unit).await.unwrap();
    assert_eq!(state, "enabled");
    assert_eq!(client.list_unit_files().await.unwrap().len(), 1);
    assert_eq!(client.reload_units().await.unwrap()[0].1, "changed");
    client.reexecute().await.unwrap();
    assert_eq!(fake.last_asked(), "Reexecute");
    client.shutdown().await.unwrap();
    assert_eq!(fake.last_asked(), "Shutdown");
    let directives = [
        ("Goal".to_owned(), vec!["x".to_owned()]),
        (
            "ReadWritePaths".to_owned(),
            vec!["/a".to_owned(), "/b".to_owned()],
        ),
    ];
    let transient = client
        .start_transient_unit(&unit, JobMode::Replace, &directives)
        .await;
    assert_eq!(transient.unwrap(), job);
    assert!(
        fake.last_asked()
            .contains(r#"("ReadWritePaths", ["/a", "/b"])"#)
    );
}

#[tokio::test]
async fn lists_and_properties_come_back_typed() {
    let fake = Fake::new();
    let client = fake.client().await;
    let unit = name("coder.agent");

    assert_eq!(client.get_unit(&unit).await.unwrap().0, path::unit(&unit));
    assert!(
        client
            .get_unit(&name("missing.agent"))
            .await
            .unwrap_err()
            .is("NoSuchUnit")
    );
    assert!(client.load_unit(&name("missing.agent")).await.is_ok());
    assert_eq!(client.get_unit_by_pid(0).await.unwrap(), unit);
    assert_eq!(fake.last_asked(), "UnitOfProcess(77)");

    let rows = client.list_units(&[], &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].job, Some((JobId(5), "start".to_owned())));
    assert_eq!(
        client
            .list_units(&["running"], &["*.agent"])
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(client.list_units(&["failed"], &[]).await.unwrap().len(), 0);
    let agents = client.list_agents().await.unwrap();
    assert_eq!(agents.len(), 1);
    assert_eq!(
        (agents[0].state.as_str(), agents[0].main_pid),
        ("paused", Some(42))
    );
    let jobs = client.list_jobs().await.unwrap();
    assert_eq!(
        (jobs[0].kind.as_str(), jobs[0].state.as_str()),
        ("start", "running")
    );
    assert_eq!(client.get_unit_processes(&unit).await.unwrap()[0].pid, 42);

    let properties = client.unit_properties(&unit).await.unwrap();
    assert_eq!(properties.text("ActiveState"), "active");
    assert_eq!(properties.text("State"), "paused");
    assert_eq!(properties.texts("SandboxMissing"), ["no network rules"]);
    assert_eq!(properties.number("MemoryCurrent"), Some(1024));
    assert_eq!(properties.number("TasksCurrent"), None);
    assert_eq!(properties.signed("ExecMainStatus"), Some(9));
    assert!(properties.flag("Paused"));
    assert_eq!(
        properties.hex("InvocationID"),
        "000102030405060708090a0b0c0d0e0f"
    );
    let json = properties.json();
    assert_eq!(json["TasksCurrent"], serde_json::Value::Null);
    assert_eq!(json["InvocationID"], "000102030405060708090a0b0c0d0e0f");
    assert_eq!(json["Job"], serde_json::json!([5, "/org/aether1/job/5"]));

    let manager = client.manager_properties().await.unwrap();
    assert_eq!(manager.number("NAgents"), Some(6));
    assert_eq!(manager.pairs("Host"), [("cgroup", "unified")]);
    let error = client
        .unit_properties(&name("nofile.agent"))
        .await
        .unwrap_err();
    assert!(error.is("NoSuchUnit") && error.to_string().contains("/etc/aether/units"));
    assert_eq!(error.class(), ErrorClass::Failed);
}

#[tokio::test]
async fn a_refused_stop_names_those_in_need() {
    let fake = Fake::new();
    let client = fake.client().await;
    let error = client
        .stop_unit(&name("coder.agent"), JobMode::Replace, false)
        .await
        .unwrap_err();
    assert!(error.is("NeededByOthers"));
    assert!(error.to_string().contains("other.agent"), "{error}");
}

#[tokio::test]
async fn no_daemon_is_said_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains("aetherctl up"));
    assert_eq!(error.class().exit_code(), 3);
    // A socket file that nobody listens on any more.
    drop(tokio::net::UnixListener::bind(&socket).unwrap());
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
}

#[tokio::test]
async fn a_thousand_units_are_listed() {
    let units = (0..1000).map(|n| facts(&format!("n{n}.agent"))).collect();
    let fake = Fake::start(root(), units, Limits::default());
    let client = fake.client().await;
    assert_eq!(client.list_units(&[], &[]).await.unwrap().len(), 1000);
    assert_eq!(
        client.list_units(&[], &["n99?.agent"]).await.unwrap().len(),
        10
    );
}

#[tokio::test]
async fn a_client_waiting_for_a_job_learns_that_the_daemon_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let (asks, inbox) = tokio::sync::mpsc::channel(1);
    let serving = crate::bus::serve::serve(
        vec![listener],
        0,
        |stream| {
            let uid = stream.peer_cred()?.uid();
            Ok(Caller { uid, ..root() })
        },
        asks,
        crate::bus::publish::Publisher::new(),
        Limits::default(),
    );
    let serving = tokio::spawn(serving);
    let client = Client::connect(&socket).await.unwrap();
    drop(inbox);
    serving.await.unwrap();
    let lost = client.list_jobs().await.unwrap_err();
    assert_eq!(lost.class(), ErrorClass::NoDaemon, "{lost}");
    let job = JobPath("/org/aether1/job/1".to_owned());
    assert!(matches!(
        client.wait_for_job(&job).await,
        Err(ClientError::Lost(_))
    ));
}
#[tokio::test]
async fn an_agent_sees_itself_and_nothing_else() {
    let caller = Caller {
        unit: Some(name("coder.agent")),
        ..root()
    };
    let fake = Fake::start(caller, vec![], Limits::default());
    let client = fake.client().await;
    assert_eq!(
        client.get_unit_by_pid(0).await.unwrap(),
        name("coder.agent")
    );
    assert!(client.unit_properties(&name("coder.agent")).await.is_ok());
    let denied = [
        client.unit_properties(&name("other.agent")).await.err(),
        client.list_units(&[], &[]).await.err(),
        client
            .start_unit(&name("coder.agent"), JobMode::Replace)
            .await
            .err(),
        client.send_input(&name("coder.agent"), "x").await.err(),
        client.subscribe().await.err(),
        client.listeners().await.err(),
        client.shutdown().await.err(),
    ];
    for error in denied {
        let error = error.expect("it was allowed");
        assert!(error.is("AccessDenied"), "{error}");
        assert_eq!(error.class().exit_code(), 4);
        assert!(error.to_string().contains("coder.agent"), "{error}");
    }
    // Nothing of all that has reached the daemon.
    assert_eq!(fake.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_hub_gets_sockets_and_hears_of_them() {
    let caller = Caller {
        unit: Some(name(HUB_UNIT)),
        ..root()
    };
    let fake = Fake::start(caller, vec![], Limits::default());
    let client = fake.client().await;
    let mut signals = client.subscribe().await.unwrap();
    assert_eq!(client.listeners().await.unwrap(), [name("coder.agent")]);
    let (socket, tools) = client.get_listener(&name("coder.agent")).await.unwrap();
    assert_eq!(tools, ["memory"]);
    assert!(std::fs::File::from(socket).metadata().is_ok());
    fake.signals.publish(&Signal::ListenerNew(name("a.agent")));
    assert_eq!(
        signals.next().await,
        Some(ClientSignal::ListenerNew(name("a.agent")))
    );
    let stop = client
        .stop_unit(&name("a.agent"), JobMode::Replace, true)
        .await;
    assert!(stop.unwrap_err().is("AccessDenied"));
}
