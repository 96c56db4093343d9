//! Where the last entries begin, found from the end in bounded memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;

use super::chain::Opened;
use super::entry::{Line, MAX_ENTRY, Stream};

const BLOCK: u64 = 1 << 16;

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Start {
    /// Which file of the chain.
    pub(super) file: usize,
    /// Where in it.
    pub(super) offset: u64,
    /// Shown entries to be left out first: they end between the beginning of the first wanted
    /// entry's parts and its end.
    pub(super) skip: usize,
}

/// Where the last `wanted` entries begin, of those that `shown` picks.
pub(super) fn find(
    chain: &[Opened],
    wanted: usize,
    shown: impl Fn(&Line<'_>) -> bool,
) -> io::Result<Start> {
    // Nothing is before the beginning.
    let mut start = Start::default();
    if let Some(last) = chain.len().checked_sub(1) {
        start = Start {
            file: last,
            offset: chain[last].file.metadata()?.len(),
            skip: 0,
        };
    }
    if wanted == 0 {
        return Ok(start);
    }
    let mut found = 0;
    let mut extra = 0;
    let mut looked_back = 0;
    // Streams of which it is not known yet whether the line before belongs to a counted entry.
    let mut undecided: BTreeSet<Stream> = BTreeSet::new();
    for (index, opened) in chain.iter().enumerate().rev() {
        let mut enough = false;
        backward(&opened.file, |offset, text| {
            if found >= wanted {
                looked_back += text.len();
                if undecided.is_empty() || looked_back > MAX_ENTRY {
                    enough = true;
                    return ControlFlow::Break(());
                }
            }
            let Some(line) = Line::parse(text).filter(|line| shown(line)) else {
                return ControlFlow::Continue(());
            };
            let here = Start {
                file: index,
                offset,
                skip: extra,
            };
            match (found < wanted, line.partial) {
                (true, false) => {
                    found += 1;
                    undecided.insert(line.stream);
                    start = here;
                }
                (true, true) => start = here,
                (false, false) => {
                    undecided.remove(&line.stream);
                    extra += 1;
                }
                (false, true) => {
                    if undecided.contains(&line.stream) {
                        start = here;
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        if enough {
            break;
        }
    }
    Ok(start)
}

/// Whether the unit's output is structured: whether there is any agent event. Looks at the newest
/// and at the oldest of it, not at all of it: every structured line is followed by its event.
pub(super) fn has_events(chain: &[Opened]) -> io::Result<bool> {
    const LOOK: usize = 4 << 20;
    let mut found = false;
    let mut looked = 0;
    for opened in chain.iter().rev() {
        backward(&opened.file, |_, text| {
            looked += text.len() + 1;
            found = is_event(text);
            if found || looked > LOOK {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if found || looked > LOOK {
            break;
        }
    }
    if !found && let Some(oldest) = chain.first() {
        let mut block = vec![0; 1 << 20];
        let length = oldest.file.read_at(&mut block, 0)?;
        found = block[..length].split(|byte| *byte == b'\n').any(is_event);
    }
    Ok(found)
}

fn is_event(line: &[u8]) -> bool {
    line.splitn(3, |byte| *byte == b' ').nth(1) == Some(b"event")
}

/// Gives every line with its offset, last first, until told to stop.
fn backward(file: &File, mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let mut place = file.metadata()?.len();
    let mut at_end = true;
    let mut carry: Vec<u8> = vec![];
    while place > 0 {
        let size = BLOCK.min(place);
        place -= size;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut data, place)?;
        data.extend_from_slice(&carry);
        let mut end = data.len();
        if std::mem::take(&mut at_end) && data.last() == Some(&b'\n') {
            end -= 1;
        }
        while let Some(newline) = data[..end].iter().rposition(|byte| *byte == b'\n') {
            let begin = newline + 1;
            let offset = place + u64::try_from(begin).unwrap_or(0);
            if visit(offset, &data[begin..end]).is_break() {
                return Ok(());
            }
            end = newline;
        }
        data.truncate(end);
        carry = data;
        // A line that long is damage; what is before it is not looked at.
        if carry.len() > 2 * MAX_ENTRY {
            return Ok(());
        }
    }
    if !carry.is_empty() {
        let _ = visit(0, &carry);
    }
    Ok(())
}
