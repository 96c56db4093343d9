//! The hub under its supervisor: sockets and answers come from aetherd over D-Bus.
//!
//! aetherd hands over each unit's listening socket, so the hub can be killed and started again
//! without a client losing more than the call in flight. When aetherd itself is restarted, the
//! hub goes on serving and connects again. Read next: [`super::serve`].

use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::link::{Agent, Asking, Status, Supervisor, Unanswered};
use super::serve::Change;
use crate::bus::client::{Client, ClientError, ClientSignal, Properties};
use crate::name::UnitName;

/// First and longest pause between attempts to reach an aetherd that is not there.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The present connection, shared with every tool call; `None` while there is none.
#[derive(Debug, Clone)]
pub struct Link(watch::Receiver<Option<Client>>);

/// Makes the link; [`follow`] keeps it.
#[must_use]
pub fn link() -> (watch::Sender<Option<Client>>, Arc<Link>) {
    let (sender, receiver) = watch::channel(None);
    (sender, Arc::new(Link(receiver)))
}

/// Follows aetherd for ever: which units have a socket, and when one comes or goes. `first` is
/// called once, when all sockets known at the first connection are served.
pub async fn follow(
    socket: PathBuf,
    link: watch::Sender<Option<Client>>,
    changes: mpsc::Sender<Change>,
    first: impl FnOnce(),
) {
    let mut first = Some(first);
    let mut served: BTreeSet<UnitName> = BTreeSet::new();
    let mut pause = PAUSE.0;
    loop {
        match attend(&socket, &link, &changes, &mut served, &mut first).await {
            Ok(()) => pause = PAUSE.0,
            Err(error) => {
                tracing::warn!("aetherd: {error}; trying again");
                pause = (pause * 2).min(PAUSE.1);
            }
        }
        link.send_replace(None);
        if changes.is_closed() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn attend(
    socket: &std::path::Path,
    link: &watch::Sender<Option<Client>>,
    changes: &mpsc::Sender<Change>,
    served: &mut BTreeSet<UnitName>,
    first: &mut Option<impl FnOnce()>,
) -> Result<(), ClientError> {
    let client = Client::connect(socket).await?;
    let mut signals = client.subscribe().await?;
    link.send_replace(Some(client.clone()));
    reconcile(&client, changes, served).await?;
    if let Some(first) = first.take() {
        first();
    }
    while let Some(signal) = signals.next().await {
        match signal {
            ClientSignal::ListenerNew(unit) => {
                served.remove(&unit);
                listen(&client, changes, served, unit).await;
            }
            ClientSignal::ListenerRemoved(unit) => unlisten(changes, served, unit).await,
            ClientSignal::Missed(_) => reconcile(&client, changes, served).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Serves exactly the sockets there are. Those served before a restart of aetherd are the same
/// sockets still, so their connections live on.
async fn reconcile(
    client: &Client,
    changes: &mpsc::Sender<Change>,
    served: &mut BTreeSet<UnitName>,
) -> Result<(), ClientError> {
    let there: BTreeSet<UnitName> = client.listeners().await?.into_iter().collect();
    let gone: Vec<UnitName> = served.difference(&there).cloned().collect();
    for unit in gone {
        unlisten(changes, served, unit).await;
    }
    let new: Vec<UnitName> = there.difference(served).cloned().collect();
    for unit in new {
        listen(client, changes, served, unit).await;
    }
    Ok(())
}

async fn listen(
    client: &Client,
    changes: &mpsc::Sender<Change>,
    served: &mut BTreeSet<UnitName>,
    unit: UnitName,
) {
    match client.get_listener(&unit).await {
        Ok((socket, tools)) => {
            served.insert(unit.clone());
            let socket = UnixListener::from(socket);
            // The receiver lives as long as the hub.
            let _ = changes
                .send(Change::Listen {
                    unit,
                    socket,
                    tools,
                })
                .await;
        }
        // It may have ended in between; its removal is signalled.
        Err(error) => tracing::info!("{unit}: no socket to serve: {error}"),
    }
}

async fn unlisten(changes: &mpsc::Sender<Change>, served: &mut BTreeSet<UnitName>, unit: UnitName) {
    served.remove(&unit);
    let _ = changes.send(Change::Unlisten { unit }).await;
}

impl Link {
    fn client(&self) -> Result<Client, Unanswered> {
        self.0
            .borrow()
            .clone()
            .ok_or_else(|| Unanswered::Away("aetherd is being restarted; try again".to_owned()))
    }
}

fn unanswered(error: ClientError) -> Unanswered {
    match error {
        ClientError::Refused { message, .. } => Unanswered::Refused(message),
        other => Unanswered::Away(other.to_string()),
    }
}

impl Supervisor for Link {
    fn agents<'a>(&'a self, _asker: &'a UnitName) -> Asking<'a, Vec<Agent>> {
        Box::pin(async move {
            let client = self.client()?;
            let rows = client
                .list_units(&[], &["*.agent"])
                .await
                .map_err(unanswered)?;
            Ok(rows
                .into_iter()
                .map(|row| Agent {
                    name: row.name.to_string(),
                    description: row.description,
                    role: String::new(),
                    state: row.active_state,
                    sub: row.sub_state,
                })
                .collect())
        })
    }

    fn status<'a>(&'a self, asker: &'a UnitName, unit: &'a UnitName) -> Asking<'a, Status> {
        Box::pin(async move {
            let client = self.client()?;
            // To ask aetherd for one unit is to have it look for that unit's files, so it is asked
            // for none but those that it lists, whatever names an agent thinks of.
            if unit != asker && !is_listed(&client, unit).await? {
                return Err(Unanswered::Refused(format!(
                    "there is no unit {unit}; list_agents names them"
                )));
            }
            let found = client.unit_properties(unit).await.map_err(unanswered)?;
            Ok(status(unit, &found))
        })
    }
}

async fn is_listed(client: &Client, unit: &UnitName) -> Result<bool, Unanswered> {
    // A name has no character that a pattern would take for another.
    let rows = client
        .list_units(&[], &[unit.as_str()])
        .await
        .map_err(unanswered)?;
    Ok(rows.iter().any(|row| row.name == *unit))
}

fn status(unit: &UnitName, found: &Properties) -> Status {
    let small = |name: &str| {
        found
            .number(name)
            .and_then(|number| u32::try_from(number).ok())
    };
    // Unset is all ones on the bus.
    let known = |name: &str| found.number(name).filter(|number| *number != u64::MAX);
    let limits = found
        .json()
        .get("ResourceLimits")
        .cloned()
        .unwrap_or_default();
    let limit = |name: &str| limits.get(name).and_then(serde_json::Value::as_u64);
    Status {
        name: unit.to_string(),
        description: found.text("Description").to_owned(),
        state: found.text("ActiveState").to_owned(),
        sub: found.text("SubState").to_owned(),
        why: found.text("Why").to_owned(),
        since_seconds: None,
        restarts: small("NRestarts"),
        memory_current: known("MemoryCurrent"),
        memory_max: limit("MemoryMax"),
        tasks_current: known("TasksCurrent"),
        tasks_max: limit("TasksMax"),
        cpu_milliseconds: known("CPUUsageNSec").map(|nanos| nanos / 1_000_000),
        cpu_quota_percent: limit("CPUQuotaPerSecUSec").map(|usec| usec / 10_000),
        waiting_messages: small("WaitingInputs"),
        not_enforced: found
            .texts("SandboxMissing")
            .into_iter()
            .map(ToOwned::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::ask::Caller;
    use crate::bus::authorise::HUB_UNIT;
    use crate::bus::fake::{Fake, facts, name, root};
    use crate::bus::serve::Limits;

    #[tokio::test]
    async fn aetherd_is_asked_for_no_unit_that_it_does_not_list() {
        let hub = Caller {
            unit: Some(name(HUB_UNIT)),
            ..root()
        };
        let units = vec![facts("coder.agent"), facts("other.agent")];
        let fake = Fake::start(hub, units, Limits::default());
        let (sender, link) = link();
        sender.send_replace(Some(fake.client().await));
        let coder = name("coder.agent");
        for unknown in ["nobody.agent", "oth.agent", "nothing-9.service"] {
            let error = link.status(&coder, &name(unknown)).await.unwrap_err();
            let said = format!("there is no unit {unknown}; list_agents names them");
            assert_eq!(error, Unanswered::Refused(said));
        }
        for asked in fake.asked.lock().unwrap().iter() {
            assert_eq!(asked, "Units");
        }
        for known in ["other.agent", "coder.agent"] {
            let status = link.status(&coder, &name(known)).await.unwrap();
            assert_eq!(status.name, known);
        }
    }
}
