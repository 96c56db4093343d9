//! The database on its own thread: the runtime never waits for a disk.
//!
//! A [`Store`] is a queue of closures ([`super::turns`]) and the way back for each. A database that
//! cannot be opened (missing directory, full disk, damage) is an answer to each call, naming path
//! and cause, and is tried again later; it is never deleted or repaired behind anyone's back. What
//! a call has changed is laid ready for the next start ([`super::recent`]) before it is answered.
//! What is in the tables: [`super::schema`]; what is done with them: [`super::rows`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::recent;
use super::rows::Database;
use super::schema::STEPS;
use super::turns::{Refused, Turns};
use crate::name::UnitName;

/// How long an open that failed is not tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why a call to the store has no answer. The text is shown to agents.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database cannot be opened.
    #[error("the memory database {} cannot be opened: {cause}", path.display())]
    Unavailable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A statement failed.
    #[error("the memory database failed to {step}: {source}")]
    Sqlite {
        /// What was being done.
        step: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Outside the limits; a sentence.
    #[error("{0}")]
    Invalid(String),
    /// The unit has as much as it may; says what to forget.
    #[error("you have {most}, which is your limit; forget what is outdated first, such as {}", candidates.join(", "))]
    Quota {
        /// The limit that is reached, in words.
        most: String,
        /// Ids of memories that are the likeliest to be worth nothing.
        candidates: Vec<String>,
    },
    /// The unit has no memory with that id.
    #[error("there is no memory {id:?} of yours; ids come from remember and recall")]
    Unknown {
        /// The id as asked.
        id: String,
    },
    /// [`super::turns::SHARE`] calls of the unit are waiting.
    #[error("the memory database is busy with earlier calls of yours; try again")]
    Busy,
    /// The thread has ended.
    #[error("the memory database is closed")]
    Closed,
}

impl Fault {
    /// Wraps what SQLite says with what was being done.
    pub(super) fn during(step: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { step, source }
    }
}

type Job = Box<dyn FnOnce(Result<&mut Database, Fault>) + Send>;

/// The way to the database; clones share one thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Store {
    way: Arc<Way>,
    /// Where the units' recent memories lie ready: beside the database.
    recent: Arc<Path>,
}

/// Closes the queue when it is dropped.
struct Way(Arc<Turns<Job>>);

impl std::fmt::Debug for Way {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Way").finish_non_exhaustive()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Store {
    /// Starts the thread, which opens the database (and makes it when there is none).
    ///
    /// # Errors
    /// When the thread cannot be started. A database that cannot be opened is no error here.
    pub fn start(path: PathBuf) -> std::io::Result<Self> {
        let recent = path.with_file_name("recent").into();
        let turns = Arc::new(Turns::default());
        let served = Served(turns.clone());
        std::thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || {
                let served = served;
                run(&path, &served.0);
            })?;
        Ok(Self {
            way: Arc::new(Way(turns)),
            recent,
        })
    }

    /// Runs `work` on the database's thread, when it is the unit's turn.
    ///
    /// # Errors
    /// What `work` says, or that it could not be run.
    pub async fn call<T: Send + 'static>(
        &self,
        unit: &UnitName,
        work: impl FnOnce(&mut Database) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let recent = Arc::clone(&self.recent);
        let job: Job = Box::new(move |database| {
            let done = database.and_then(|database| {
                let done = work(database);
                recent::keep(database, &recent);
                done
            });
            // A caller that has gone away needs no answer.
            let _ = reply.send(done);
        });
        self.way.0.add(unit, job).map_err(|refused| match refused {
            Refused::Full => Fault::Busy,
            Refused::Closed => Fault::Closed,
        })?;
        answer.await.map_err(|_| Fault::Closed)?
    }
}

/// The thread's end of the queue: when the thread ends, however it does, nobody waits for it.
struct Served(Arc<Turns<Job>>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn run(path: &Path, turns: &Turns<Job>) {
    let mut opened = open(path);
    let mut tried = Instant::now();
    if let Err(fault) = &opened {
        tracing::error!("{fault}; agents run, but cannot remember");
    }
    while let Some(job) = turns.next() {
        if opened.is_err() && tried.elapsed() >= RETRY {
            opened = open(path);
            tried = Instant::now();
        }
        match &mut opened {
            Ok(database) => {
                // One broken call must not take the thread, and so every unit's memory, with it.
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    job(Ok(database));
                }));
                if outcome.is_err() {
                    tracing::error!("a call to the database panicked; opening it again");
                    opened = open(path);
                    tried = Instant::now();
                } else if turns.is_empty()
                    && let Err(fault) = database.settle()
                {
                    tracing::warn!("{fault}, ignoring");
                }
            }
            Err(fault) => job(Err(Fault::Unavailable {
                path: path.to_owned(),
                cause: match fault {
                    Fault::Unavailable { cause, .. } => cause.clone(),
                    other => other.to_string(),
                },
            })),
        }
    }
}

/// Opens, checks and migrates.
///
/// # Errors
/// Always [`Fault::Unavailable`], with the cause.
pub fn open(path: &Path) -> Result<Database, Fault> {
    let unavailable = |cause: String| Fault::Unavailable {
        path: path.to_owned(),
        cause,
    };
    // Made by us first, so that no other user can read it; SQLite gives WAL files the same mode.
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unavailable(error.to_string()))?;
    prepare(path).map_err(|error| unavailable(error.to_string()))
}

/// Why a file is not (any more) a database of ours.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("it is damaged ({0}); move it away, or put a copy back, and restart the hub")]
    Damaged(String),
    #[error("it was written by a newer aether-hub (version {0}, this one knows {known})", known = STEPS.len())]
    Newer(usize),
}

fn prepare(path: &Path) -> Result<Database, Unfit> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "mmap_size", 256 << 20)?;
    connection.pragma_update(None, "cache_size", -8 << 10)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Unfit::Damaged(verdict));
    }
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > STEPS.len() {
        return Err(Unfit::Newer(version));
    }
    for (index, step) in STEPS.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(0))?;
        transaction.commit()?;
    }
    Ok(Database::new(connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::turns::SHARE;
    use std::os::unix::fs::PermissionsExt as _;

    fn unit(name: &str) -> UnitName {
        name.parse().unwrap()
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn opens_private_in_wal_and_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.db");
        drop(open(&path).unwrap());
        let database = open(&path).unwrap();
        let mode: String = database
            .connection()
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_missing_directory_is_named_in_every_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nowhere/hub.db");
        let store = Store::start(path.clone()).unwrap();
        for _ in 0..2 {
            let fault = block(store.call(&unit("a.agent"), |_| Ok(())))
                .unwrap_err()
                .to_string();
            assert!(fault.contains(path.to_str().unwrap()), "{fault}");
            assert!(fault.contains("No such file"), "{fault}");
        }
    }

    #[test]
    fn damage_is_said_and_nothing_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.db");
        let garbage = b"this is no database, and somebody may want it back".repeat(100);
        std::fs::write(&path, &garbage).unwrap();
        let fault = open(&path).unwrap_err().to_string();
        assert!(fault.contains("not a database"), "{fault}");
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }

    #[test]
    fn a_newer_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.db");
        open(&path)
            .unwrap()
            .connection()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn a_panicking_call_does_not_end_the_thread() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::start(dir.path().join("hub.db")).unwrap();
        let broken: Result<(), Fault> =
            block(store.call(&unit("a.agent"), |_| panic!("a broken call")));
        assert!(matches!(broken, Err(Fault::Closed)));
        assert!(block(store.call(&unit("a.agent"), |_| Ok(7))).is_ok());
    }

    #[test]
    fn a_unit_that_asks_too_much_is_refused_and_delays_others_by_one_call() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::start(dir.path().join("hub.db")).unwrap();
        let (a, b) = (unit("a.agent"), unit("b.agent"));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (begun, started) = std::sync::mpsc::channel();
        let (did, done) = std::sync::mpsc::channel();
        let mut poll = std::task::Context::from_waker(std::task::Waker::noop());
        let mut first = Box::pin(store.call(&a, move |_| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            Ok(())
        }));
        assert!(first.as_mut().poll(&mut poll).is_pending());
        started.recv().unwrap();
        let mut waiting = vec![];
        for (unit, count) in [(&a, SHARE), (&b, 2)] {
            for number in 0..count {
                let (did, name) = (did.clone(), unit.to_string());
                let mut call = Box::pin(store.call(unit, move |_| {
                    did.send((name, number)).unwrap();
                    Ok(())
                }));
                assert!(call.as_mut().poll(&mut poll).is_pending());
                waiting.push(call);
            }
        }
        assert!(matches!(
            block(store.call(&a, |_| Ok(()))),
            Err(Fault::Busy)
        ));
        go.send(()).unwrap();
        for call in waiting {
            block(call).unwrap();
        }
        let order: Vec<_> = done.try_iter().take(4).collect();
        let said = |name: &str, number| (format!("{name}.agent"), number);
        assert_eq!(
            order,
            [said("a", 0), said("b", 0), said("a", 1), said("b", 1)]
        );
    }
}
