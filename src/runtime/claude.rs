//! Claude Code: argv, environment and files, as measured with 2.1.197.
//!
//! Every option is joined to its value with `=`: several of the program's options are variadic and
//! would swallow what follows. The goal never stands among the options: headless it is the first
//! line of standard input, in a terminal it follows `--`. Its settings are a courtesy to the
//! agent; the sandbox is what holds it. Read next: `instructions`, [`stream`](super::stream).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::plan::{Access, Failure, PathRule};
use crate::runtime::prepare::{Facts, failure};
use crate::runtime::{GeneratedFile, Launch, instructions, stream};
use crate::unit::{Agent, Unit};

/// What the program is called in `PATH`.
pub(super) const PROGRAM: &str = "claude";

/// Our MCP server's name; no server of a unit may have it.
const SERVER: &str = "aether";

/// Linux's limit for one argument (`MAX_ARG_STRLEN`) with its final NUL.
const ARGUMENT: usize = 128 * 1024 - 1;

/// What a resumed agent is told; its conversation holds the goal already.
const RESUMED: &str = "Aether has started you again after your process ended. Look at the state \
                       of your workspace, then continue with your goal where you left off.";

pub(super) fn prepare(unit: &Unit, agent: &Agent, facts: &Facts) -> Result<Launch, Failure> {
    let program = facts.program.clone().ok_or_else(|| missing(agent))?;
    let prompt = if facts.resume {
        RESUMED
    } else {
        agent.goal.as_str()
    };
    let mcp = facts.generated.join("mcp.json");
    let settings = facts.generated.join("settings.json");

    let mut argv = vec![PROGRAM.to_owned()];
    if !agent.terminal {
        argv.extend(
            [
                "-p",
                "--input-format=stream-json",
                "--output-format=stream-json",
                "--verbose",
                // Each message is echoed when it is taken up: the only sign that it was.
                "--replay-user-messages",
                "--permission-prompt-tool=stdio",
            ]
            .map(str::to_owned),
        );
    }
    argv.push("--strict-mcp-config".to_owned());
    argv.push(format!("--mcp-config={}", text(&mcp)?));
    argv.push(format!("--settings={}", text(&settings)?));
    let begin = if facts.resume {
        "--resume"
    } else {
        "--session-id"
    };
    argv.push(format!("{begin}={}", facts.session));
    if let Some(model) = &agent.model {
        argv.push(format!("--model={model}"));
    }
    if let Some(mode) = &agent.permission_mode {
        argv.push(format!("--permission-mode={mode}"));
    }
    for tool in &agent.allowed_tools {
        argv.push(format!("--allowedTools={tool}"));
    }
    if agent.terminal && !prompt.is_empty() {
        let prompt = stream::plain(prompt);
        if prompt.len() > ARGUMENT || prompt.contains('\0') {
            let detail = "the goal is too long for an argument, or holds a NUL".to_owned();
            return Err(failure(
                "goal",
                detail,
                Some("put it into a file, or unset Terminal="),
            ));
        }
        argv.push("--".to_owned());
        argv.push(prompt.into_owned());
    }

    Ok(Launch {
        paths: paths(&program, facts),
        program,
        argv,
        environment: environment(facts)?,
        files: vec![
            // Arguments of servers are nobody else's: they often hold a key.
            file(mcp, 0o600, servers(unit, facts)?.to_string()),
            file(settings, 0o644, settings_text()),
            file(
                facts.config.join("CLAUDE.md"),
                0o644,
                instructions::page(unit, agent, facts),
            ),
            GeneratedFile {
                keep: true,
                locked: false,
                ..file(
                    facts.config.join(".claude.json"),
                    0o600,
                    first_run(unit, facts)?,
                )
            },
        ],
        input: !agent.terminal,
        first_input: (!agent.terminal && !prompt.is_empty()).then(|| prompt.to_owned()),
        structured: !agent.terminal,
        session: Some(facts.session.clone()),
    })
}

fn missing(agent: &Agent) -> Failure {
    match &agent.runtime_binary {
        Some(path) => failure(
            "binary",
            format!("RuntimeBinary={} is not there", path.display()),
            Some("correct RuntimeBinary=, or npm install -g @anthropic-ai/claude-code"),
        ),
        None => failure(
            "binary",
            "claude is not installed: it is in no directory of PATH".to_owned(),
            Some("npm install -g @anthropic-ai/claude-code, or set RuntimeBinary="),
        ),
    }
}

fn environment(facts: &Facts) -> Result<Vec<(String, String)>, Failure> {
    let tmp = text(&facts.tmp)?;
    let mut environment: Vec<(String, String)> = [
        // Always set: without it .claude.json lands in the home itself.
        ("CLAUDE_CONFIG_DIR", text(&facts.config)?),
        ("TMPDIR", tmp),
        ("CLAUDE_CODE_TMPDIR", tmp),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        // The first request waits for the MCP servers, and so has our tools.
        ("MCP_CONNECTION_NONBLOCKING", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in &facts.environment {
        environment.retain(|(there, _)| there != name);
        environment.push((name.clone(), value.clone()));
    }
    Ok(environment)
}

fn servers(unit: &Unit, facts: &Facts) -> Result<Value, Failure> {
    let mut servers = Map::new();
    for (name, command) in &unit.mcp.servers {
        if name == SERVER {
            let detail = format!("the MCP server name {SERVER:?} is Aether's own");
            return Err(failure("mcp", detail, Some("rename it in Server=")));
        }
        let arguments = command.argv.get(1..).unwrap_or_default();
        servers.insert(
            name.clone(),
            json!({"type": "stdio", "command": command.program, "args": arguments, "env": {}}),
        );
    }
    if !unit.mcp.tools.is_empty() {
        servers.insert(
            SERVER.to_owned(),
            json!({
                "type": "stdio",
                "command": text(&facts.mcp_program)?,
                "args": [text(&facts.mcp_socket)?],
                "env": {},
                "alwaysLoad": true,
            }),
        );
    }
    Ok(json!({ "mcpServers": servers }))
}

/// Our tools need nobody's permission; hooks (which a workspace may bring along) do not run; the
/// program's own sandbox would need more rights than ours leaves.
fn settings_text() -> String {
    json!({
        "permissions": {"allow": [format!("mcp__{SERVER}")]},
        "disableAllHooks": true,
        "sandbox": {"enabled": false},
    })
    .to_string()
}

/// What skips the dialogs of a first run; in the terminal also the one about the key in the
/// environment, which the program knows by its last 20 characters.
fn first_run(unit: &Unit, facts: &Facts) -> Result<String, Failure> {
    let environment = unit.service.as_ref().map(|s| &s.exec.environment);
    let key = environment.and_then(|e| e.get("ANTHROPIC_API_KEY"));
    let approved: Vec<String> = key
        .map(|key| {
            let skip = key.chars().count().saturating_sub(20);
            key.chars().skip(skip).collect()
        })
        .into_iter()
        .collect();
    let project = json!({"hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true});
    let first = json!({
        "hasCompletedOnboarding": true,
        "theme": "dark",
        "customApiKeyResponses": {"approved": approved, "rejected": []},
        "projects": {text(&facts.workspace)?: project},
    });
    Ok(first.to_string())
}

fn paths(program: &Path, facts: &Facts) -> Vec<PathRule> {
    let rule = |path: &Path, access, optional| PathRule {
        path: path.to_owned(),
        access,
        optional,
        reason: "Runtime=claude-code".to_owned(),
    };
    let directory = program.parent().filter(|parent| *parent != Path::new("/"));
    vec![
        rule(directory.unwrap_or(program), Access::ReadExecute, false),
        rule(&facts.mcp_program, Access::ReadExecute, true),
        rule(&facts.config, Access::ReadWrite, false),
        rule(&facts.tmp, Access::ReadWrite, false),
        rule(&facts.workspace, Access::ReadWriteExecute, false),
        // Without these two it aborts at its start.
        rule(Path::new("/dev/urandom"), Access::Read, false),
        rule(Path::new("/proc/self"), Access::Read, false),
        rule(Path::new("/dev/null"), Access::ReadWrite, false),
    ]
}

fn file(path: PathBuf, mode: u32, content: String) -> GeneratedFile {
    GeneratedFile {
        path,
        mode,
        content,
        keep: false,
        locked: true,
    }
}

/// A path as text: it goes into JSON and the environment, where other bytes have no place.
fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        let detail = format!("path {} is not UTF-8", path.display());
        failure("path", detail, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::prepare::tests::{agent, facts};
    use crate::runtime::prepare::{Memory, prepare};
    use crate::unit::Command;

    const HOSTILE: [&str; 6] = [
        "--help",
        "-p",
        "--dangerously-skip-permissions",
        "--",
        "/clear",
        "--mcp-config=/x",
    ];

    #[test]
    fn headless_goals_are_not_in_argv() {
        let plain = prepare(&agent("a goal"), &facts()).unwrap();
        for goal in HOSTILE {
            let launch = prepare(&agent(goal), &facts()).unwrap();
            assert_eq!(launch.argv, plain.argv);
            assert_eq!(launch.first_input.as_deref(), Some(goal));
        }
        assert!(plain.input && plain.structured);
    }

    #[test]
    fn in_a_terminal_the_goal_is_the_last_word_after_the_options() {
        for goal in HOSTILE {
            let mut unit = agent(goal);
            unit.agent.as_mut().unwrap().terminal = true;
            let launch = prepare(&unit, &facts()).unwrap();
            let (last, options) = launch.argv.split_last().unwrap();
            assert_eq!(last.trim_start(), goal);
            assert!(!last.starts_with('/'));
            assert_eq!(
                options.iter().position(|o| o == "--"),
                Some(options.len() - 1)
            );
            assert!(!options.contains(&"-p".to_owned()));
            assert!(launch.first_input.is_none() && !launch.input && !launch.structured);
        }
        let mut unit = agent(&"x".repeat(ARGUMENT + 1));
        unit.agent.as_mut().unwrap().terminal = true;
        assert_eq!(prepare(&unit, &facts()).unwrap_err().step, "goal");
    }

    #[test]
    fn no_value_stands_alone_as_an_argument() {
        let mut unit = agent("x");
        let own = unit.agent.as_mut().unwrap();
        own.model = Some("--help".into());
        own.permission_mode = Some("-p".into());
        own.allowed_tools = vec!["--resume".into(), "Bash(git push:*)".into()];
        let launch = prepare(&unit, &facts()).unwrap();
        for argument in &launch.argv[1..] {
            let known = argument.contains('=')
                || [
                    "-p",
                    "--verbose",
                    "--replay-user-messages",
                    "--strict-mcp-config",
                ]
                .contains(&argument.as_str());
            assert!(known, "{argument}");
        }
        assert!(launch.argv.contains(&"--model=--help".to_owned()));
        assert!(launch.argv.contains(&"--allowedTools=--resume".to_owned()));
    }

    #[test]
    fn a_restart_resumes_and_does_not_repeat_the_goal() {
        let resumed = Facts {
            resume: true,
            ..facts()
        };
        let launch = prepare(&agent("the goal"), &resumed).unwrap();
        assert!(
            launch
                .argv
                .contains(&format!("--resume={}", facts().session))
        );
        assert!(!launch.argv.iter().any(|a| a.starts_with("--session-id")));
        assert_eq!(launch.first_input.as_deref(), Some(RESUMED));
    }

    #[test]
    fn the_servers_are_ours_and_the_units() {
        let mut unit = agent("x");
        let command = Command {
            program: "/usr/bin/gh".into(),
            argv: vec!["gh".into(), "stdio".into()],
            ..Command::default()
        };
        unit.mcp.servers = vec![("github".into(), command.clone())];
        let launch = prepare(&unit, &facts()).unwrap();
        let config: Value = serde_json::from_str(&launch.files[0].content).unwrap();
        let ours = &config["mcpServers"]["aether"];
        assert_eq!(ours["command"], "/usr/bin/aether-mcp");
        assert_eq!(ours["args"], json!(["/run/a/mcp.sock"]));
        assert_eq!(ours["alwaysLoad"], true);
        assert_eq!(config["mcpServers"]["github"]["args"], json!(["stdio"]));
        unit.mcp.servers = vec![("aether".into(), command)];
        assert_eq!(prepare(&unit, &facts()).unwrap_err().step, "mcp");
        unit.mcp.servers.clear();
        unit.mcp.tools.clear();
        let launch = prepare(&unit, &facts()).unwrap();
        assert_eq!(launch.files[0].content, r#"{"mcpServers":{}}"#);
    }

    #[test]
    fn files_lie_in_the_configuration_and_only_the_programs_own_is_kept() {
        let mut facts = facts();
        facts.memories = vec![Memory {
            layer: "shared".into(),
            text: "the port is 8080".into(),
        }];
        let mut unit = agent("x");
        unit.agent.as_mut().unwrap().role = Some("Maintainer".into());
        let launch = prepare(&unit, &facts).unwrap();
        for file in &launch.files {
            // What the agent must not change lies where it cannot write.
            let own = file.path.starts_with(&facts.config);
            assert!(own || file.path.starts_with(&facts.generated));
            assert_eq!(file.keep, file.path.ends_with(".claude.json"));
            assert_eq!(file.locked, !file.keep);
        }
        let page = &launch.files[2].content;
        assert!(page.contains("Maintainer") && page.contains("the port is 8080"));
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let absent = Facts {
            program: None,
            ..facts()
        };
        let failure = prepare(&agent("x"), &absent).unwrap_err();
        assert_eq!(failure.step, "binary");
        assert!(failure.detail.starts_with("claude is not installed"));
        assert!(
            failure
                .help
                .unwrap()
                .contains("npm install -g @anthropic-ai/claude-code")
        );
    }

    #[test]
    fn the_daemons_environment_wins_over_the_runtimes() {
        let mut facts = facts();
        facts.environment = vec![("TMPDIR".into(), "/other".into())];
        let launch = prepare(&agent("x"), &facts).unwrap();
        let tmp: Vec<_> = launch
            .environment
            .iter()
            .filter(|(n, _)| n == "TMPDIR")
            .collect();
        assert_eq!(tmp, [&("TMPDIR".to_owned(), "/other".to_owned())]);
    }
}
