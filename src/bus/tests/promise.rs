//! What the wire does against what the contract says.

use std::collections::{BTreeSet, HashMap};

use futures_util::StreamExt;
use zbus::message::Message;
use zbus::{OwnedVariant, Signature, Variant};

use crate::bus::aether1::{self, Interfaces};
use crate::bus::ask::{Caller, JobFacts, ManagerFacts, Signal};
use crate::bus::authorise::HUB_UNIT;
use crate::bus::client::ClientSignal;
use crate::bus::contract::{self, INTERFACES};
use crate::bus::fake::{Fake, facts, name, not_found, root};
use crate::bus::path;
use crate::bus::serve::Limits;
use crate::engine::event::{JobResult, JobType};
use crate::name::JobId;

use super::{call, outcome, raw};

fn check_types(all: &Interfaces) {
    for (interface, values) in all {
        let contract = contract::interface(interface).unwrap();
        let declared: BTreeSet<(&str, &str)> = contract
            .properties
            .iter()
            .map(|property| (property.name, property.signature))
            .collect();
        let signatures: Vec<(&str, String)> = values
            .iter()
            .map(|(name, value)| (*name, value.value_signature().to_string()))
            .collect();
        let made: BTreeSet<(&str, &str)> = signatures
            .iter()
            .map(|(name, signature)| (*name, signature.as_str()))
            .collect();
        assert_eq!(made, declared, "{interface}");
        assert_eq!(values.len(), declared.len(), "{interface} has one twice");
    }
}

#[test]
fn what_is_told_by_a_signal_is_among_what_can_change() {
    let changing = aether1::changing_of_unit(&facts("coder.agent"));
    for interface in ["org.aether1.Unit", "org.aether1.Agent"] {
        let (_, made) = changing
            .iter()
            .find(|(name, _)| *name == interface)
            .unwrap();
        for property in contract::interface(interface).unwrap().properties {
            let told = property.emits == contract::Emits::True;
            let made = made.iter().any(|(name, _)| *name == property.name);
            assert!(made || !told, "{interface}.{}", property.name);
        }
    }
}

#[test]
fn properties_are_what_the_contract_declares() {
    for facts in [
        facts("coder.agent"),
        not_found("coder.agent"),
        facts("web.service"),
    ] {
        check_types(&aether1::of_unit(&facts));
    }
    check_types(&aether1::of_manager(&ManagerFacts::default()));
    check_types(&aether1::of_job(&JobFacts {
        id: JobId(1),
        unit: name("a.agent"),
        kind: JobType::Pause,
        running: false,
    }));
    assert_eq!(aether1::of_unit(&facts("coder.agent")).len(), 2);
    assert_eq!(aether1::of_unit(&facts("web.service")).len(), 1);
}

#[test]
fn what_an_agent_is_told_is_no_property() {
    let shown = format!("{:?}", aether1::of_unit(&facts("coder.agent")));
    assert!(!shown.contains("a secret"));
}

/// Texts that a method's arguments may be, in order.
fn words(method: &str) -> &'static [&'static str] {
    match method {
        "KillUnit" => &["coder.agent", "all"],
        "Kill" => &["all"],
        "Pause" => &["freeze"],
        "Start" | "Stop" | "Restart" | "TryRestart" | "Reload" | "ReloadOrRestart"
        | "ReloadOrTryRestart" => &["replace"],
        "Get" | "Set" => &["", "Id"],
        "PresetAllUnitFiles" | "PresetUnitFilesWithMode" => &["enable-only"],
        "GetAll" => &[""],
        _ => &["coder.agent", "replace"],
    }
}

/// Some value of a type.
fn sample(
    signature: &Signature,
    words: &mut std::slice::Iter<'_, &'static str>,
) -> Variant<'static> {
    match signature {
        Signature::Str => (*words.next().unwrap()).into(),
        Signature::Bool => true.into(),
        Signature::U32 => 1_u32.into(),
        Signature::I32 => 1_i32.into(),
        Signature::Variant => Variant::Variant(Box::new(1_u32.into())),
        Signature::Array(child) => zbus::Array::new(child.signature()).into(),
        Signature::Dict { key, value } => {
            zbus::Dict::new(key.signature(), value.signature()).into()
        }
        other => panic!("{other} is a new argument type"),
    }
}

/// A call of a method with arguments of the types it takes.
fn sample_call(interface: &str, method: &contract::Method) -> Message {
    let path = match interface {
        "org.aether1.Manager" => path::MANAGER.to_owned(),
        "org.aether1.Job" => path::job(Some(JobId(5))),
        "org.aether1.Hub" => path::HUB.to_owned(),
        _ => path::unit(&name("coder.agent")),
    };
    let builder = Message::method_call(path.as_str(), method.name).interface(interface);
    let mut words = words(method.name).iter();
    let mut body = zbus::wire::Structure::builder();
    match Signature::try_from(method.input).unwrap() {
        Signature::Unit => return builder.build(&()).unwrap(),
        Signature::Structure(fields) => {
            for field in fields.iter() {
                body.push_value(sample(field, &mut words));
            }
        }
        single => body.push_value(sample(&single, &mut words)),
    }
    builder.build(&body.build().unwrap()).unwrap()
}

#[tokio::test]
async fn every_method_of_the_contract_answers_as_declared() {
    let hub = Caller {
        unit: Some(name(HUB_UNIT)),
        ..root()
    };
    let person = Fake::new();
    let of_hub = Fake::start(hub, vec![facts("coder.agent")], Limits::default());
    let mut refused = Vec::new();
    for interface in INTERFACES {
        let fake = if interface.name == "org.aether1.Hub" {
            &of_hub
        } else {
            &person
        };
        let mut stream = raw(fake).await;
        for method in interface.methods {
            let message = sample_call(interface.name, method);
            let (outcome, reply) = outcome(&mut stream, &message).await;
            if outcome == "ok" {
                let signature = reply.body().signature().to_string_no_parens();
                assert_eq!(
                    signature, method.output,
                    "{}.{}",
                    interface.name, method.name
                );
            } else {
                refused.push((method.name, outcome));
            }
        }
    }
    // Refused by the fake and by design.
    let expected = [
        ("StopUnit", "NeededByOthers"),
        ("Stop", "NeededByOthers"),
        ("Set", "PropertyReadOnly"),
    ];
    let refused: BTreeSet<(&str, &str)> = refused.iter().map(|(m, e)| (*m, e.as_str())).collect();
    assert_eq!(refused, BTreeSet::from(expected));
}

#[tokio::test]
async fn every_signal_is_the_one_declared() {
    let hub = Caller {
        unit: Some(name(HUB_UNIT)),
        ..root()
    };
    let fake = Fake::start(hub, vec![], Limits::default());
    let mut stream = raw(&fake).await;
    let none: HashMap<&str, Variant<'_>> = HashMap::new();
    let subscribe = call(path::MANAGER, None, "Subscribe")
        .build(&(&none,))
        .unwrap();
    assert_eq!(outcome(&mut stream, &subscribe).await.0, "ok");
    let unit = || name("coder.agent");
    let id = JobId(5);
    let result = JobResult::Dependency;
    let event = std::sync::Arc::new(crate::runtime::AgentEvent::Garbled {
        line: String::new(),
    });
    let signals = [
        Signal::UnitNew(unit()),
        Signal::UnitRemoved(unit()),
        Signal::JobNew { id, unit: unit() },
        Signal::JobRemoved {
            id,
            unit: unit(),
            result,
        },
        Signal::Changed(Box::new(facts("web.service"))),
        Signal::Activity {
            unit: unit(),
            event,
            at: 1_000_000,
        },
        Signal::InputConsumed { unit: unit() },
        Signal::UnitFilesChanged,
        Signal::ListenerNew(unit()),
        Signal::ListenerRemoved(unit()),
    ];
    let mut seen = BTreeSet::new();
    for signal in &signals {
        fake.signals.publish(signal);
        let message = stream.next().await.unwrap().unwrap();
        let header = message.header();
        let interface = contract::interface(header.interface().unwrap().as_str()).unwrap();
        let member = header.member().unwrap().to_string();
        let declared = interface.signals.iter().find(|it| it.name == member);
        let signature = message.body().signature().to_string_no_parens();
        assert_eq!(
            Some(signature.as_str()),
            declared.map(|it| it.signature),
            "{member}"
        );
        assert!(path::Object::parse(header.path().unwrap()).is_some());
        assert!(
            ClientSignal::read(&message).is_some(),
            "{member} is not read"
        );
        seen.insert(member);
    }
    let declared: usize = INTERFACES.iter().map(|it| it.signals.len()).sum();
    assert_eq!(seen.len(), declared, "only {seen:?} are sent");
}

#[tokio::test]
async fn calls_are_checked_against_the_contract() {
    let fake = Fake::new();
    let mut stream = raw(&fake).await;
    let unit = path::unit(&name("coder.agent"));
    let manager = Some("org.aether1.Manager");
    let properties = Some("org.freedesktop.DBus.Properties");
    let none: HashMap<&str, Variant<'_>> = HashMap::new();
    let options = HashMap::from([("colour", Variant::from(1_u32))]);
    let root = path::MANAGER;
    let table: Vec<(Message, &str)> = [
        (
            call(root, manager, "GetUnit").build(&(7_u32,)),
            "InvalidArgs",
        ),
        (call(root, manager, "GetUnit").build(&()), "InvalidArgs"),
        (
            call(root, manager, "GetUnit").build(&("../etc",)),
            "InvalidArgs",
        ),
        (call(root, manager, "Nothing").build(&()), "UnknownMethod"),
        (call(root, None, "Nothing").build(&()), "UnknownMethod"),
        (call(root, None, "ListJobs").build(&()), "ok"),
        (
            call(root, Some("org.aether1.Unit"), "GetProcesses").build(&()),
            "UnknownInterface",
        ),
        (
            call("/org/aether2", manager, "ListJobs").build(&()),
            "UnknownObject",
        ),
        (
            call("/org/aether1/job/6", properties, "GetAll").build(&("",)),
            "UnknownObject",
        ),
        (
            call("/org/aether1/unit/self", None, "GetProcesses").build(&()),
            "NoSuchUnit",
        ),
        (
            call(root, manager, "StartUnit").build(&("a.agent", "obliterate", &none)),
            "InvalidArgs",
        ),
        (
            call(root, manager, "StartUnit").build(&("a.agent", "fail", &options)),
            "InvalidArgs",
        ),
        (
            call(root, manager, "KillUnit").build(&("a.agent", "all", 0_i32, &none)),
            "InvalidArgs",
        ),
        (
            call(&unit, Some("org.aether1.Agent"), "Pause").build(&("turn", &none)),
            "NotSupported",
        ),
        (call(&unit, properties, "Get").build(&("", "Id")), "ok"),
        (
            call(&unit, properties, "Get").build(&("org.aether1.Unit", "State")),
            "UnknownProperty",
        ),
        (
            call(&unit, properties, "Get").build(&("org.aether1.Agent", "State")),
            "ok",
        ),
        (
            call(root, properties, "GetAll").build(&("org.aether1.Agent",)),
            "UnknownInterface",
        ),
        (
            call(root, properties, "Set").build(&(
                "org.aether1.Manager",
                "Version",
                Variant::from("2"),
            )),
            "PropertyReadOnly",
        ),
        (
            call("/any", Some("org.freedesktop.DBus.Peer"), "Ping").build(&()),
            "UnknownObject",
        ),
        (
            call("/", Some("org.freedesktop.DBus.Peer"), "Ping").build(&()),
            "ok",
        ),
        (
            call(path::HUB, None, "Listeners").build(&()),
            "AccessDenied",
        ),
    ]
    .into_iter()
    .map(|(message, expected)| (message.unwrap(), expected))
    .collect();
    for (message, expected) in table {
        let (found, reply) = outcome(&mut stream, &message).await;
        let text = reply.body().deserialize::<(String,)>();
        assert_eq!(found, expected, "{message:?}: {text:?}");
    }
}

#[tokio::test]
async fn all_interfaces_of_a_unit_answer_to_the_empty_name() {
    let fake = Fake::new();
    let mut stream = raw(&fake).await;
    let unit = path::unit(&name("coder.agent"));
    let message = call(&unit, None, "GetAll").build(&("",)).unwrap();
    let (found, reply) = outcome(&mut stream, &message).await;
    assert_eq!(found, "ok");
    let (all,): (HashMap<String, OwnedVariant>,) = reply.body().deserialize().unwrap();
    let declared: usize = ["org.aether1.Unit", "org.aether1.Agent"]
        .map(|name| contract::interface(name).unwrap().properties.len())
        .iter()
        .sum();
    assert_eq!(all.len(), declared);
}

#[tokio::test]
async fn introspection_leads_to_every_object() {
    let fake = Fake::new();
    let mut stream = raw(&fake).await;
    for (path, expected) in [
        ("/", "<node name=\"org\"/>"),
        ("/org", "<node name=\"aether1\"/>"),
        ("/org/aether1", "<node name=\"unit\"/>"),
        ("/org/aether1/unit", "<node name=\"coder_2eagent\"/>"),
        (
            "/org/aether1/unit/coder_2eagent",
            "<interface name=\"org.aether1.Agent\">",
        ),
        ("/org/aether1/job", "<node name=\"5\"/>"),
        ("/org/aether1/job/5", "<interface name=\"org.aether1.Job\">"),
    ] {
        let message = call(path, None, "Introspect").build(&()).unwrap();
        let (found, reply) = outcome(&mut stream, &message).await;
        let (xml,): (String,) = reply.body().deserialize().unwrap();
        assert_eq!(found, "ok");
        assert!(xml.contains(expected), "{path}: {xml}");
        assert!(xml.contains("org.freedesktop.DBus.Peer"), "{path}");
    }
}
