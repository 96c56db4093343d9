//! The bus spoken to by a client that is not ours: `dbus-send` of Debian's package `dbus-bin`.

use std::io;
use std::process::Output;

use aether::bus::ask::{Ask, Asked, Caller, Denial, ManagerFacts, Told};
use aether::bus::publish::Publisher;
use aether::bus::serve::{Limits, serve};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

async fn answer(mut inbox: mpsc::Receiver<Asked>) {
    while let Some(Asked { ask, reply, .. }) = inbox.recv().await {
        let told = match ask {
            Ask::Manager => Ok(Told::Manager(Box::new(ManagerFacts {
                version: "7.8.9".to_owned(),
                ..ManagerFacts::default()
            }))),
            Ask::Jobs => Ok(Told::Jobs(vec![])),
            other => Err(Denial::Failed(format!("{other:?} was asked"))),
        };
        // The connection may be gone by now.
        let _ = reply.send(told);
    }
}

/// Runs dbus-send in a thread, while the door is served here.
async fn dbus_send(address: String, arguments: &'static [&'static str]) -> io::Result<Output> {
    let (sender, output) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let output = std::process::Command::new("dbus-send")
            .arg(format!("--peer=unix:path={address}"))
            .args(["--print-reply", "--type=method_call"])
            .args(arguments)
            .output();
        sender.send(output)
    });
    output
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
}

#[test]
fn dbus_send_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("private");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (asks, inbox) = mpsc::channel(8);
        tokio::spawn(answer(inbox));
        let identify = |stream: &tokio::net::UnixStream| {
            Ok(Caller {
                uid: stream.peer_cred()?.uid(),
                pid: 0,
                unit: None,
            })
        };
        let limits = Limits::default();
        tokio::spawn(serve(
            vec![listener],
            0,
            identify,
            asks,
            Publisher::new(),
            limits,
        ));
        let address = socket.display().to_string();

        let ask = |arguments| {
            let sending = dbus_send(address.clone(), arguments);
            async {
                sending.await.expect(
                    "dbus-send is missing: apt-get install dbus-bin (before Debian 12: dbus)",
                )
            }
        };
        let all = ask(&[
            "/org/aether1",
            "org.freedesktop.DBus.Properties.GetAll",
            "string:",
        ])
        .await;
        let text = String::from_utf8_lossy(&all.stdout).into_owned();
        assert!(all.status.success(), "{all:?}");
        assert!(
            text.contains("string \"Version\"") && text.contains("\"7.8.9\""),
            "{text}"
        );

        let jobs = ask(&["/org/aether1", "org.aether1.Manager.ListJobs"]).await;
        assert!(jobs.status.success(), "{jobs:?}");

        let xml = ask(&[
            "/org/aether1",
            "org.freedesktop.DBus.Introspectable.Introspect",
        ])
        .await;
        let text = String::from_utf8_lossy(&xml.stdout).into_owned();
        assert!(
            text.contains("interface name=\"org.aether1.Manager\""),
            "{text}"
        );

        let wrong = ask(&["/org/aether1", "org.aether1.Manager.GetUnit", "int32:7"]).await;
        let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert!(!wrong.status.success());
        assert!(
            text.contains("org.freedesktop.DBus.Error.InvalidArgs"),
            "{text}"
        );
        assert!(text.contains("takes \"s\", not \"i\""), "{text}");

        let unknown = ask(&["/org/aether1", "org.aether1.Manager.PowerOff"]).await;
        let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
        assert!(
            text.contains("org.freedesktop.DBus.Error.UnknownMethod"),
            "{text}"
        );
    });
}
