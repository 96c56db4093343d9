//! Small reads and writes of control files, with the path in every error.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::CgroupError;

/// No control file that we read is longer.
const LIMIT: u64 = 1 << 22;

pub(super) fn failed<'a>(
    step: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> CgroupError + 'a {
    move |source| CgroupError::Io {
        step,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    // Such a file has no size that could be asked for; most are read at once.
    let mut text = String::with_capacity(512);
    fs::File::open(path)
        .and_then(|file| file.take(LIMIT).read_to_string(&mut text))
        .map_err(failed("read", path))?;
    Ok(text)
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    // Never O_CREAT: in a directory that is no cgroup this must fail.
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed("write to", path))
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = read(path).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

pub(super) fn number(path: &Path) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

/// Direct child groups.
pub(super) fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![];
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes the group and all below it, children first. A missing group is a removed one.
pub(super) fn remove(directory: &Path) -> Result<(), CgroupError> {
    for child in children(directory) {
        remove(&child)?;
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(CgroupError::Busy {
            path: directory.to_owned(),
        }),
        Err(error) => Err(failed("remove", directory)(error)),
    }
}

/// Makes a group, or takes an existing one that is ours and that nobody else may write; whether it
/// was made.
pub(super) fn make(directory: &Path) -> Result<bool, CgroupError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make", directory)(error)),
    }
    let found = fs::symlink_metadata(directory).map_err(failed("look at", directory))?;
    let own = nix::unistd::geteuid().as_raw();
    if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
        return Err(CgroupError::Foreign {
            path: directory.to_owned(),
        });
    }
    Ok(false)
}
