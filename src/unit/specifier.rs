//! `%` specifiers (systemd.unit(5)): names, places and facts put into values at load time.
//!
//! The facts are passed in; nothing is looked up. A specifier that is unknown, or whose fact is
//! not known here, is an error and never an empty text: half a path is a wrong path.

use serde::{Deserialize, Serialize};

use super::value::ValueError;
use crate::name::UnitName;

/// Longest result of one expansion in bytes: one argument can be no longer (execve(2)).
pub const MAX_EXPANDED: usize = 128 << 10;

/// What specifiers stand for, beside what the unit's name says. An empty text is "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecifierFacts {
    /// `%H`: the host's name.
    pub host_name: String,
    /// `%m`: the machine id.
    pub machine_id: String,
    /// `%b`: the boot id.
    pub boot_id: String,
    /// `%v`: the kernel's release.
    pub kernel_release: String,
    /// `%a`: the architecture, as systemd names it (`x86-64`, `arm64`).
    pub architecture: String,
    /// `%u`: the user the manager runs as (not the unit's).
    pub user: String,
    /// `%U`: its number.
    pub uid: u32,
    /// `%g`: its group.
    pub group: String,
    /// `%G`: its number.
    pub gid: u32,
    /// `%h`: its home.
    pub home: String,
    /// `%s`: its shell.
    pub shell: String,
    /// `%t`: `/run`, or `$XDG_RUNTIME_DIR`.
    pub runtime_directory: String,
    /// `%S`: `/var/lib`, or `$XDG_STATE_HOME`.
    pub state_directory: String,
    /// `%C`: `/var/cache`, or `$XDG_CACHE_HOME`.
    pub cache_directory: String,
    /// `%L`: `/var/log`, or below the state directory.
    pub log_directory: String,
    /// `%E`: `/etc`, or `$XDG_CONFIG_HOME`.
    pub configuration_directory: String,
    /// `%T`: `/tmp`, or `$TMPDIR`.
    pub temporary_directory: String,
    /// `%V`: `/var/tmp`, or `$TMPDIR`.
    pub persistent_temporary_directory: String,
    /// `%q`: the host's name for people, `PRETTY_HOSTNAME=` of machine-info; without it, `%l`.
    pub pretty_host_name: String,
    /// `%o`: `ID=` of os-release. This and the next five may be empty: then they are not set there.
    pub os_id: String,
    /// `%w`: `VERSION_ID=` of os-release.
    pub os_version: String,
    /// `%W`: `VARIANT_ID=` of os-release.
    pub os_variant: String,
    /// `%B`: `BUILD_ID=` of os-release.
    pub os_build: String,
    /// `%M`: `IMAGE_ID=` of os-release.
    pub os_image: String,
    /// `%A`: `IMAGE_VERSION=` of os-release.
    pub os_image_version: String,
    /// `%y`: the unit's own file, `%Y`: the directory in which it lies. Filled in for each unit.
    pub fragment: String,
    /// What `MemoryMax=50%` is half of: the machine's memory in bytes; 0: not known.
    pub memory: u64,
    /// What `TasksMax=50%` is half of: the most tasks that the kernel allows; 0: not known.
    pub tasks: u64,
}

/// The specifiers with what they stand for, for manual and completion.
pub const SPECIFIERS: [(char, &str); 38] = [
    ('a', "architecture"),
    ('A', "version of the operating system's image"),
    ('b', "boot id"),
    ('B', "build of the operating system"),
    ('C', "cache directory"),
    ('E', "configuration directory"),
    ('f', "instance, or prefix, as an absolute path"),
    ('g', "group of the manager"),
    ('G', "group of the manager, as a number"),
    ('h', "home of the manager's user"),
    ('H', "host name"),
    ('i', "instance, as it is written"),
    ('I', "instance, unescaped"),
    ('j', "last part of the prefix, behind the last -"),
    ('J', "last part of the prefix, unescaped"),
    ('l', "host name up to the first dot"),
    ('L', "log directory"),
    ('m', "machine id"),
    ('M', "name of the operating system's image"),
    ('n', "full unit name"),
    ('N', "unit name without its suffix"),
    ('o', "operating system, as in os-release"),
    ('p', "prefix: the name before @"),
    ('P', "prefix, unescaped"),
    ('q', "host name for people"),
    ('s', "shell of the manager's user"),
    ('S', "state directory"),
    ('t', "runtime directory"),
    ('T', "directory for temporary files"),
    ('u', "user of the manager"),
    ('U', "user of the manager, as a number"),
    ('v', "kernel release"),
    ('V', "directory for temporary files that outlive a boot"),
    ('w', "version of the operating system"),
    ('W', "variant of the operating system"),
    ('y', "the unit's file"),
    ('Y', "directory of the unit's file"),
    ('%', "a percent sign"),
];

/// Puts the specifiers' values into `text`. A percent sign before anything but a letter or digit
/// stays, as in systemd: "80% done" needs no doubling.
///
/// # Errors
/// For unknown specifiers, unknown facts, and results longer than [`MAX_EXPANDED`].
pub fn expand(text: &str, name: &UnitName, facts: &SpecifierFacts) -> Result<String, ValueError> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut expanded = String::with_capacity(text.len());
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '%' {
            expanded.push(c);
            continue;
        }
        let Some((_, letter)) = chars.next() else {
            expanded.push('%');
            break;
        };
        if letter == '%' {
            expanded.push('%');
            continue;
        }
        if !letter.is_ascii_alphanumeric() {
            expanded.push('%');
            expanded.push(letter);
            continue;
        }
        let value = lookup(letter, name, facts).map_err(|error| error.at(at..at + 2))?;
        expanded.push_str(&value);
        if expanded.len() > MAX_EXPANDED.max(text.len()) {
            return Err(ValueError::new("specifiers make the value too long"));
        }
    }
    Ok(expanded)
}

fn lookup(letter: char, name: &UnitName, facts: &SpecifierFacts) -> Result<String, ValueError> {
    let last = |prefix: &str| {
        prefix
            .rsplit_once('-')
            .map_or(prefix, |(_, last)| last)
            .to_owned()
    };
    let instance = name.instance().unwrap_or_default();
    let fact = match letter {
        'i' => return Ok(instance.to_owned()),
        'I' => return unescape(instance),
        'j' => return Ok(last(name.prefix())),
        'J' => return unescape(&last(name.prefix())),
        'n' => return Ok(name.as_str().to_owned()),
        'N' => return Ok(name.stem().to_owned()),
        'p' => return Ok(name.prefix().to_owned()),
        'P' => return unescape(name.prefix()),
        'f' => {
            let path = unescape(name.instance().unwrap_or_else(|| name.prefix()))?;
            return Ok(format!("/{}", path.trim_start_matches('/')));
        }
        'U' => return Ok(facts.uid.to_string()),
        'G' => return Ok(facts.gid.to_string()),
        // What is not set in os-release is nothing, as in systemd.
        'A' => return Ok(facts.os_image_version.clone()),
        'B' => return Ok(facts.os_build.clone()),
        'M' => return Ok(facts.os_image.clone()),
        'o' => return Ok(facts.os_id.clone()),
        'w' => return Ok(facts.os_version.clone()),
        'W' => return Ok(facts.os_variant.clone()),
        'd' => {
            let error = ValueError::new("%d, the directory of credentials, is not implemented");
            return Err(error.help("units have no credentials here (LoadCredential=)"));
        }
        'q' if !facts.pretty_host_name.is_empty() => &facts.pretty_host_name,
        'l' | 'q' => facts.host_name.split('.').next().unwrap_or_default(),
        'y' => &facts.fragment,
        'Y' => match facts.fragment.rsplit_once('/') {
            Some(("", _)) => "/",
            Some((directory, _)) => directory,
            None => "",
        },
        'a' => &facts.architecture,
        'b' => &facts.boot_id,
        'C' => &facts.cache_directory,
        'E' => &facts.configuration_directory,
        'g' => &facts.group,
        'h' => &facts.home,
        'H' => &facts.host_name,
        'L' => &facts.log_directory,
        'm' => &facts.machine_id,
        's' => &facts.shell,
        'S' => &facts.state_directory,
        't' => &facts.runtime_directory,
        'T' => &facts.temporary_directory,
        'u' => &facts.user,
        'v' => &facts.kernel_release,
        'V' => &facts.persistent_temporary_directory,
        letter => {
            return Err(ValueError::new(format!("unknown specifier %{letter}"))
                .help("write %% for a percent sign"));
        }
    };
    if fact.is_empty() {
        return Err(ValueError::new(format!("%{letter} is not known here")));
    }
    Ok(fact.to_owned())
}

/// Undoes systemd's escaping of names: `-` is `/`, `\x2d` is the byte 2d.
///
/// # Errors
/// When the result is no text, or the escape no escape.
pub fn unescape(text: &str) -> Result<String, ValueError> {
    let broken = || ValueError::new(format!("{} cannot be unescaped", super::value::quote(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let hex = rest
                .strip_prefix("\\x")
                .and_then(|after| after.get(..2))
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
                .ok_or_else(broken)?;
            let byte = u8::from_str_radix(hex, 16).map_err(|_| broken())?;
            if byte == 0 {
                return Err(broken());
            }
            bytes.push(byte);
            rest = &rest[4..];
            continue;
        }
        if c == '-' {
            bytes.push(b'/');
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = &rest[c.len_utf8()..];
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> SpecifierFacts {
        let text = |text: &str| text.to_owned();
        SpecifierFacts {
            host_name: text("box.example.org"),
            home: text("/root"),
            state_directory: text("/var/lib"),
            uid: 7,
            ..SpecifierFacts::default()
        }
    }

    fn expanded(text: &str) -> Result<String, String> {
        let name = "web-shop-coder@a\\x2db-c.agent".parse().unwrap();
        expand(text, &name, &facts()).map_err(|error| error.message)
    }

    #[test]
    fn table() {
        for (text, result) in [
            ("%n", "web-shop-coder@a\\x2db-c.agent"),
            ("%N", "web-shop-coder@a\\x2db-c"),
            ("%p|%P", "web-shop-coder|web/shop/coder"),
            ("%i|%I|%f", "a\\x2db-c|a-b/c|/a-b/c"),
            ("%j|%J", "coder|coder"),
            ("%h/%S", "/root//var/lib"),
            ("%U %H %l", "7 box.example.org box"),
            ("100%", "100%"),
            ("80% done, 5%, %-x", "80% done, 5%, %-x"),
            ("%%n", "%n"),
            ("é%%é", "é%é"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(result), "{text}");
        }
        for (text, message) in [
            ("x%Z", "unknown specifier %Z"),
            ("%5", "unknown specifier %5"),
            ("%m", "%m is not known here"),
        ] {
            assert_eq!(expanded(text).unwrap_err(), message);
        }
    }

    #[test]
    fn an_expansion_has_a_limit() {
        let text = "%n".repeat(MAX_EXPANDED / 4);
        assert_eq!(
            expanded(&text).unwrap_err(),
            "specifiers make the value too long"
        );
    }

    #[test]
    fn a_name_that_hides_bytes_is_refused() {
        for text in ["\\x00", "\\xff", "\\", "\\y41", "\\x4", "\\x+1"] {
            assert!(unescape(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_specifier_of_systemd_252_has_its_meaning() {
        // The table of systemd.unit(5); what is refused is refused with words.
        let text = |text: &str| text.to_owned();
        let facts = SpecifierFacts {
            host_name: text("box.example.org"),
            pretty_host_name: text("The Box"),
            machine_id: text("machine"),
            boot_id: text("boot"),
            kernel_release: text("6.1"),
            architecture: text("x86-64"),
            user: text("root"),
            uid: 7,
            group: text("wheel"),
            gid: 8,
            home: text("/root"),
            shell: text("/bin/sh"),
            runtime_directory: text("/run"),
            state_directory: text("/var/lib"),
            cache_directory: text("/var/cache"),
            log_directory: text("/var/log"),
            configuration_directory: text("/etc"),
            temporary_directory: text("/tmp"),
            persistent_temporary_directory: text("/var/tmp"),
            os_id: text("debian"),
            os_version: text("12"),
            os_variant: text("server"),
            os_build: text("b1"),
            os_image: text("i1"),
            os_image_version: text("i2"),
            fragment: text("/etc/aether/a-b@.service"),
            memory: 0,
            tasks: 0,
        };
        let name: UnitName = "a-b@x\\x2dy-z.service".parse().unwrap();
        let table = "a=x86-64 A=i2 b=boot B=b1 C=/var/cache E=/etc f=/x-y/z g=wheel G=8 h=/root \
                     H=box.example.org i=x\\x2dy-z I=x-y/z j=b J=b l=box L=/var/log m=machine M=i1 \
                     n=a-b@x\\x2dy-z.service N=a-b@x\\x2dy-z o=debian p=a-b P=a/b q=The_Box s=/bin/sh \
                     S=/var/lib t=/run T=/tmp u=root U=7 v=6.1 V=/var/tmp w=12 W=server \
                     y=/etc/aether/a-b@.service Y=/etc/aether %=%";
        let mut known = vec!['d'];
        for row in table.split_whitespace() {
            let (letter, value) = row.split_once('=').unwrap();
            let found = expand(&format!("%{letter}"), &name, &facts).unwrap();
            assert_eq!(found.replace(' ', "_"), value, "%{letter}");
            known.extend(letter.chars());
        }
        let refused = expand("%d", &name, &facts).unwrap_err();
        assert!(refused.message.contains("not implemented"), "{refused:?}");
        for letter in ('a'..='z').chain('A'..='Z').chain('0'..='9') {
            let unknown = expand(&format!("%{letter}"), &name, &facts)
                .is_err_and(|error| error.message.starts_with("unknown"));
            assert_eq!(unknown, !known.contains(&letter), "%{letter}");
        }
        let mut offered: Vec<char> = SPECIFIERS.iter().map(|(letter, _)| *letter).collect();
        offered.push('d');
        offered.sort_unstable();
        known.sort_unstable();
        assert_eq!(offered, known);
    }

    #[test]
    fn what_the_system_does_not_say_of_itself_is_nothing() {
        assert_eq!(expanded("[%A%B%M%o%w%W]").as_deref(), Ok("[]"));
        assert_eq!(expanded("%q").as_deref(), Ok("box"));
        assert_eq!(expanded("%y").unwrap_err(), "%y is not known here");
    }

    #[test]
    fn every_offered_specifier_is_known() {
        let name: UnitName = "a@b.agent".parse().unwrap();
        for (letter, meaning) in SPECIFIERS {
            let result = expand(&format!("%{letter}"), &name, &facts());
            let unknown = result.is_err_and(|error| error.message.starts_with("unknown"));
            assert!(!unknown && !meaning.is_empty(), "%{letter}");
        }
    }
}
