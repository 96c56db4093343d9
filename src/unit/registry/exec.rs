//! `[Service]` and `[Agent]`: how processes are set up (systemd.exec(5)).

use super::capability::{ambient, bounding};
use super::given::MAX_LIST;
use super::{Directive, Given, Section, paths};
use crate::name::UnitType;
use crate::unit::WorkingDirectory;
use crate::unit::value::{Escapes, ValueError, Word, boolean, bytes, integer, limit, octal, quote};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Service, key, syntax, example, doc, apply)
}

const VARIABLES: &str = "VARIABLE…";

pub(super) const ROWS: &[Directive] = &[
    row(
        "User",
        "USER",
        "builder",
        "The user the processes run as, by name or number. With DynamicUser=yes the name of the \
         user that is made; one of that name that exists already is used as it is.",
        |draft, given| {
            let user = one(given, paths::user)?;
            if user.as_deref() == Some("nobody") {
                let error =
                    ValueError::new("nobody is shared by all that is nobody's, and not safe");
                given.warn(error.help("write DynamicUser=yes, or make a user for the service"));
            }
            draft.service.exec.user = user;
            Ok(())
        },
    )
    .guard(),
    row(
        "Group",
        "GROUP",
        "builders",
        "The group the processes run as, by name or number; without it the user's own.",
        |draft, given| {
            draft.service.exec.group = one(given, paths::user)?;
            Ok(())
        },
    )
    .guard(),
    row(
        "SupplementaryGroups",
        "GROUP…",
        "docker",
        "Groups the processes are in beside Group=.",
        |draft, given| {
            given.each(
                &mut draft.service.exec.supplementary_groups,
                Escapes::Keep,
                paths::user,
            )
        },
    )
    .list()
    .guard(),
    row(
        "DynamicUser",
        "yes|no",
        "yes",
        "Whether the unit gets a user of its own that exists while it runs, with a number from a \
         range that nothing else uses.",
        |draft, given| {
            draft.service.exec.dynamic_user = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no")
    .agents("yes")
    .guard(),
    row(
        "WorkingDirectory",
        "PATH|~",
        "/srv/webshop",
        "Where the processes start; ~ is the unit's home ($HOME). Without it an agent's workspace, and / for a service and for \
         commands with the prefix +. The unit's user must be able to enter it.",
        |draft, given| {
            draft.service.exec.working_directory = working_directory(given)?;
            Ok(())
        },
    ),
    row(
        "Environment",
        "VARIABLE=VALUE…",
        "LANG=C.UTF-8 \"GREETING=good day\"",
        "Environment variables. Quote the whole assignment when the value contains white space. \
         The same variable given again replaces the earlier value; an empty value removes all.",
        environment,
    )
    .list(),
    row(
        "EnvironmentFile",
        "PATH",
        "-/etc/default/worker",
        "A file with VARIABLE=VALUE lines, read just before the start; a - before the path means \
         that it may be missing.",
        |draft, given| {
            let files = &mut draft.service.exec.environment_files;
            if given.is_empty() {
                files.clear();
                return Ok(());
            }
            let text = given.text()?;
            let (optional, text) = match text.strip_prefix('-') {
                Some(rest) => (true, rest),
                None => (false, text.as_str()),
            };
            if files.len() >= MAX_LIST {
                return Err(ValueError::new(format!("more than {MAX_LIST} files")));
            }
            files.push((paths::absolute(text)?, optional));
            Ok(())
        },
    )
    .list(),
    row(
        "PassEnvironment",
        VARIABLES,
        "LANG TZ",
        "Variables that are taken over from the manager's own environment.",
        |draft, given| {
            let list = &mut draft.service.exec.pass_environment;
            given.each(list, Escapes::Keep, variable)
        },
    )
    .list(),
    row(
        "UMask",
        "MODE",
        "0027",
        "The permission bits that new files do not get, in octal.",
        |draft, given| {
            // As umask(2), which takes no notice of the rest.
            draft.service.exec.umask = octal(given.value)? & 0o777;
            Ok(())
        },
    )
    .default("0022")
    .agents("0077")
    .guard(),
    row(
        "Nice",
        "NUMBER",
        "10",
        "The scheduling priority, from -20 (first) to 19 (last).",
        |draft, given| {
            draft.service.exec.nice = one(given, |text| integer(text, -20, 19))?;
            Ok(())
        },
    ),
    row(
        "OOMScoreAdjust",
        "NUMBER",
        "500",
        "How readily the kernel kills the processes when memory runs out, from -1000 (never) to \
         1000 (first).",
        |draft, given| {
            draft.service.exec.oom_score_adjust = one(given, |text| integer(text, -1000, 1000))?;
            Ok(())
        },
    ),
    row(
        "StateDirectory",
        "DIRECTORY…",
        "webshop",
        "Directories made below the state place before the start, owned by the unit's user and \
         kept.",
        |draft, given| {
            let list = &mut draft.service.exec.state_directories;
            given.each(list, Escapes::Interpret, paths::relative)
        },
    )
    .list(),
    row(
        "RuntimeDirectory",
        "DIRECTORY…",
        "webshop",
        "Directories made below the runtime place before the start, owned by the unit's user and \
         removed when it has stopped.",
        |draft, given| {
            let list = &mut draft.service.exec.runtime_directories;
            given.each(list, Escapes::Interpret, paths::relative)
        },
    )
    .list(),
    row(
        "NoNewPrivileges",
        "yes|no",
        "yes",
        "Whether the processes can never gain privileges by executing a program (set-user-id bits \
         do nothing). Agents always run so.",
        |draft, given| {
            let wanted = boolean(given.value)?;
            if draft.kind == UnitType::Agent && !wanted {
                return Err(
                    ValueError::new("an agent always runs with NoNewPrivileges=yes")
                        .help("remove the line, or make it a .service"),
                );
            }
            draft.service.exec.no_new_privileges = wanted;
            Ok(())
        },
    )
    .default("no")
    .agents("yes")
    .guard(),
    row(
        "CapabilityBoundingSet",
        "CAPABILITY…",
        "CAP_NET_BIND_SERVICE",
        "The capabilities that the processes may ever have. Several assignments add up; a list \
         that begins with ~ is taken away instead; ~ alone means all, and an empty value none.",
        bounding,
    )
    .default("~")
    .agents("")
    .list()
    .guard(),
    row(
        "AmbientCapabilities",
        "CAPABILITY…",
        "CAP_NET_BIND_SERVICE",
        "Capabilities that the processes have although they do not run as root.",
        ambient,
    )
    .list()
    .guard(),
    row(
        "LogMaxBytes",
        "BYTES",
        "64M",
        "The size at which a file with the unit's output is closed and a new one begun.",
        |draft, given| {
            let size = bytes(given.value)?;
            if size < 4096 {
                return Err(ValueError::new("the size is below 4K"));
            }
            draft.service.exec.log_max_bytes = size;
            Ok(())
        },
    )
    .default("16M"),
    row(
        "LogMaxFiles",
        "NUMBER",
        "10",
        "How many closed files with the unit's output are kept.",
        |draft, given| {
            draft.service.exec.log_max_files = integer(given.value, 0, 10_000)?;
            Ok(())
        },
    )
    .default("4"),
];

const LIMIT_SYNTAX: &str = "LIMIT|SOFT:HARD";

const fn limit_row(key: &'static str, example: &'static str, doc: &'static str) -> Directive {
    row(key, LIMIT_SYNTAX, example, doc, |draft, given| {
        let name = given.key.strip_prefix("Limit").unwrap_or(given.key);
        if given.is_empty() {
            draft.service.exec.limits.remove(name);
        } else {
            let value = limit(name, given.value)?;
            draft.service.exec.limits.insert(name.to_owned(), value);
        }
        Ok(())
    })
    .guard()
}

/// One row for each resource limit of setrlimit(2) that Linux still honours.
pub(super) const LIMITS: &[Directive] = &[
    limit_row(
        "LimitAS",
        "8G",
        "Most address space of one process, in bytes.",
    ),
    limit_row("LimitCORE", "0", "Largest core dump, in bytes."),
    limit_row(
        "LimitCPU",
        "1h:2h",
        "Most processor time of one process; a plain number is seconds.",
    ),
    limit_row(
        "LimitDATA",
        "4G",
        "Largest data segment of one process, in bytes.",
    ),
    limit_row(
        "LimitFSIZE",
        "1G",
        "Largest file a process may write, in bytes.",
    ),
    limit_row("LimitLOCKS", "1000", "Most file locks of one process."),
    limit_row(
        "LimitMEMLOCK",
        "64K",
        "Most memory a process may lock, in bytes.",
    ),
    limit_row(
        "LimitMSGQUEUE",
        "800K",
        "Most bytes in POSIX message queues of the user.",
    ),
    limit_row(
        "LimitNOFILE",
        "1024:65536",
        "Most open file descriptors of one process.",
    ),
    limit_row(
        "LimitNPROC",
        "512",
        "Most processes of the user; TasksMax= counts the unit's own.",
    ),
    limit_row(
        "LimitRSS",
        "1G",
        "Without effect on Linux since 2.4.30, kept for old unit files.",
    ),
    limit_row("LimitRTPRIO", "0", "Highest real-time priority."),
    limit_row(
        "LimitRTTIME",
        "100ms",
        "Most real-time processor time without a pause; a plain number is microseconds.",
    ),
    limit_row(
        "LimitSIGPENDING",
        "1000",
        "Most signals queued for the user.",
    ),
    limit_row(
        "LimitSTACK",
        "8M",
        "Largest stack of one process, in bytes.",
    ),
];

/// Empty is unset.
fn one<T>(
    given: &Given<'_>,
    read: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, ValueError> {
    if given.is_empty() {
        return Ok(None);
    }
    read(&given.expanded()?).map(Some)
}

fn working_directory(given: &mut Given<'_>) -> Result<Option<WorkingDirectory>, ValueError> {
    let text = given.text()?;
    let place = match text.strip_prefix('-') {
        Some(rest) => {
            let message = "the prefix - is not implemented: the directory must be there";
            given.warn(ValueError::new(message));
            rest
        }
        None => text.as_str(),
    };
    Ok(match place {
        "" => None,
        "~" => Some(WorkingDirectory::Home),
        path => Some(WorkingDirectory::Path(paths::absolute(path)?)),
    })
}

fn variable(text: &str) -> Result<String, ValueError> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good {
        return Ok(text.to_owned());
    }
    Err(
        ValueError::new(format!("{} is no name of a variable", quote(text)))
            .help("write letters, digits and _"),
    )
}

fn environment(draft: &mut super::Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let variables = &mut draft.service.exec.environment;
    if given.is_empty() {
        variables.clear();
        return Ok(());
    }
    for word in given.words(Escapes::Interpret)? {
        match assignment(&word) {
            Ok(_) if variables.len() >= MAX_LIST => {
                return Err(ValueError::new(format!("more than {MAX_LIST} variables")));
            }
            Ok((name, value)) => {
                variables.insert(name, value);
            }
            Err(error) => given.error(error.at(word.range)),
        }
    }
    Ok(())
}

fn assignment(word: &Word) -> Result<(String, String), ValueError> {
    let Some((name, value)) = word.text.split_once('=') else {
        return Err(ValueError::new(format!("{} has no =", quote(&word.text)))
            .help("write VARIABLE=value; quote the whole when the value contains white space"));
    };
    if value
        .chars()
        .any(|c| c.is_control() && c != '\t' && c != '\n')
    {
        return Err(ValueError::new("the value contains control characters"));
    }
    Ok((variable(name)?, value.to_owned()))
}
