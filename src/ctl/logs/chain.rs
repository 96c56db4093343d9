//! The files of one unit's output, oldest first, and a cursor that reads on across rotation.
//!
//! Rotation renames `output.log` to `output.log.1` (`.1` to `.2`, …) and makes a new
//! `output.log`; nothing is written to a file after its successor exists. Files are told apart by
//! inode, and one that is held open cannot have its inode reused: so nothing is read twice and
//! nothing is skipped. Following (waiting) is [`super::follow`]'s.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Name of the file that is written now.
const CURRENT: &str = "output.log";
/// Longest line that is believed; the writer's own limit is far below.
const MAX_LINE: usize = 8 << 20;
/// So many missing numbers in a row are not yet the end of the files.
const FREE_NUMBERS: usize = 2;
/// More rotated files than anyone keeps.
const MAX_FILES: usize = 10_000;

/// One open file.
#[derive(Debug)]
pub(super) struct Opened {
    /// The file.
    pub(super) file: File,
    /// Device and inode.
    id: (u64, u64),
}

impl Opened {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        Ok(Some(Self {
            file,
            id: (metadata.dev(), metadata.ino()),
        }))
    }
}

/// Opens all files of a unit, oldest first: one consistent picture, whatever is rotated meanwhile.
///
/// Rotation renames from the oldest file down, each to the next higher number, and looking goes
/// the same way up: so no file is passed over, but one may be met twice, and a number may be free
/// for a moment.
pub(super) fn open(directory: &Path) -> io::Result<Vec<Opened>> {
    loop {
        let mut files: Vec<Opened> = vec![];
        let current = Opened::open(&directory.join(CURRENT))?;
        let id = current.as_ref().map(|current| current.id);
        files.extend(current);
        let mut free = 0;
        for number in 1..=MAX_FILES {
            match Opened::open(&directory.join(format!("{CURRENT}.{number}")))? {
                Some(file) => {
                    free = 0;
                    if files.iter().all(|known| known.id != file.id) {
                        files.push(file);
                    }
                }
                None if free < FREE_NUMBERS => free += 1,
                None => break,
            }
        }
        // Every rotation makes a new current file, and the one held open keeps its inode.
        if current_id(directory)? == id {
            files.reverse();
            return Ok(files);
        }
    }
}

fn current_id(directory: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::metadata(directory.join(CURRENT)) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads whole lines from a place in the chain to its end, and on when there is more.
#[derive(Debug)]
pub(super) struct Cursor {
    directory: PathBuf,
    files: VecDeque<(BufReader<File>, (u64, u64))>,
    line: Vec<u8>,
    complete: bool,
    /// Files went away before they could be read.
    pub(super) gap: bool,
}

impl Cursor {
    /// Begins at `offset` of the file `first` of the chain.
    pub(super) fn new(
        directory: &Path,
        chain: Vec<Opened>,
        first: usize,
        offset: u64,
    ) -> io::Result<Self> {
        let mut files: VecDeque<_> = chain
            .into_iter()
            .skip(first)
            .map(|opened| (BufReader::with_capacity(1 << 16, opened.file), opened.id))
            .collect();
        for (place, (file, _)) in files.iter_mut().enumerate() {
            file.seek(SeekFrom::Start(if place == 0 { offset } else { 0 }))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            files,
            line: vec![],
            complete: false,
            gap: false,
        })
    }

    /// The next whole line without its end; `None` at the end of what there is.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.complete) {
            self.line.clear();
        }
        while let Some((file, _)) = self.files.front_mut() {
            let room = u64::try_from(MAX_LINE.saturating_sub(self.line.len())).unwrap_or(0);
            file.by_ref().take(room).read_until(b'\n', &mut self.line)?;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                self.complete = true;
            } else if self.line.len() >= MAX_LINE {
                self.complete = true;
            } else if self.files.len() > 1 {
                // The file has a successor, so this was really its end; a line without an end is
                // what a crash left.
                self.files.pop_front();
                self.complete = !self.line.is_empty();
            } else {
                return Ok(None);
            }
            if self.complete {
                return Ok(Some(&self.line));
            }
        }
        Ok(None)
    }

    /// Looks for files that came after those that are held.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let Some(last) = self.files.back().map(|(_, id)| *id) else {
            self.append(open(&self.directory)?);
            return Ok(());
        };
        if current_id(&self.directory)? == Some(last) {
            return self.rewind_if_truncated();
        }
        let mut chain = open(&self.directory)?;
        let newer = match chain.iter().position(|opened| opened.id == last) {
            Some(place) => chain.split_off(place + 1),
            None => {
                self.gap = !chain.is_empty();
                chain
            }
        };
        self.append(newer);
        Ok(())
    }

    fn append(&mut self, files: Vec<Opened>) {
        self.files.extend(
            files
                .into_iter()
                .map(|opened| (BufReader::with_capacity(1 << 16, opened.file), opened.id)),
        );
    }

    fn rewind_if_truncated(&mut self) -> io::Result<()> {
        let between = self.line.is_empty() || self.complete;
        if let Some((file, _)) = self.files.back_mut()
            && between
            && file.get_ref().metadata()?.len() < file.stream_position()?
        {
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}
