//! Remembering, recalling and forgetting in SQLite, always within one unit's range of keys.
//!
//! Runs on the database's thread only. Every statement that touches `memory` names the unit's
//! range, so another unit's row cannot be read, replaced or deleted, whatever id is given. The
//! order of hits is decided in [`super::memory`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::memory::{Alike, Draft, Hit, Layer, Parts, Query, Written, age_words, rounded};
use super::store::Fault;
use super::{ulid, words};
use crate::name::UnitName;

/// Most memories of one unit.
pub const QUOTA: u64 = 100_000;
/// Most text of one unit's memories, with tags and contexts, in bytes.
pub const QUOTA_BYTES: u64 = 64 << 20;
/// Oldest memories among which those to forget are looked for.
const OLDEST: u32 = 1_000;
/// Most units the database knows; their numbers are half of a key.
const MAX_UNITS: i64 = 1 << 30;
/// Candidates that are ranked for one question.
const CANDIDATES: u32 = 64;
/// A word in more memories than this (and than one in fifty) is common.
const COMMON: u32 = 256;
/// Newest rows that are scanned where the index cannot help.
const SCANNED: u32 = 10_000;
/// Ids of forgotten memories kept per unit.
const FORGOTTEN: u32 = 1_000;
/// Uses counted in memory before they are written.
const UNWRITTEN_USES: u32 = 64;
/// From which likeness on an existing memory is worth mentioning.
const ALIKE: f64 = 0.5;

/// The open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    units: HashMap<UnitName, i64>,
    used: HashMap<i64, u32>,
    /// Units whose memories are not as they were when [`Self::take_changed`] was asked last.
    changed: BTreeSet<UnitName>,
    quota: u64,
    quota_bytes: u64,
}

/// One unit's keys.
#[derive(Debug, Clone, Copy)]
struct Range {
    unit: i64,
    first: i64,
    last: i64,
}

#[derive(Debug)]
struct Candidate {
    key: i64,
    parts: Parts,
    score: f64,
}

impl Database {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            units: HashMap::new(),
            used: HashMap::new(),
            changed: BTreeSet::new(),
            quota: QUOTA,
            quota_bytes: QUOTA_BYTES,
        }
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The unit's keys; the unit is entered when it is new.
    fn range(&mut self, unit: &UnitName) -> Result<Range, Fault> {
        let failed = Fault::during("look up the unit");
        let number = if let Some(number) = self.units.get(unit) {
            *number
        } else {
            self.connection
                .execute(
                    "INSERT OR IGNORE INTO unit(name) VALUES (?1)",
                    [unit.as_str()],
                )
                .map_err(&failed)?;
            let number: i64 = self
                .connection
                .query_row(
                    "SELECT number FROM unit WHERE name = ?1",
                    [unit.as_str()],
                    |row| row.get(0),
                )
                .map_err(&failed)?;
            if number >= MAX_UNITS {
                return Err(Fault::Invalid(
                    "there are too many units in the memory database".to_owned(),
                ));
            }
            self.units.insert(unit.clone(), number);
            number
        };
        let first = number << 32;
        Ok(Range {
            unit: number,
            first,
            last: first | 0xFFFF_FFFF,
        })
    }

    /// Writes a memory, unless the same text is there already.
    ///
    /// # Errors
    /// Limits, quota, an unknown `supersedes`, or SQLite.
    pub fn remember(
        &mut self,
        unit: &UnitName,
        draft: Draft,
        source: &str,
    ) -> Result<Written, Fault> {
        let draft = draft.check().map_err(Fault::Invalid)?;
        let range = self.range(unit)?;
        let mut similar = self.alike(range, &draft.text)?;
        if let Some(same) = similar.iter().find(|other| other.text == draft.text)
            && draft.supersedes.as_ref() != Some(&same.id)
        {
            let id = same.id.clone();
            similar.clear();
            return Ok(Written {
                id,
                new: false,
                superseded: None,
                similar,
            });
        }
        let failed = Fault::during("write the memory");
        let now = milliseconds();
        let transaction = self.connection.transaction().map_err(&failed)?;
        let (rows, bytes): (i64, i64) = transaction
            .prepare_cached("SELECT rows, bytes FROM unit WHERE number = ?1")
            .and_then(|mut row| row.query_row([range.unit], |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(&failed)?;
        let more = u64::try_from(draft.size()).unwrap_or(u64::MAX);
        let (rows, bytes) = (
            u64::try_from(rows).unwrap_or(0),
            u64::try_from(bytes).unwrap_or(0),
        );
        let full = if rows >= self.quota {
            Some(format!("{} memories", self.quota))
        } else if bytes.saturating_add(more) > self.quota_bytes {
            Some(format!("{} KiB of memories", self.quota_bytes / 1024))
        } else {
            None
        };
        if let Some(most) = full {
            let candidates = worthless(&transaction, range).map_err(&failed)?;
            return Err(Fault::Quota { most, candidates });
        }
        let seed: [u8; 10] = transaction
            .prepare_cached("SELECT randomblob(10)")
            .and_then(|mut row| row.query_row([], |row| row.get(0)))
            .map_err(&failed)?;
        let id = ulid::encode(now, seed);
        if let Some(old) = &draft.supersedes {
            let changed = transaction
                .prepare_cached(
                    "UPDATE memory SET superseded_by = ?1
                     WHERE id = ?2 AND key BETWEEN ?3 AND ?4 AND superseded_by IS NULL",
                )
                .and_then(|mut row| row.execute(params![id, old, range.first, range.last]))
                .map_err(&failed)?;
            if changed == 0 {
                return Err(Fault::Unknown { id: old.clone() });
            }
        }
        let key: i64 = transaction
            .prepare_cached(
                "SELECT coalesce(max(key), ?1) + 1 FROM memory WHERE key BETWEEN ?1 AND ?2",
            )
            .and_then(|mut row| row.query_row([range.first, range.last], |row| row.get(0)))
            .map_err(&failed)?;
        if key > range.last {
            return Err(Fault::Invalid(
                "you have used up every number that a memory of yours can have".to_owned(),
            ));
        }
        transaction
            .prepare_cached(
                "INSERT INTO memory(key, id, layer, importance, created, source, tags, context, text)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .and_then(|mut row| {
                row.execute(params![
                    key,
                    id,
                    draft.layer.as_str(),
                    draft.importance,
                    i64::try_from(now).unwrap_or(i64::MAX),
                    source,
                    draft.tags.join(" "),
                    draft.context,
                    draft.text
                ])
            })
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        self.changed.insert(unit.clone());
        similar.retain(|other| Some(&other.id) != draft.supersedes.as_ref());
        similar.truncate(3);
        Ok(Written {
            id,
            new: true,
            superseded: draft.supersedes,
            similar,
        })
    }

    /// Existing memories with nearly these words, best first.
    fn alike(&mut self, range: Range, text: &str) -> Result<Vec<Alike>, Fault> {
        let failed = Fault::during("look for similar memories");
        // The longest words are the rarest; eight of them find every near copy.
        let mut keys = words::keywords(text);
        keys.sort_by_key(|word| std::cmp::Reverse(word.len()));
        keys.truncate(8);
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let mut found: Vec<Alike> = Vec::new();
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT m.id, m.text FROM (SELECT rowid AS k FROM memory_fts
                   WHERE memory_fts MATCH ?1 AND rowid BETWEEN ?2 AND ?3
                   ORDER BY rowid DESC LIMIT 32) JOIN memory m ON m.key = k
                 WHERE m.superseded_by IS NULL",
            )
            .map_err(&failed)?;
        // A near copy differs in little: one half of these words is all there.
        for expression in near(&keys) {
            let rows = statement
                .query_map(params![expression, range.first, range.last], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })
                .map_err(&failed)?;
            for row in rows {
                let (id, other) = row.map_err(&failed)?;
                let likeness = rounded(words::likeness(text, &other));
                if (likeness >= ALIKE || other == text) && !found.iter().any(|known| known.id == id)
                {
                    found.push(Alike {
                        id,
                        text: other,
                        likeness,
                    });
                }
            }
        }
        found.sort_by(|a, b| {
            b.likeness
                .total_cmp(&a.likeness)
                .then_with(|| b.id.cmp(&a.id))
        });
        Ok(found)
    }

    /// Of the unit's newest memories the most important, as layer and text.
    ///
    /// # Errors
    /// SQLite's.
    pub fn recent(&mut self, unit: &UnitName, most: u32) -> Result<Vec<(String, String)>, Fault> {
        let failed = Fault::during("read the newest memories");
        let range = self.range(unit)?;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT layer, text FROM
                   (SELECT key, layer, text, importance FROM memory
                    WHERE key BETWEEN ?1 AND ?2 AND superseded_by IS NULL
                    ORDER BY key DESC LIMIT ?3)
                 ORDER BY importance DESC, key DESC LIMIT ?4",
            )
            .map_err(&failed)?;
        let newest = most.saturating_mul(10);
        statement
            .query_map(params![range.first, range.last, newest, most], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .and_then(Iterator::collect)
            .map_err(&failed)
    }

    /// Finds memories, best first.
    ///
    /// # Errors
    /// Limits or SQLite.
    pub fn recall(&mut self, unit: &UnitName, query: Query) -> Result<Vec<Hit>, Fault> {
        let query = query.check().map_err(Fault::Invalid)?;
        let range = self.range(unit)?;
        let keys = words::keywords(&query.text);
        let most = CANDIDATES.max(query.limit);
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let tagged = tag_expression(&query.tags);
        let mut found = match (keys.is_empty(), tagged.is_empty()) {
            (false, _) => self.matching(
                range,
                &both(&words::expression(&keys, " AND "), &tagged),
                &query,
                most,
            )?,
            (true, true) if query.text.trim().is_empty() => self.newest(range, &query, most)?,
            (true, true) => vec![],
            (true, false) => self.matching(range, &tagged, &query, most)?,
        };
        if found.len() < wanted && keys.len() > 1 {
            let wider = self.widened(range, &keys, &tagged, &query, most)?;
            merge(&mut found, wider);
        }
        normalise(&mut found);
        let unspaced = query.text.chars().any(words::is_unspaced);
        if unspaced || (found.is_empty() && !query.text.is_ascii()) {
            let scanned = self.scan(range, &words::pieces(&query.text), &query)?;
            merge(&mut found, scanned);
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.key.cmp(&a.key)));
        found.truncate(wanted);
        self.read(&found)
    }

    fn matching(
        &self,
        range: Range,
        expression: &str,
        query: &Query,
        most: u32,
    ) -> Result<Vec<Candidate>, Fault> {
        self.candidates(
            "SELECT m.key, m.layer, m.importance, m.created, m.pinned, m.tags, f.s FROM
               (SELECT rowid AS k, bm25(memory_fts, 1.0, 2.0, 0.4) AS s FROM memory_fts
                WHERE memory_fts MATCH ?1 AND rowid BETWEEN ?2 AND ?3
                ORDER BY s, rowid DESC LIMIT ?4) f
             JOIN memory m ON m.key = f.k WHERE m.superseded_by IS NULL",
            params![
                expression,
                range.first,
                range.last,
                most * selectivity(query)
            ],
            query,
        )
    }

    /// Memories with some of the words. A word in every other memory says little and costs much, so
    /// the rare ones are asked for alone; where that is not enough, the newest with any of them.
    fn widened(
        &self,
        range: Range,
        keys: &[String],
        tagged: &str,
        query: &Query,
        most: u32,
    ) -> Result<Vec<Candidate>, Fault> {
        let failed = Fault::during("count words");
        let rows: u32 = self
            .connection
            .prepare_cached("SELECT rows FROM unit WHERE number = ?1")
            .and_then(|mut row| row.query_row([range.unit], |row| row.get(0)))
            .map_err(&failed)?;
        let common = (rows / 50).max(COMMON);
        let mut counting = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM memory_fts
                 WHERE memory_fts MATCH ?1 AND rowid BETWEEN ?2 AND ?3 LIMIT ?4)",
            )
            .map_err(&failed)?;
        let (mut known, mut rare) = (vec![], vec![]);
        for key in keys {
            let expression = words::expression(std::slice::from_ref(key), "");
            let values = params![expression, range.first, range.last, common + 1];
            let count: u32 = counting
                .query_row(values, |row| row.get(0))
                .map_err(&failed)?;
            if count > 0 {
                known.push(key.clone());
            }
            if (1..=common).contains(&count) {
                rare.push(key.clone());
            }
        }
        let mut found = vec![];
        if !rare.is_empty() {
            let any = both(&words::expression(&rare, " OR "), tagged);
            found = self.matching(range, &any, query, most)?;
        }
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        if found.len() < wanted && known.len() > rare.len() {
            let any = both(&words::expression(&known, " OR "), tagged);
            let newest = self.candidates(
                "SELECT m.key, m.layer, m.importance, m.created, m.pinned, m.tags, f.s FROM
                   (SELECT rowid AS k, bm25(memory_fts, 1.0, 2.0, 0.4) AS s FROM memory_fts
                    WHERE memory_fts MATCH ?1 AND rowid BETWEEN ?2 AND ?3
                    ORDER BY rowid DESC LIMIT ?4) f
                 JOIN memory m ON m.key = f.k WHERE m.superseded_by IS NULL",
                params![any, range.first, range.last, most * selectivity(query)],
                query,
            )?;
            merge(&mut found, newest);
        }
        Ok(found)
    }

    fn newest(&self, range: Range, query: &Query, most: u32) -> Result<Vec<Candidate>, Fault> {
        self.candidates(
            "SELECT key, layer, importance, created, pinned, tags, 1.0 FROM memory
             WHERE key BETWEEN ?1 AND ?2 AND superseded_by IS NULL ORDER BY key DESC LIMIT ?3",
            params![range.first, range.last, most * selectivity(query)],
            query,
        )
    }

    fn candidates(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        query: &Query,
    ) -> Result<Vec<Candidate>, Fault> {
        let failed = Fault::during("search");
        let now = milliseconds();
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query(values).map_err(&failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(&failed)? {
            let layer = Layer::parse(
                row.get_ref(1)
                    .map_err(&failed)?
                    .as_str()
                    .unwrap_or_default(),
            );
            if query.layer.is_some_and(|wanted| wanted != layer) {
                continue;
            }
            let tags = row
                .get_ref(5)
                .map_err(&failed)?
                .as_str()
                .unwrap_or_default();
            if !has_all(tags, &query.tags) {
                continue;
            }
            let created: i64 = row.get(3).map_err(&failed)?;
            let parts = Parts {
                // bm25 is negative and better when smaller.
                relevance: row.get::<_, f64>(6).map_err(&failed)?.abs(),
                importance: row.get(2).map_err(&failed)?,
                layer,
                pinned: row.get(4).map_err(&failed)?,
                age: days(now, created),
            };
            found.push(Candidate {
                key: row.get(0).map_err(&failed)?,
                parts,
                score: parts.score(),
            });
        }
        Ok(found)
    }

    /// Counts which pieces stand in which of the newest rows: slow, bounded, and only for text that
    /// has no words.
    fn scan(
        &self,
        range: Range,
        pieces: &[String],
        query: &Query,
    ) -> Result<Vec<Candidate>, Fault> {
        let failed = Fault::during("scan");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, text, tags, context FROM memory
                 WHERE key BETWEEN ?1 AND ?2 AND superseded_by IS NULL ORDER BY key DESC LIMIT ?3",
            )
            .map_err(&failed)?;
        let mut rows = statement
            .query(params![range.first, range.last, SCANNED])
            .map_err(&failed)?;
        let mut counts: Vec<(i64, u32)> = Vec::new();
        while let Some(row) = rows.next().map_err(&failed)? {
            let mut hay = String::new();
            for column in 1..=3 {
                hay.push_str(
                    &row.get_ref(column)
                        .map_err(&failed)?
                        .as_str()
                        .unwrap_or_default()
                        .to_lowercase(),
                );
                hay.push('\n');
            }
            let count = pieces
                .iter()
                .filter(|piece| hay.contains(piece.as_str()))
                .count();
            if count > 0 {
                counts.push((
                    row.get(0).map_err(&failed)?,
                    u32::try_from(count).unwrap_or(u32::MAX),
                ));
            }
        }
        drop(rows);
        counts.sort_by_key(|(key, count)| std::cmp::Reverse((*count, *key)));
        counts.truncate(usize::try_from(CANDIDATES).unwrap_or(usize::MAX));
        let all = f64::from(u32::try_from(pieces.len()).unwrap_or(u32::MAX));
        let mut found = Vec::new();
        for (key, count) in counts {
            let row = self.candidates(
                "SELECT key, layer, importance, created, pinned, tags, 1.0 FROM memory WHERE key = ?1",
                [key],
                query,
            )?;
            found.extend(row.into_iter().map(|mut candidate| {
                candidate.parts.relevance = f64::from(count) / all;
                candidate.score = candidate.parts.score();
                candidate
            }));
        }
        Ok(found)
    }

    fn read(&mut self, found: &[Candidate]) -> Result<Vec<Hit>, Fault> {
        let failed = Fault::during("read the memories");
        let now = milliseconds();
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT id, text, tags, context, source, created FROM memory WHERE key = ?1",
            )
            .map_err(&failed)?;
        let mut hits = Vec::with_capacity(found.len());
        for candidate in found {
            let parts = &candidate.parts;
            let hit = statement
                .query_row([candidate.key], |row| {
                    let created: i64 = row.get(5)?;
                    Ok(Hit {
                        id: row.get(0)?,
                        text: row.get(1)?,
                        layer: parts.layer,
                        tags: row
                            .get::<_, String>(2)?
                            .split_whitespace()
                            .map(ToOwned::to_owned)
                            .collect(),
                        context: row.get(3)?,
                        importance: parts.importance,
                        source: row.get(4)?,
                        age: age_words(
                            now.saturating_sub(u64::try_from(created).unwrap_or(0)) / 1000,
                        ),
                        score: rounded(candidate.score),
                        why: format!(
                            "relevance {:.2} × importance {:.2} × recency {:.2}",
                            parts.relevance,
                            parts.importance_factor(),
                            parts.recency_factor()
                        ),
                    })
                })
                .map_err(&failed)?;
            hits.push(hit);
            *self.used.entry(candidate.key).or_default() += 1;
        }
        Ok(hits)
    }

    /// Deletes a memory; its id, the time and the reason stay.
    ///
    /// # Errors
    /// An id that this unit does not have, or SQLite.
    pub fn forget(&mut self, unit: &UnitName, id: &str, reason: &str) -> Result<(), Fault> {
        let range = self.range(unit)?;
        let failed = Fault::during("forget the memory");
        let transaction = self.connection.transaction().map_err(&failed)?;
        let gone = transaction
            .prepare_cached(
                "DELETE FROM memory WHERE id = ?1 AND key BETWEEN ?2 AND ?3 RETURNING key",
            )
            .and_then(|mut row| {
                row.query_row(params![id, range.first, range.last], |row| {
                    row.get::<_, i64>(0)
                })
                .optional()
            })
            .map_err(&failed)?;
        let Some(key) = gone else {
            return Err(Fault::Unknown {
                id: id.chars().take(64).collect(),
            });
        };
        transaction
            .execute(
                "INSERT OR REPLACE INTO forgotten(id, unit, at, reason) VALUES (?1, ?2, ?3, ?4)",
                params![
                    id,
                    range.unit,
                    i64::try_from(milliseconds()).unwrap_or(i64::MAX),
                    reason
                ],
            )
            .map_err(&failed)?;
        transaction
            .execute(
                "DELETE FROM forgotten WHERE unit = ?1 AND id NOT IN
                   (SELECT id FROM forgotten WHERE unit = ?1 ORDER BY at DESC LIMIT ?2)",
                params![range.unit, FORGOTTEN],
            )
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        self.used.remove(&key);
        self.changed.insert(unit.clone());
        Ok(())
    }

    /// Units whose memories have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> BTreeSet<UnitName> {
        std::mem::take(&mut self.changed)
    }

    /// How many memories the unit has.
    ///
    /// # Errors
    /// SQLite.
    pub fn count(&mut self, unit: &UnitName) -> Result<u64, Fault> {
        let range = self.range(unit)?;
        let rows: i64 = self
            .connection
            .query_row(
                "SELECT rows FROM unit WHERE number = ?1",
                [range.unit],
                |row| row.get(0),
            )
            .map_err(Fault::during("count"))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// Writes down which memories were used, once there are enough of them to be worth it. What a
    /// crash loses are at most that many counts.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        if self.used.values().sum::<u32>() < UNWRITTEN_USES {
            return Ok(());
        }
        let failed = Fault::during("count uses");
        let now = i64::try_from(milliseconds()).unwrap_or(i64::MAX);
        let used = std::mem::take(&mut self.used);
        let transaction = self.connection.transaction().map_err(&failed)?;
        for (key, count) in used {
            transaction
                .prepare_cached("UPDATE memory SET uses = uses + ?1, last_used = ?2 WHERE key = ?3")
                .and_then(|mut row| row.execute(params![count, now, key]))
                .map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }
}

/// Ids of a few memories to forget first: superseded ones, which nobody finds any more, else the
/// oldest.
fn worthless(connection: &Connection, range: Range) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "SELECT id FROM (SELECT key, id, superseded_by FROM memory
               WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3)
             ORDER BY superseded_by IS NULL, key LIMIT 3",
        )?
        .query_map(params![range.first, range.last, OLDEST], |row| row.get(0))?
        .collect()
}

/// A filter is applied after the search, so more rows are searched for it.
fn selectivity(query: &Query) -> u32 {
    if query.layer.is_some() || !query.tags.is_empty() {
        16
    } else {
        1
    }
}

/// Requires every tag; a tag without letters or digits cannot be asked of the index.
fn tag_expression(tags: &[String]) -> String {
    let phrases: Vec<String> = tags
        .iter()
        .map(|tag| words::split(tag).join(" "))
        .filter(|phrase| !phrase.is_empty())
        .map(|phrase| format!("tags : \"{phrase}\""))
        .collect();
    phrases.join(" AND ")
}

fn both(words: &str, tags: &str) -> String {
    if tags.is_empty() {
        words.to_owned()
    } else {
        format!("({words}) AND {tags}")
    }
}

/// Relevance 1 for the best.
fn normalise(found: &mut [Candidate]) {
    let best = found.iter().map(|c| c.parts.relevance).fold(0.0, f64::max);
    for candidate in found {
        candidate.parts.relevance = if best > 0.0 {
            candidate.parts.relevance / best
        } else {
            1.0
        };
        candidate.score = candidate.parts.score();
    }
}

/// Adds what is not there yet.
fn merge(found: &mut Vec<Candidate>, others: Vec<Candidate>) {
    let known: HashSet<i64> = found.iter().map(|candidate| candidate.key).collect();
    found.extend(
        others
            .into_iter()
            .filter(|other| !known.contains(&other.key)),
    );
}

/// Expressions that a near copy fulfils: the first half of the words, or the second.
fn near(keys: &[String]) -> Vec<String> {
    if keys.len() < 4 {
        return vec![words::expression(keys, " OR ")];
    }
    let (a, b) = keys.split_at(keys.len() / 2);
    vec![words::expression(a, " AND "), words::expression(b, " AND ")]
}

fn has_all(tags: &str, wanted: &[String]) -> bool {
    wanted.iter().all(|tag| {
        tags.split(' ')
            .any(|have| have.eq_ignore_ascii_case(tag) || have.to_lowercase() == tag.to_lowercase())
    })
}

fn milliseconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn days(now: u64, created: i64) -> f64 {
    let seconds = now.saturating_sub(u64::try_from(created).unwrap_or(0)) / 1000;
    f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)) / 86_400.0
}

#[cfg(test)]
#[path = "rows_test.rs"]
mod tests;
