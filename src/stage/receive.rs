//! The plan's way in: one frame on descriptor 0, with the descriptors beside it.
//!
//! The sender is our own daemon, and is still held to the frame's limits. Read next: `step`.

use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::plan::{ExecPlan, Failure};
use crate::sys::process::{HEADER, MAX_PLAN};
use crate::sys::socket;

fn refuse(detail: impl Into<String>) -> Failure {
    Failure {
        step: "plan".to_owned(),
        errno: 0,
        detail: detail.into(),
        help: None,
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure {
        errno: error.raw_os_error().unwrap_or(0),
        ..refuse(format!("the plan did not arrive: {error}"))
    }
}

/// Waits for the plan.
pub(super) fn plan(from: BorrowedFd<'_>) -> Result<(ExecPlan, Vec<OwnedFd>), Failure> {
    let mut fds = vec![];
    let mut bytes = vec![0; 8 << 10];
    let mut filled = 0;
    let length = loop {
        let (Some(head), Some(room)) = (bytes.get(..filled), bytes.get(filled..)) else {
            return Err(refuse("the plan is longer than it says"));
        };
        if let Some((length, elsewhere)) = header(head) {
            if length > MAX_PLAN {
                return Err(refuse(format!("the plan is {length} bytes long")));
            }
            if elsewhere {
                return separate(length, fds);
            }
            if filled >= HEADER + length {
                break length;
            }
        }
        if room.is_empty() {
            bytes.resize((bytes.len() * 2).min(2 * MAX_PLAN), 0);
            continue;
        }
        let room = bytes.get_mut(filled..).unwrap_or_default();
        match socket::receive(from, room, &mut fds) {
            Ok(0) => return Err(refuse("the socket was closed before the plan was whole")),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(lost(&error)),
        }
    };
    let text = bytes.get(HEADER..HEADER + length).unwrap_or_default();
    Ok((read(text)?, fds))
}

/// Length, and whether the plan is in the first descriptor.
fn header(bytes: &[u8]) -> Option<(usize, bool)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    Some((length, u32::from_le_bytes(*kind) != 0))
}

/// A long plan, in a file of its own.
fn separate(length: usize, mut fds: Vec<OwnedFd>) -> Result<(ExecPlan, Vec<OwnedFd>), Failure> {
    if fds.is_empty() {
        return Err(refuse("the plan's file is missing"));
    }
    let mut text = Vec::with_capacity(length);
    std::fs::File::from(fds.remove(0))
        .take(length as u64)
        .read_to_end(&mut text)
        .map_err(|error| lost(&error))?;
    Ok((read(&text)?, fds))
}

fn read(text: &[u8]) -> Result<ExecPlan, Failure> {
    let plan = serde_json::from_slice(text)
        .map_err(|error| refuse(format!("the plan cannot be read: {error}")))?;
    super::check_version(&plan)?;
    Ok(plan)
}
