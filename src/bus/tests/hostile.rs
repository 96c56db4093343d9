//! Clients that are slow, silent, impolite or worse.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zbus::Variant;
use zbus::message::Flags;

use crate::bus::ask::{Caller, Signal};
use crate::bus::authorise::HUB_UNIT;
use crate::bus::client::{Client, ClientSignal};
use crate::bus::fake::{Fake, name, root};
use crate::bus::path;
use crate::bus::serve::Limits;

use super::{call, greeting, outcome, raw};

#[tokio::test]
async fn who_wants_no_reply_gets_none() {
    let fake = Fake::new();
    let mut stream = raw(&fake).await;
    let connection = zbus::Connection::from(&stream);
    for member in ["ListJobs", "Nothing"] {
        let silent = call(path::MANAGER, None, member)
            .with_flags(Flags::NO_REPLY_EXPECTED)
            .build(&())
            .unwrap();
        connection.send(&silent).await.unwrap();
    }
    let ping = call("/", None, "Ping").build(&()).unwrap();
    // The next message is the answer to this one, or outcome() fails.
    assert_eq!(outcome(&mut stream, &ping).await.0, "ok");
    let list = call(path::MANAGER, None, "ListAgents")
        .build(&(HashMap::<&str, Variant<'_>>::new(),))
        .unwrap();
    assert_eq!(outcome(&mut stream, &list).await.0, "ok");
    // Questions of one connection arrive in its order.
    assert_eq!(*fake.asked.lock().unwrap(), ["Jobs", "Units"]);
}

#[tokio::test]
async fn a_call_that_waits_holds_up_no_other() {
    let fake = Fake::new();
    let mut stream = raw(&fake).await;
    let connection = zbus::Connection::from(&stream);
    let stuck = call(path::MANAGER, None, "GetUnitProcesses")
        .build(&("stuck.service",))
        .unwrap();
    connection.send(&stuck).await.unwrap();
    let ping = call("/", None, "Ping").build(&()).unwrap();
    assert_eq!(outcome(&mut stream, &ping).await.0, "ok");
    assert_eq!(fake.client().await.list_jobs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_delays_nobody() {
    let limits = Limits {
        signals: 64,
        ..Limits::default()
    };
    let fake = Fake::start(root(), vec![], limits);
    // This one subscribes and then never reads from its socket again.
    let mut slow = tokio::net::UnixStream::connect(fake.socket())
        .await
        .unwrap();
    slow.write_all(greeting().as_bytes()).await.unwrap();
    let mut greeting = [0; 37];
    slow.read_exact(&mut greeting).await.unwrap();
    let none: HashMap<&str, Variant<'_>> = HashMap::new();
    let subscribe = call(path::MANAGER, None, "Subscribe")
        .build(&(&none,))
        .unwrap();
    slow.write_all(subscribe.data()).await.unwrap();
    let client = fake.client().await;
    let mut signals = client.subscribe().await.unwrap();
    while fake.signals.subscribers() < 2 {
        tokio::task::yield_now().await;
    }
    let long = name(&format!("{}.agent", "x".repeat(240)));
    let mut told = 0;
    while fake.signals.subscribers() == 2 {
        fake.signals.publish(&Signal::UnitNew(long.clone()));
        // The honest client has each before the next is sent.
        assert_eq!(
            signals.next().await,
            Some(ClientSignal::UnitNew(long.clone()))
        );
        told += 1;
        assert!(told < 10_000, "the slow client was never closed");
    }
    assert!(told > 64);
}

#[tokio::test]
async fn who_does_not_greet_is_dropped() {
    let limits = Limits {
        connections: 4,
        reserved: 0,
        greeting: Duration::from_millis(200),
        ..Limits::default()
    };
    let fake = Fake::start(root(), vec![], limits);
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(
            tokio::net::UnixStream::connect(fake.socket())
                .await
                .unwrap(),
        );
    }
    // The door is full.
    assert!(Client::connect(&fake.socket()).await.is_err());
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0);
    }
    assert!(fake.client().await.list_jobs().await.is_ok());
}

#[tokio::test]
async fn a_greeting_that_would_break_the_reader_costs_one_connection() {
    let fake = Fake::new();
    for greeting in [b"\n".to_vec(), b"\0AUTH\n".to_vec(), vec![b'A'; 8192]] {
        let mut stream = tokio::net::UnixStream::connect(fake.socket())
            .await
            .unwrap();
        stream.write_all(&greeting).await.unwrap();
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0);
    }
    assert!(fake.client().await.list_jobs().await.is_ok());
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_before_it_is_kept() {
    let hub = Caller {
        unit: Some(name(HUB_UNIT)),
        ..root()
    };
    for caller in [root(), hub] {
        let fake = Fake::start(caller, vec![], Limits::default());
        let mut stream = tokio::net::UnixStream::connect(fake.socket())
            .await
            .unwrap();
        stream.write_all(greeting().as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 37]).await.unwrap();
        let mut header = b"l\x01\0\x01".to_vec();
        header.extend((100_u32 << 20).to_le_bytes());
        header.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        stream.write_all(&header).await.unwrap();
        let mut rest = [0; 64];
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut rest));
        assert_eq!(closed.await.expect("it waits for the rest").unwrap_or(0), 0);
        assert!(fake.client().await.list_jobs().await.is_ok());
    }
}

#[tokio::test]
async fn a_unit_gets_its_share_of_connections_and_back_what_it_closed() {
    let caller = Caller {
        unit: Some(name("coder.agent")),
        ..root()
    };
    let limits = Limits {
        per_unit: 2,
        ..Limits::default()
    };
    let fake = Fake::start(caller, vec![], limits);
    let first = fake.client().await;
    let second = fake.client().await;
    assert!(Client::connect(&fake.socket()).await.is_err());
    drop(first);
    // The place is free as soon as the other end has seen the end of the connection.
    while Client::connect(&fake.socket()).await.is_err() {
        tokio::task::yield_now().await;
    }
    drop(second);
}
