//! What subscribers are told, and in which order.

use std::collections::HashMap;

use futures_util::StreamExt;
use zbus::Variant;
use zbus::message::Type;

use crate::bus::ask::Signal;
use crate::bus::client::ClientSignal;
use crate::bus::fake::{Fake, facts, name};
use crate::bus::path;

use super::{call, outcome, raw};

#[tokio::test]
async fn the_reply_comes_before_the_end_of_the_job() {
    let fake = Fake::new();
    let mut stream = raw(&fake).await;
    let none: HashMap<&str, Variant<'_>> = HashMap::new();
    let subscribe = call(path::MANAGER, None, "Subscribe")
        .build(&(&none,))
        .unwrap();
    assert_eq!(outcome(&mut stream, &subscribe).await.0, "ok");
    for _ in 0..100 {
        let start = call(path::MANAGER, None, "StartUnit")
            .build(&("a.agent", "replace", &none))
            .unwrap();
        assert_eq!(outcome(&mut stream, &start).await.0, "ok");
        let signal = stream.next().await.unwrap().unwrap();
        assert_eq!(signal.message_type(), Type::Signal);
        assert_eq!(signal.header().member().unwrap().as_str(), "JobRemoved");
    }
}

#[tokio::test]
async fn only_what_changed_is_told() {
    let fake = Fake::new();
    let client = fake.client().await;
    let mut signals = client.subscribe().await.unwrap();
    let mut unit = facts("coder.agent");
    fake.signals
        .publish(&Signal::Changed(Box::new(unit.clone())));
    // Everything the first time: one message for each interface.
    for expected in ["ActiveState", "State"] {
        let Some(ClientSignal::Changed { properties, .. }) = signals.next().await else {
            panic!("no change was told");
        };
        assert!(properties.0.contains_key(expected));
        assert!(
            !properties.0.contains_key("MemoryCurrent"),
            "counters are polled"
        );
    }
    unit.view.as_mut().unwrap().why = "later".to_owned();
    unit.memory_current = Some(1);
    fake.signals
        .publish(&Signal::Changed(Box::new(unit.clone())));
    let Some(ClientSignal::Changed {
        unit: whose,
        properties,
    }) = signals.next().await
    else {
        panic!("no change was told");
    };
    assert_eq!(whose, name("coder.agent"));
    assert_eq!(properties.0.keys().collect::<Vec<_>>(), ["Why"]);
    // The same again is told nothing; the next signal is another.
    fake.signals.publish(&Signal::Changed(Box::new(unit)));
    fake.signals.publish(&Signal::UnitNew(name("b.agent")));
    assert_eq!(
        signals.next().await,
        Some(ClientSignal::UnitNew(name("b.agent")))
    );
}

#[tokio::test]
async fn activity_says_no_contents_and_not_too_often() {
    let fake = Fake::new();
    let client = fake.client().await;
    let mut signals = client.subscribe().await.unwrap();
    for at in [1_000_000, 1_000_001, 1_500_000] {
        fake.signals.publish(&Signal::Activity {
            unit: name("coder.agent"),
            event: std::sync::Arc::new(crate::runtime::AgentEvent::ToolUse {
                id: "1".to_owned(),
                tool: "Bash".to_owned(),
                input: "{\"command\":\"a secret\"}".to_owned(),
            }),
            at,
        });
    }
    for expected in [1_000_000, 1_500_000] {
        assert_eq!(
            signals.next().await,
            Some(ClientSignal::Activity {
                unit: name("coder.agent"),
                kind: "tool-use".to_owned(),
                summary: "Bash".to_owned(),
                at: expected,
            })
        );
    }
}

#[tokio::test]
async fn the_hubs_signals_are_for_the_hub_alone() {
    let fake = Fake::new();
    let client = fake.client().await;
    let mut signals = client.subscribe().await.unwrap();
    fake.signals.publish(&Signal::ListenerNew(name("a.agent")));
    fake.signals.publish(&Signal::UnitNew(name("b.agent")));
    assert_eq!(
        signals.next().await,
        Some(ClientSignal::UnitNew(name("b.agent")))
    );
}
