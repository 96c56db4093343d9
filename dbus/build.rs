//! Build script: turns the D-Bus contract (`dbus/*.xml`) into the table `bus::contract` includes.
//!
//! A name, signature or annotation that D-Bus would not accept stops the build here.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script reads files and cargo's environment, and writes what it made"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use roxmltree::{Document, Node, ParsingOptions};

type Result<T> = std::result::Result<T, String>;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=dbus");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("dbus"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::result::Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "xml"));
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let text = fs::read_to_string(&file)?;
        write_file(&text, &mut table).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    table.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("contract.rs"), table)?;
    Ok(())
}

fn write_file(text: &str, table: &mut String) -> Result<()> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document =
        Document::parse_with_options(text, options).map_err(|error| error.to_string())?;
    for interface in children(document.root_element(), "interface") {
        write_interface(interface, text, table)?;
    }
    Ok(())
}

fn write_interface(interface: Node<'_, '_>, text: &str, table: &mut String) -> Result<()> {
    let name = attribute(interface, "name")?;
    if !name.contains('.') || !name.split('.').all(is_member) {
        return Err(format!("{name:?} is no interface name"));
    }
    let xml = &text[interface.range()];
    let mut body = String::new();
    body.push_str("methods: &[");
    for method in children(interface, "method") {
        let input = arguments(method, Some("in"))?;
        let output = arguments(method, Some("out"))?;
        let name = member(method)?;
        put(
            &mut body,
            &format!("Method {{ name: {name:?}, input: {input:?}, output: {output:?} }}, "),
        );
    }
    body.push_str("],\n  properties: &[");
    for property in children(interface, "property") {
        let name = member(property)?;
        let signature = attribute(property, "type")?;
        single(signature)?;
        if attribute(property, "access")? != "read" {
            return Err(format!("{name}: only readable properties are served"));
        }
        let emits = children(property, "annotation")
            .find(|a| {
                a.attribute("name") == Some("org.freedesktop.DBus.Property.EmitsChangedSignal")
            })
            .and_then(|a| a.attribute("value"));
        let emits = match emits {
            Some("true") => "True",
            Some("false") => "False",
            Some("const") => "Const",
            other => return Err(format!("{name}: EmitsChangedSignal is {other:?}")),
        };
        put(
            &mut body,
            &format!(
                "Property {{ name: {name:?}, signature: {signature:?}, emits: Emits::{emits} }}, "
            ),
        );
    }
    body.push_str("],\n  signals: &[");
    for signal in children(interface, "signal") {
        let signature = arguments(signal, None)?;
        let name = member(signal)?;
        put(
            &mut body,
            &format!("Signal {{ name: {name:?}, signature: {signature:?} }}, "),
        );
    }
    body.push(']');
    put(
        table,
        &format!("Interface {{ name: {name:?}, xml: {xml:?},\n  {body} }},\n"),
    );
    Ok(())
}

fn put(text: &mut String, more: &str) {
    // Writing to a String cannot fail.
    let _ = text.write_str(more);
}

fn children<'a, 'i>(node: Node<'a, 'i>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(tag))
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str> {
    node.attribute(name)
        .ok_or_else(|| format!("<{}> without {name}", node.tag_name().name()))
}

fn member<'a>(node: Node<'a, '_>) -> Result<&'a str> {
    let name = attribute(node, "name")?;
    if is_member(name) {
        Ok(name)
    } else {
        Err(format!("{name:?} is no member name"))
    }
}

fn is_member(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The joined signature of a method's arguments of one direction, or of a signal's.
fn arguments(node: Node<'_, '_>, direction: Option<&str>) -> Result<String> {
    let mut joined = String::new();
    for argument in children(node, "arg") {
        let own = argument.attribute("direction");
        if !matches!(
            (own, direction),
            (None, None) | (Some("in" | "out"), Some(_))
        ) {
            return Err(format!(
                "{}: argument with direction {own:?}",
                member(node)?
            ));
        }
        if own == direction {
            let signature = attribute(argument, "type")?;
            single(signature)?;
            joined.push_str(signature);
        }
    }
    Ok(joined)
}

/// Checks that a signature is one complete type.
fn single(signature: &str) -> Result<()> {
    match complete(signature.as_bytes(), 0) {
        Some([]) => Ok(()),
        _ => Err(format!("{signature:?} is not one complete type")),
    }
}

/// What follows the first complete type; `None` when there is none.
fn complete(signature: &[u8], depth: u8) -> Option<&[u8]> {
    const BASIC: &[u8] = b"ybnqiuxtdsogh";
    let (first, rest) = signature.split_first()?;
    match first {
        _ if depth > 32 => None,
        b'v' => Some(rest),
        basic if BASIC.contains(basic) => Some(rest),
        b'a' if rest.first() == Some(&b'{') => {
            let key = rest.get(1).filter(|key| BASIC.contains(key));
            let after = complete(rest.get(2..)?, depth + 1)?;
            key.and(after.strip_prefix(b"}"))
        }
        b'a' => complete(rest, depth + 1),
        b'(' => {
            let mut rest = complete(rest, depth + 1)?;
            loop {
                if let Some(after) = rest.strip_prefix(b")") {
                    return Some(after);
                }
                rest = complete(rest, depth + 1)?;
            }
        }
        _ => None,
    }
}
