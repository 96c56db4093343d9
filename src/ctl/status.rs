//! `status`: why a unit is like it is, from everything the daemon knows of it. Pure; the asking is
//! in [`super::ask`].

use super::facts::Facts;
use super::screen::{Tone, clean_line, ellipsize, plural, tint};
use super::time;
use super::tree::Tree;
use crate::bus::client::ProcessRow;

/// What `status` shows of one unit.
#[derive(Debug)]
pub(super) struct Status {
    /// Its properties.
    pub(super) facts: Facts,
    /// Its processes.
    pub(super) processes: Vec<ProcessRow>,
    /// The last of its log, rendered.
    pub(super) log: String,
}

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    /// Colours may be used.
    pub(super) colour: bool,
    /// Columns; nothing is cut without.
    pub(super) width: Option<usize>,
    /// The present: realtime and boot-time microseconds.
    pub(super) now: (u64, u64),
}

/// The tone of a state.
pub(super) fn tone(active: &str, sub: &str) -> Tone {
    match (active, sub) {
        (_, "paused") => Tone::Paused,
        ("active", _) => Tone::Good,
        ("failed", _) => Tone::Bad,
        ("activating" | "deactivating", _) => Tone::Busy,
        _ => Tone::Plain,
    }
}

impl Status {
    /// The text, line ends included.
    pub(super) fn render(&self, looks: Looks) -> String {
        let facts = &self.facts;
        let mut page = Page {
            text: String::new(),
            looks,
        };
        let tone = tone(facts.text("ActiveState"), facts.text("SubState"));
        let dot = if facts.text("ActiveState") == "inactive" {
            "○"
        } else {
            "●"
        };
        let name = facts.text("Id");
        let description = clean_line(facts.text("Description"));
        page.text.push_str(&tint(looks.colour, tone, dot));
        page.text.push(' ');
        page.text.push_str(&tint(looks.colour, Tone::Strong, name));
        if !description.is_empty() && description != name {
            page.text.push_str(&format!(" - {description}"));
        }
        page.text.push('\n');
        self.loaded(&mut page);
        self.active(&mut page, tone);
        self.agent(&mut page);
        self.resources(&mut page);
        self.sandbox(&mut page);
        self.processes(&mut page);
        if !self.log.is_empty() {
            page.text.push('\n');
            for line in self.log.lines() {
                page.text.push_str(&page.cut(line));
                page.text.push('\n');
            }
        }
        page.text
    }

    fn loaded(&self, page: &mut Page) {
        let facts = &self.facts;
        let state = facts.text("LoadState");
        let mut place = vec![];
        if !facts.text("FragmentPath").is_empty() {
            place.push(facts.text("FragmentPath").to_owned());
        }
        if facts.flag("Transient") {
            place.push("transient".to_owned());
        } else if !facts.text("UnitFileState").is_empty() {
            place.push(facts.text("UnitFileState").to_owned());
        }
        if !facts.text("UnitFilePreset").is_empty() {
            place.push(format!("preset: {}", facts.text("UnitFilePreset")));
        }
        let tone = if state == "loaded" {
            Tone::Plain
        } else {
            Tone::Bad
        };
        let mut text = page.tint(tone, state);
        if !place.is_empty() {
            text.push_str(&format!(" ({})", place.join("; ")));
        }
        page.row("Loaded", &text);
        page.rows("Drop-In", &facts.texts("DropInPaths"));
        let diagnostics: Vec<String> = facts
            .texts("LoadDiagnostics")
            .iter()
            .map(|text| super::screen::clean(text, false))
            .collect();
        for diagnostic in &diagnostics {
            for line in diagnostic.lines() {
                page.row("", &page.tint(Tone::Busy, line));
            }
        }
    }

    fn active(&self, page: &mut Page, tone: Tone) {
        let facts = &self.facts;
        let (active, sub) = (facts.text("ActiveState"), facts.text("SubState"));
        let mut word = active.to_owned();
        let result = facts.text("Result");
        let detail = match result {
            "" | "success" => sub.to_owned(),
            _ if sub == result || active == "active" => sub.to_owned(),
            _ if sub.is_empty() || sub == active => result.to_owned(),
            _ => format!("{sub}; {result}"),
        };
        if !detail.is_empty() && detail != active {
            word.push_str(&format!(" ({detail})"));
        }
        let mut text = page.tint(tone, &word);
        if let Some(since) = facts.positive("StateChangeTimestamp") {
            text.push_str(&format!(" since {}", time::stamp(since)));
            let now = page.looks.now.0;
            if now >= since {
                text.push_str(&format!("; {} ago", time::span(now - since)));
            }
        }
        page.row("Active", &text);
        let why = clean_line(facts.text("Why"));
        if !why.is_empty() {
            let tone = if active == "failed" {
                Tone::Bad
            } else {
                Tone::Plain
            };
            page.row("Why", &page.tint(tone, &why));
        }
        let way_out = clean_line(facts.text("FailureHelp"));
        if !way_out.is_empty() {
            page.row("Help", &way_out);
        }
        let step = facts.text("FailureStep");
        if !step.is_empty() && !why.contains(step) {
            page.row("Step", &clean_line(step));
        }
        let monotonic = facts
            .positive("NextElapseUSecMonotonic")
            .map(|at| page.looks.now.0 + at.saturating_sub(page.looks.now.1));
        let next = [facts.positive("NextElapseUSecRealtime"), monotonic];
        if let Some(next) = next.into_iter().flatten().min() {
            let left = time::span(next.saturating_sub(page.looks.now.0));
            page.row("Next", &format!("{}; {left} left", time::stamp(next)));
        }
        page.rows("Triggers", &facts.texts("Triggers"));
        page.rows("Started by", &facts.texts("TriggeredBy"));
        if let Some(job) = facts.job() {
            page.row("Job", &job.to_string());
        }
        let status = clean_line(facts.text("StatusText"));
        if !status.is_empty() {
            page.row("Status", &format!("\"{status}\""));
        }
        if let Some(pid) = facts.positive("MainPID") {
            let command = self
                .processes
                .iter()
                .find(|process| u64::from(process.pid) == pid)
                .map(|process| clean_line(&process.command))
                .unwrap_or_default();
            let program = command.split(' ').next().unwrap_or_default();
            let program = program.rsplit('/').next().unwrap_or_default();
            let mut text = pid.to_string();
            if !program.is_empty() {
                text.push_str(&format!(" ({program})"));
            }
            page.row("Main PID", &text);
        } else if let Some(text) = exit(facts) {
            page.row("Exit", &text);
        }
        if let Some(pid) = facts.positive("ControlPID") {
            page.row("Control", &pid.to_string());
        }
        // The first one is not counted before it comes.
        let next = facts.positive("RestartAtMonotonic").map(|at| {
            let left = at.saturating_sub(page.looks.now.1);
            format!("the next in {}", time::span(left))
        });
        let count = facts.positive("NRestarts");
        let count = count.map(|count| format!("{count} by policy"));
        let parts: Vec<String> = count.into_iter().chain(next).collect();
        if !parts.is_empty() {
            page.row("Restarts", &parts.join("; "));
        }
    }

    fn agent(&self, page: &mut Page) {
        let facts = &self.facts;
        let runtime = facts.text("Runtime");
        if runtime.is_empty() {
            return;
        }
        let mut parts = vec![runtime.to_owned()];
        let model = facts.text("Model");
        if !model.is_empty() {
            parts.push(clean_line(model));
        }
        let session = facts.text("SessionId");
        if !session.is_empty() {
            parts.push(format!("session {}", clean_line(session)));
        }
        page.row("Agent", &parts.join(", "));
        let mut parts = vec![];
        if let Some(turns) = facts.positive("Turn") {
            parts.push(format!("{turns} turn{}", plural(turns)));
        }
        let (input, output) = (facts.positive("TokensIn"), facts.positive("TokensOut"));
        if input.is_some() || output.is_some() {
            parts.push(format!(
                "tokens {} in, {} out",
                time::short(input.unwrap_or(0)),
                time::short(output.unwrap_or(0))
            ));
        }
        if let Some(cost) = facts.positive("CostMicros") {
            parts.push(time::dollars(cost));
        }
        if let Some(at) = facts.positive("LastActivityTimestamp") {
            let ago = time::span(page.looks.now.0.saturating_sub(at));
            parts.push(format!("last activity {ago} ago"));
        }
        if !parts.is_empty() {
            page.row("Usage", &parts.join("; "));
        }
        if facts.flag("Paused") {
            let reason = clean_line(facts.text("PauseReason"));
            let text = if reason.is_empty() {
                "yes".to_owned()
            } else {
                reason
            };
            let text = page.tint(Tone::Paused, &text);
            page.row("Paused", &text);
        }
        if let Some(waiting) = facts.positive("WaitingInputs") {
            let when = if facts.flag("Paused") {
                "; delivered on resume"
            } else {
                ""
            };
            page.row("Messages", &format!("{waiting} waiting{when}"));
        }
        let workspace = facts.text("Workspace");
        if !workspace.is_empty() {
            page.row("Workspace", workspace);
        }
    }

    fn resources(&self, page: &mut Page) {
        let facts = &self.facts;
        let limited = |now: String, limit: Option<String>| match limit {
            Some(limit) => format!("{now} (max {limit})"),
            None => now,
        };
        if let Some(tasks) = facts.number("TasksCurrent") {
            let limit = facts.limit("TasksMax").map(|limit| limit.to_string());
            page.row("Tasks", &limited(tasks.to_string(), limit));
        }
        if let Some(memory) = facts.number("MemoryCurrent") {
            let limit = facts.limit("MemoryMax").map(time::bytes);
            page.row("Memory", &limited(time::bytes(memory), limit));
        }
        if let Some(cpu) = facts.number("CPUUsageNSec") {
            let limit = facts
                .limit("CPUQuotaPerMille")
                .map(|thousandths| format!("{}% of one processor", thousandths / 10));
            page.row("CPU", &limited(time::span(cpu / 1000), limit));
        }
    }

    fn sandbox(&self, page: &mut Page) {
        let facts = &self.facts;
        let runs = facts.positive("MainPID").is_some();
        let missing = facts.texts("SandboxMissing");
        let mut parts = vec![];
        let policy = facts.text("SandboxPolicy");
        // What runs no process is not confined.
        let id = facts.text("Id");
        if !policy.is_empty() && (id.ends_with(".service") || id.ends_with(".agent")) {
            parts.push(format!("policy {policy}"));
        }
        if runs && let Some(abi) = facts.number("LandlockABI") {
            parts.push(match abi {
                0 => "no Landlock".to_owned(),
                abi => format!("Landlock ABI {abi} enforced"),
            });
        }
        if let Some(uid) = facts.number("UID").filter(|_| runs) {
            parts.push(format!("uid {uid}"));
        }
        if !parts.is_empty() {
            page.row("Sandbox", &parts.join(", "));
        }
        for sentence in missing {
            let text = page.tint(Tone::Busy, &format!("missing: {}", clean_line(sentence)));
            page.row("", &text);
        }
    }

    fn processes(&self, page: &mut Page) {
        let root = self.facts.text("ControlGroup");
        if root.is_empty() && self.processes.is_empty() {
            return;
        }
        page.row("CGroup", root);
        let tree = Tree::grow(root, &self.processes);
        let mut lines = vec![];
        tree.render("", &mut lines);
        for line in lines {
            let text = page.cut(&format!("{:>LABEL$}  {line}", ""));
            page.text
                .push_str(&tint(page.looks.colour, Tone::Dim, &text));
            page.text.push('\n');
        }
    }
}

/// How the last main process ended, in words.
pub(super) fn exit(facts: &Facts) -> Option<String> {
    // The codes of waitid(2).
    let status = facts.signed("ExecMainStatus");
    let signal = || {
        i32::try_from(status)
            .ok()
            .and_then(|number| nix::sys::signal::Signal::try_from(number).ok())
            .map_or_else(
                || format!("signal {status}"),
                |signal| signal.as_str().to_owned(),
            )
    };
    Some(match facts.signed("ExecMainCode") {
        1 => format!("main process exited with status {status}"),
        2 => format!("main process killed by {}", signal()),
        3 => format!("main process killed by {}, core dumped", signal()),
        _ => return None,
    })
}

/// Width of the labels at the left.
const LABEL: usize = 11;

#[derive(Debug)]
struct Page {
    text: String,
    looks: Looks,
}

impl Page {
    fn tint(&self, tone: Tone, text: &str) -> String {
        tint(self.looks.colour, tone, text)
    }

    fn row(&mut self, label: &str, text: &str) {
        let colon = if label.is_empty() { ' ' } else { ':' };
        let line = format!("{label:>LABEL$}{colon} {text}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn rows(&mut self, label: &str, texts: &[&str]) {
        for (place, text) in texts.iter().enumerate() {
            self.row(if place == 0 { label } else { "" }, text);
        }
    }

    /// Cuts plain text; coloured text is left alone.
    fn cut(&self, text: &str) -> String {
        match self.looks.width {
            Some(width) if !text.contains('\x1b') => ellipsize(text, width),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
