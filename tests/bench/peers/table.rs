//! The rounds, and the table that comes of them.

use std::fmt::Write as _;
use std::path::Path;

use crate::measure::{Batch, Depth, Kind, Rest};
use crate::stamp::setting;

/// Measures every wanted row in rounds, so that what else the machine does falls on all of them.
/// `count` services, and a tenth of them.
pub(crate) fn measured(kinds: &[Kind], wanted: &[String], program: &Path, count: u64) -> String {
    let count = usize::try_from(count).unwrap().max(1);
    let rounds = setting("AETHER_BENCH_ROUNDS", 3).max(1);
    let is_wanted =
        |kind: &&Kind| wanted.is_empty() || wanted.iter().any(|word| kind.name.contains(&**word));
    // Bare is what all the others are compared with.
    let (bare, others) = kinds.split_first().unwrap();
    let kinds: Vec<&Kind> = [bare]
        .into_iter()
        .chain(others.iter().filter(is_wanted))
        .collect();
    let few = (count / 10).max(1);
    let mut table = String::new();
    let mut slopes: Vec<Option<Rest>> = vec![];
    for (size, deepest) in [(few, Depth::Memory), (count, Depth::Everything)] {
        let mut rows: Vec<Result<Vec<Batch>, String>> = kinds.iter().map(|_| Ok(vec![])).collect();
        for round in 1..=rounds {
            let depth = if round < rounds {
                Depth::Start
            } else {
                deepest
            };
            for (kind, row) in kinds.iter().zip(&mut rows) {
                let Ok(batches) = row else {
                    continue;
                };
                eprintln!("round {round} of {rounds}: {size} by {}", kind.name);
                match kind.batch(program, size, depth) {
                    Ok(batch) => batches.push(batch),
                    Err(error) => *row = Err(error),
                }
            }
        }
        write!(table, "{}", rendered(&kinds, &rows, size, few, &slopes)).unwrap();
        let last = |row: Result<Vec<Batch>, String>| row.ok()?.pop()?.rest;
        slopes = rows.into_iter().map(last).collect();
    }
    table
}

fn rendered(
    kinds: &[&Kind],
    rows: &[Result<Vec<Batch>, String>],
    size: usize,
    few: usize,
    before: &[Option<Rest>],
) -> String {
    let mut table = format!(
        "{:<24} {:>9} {:>10} {:>6} {:>10} {:>6} {:>10} {:>5} {:>9} {:>9} {:>9} {:>8} {:>11} {:>6} {:>11} {:>6}\n",
        format!("{size} services"),
        "ready ms",
        "running ms",
        "ratio",
        "best ms",
        "ratio",
        "said ms",
        "own",
        "RSS KiB",
        "PSS KiB",
        "PSS each",
        "wake-ups",
        "replaced ms",
        "ratio",
        "new ms",
        "ratio"
    );
    let bare = rows.first().and_then(|row| row.as_ref().ok());
    let limit = |of: &dyn Fn(&Batch) -> Vec<f64>| bare.and_then(|batches| half(of, batches));
    for (index, (kind, row)) in kinds.iter().zip(rows).enumerate() {
        let batches = match row {
            Ok(batches) => batches,
            Err(error) => {
                writeln!(table, "{:<24} {error}", kind.name).unwrap();
                continue;
            }
        };
        let ready = half(&|batch| batch.ready.into_iter().collect(), batches);
        let running: &dyn Fn(&Batch) -> Vec<f64> = &|batch| vec![batch.running];
        let said = half(&|batch| batch.said.into_iter().collect(), batches);
        let old: &dyn Fn(&Batch) -> Vec<f64> =
            &|batch| batch.rest.as_ref().map_or(vec![], |rest| rest.old.clone());
        let new: &dyn Fn(&Batch) -> Vec<f64> =
            &|batch| batch.rest.as_ref().map_or(vec![], |rest| rest.new.clone());
        let with_ratio = |of: &dyn Fn(&Batch) -> Vec<f64>| {
            let (time, limit) = (half(of, batches), limit(of));
            let ratio = time.zip(limit).map(|(time, limit)| time / limit);
            (
                milliseconds(time),
                or_dash(ratio.map(|n| format!("{n:.1}"))),
            )
        };
        let (ran, ran_ratio) = with_ratio(running);
        let (replaced, replaced_ratio) = with_ratio(old);
        let (renewed, renewed_ratio) = with_ratio(new);
        let best = fastest(batches);
        let best_ratio = best
            .zip(bare.and_then(|batches| fastest(batches)))
            .map(|(time, limit)| format!("{:.1}", time / limit));
        // This program is no supervisor.
        let last = batches.last().and_then(|batch| batch.rest.as_ref());
        let rest = last.filter(|rest| rest.own > 0);
        let number = |of: fn(&Rest) -> u64| or_dash(rest.map(|rest| of(rest).to_string()));
        let each = rest
            .zip(before.get(index).and_then(Option::as_ref))
            .map(|(rest, before)| slope(before.pss, rest.pss, size - few));
        writeln!(
            table,
            "{:<24} {:>9} {ran:>10} {ran_ratio:>6} {:>10} {:>6} {:>10} {:>5} {:>9} {:>9} {:>9} {:>8} \
             {replaced:>11} {replaced_ratio:>6} {renewed:>11} {renewed_ratio:>6}",
            kind.name,
            milliseconds(ready),
            milliseconds(best),
            or_dash(best_ratio),
            match (said, rest) {
                (None, Some(_)) => "ok".to_owned(),
                (said, _) => milliseconds(said),
            },
            number(|rest| u64::try_from(rest.own).unwrap()),
            number(|rest| rest.rss),
            number(|rest| rest.pss),
            or_dash(each),
            or_dash(
                rest.and_then(|rest| rest.wakeups)
                    .map(|count| count.to_string())
            ),
        )
        .unwrap();
    }
    table
}

/// KiB for one service more.
fn slope(few: u64, many: u64, more: usize) -> String {
    let of = |kibibytes: u64| f64::from(u32::try_from(kibibytes).unwrap());
    let more = f64::from(u32::try_from(more.max(1)).unwrap());
    format!("{:.1}", (of(many) - of(few)) / more)
}

/// The fastest start.
fn fastest(batches: &[Batch]) -> Option<f64> {
    let all = batches.iter().map(|batch| batch.running);
    all.min_by(f64::total_cmp)
}

/// The median of what all batches have of this.
fn half(of: &dyn Fn(&Batch) -> Vec<f64>, batches: &[Batch]) -> Option<f64> {
    let mut all: Vec<f64> = batches.iter().flat_map(of).collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn milliseconds(seconds: Option<f64>) -> String {
    or_dash(seconds.map(|seconds| format!("{:.2}", seconds * 1e3)))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}
