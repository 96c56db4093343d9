//! Pressure stall information: `ConditionMemoryPressure=` and its like.

use std::io;
use std::path::{Path, PathBuf};

use super::{Facts, compare, text};

/// Whether the pressure on a resource is at most what the argument says
/// (`[SLICE:]SHARE[/10sec|1min|5min]`). As in systemd it is where the kernel does not measure it.
pub(super) fn at_most(resource: &str, argument: &str, facts: &Facts) -> Option<bool> {
    if !measured()? {
        return Some(true);
    }
    let mut parts = argument.split(':').filter(|part| !part.is_empty());
    let first = parts.next()?;
    let (file, value) = match parts.next() {
        None => (Path::new("/proc/pressure").join(resource), first),
        Some(value) => {
            // Only there groups have it.
            if !facts.unified? || !facts.controllers.contains(resource) {
                return Some(true);
            }
            let group = facts.slices.as_ref()?.join(slice(first.trim())?);
            (group.join(format!("{resource}.pressure")), value)
        }
    };
    let mut parts = value.split('/').filter(|part| !part.is_empty());
    let share = compare::permyriad(parts.next()?.trim())?;
    let average = match parts.next().map(str::trim_start) {
        None => "avg300=",
        Some(time) if time.starts_with("10sec") => "avg10=",
        Some(time) if time.starts_with("1min") => "avg60=",
        Some(time) if time.starts_with("5min") => "avg300=",
        Some(_) => return None,
    };
    let told = match text(file) {
        // A group that is not there has no pressure.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(true),
        other => other.ok()?,
    };
    Some(hundredths(&told, average)? <= share)
}

/// A kernel may have the files and yet refuse to read them.
fn measured() -> Option<bool> {
    for resource in ["cpu", "io", "memory"] {
        match text(Path::new("/proc/pressure").join(resource)) {
            Ok(_) => {}
            Err(error) => {
                let none = error.kind() == io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::EOPNOTSUPP);
                return none.then_some(false);
            }
        }
    }
    Some(true)
}

/// An average in hundredths of a percent: of the time when all stood still, or, where the kernel
/// does not tell that, when some did.
fn hundredths(told: &str, average: &str) -> Option<u32> {
    let of = |kind: &str| {
        told.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some(kind)).then_some(words)
        })
    };
    let mut words = of("full").or_else(|| of("some"))?;
    let (whole, rest) = words
        .find_map(|word| word.strip_prefix(average))?
        .split_once('.')?;
    let whole: u32 = whole.parse().ok()?;
    let rest: u32 = (rest.len() == 2).then(|| rest.parse().ok())??;
    whole.checked_mul(100)?.checked_add(rest)
}

/// Where a slice is below the root: `a-b.slice` is in `a.slice`.
fn slice(name: &str) -> Option<PathBuf> {
    let stem = name.strip_suffix(".slice")?;
    if name == "-.slice" {
        return Some(PathBuf::new());
    }
    if stem.is_empty() || stem.contains('/') || stem.split('-').any(str::is_empty) {
        return None;
    }
    let ends = stem.match_indices('-').map(|(end, _)| end);
    let ends = ends.chain([stem.len()]);
    Some(ends.map(|end| format!("{}.slice", &stem[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_read_from_the_harder_line() {
        let told = "some avg10=1.50 avg60=12.34 avg300=0.00 total=7\n\
                    full avg10=0.25 avg60=100.00 avg300=3.01 total=5\n";
        assert_eq!(hundredths(told, "avg10="), Some(25));
        assert_eq!(hundredths(told, "avg60="), Some(10_000));
        assert_eq!(hundredths(told, "avg300="), Some(301));
        let some = told.lines().next().unwrap();
        assert_eq!(hundredths(some, "avg60="), Some(1_234));
        assert_eq!(hundredths("", "avg60="), None);
    }

    #[test]
    fn a_slice_is_in_its_parents() {
        assert_eq!(slice("a.slice").unwrap(), Path::new("a.slice"));
        assert_eq!(
            slice("a-b-c.slice").unwrap(),
            Path::new("a.slice/a-b.slice/a-b-c.slice")
        );
        assert_eq!(slice("-.slice").unwrap(), Path::new(""));
        for wrong in ["a", "a.service", "a--b.slice", "../x.slice", ".slice"] {
            assert_eq!(slice(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_group_of_its_own_is_asked() {
        let place = tempfile::tempdir().unwrap();
        let slice = place.path().join("a.slice/a-b.slice");
        std::fs::create_dir_all(&slice).unwrap();
        let told = "some avg10=0.00 avg60=0.00 avg300=25.00 total=7\n";
        std::fs::write(slice.join("memory.pressure"), told).unwrap();
        let facts = Facts {
            unified: Some(true),
            controllers: ["memory".to_owned()].into(),
            slices: Some(place.path().to_owned()),
            uid: 0,
            machine_id: None,
            environment: vec![],
        };
        if measured() != Some(true) {
            return;
        }
        let ask = |argument: &str| at_most("memory", argument, &facts);
        assert_eq!(ask("a-b.slice:25%"), Some(true));
        assert_eq!(ask("a-b.slice: 24.99%"), Some(false));
        assert_eq!(ask("a-b.slice:24%/1min"), Some(true));
        assert_eq!(ask("a.slice:1%"), Some(true), "it has no such file");
        assert_eq!(ask("a.service:1%"), None);
        assert_eq!(at_most("io", "a-b.slice:0%", &facts), Some(true));
    }
}
