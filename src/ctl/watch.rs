//! Watching a unit until it ends, with or without its output: `run` and `start`, `--wait` and
//! `--follow`.
//!
//! It begins before the start it is for, so that nothing is missed. It only looks; a person who
//! goes away (Ctrl-C) leaves the unit running.

use serde_json::json;

use super::Interrupt;
use super::ask;
use super::exit::{Exit, Problem};
use super::facts::Facts;
use super::life;
use super::logs::{Reader, ReaderGone, Watch};
use super::screen::{Screen, clean_line};
use super::status;
use crate::bus::client::{Client, ClientError, ClientSignal, ErrorClass, Signals};
use crate::name::UnitName;
use crate::place::Places;

/// A unit that is being watched.
#[derive(Debug)]
pub(super) struct Watching {
    name: UnitName,
    signals: Signals,
    output: Option<(Watch, Reader)>,
    /// Heard from the beginning: between two waits a Ctrl-C must not be lost.
    interrupt: Interrupt,
}

impl Watching {
    /// Begins. `output`: whether to show it, and whether events are expected in it.
    pub(super) async fn begin(
        screen: Screen,
        places: &Places,
        client: &Client,
        name: &UnitName,
        output: Option<bool>,
    ) -> anyhow::Result<Self> {
        let interrupt = Interrupt::new()?;
        let directory = places.unit_log(name);
        let output = match output {
            Some(structured) => {
                let watch = Watch::new(&directory)?;
                Some((watch, Reader::at_end(&directory, screen, structured)?))
            }
            None => None,
        };
        let signals = client
            .subscribe()
            .await
            .map_err(|error| ask::refused(&format!("start {name}"), &error))?;
        Ok(Self {
            name: name.clone(),
            signals,
            output,
            interrupt,
        })
    }

    /// Shows what there is to show until the unit has ended; how it ended is the exit code.
    pub(super) async fn until_end(
        mut self,
        screen: Screen,
        places: &Places,
        mut client: Client,
    ) -> anyhow::Result<Exit> {
        let name = &self.name;
        let mut end = End::default();
        end.ask(&client, name, false).await;
        let mut reader_gone = ReaderGone::new()?;
        while !end.over() {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Some(signal) => end.take(&client, name, signal).await,
                    // The daemon may die at any moment; the unit goes on, and so do we.
                    None => tokio::select! {
                        found = again(places, name) => {
                            (client, self.signals) = found?;
                            end.ask(&client, name, true).await;
                        }
                        exit = self.interrupt.come() => return Ok(exit),
                    },
                },
                changed = changed(&mut self.output) => {
                    changed?;
                    if let Some((_, reader)) = &mut self.output {
                        reader.more()?;
                    }
                }
                exit = self.interrupt.come() => {
                    super::note(screen, &format!("{name} goes on; stop it with: aetherctl stop {name}"));
                    return Ok(exit);
                }
                // Without output nothing is read, and the exit code is what is waited for.
                () = reader_gone.wait(), if self.output.is_some() => return Ok(Exit::Done),
            }
        }
        if let Some((_, reader)) = &mut self.output {
            reader.more()?;
            reader.end()?;
        }
        Ok(end.tell(screen, name)?)
    }
}

/// A connection to the next daemon.
async fn again(places: &Places, name: &UnitName) -> anyhow::Result<(Client, Signals)> {
    loop {
        let client = match life::reconnect(places).await {
            Ok(client) => client,
            Err(error) => {
                return Err(Problem::new(format!("{error}; {name} may go on"))
                    .exit(Exit::NoDaemon)
                    .help(format!("aetherctl status {name}"))
                    .into());
            }
        };
        match client.subscribe().await {
            Ok(signals) => return Ok((client, signals)),
            // That one has died, too.
            Err(ClientError::Lost(_)) => {}
            Err(error) => return Err(ask::problem(&error).into()),
        }
    }
}

async fn changed(output: &mut Option<(Watch, Reader)>) -> std::io::Result<()> {
    match output {
        Some((watch, _)) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// What is known of how the unit ends.
#[derive(Debug, Default)]
struct End {
    active: String,
    result: String,
    why: String,
    exit: Option<String>,
    status: Option<i64>,
    signal: Option<i64>,
    gone: bool,
}

impl End {
    fn over(&self) -> bool {
        self.gone || matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// Takes over what the properties say; those that are not among them stay.
    fn learn(&mut self, facts: &Facts) {
        for (field, name) in [
            (&mut self.active, "ActiveState"),
            (&mut self.result, "Result"),
            (&mut self.why, "Why"),
        ] {
            if facts.0.get(name).is_some() {
                *field = clean_line(facts.text(name));
            }
        }
        if facts.0.get("ExecMainCode").is_some() {
            self.exit = status::exit(facts);
            let number = Some(facts.signed("ExecMainStatus"));
            // The codes of waitid(2).
            (self.status, self.signal) = match facts.signed("ExecMainCode") {
                1 => (number, None),
                2 | 3 => (None, number),
                _ => (None, None),
            };
        }
    }

    /// Asks. A unit that has ended may be forgotten already: then its signals, which are still in
    /// line, say how, unless some of them were `missed`.
    async fn ask(&mut self, client: &Client, name: &UnitName, missed: bool) {
        match ask::facts(client, name).await {
            Ok(facts) if facts.text("InvocationID").is_empty() && !missed => {}
            Ok(facts) => self.learn(&facts),
            Err(error) if error.is("NoSuchUnit") && !missed => {}
            // The connection's end is told by its signals; it says nothing of the unit.
            Err(error) if error.class() == ErrorClass::NoDaemon => {}
            Err(_) => self.gone = true,
        }
    }

    async fn take(&mut self, client: &Client, name: &UnitName, signal: ClientSignal) {
        match signal {
            ClientSignal::Changed { unit, properties } if unit == *name => {
                self.learn(&Facts(properties.json()));
                // It may speak of the time before the start that is watched: signals wait in line.
                if self.over() {
                    self.ask(client, name, false).await;
                }
            }
            ClientSignal::UnitRemoved(unit) if unit == *name => self.gone = true,
            ClientSignal::Missed(_) => self.ask(client, name, true).await,
            _ => {}
        }
    }

    fn exit(&self) -> Exit {
        match (self.active.as_str(), self.result.as_str()) {
            ("failed", _) => Exit::NotSo,
            (_, "success" | "completed") => Exit::Done,
            _ => Exit::NotSo,
        }
    }

    fn tell(&self, screen: Screen, name: &UnitName) -> std::io::Result<Exit> {
        let exit = self.exit();
        if screen.json {
            screen.print_json(&json!({
                "unit": name, "state": self.active, "result": self.result, "why": self.why,
                "exit": self.exit, "exit_status": self.status, "exit_signal": self.signal,
            }))?;
            return Ok(exit);
        }
        let reason = match (&self.exit, self.why.as_str()) {
            (_, why) if !why.is_empty() => format!(": {why}"),
            (Some(exit), _) => format!(": {exit}"),
            _ => String::new(),
        };
        let word = if exit == Exit::Done {
            "Finished"
        } else {
            "Failed"
        };
        let result = if self.result.is_empty() {
            "unknown"
        } else {
            &self.result
        };
        super::note(screen, &format!("{word}: {name} ({result}){reason}"));
        Ok(exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_decides_the_exit_code() {
        let mut end = End::default();
        assert!(!end.over());
        end.learn(&Facts(
            json!({ "ActiveState": "active", "Result": "success" }),
        ));
        assert!(!end.over());
        end.learn(&Facts(
            json!({ "ActiveState": "inactive", "Result": "completed" }),
        ));
        assert!(end.over() && end.exit() == Exit::Done);
        end.learn(&Facts(
            json!({ "ActiveState": "failed", "Why": "killed for memory" }),
        ));
        assert_eq!(end.exit(), Exit::NotSo);
        assert_eq!(end.why, "killed for memory");
        end.learn(&Facts(json!({ "ExecMainCode": 1, "ExecMainStatus": 7 })));
        assert_eq!((end.status, end.signal), (Some(7), None));
        end.learn(&Facts(json!({ "ExecMainCode": 2, "ExecMainStatus": 9 })));
        assert_eq!((end.status, end.signal), (None, Some(9)));
    }
}
