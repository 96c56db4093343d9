//! `logs`: what a unit printed and did, from its files; needs no running Aether.
//!
//! `entry` is one line's form, `chain` the files and reading on across rotation, `tail` finding
//! the last entries, `follow` waiting, `show` the looks. Read next: [`chain`].

mod chain;
mod entry;
mod follow;
mod show;
mod tail;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local, Utc};

use self::chain::Cursor;
use self::entry::{Entry, Joiner, Line, Stream};
pub(super) use self::follow::{ReaderGone, Watch};
use self::show::View;
use super::cli;
use super::exit::{Exit, Problem};
use super::screen::Screen;
use super::time;
use crate::name::UnitName;
use crate::place::Places;
use crate::sys::unitfile::directories;

/// Which entries.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    lines: Option<usize>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Wanted {
    fn within(&self, time: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Shows a unit's output as it comes.
#[derive(Debug)]
pub(super) struct Reader {
    directory: PathBuf,
    cursor: Cursor,
    joiner: Joiner,
    view: View,
    wanted: Wanted,
    skip: usize,
    unreadable: usize,
}

impl Reader {
    /// Opens a unit's output and finds where to begin.
    fn open(directory: &Path, mut view: View, wanted: Wanted) -> io::Result<Self> {
        let chain = chain::open(directory)?;
        view.structured |= tail::has_events(&chain)?;
        let start = match wanted.lines {
            Some(count) => tail::find(&chain, count, |line| {
                view.shows(line.stream) && wanted.within(line.time)
            })?,
            None => tail::Start::default(),
        };
        Ok(Self {
            directory: directory.to_owned(),
            cursor: Cursor::new(directory, chain, start.file, start.offset)?,
            joiner: Joiner::default(),
            view,
            wanted,
            skip: start.skip,
            unreadable: 0,
        })
    }

    /// Opens a unit's output at its end, to follow what comes.
    pub(super) fn at_end(directory: &Path, screen: Screen, structured: bool) -> io::Result<Self> {
        let wanted = Wanted {
            lines: Some(0),
            since: None,
            until: None,
        };
        Self::open(directory, view(screen, false, structured), wanted)
    }

    /// Gives every entry there is to `give`.
    fn each(&mut self, mut give: impl FnMut(&Entry, View) -> io::Result<()>) -> io::Result<()> {
        while let Some(bytes) = self.cursor.next()? {
            let Some(line) = Line::parse(bytes) else {
                self.unreadable += 1;
                continue;
            };
            // An agent whose output turns out to be structured while it is followed.
            self.view.structured |= line.stream == Stream::Event;
            if !self.view.shows(line.stream) {
                continue;
            }
            let Some(entry) = self.joiner.push(line) else {
                continue;
            };
            if !self.wanted.within(entry.time) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            give(&entry, self.view)?;
        }
        Ok(())
    }

    /// Prints every entry there is.
    pub(super) fn print(&mut self) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        self.each(|entry, view| write(&mut out, entry, view))?;
        out.flush()
    }

    /// Prints what was begun and not ended, and says what could not be read.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for entry in self.joiner.finish() {
            if self.wanted.within(entry.time) {
                write(&mut out, &entry, self.view)?;
            }
        }
        out.flush()?;
        self.complain()
    }

    fn complain(&mut self) -> io::Result<()> {
        let mut error = io::stderr().lock();
        if std::mem::take(&mut self.cursor.gap) {
            writeln!(
                error,
                "aetherctl: output was rotated away before it could be shown"
            )?;
        }
        let unreadable = std::mem::take(&mut self.unreadable);
        if unreadable > 0 {
            let place = self.directory.display();
            writeln!(
                error,
                "aetherctl: {unreadable} unreadable lines in {place} were left out"
            )?;
        }
        Ok(())
    }

    /// Looks for what was added since.
    pub(super) fn more(&mut self) -> io::Result<()> {
        self.cursor.refresh()?;
        self.print()?;
        self.complain()
    }
}

fn write(out: &mut impl io::Write, entry: &Entry, view: View) -> io::Result<()> {
    let text = show::render(entry, view);
    if view.raw && entry.stream == Stream::Stderr {
        out.flush()?;
        return io::stderr().lock().write_all(&text);
    }
    out.write_all(&text)
}

fn view(screen: Screen, raw: bool, structured: bool) -> View {
    View {
        raw,
        json: screen.json,
        structured,
        colour: screen.colour,
        terminal: screen.terminal,
    }
}

/// The last entries of a unit as text, for `status`; empty when there is no log.
pub(super) fn last(directory: &Path, lines: usize, screen: Screen) -> io::Result<String> {
    let wanted = Wanted {
        lines: Some(lines),
        since: None,
        until: None,
    };
    let view = View {
        json: false,
        terminal: true,
        ..view(screen, false, false)
    };
    let mut reader = match Reader::open(directory, view, wanted) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let mut out = vec![];
    reader.each(|entry, view| {
        out.extend(show::render(entry, view));
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `logs`.
pub(super) fn run(screen: Screen, places: &Places, ask: &cli::Logs) -> anyhow::Result<Exit> {
    let unit = UnitName::from_user(&ask.unit).map_err(Problem::usage)?;
    let unit = super::find::names(places).resolve(&unit);
    let directory = places.unit_log(&unit);
    let now = Local::now();
    let at = |text: &Option<String>| {
        text.as_deref()
            .map(|text| time::parse(text, now).map_err(Problem::usage))
            .transpose()
    };
    let since = at(&ask.since)?;
    let wanted = Wanted {
        lines: ask
            .lines
            .or((ask.follow && since.is_none()).then_some(10))
            .filter(|lines| *lines != usize::MAX),
        since,
        until: at(&ask.until)?,
    };
    // Before the first event only the unit's file tells whether there will be events.
    let structured = ask.follow && super::find::is_structured(places, &unit);
    let view = view(screen, ask.raw, structured);
    let chain_is_empty = chain::open(&directory)
        .map_err(|error| unreadable(&unit, &directory, &error))?
        .is_empty();
    // Output is waited for only where there may be some one day.
    if chain_is_empty && !(ask.follow && super::find::exists(places, &unit)) {
        return Err(no_log(&unit, &directory, places).into());
    }
    if ask.follow {
        return super::block_on(follow(&directory, view, wanted));
    }
    let mut reader = Reader::open(&directory, view, wanted)
        .map_err(|error| unreadable(&unit, &directory, &error))?;
    reader.print()?;
    reader.end()?;
    Ok(Exit::Done)
}

/// Prints what there is and what comes, until interrupted.
async fn follow(directory: &Path, view: View, wanted: Wanted) -> anyhow::Result<Exit> {
    // The watch first: what is written between looking and waiting must end the wait.
    let mut watch = Watch::new(directory)?;
    let mut reader = Reader::open(directory, view, wanted)?;
    reader.print()?;
    reader.complain()?;
    let mut interrupt = super::Interrupt::new()?;
    let mut reader_gone = ReaderGone::new()?;
    loop {
        tokio::select! {
            changed = watch.changed() => changed?,
            // That is how following ends.
            _ = interrupt.come() => return Ok(Exit::Done),
            () = reader_gone.wait() => return Ok(Exit::Done),
        }
        reader.more()?;
    }
}

fn no_log(unit: &UnitName, directory: &Path, places: &Places) -> Problem {
    let known = super::find::exists(places, unit);
    let problem = Problem::new(format!(
        "{unit} has no output: there is no {}",
        directory.join("output.log").display()
    ));
    if known {
        problem.help(format!(
            "it has not run yet; start it with: aetherctl start {unit}"
        ))
    } else if let Some(near) = super::find::nearest_file(&directories(places), unit) {
        problem.help(format!("did you mean {near}?"))
    } else {
        problem.help("the units there are: aetherctl list-units --all".to_owned())
    }
}

fn unreadable(unit: &UnitName, directory: &Path, error: &io::Error) -> Problem {
    let problem = Problem::new(format!(
        "failed to read the output of {unit} in {}: {error}",
        directory.display()
    ));
    if error.kind() == io::ErrorKind::PermissionDenied {
        problem
            .exit(Exit::Refused)
            .help("the system's logs are root's to read; try with sudo".to_owned())
    } else {
        problem
    }
}

#[cfg(test)]
mod tests;
