//! The contract: interfaces, methods, properties and signals with their signatures, from the XML.
//!
//! The table is made from `dbus/*.xml` when the program is built, so that it cannot drift from the
//! contract. It says what exists; it does not know what anything means. Read next: `dispatch`.

use crate::bus::path::Object;
use crate::name::UnitType;

/// One interface.
#[derive(Debug)]
pub struct Interface {
    /// `org.aether1.Manager`.
    pub name: &'static str,
    /// Its element of the contract, for Introspect.
    pub xml: &'static str,
    /// Its methods.
    pub methods: &'static [Method],
    /// Its properties.
    pub properties: &'static [Property],
    /// Its signals.
    pub signals: &'static [Signal],
}

/// One method.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Signatures of the arguments, joined.
    pub input: &'static str,
    /// Signatures of the results, joined.
    pub output: &'static str,
}

/// One property.
#[derive(Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub signature: &'static str,
    /// Whether changes are told.
    pub emits: Emits,
}

/// `EmitsChangedSignal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emits {
    /// Changes are told with the new value.
    True,
    /// Changes are not told: poll.
    False,
    /// It changes with the unit's file only.
    Const,
}

/// One signal.
#[derive(Debug)]
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// Signatures of the arguments, joined.
    pub signature: &'static str,
}

/// Every interface, by name of its file and place in it.
pub static INTERFACES: &[Interface] = include!(concat!(env!("OUT_DIR"), "/contract.rs"));

/// What every object answers.
pub const STANDARD: [&str; 3] = [
    "org.freedesktop.DBus.Peer",
    "org.freedesktop.DBus.Introspectable",
    "org.freedesktop.DBus.Properties",
];

/// The interface of that name.
#[must_use]
pub fn interface(name: &str) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.name == name)
}

impl Interface {
    /// The method of that name.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The property of that name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties
            .iter()
            .find(|property| property.name == name)
    }
}

impl Object {
    /// The names of our interfaces at this object; the standard ones are at every object.
    #[must_use]
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self {
            Self::Above(_) | Self::Units | Self::Jobs => &[],
            Self::Manager => &["org.aether1.Manager"],
            Self::Unit(name) if name.kind() == UnitType::Agent => {
                &["org.aether1.Unit", "org.aether1.Agent"]
            }
            // Whether it is an agent is known when it has been looked up.
            Self::Unit(_) | Self::SelfUnit => &["org.aether1.Unit"],
            Self::Job(_) => &["org.aether1.Job"],
            Self::Hub => &["org.aether1.Hub"],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_interface_is_at_some_object() {
        let objects = [
            Object::Manager,
            Object::Unit("a.agent".parse().unwrap()),
            Object::Job(crate::name::JobId(1)),
            Object::Hub,
        ];
        let served: BTreeSet<&str> = objects
            .iter()
            .flat_map(|object| object.interfaces())
            .chain(&STANDARD)
            .copied()
            .collect();
        let written: BTreeSet<&str> = INTERFACES.iter().map(|i| i.name).collect();
        assert_eq!(served, written);
    }

    #[test]
    fn signatures_are_valid_for_the_wire_too() {
        for interface in INTERFACES {
            for property in interface.properties {
                assert!(zbus::Signature::try_from(property.signature).is_ok());
            }
            for method in interface.methods {
                for joined in [method.input, method.output] {
                    assert!(zbus::Signature::try_from(joined).is_ok(), "{joined}");
                }
            }
        }
    }

    #[test]
    fn methods_that_change_something_end_in_options() {
        let reads = ["Get", "Load", "List", "Unsubscribe", "StartTransientUnit"];
        for interface in INTERFACES {
            if interface.name.starts_with("org.freedesktop") || interface.name.ends_with(".Hub") {
                continue;
            }
            for method in interface.methods {
                assert!(
                    method.input.ends_with("a{sv}")
                        || reads.iter().any(|read| method.name.starts_with(read))
                        // Systemd's own, which are as they are.
                        || method.name.contains("UnitFiles"),
                    "{}.{} cannot grow",
                    interface.name,
                    method.name
                );
            }
        }
    }

    #[test]
    fn properties_of_one_object_have_one_name_each() {
        // GetAll("") joins them in one dictionary.
        let object = Object::Unit("a.agent".parse().unwrap());
        let mut seen = BTreeSet::new();
        for name in object.interfaces() {
            for property in interface(name).unwrap().properties {
                assert!(seen.insert(property.name), "{} twice", property.name);
            }
        }
    }
}
