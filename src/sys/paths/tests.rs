use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;

fn watch(condition: PathCondition, path: &Path) -> PathWatch {
    PathWatch::new(&[(condition, path.to_owned())]).unwrap()
}

/// Events are there before the call that made them returns.
fn is_readable(watch: &PathWatch) -> bool {
    let mut fds = [PollFd::new(watch.fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

fn settled(watch: &mut PathWatch) {
    while is_readable(watch) {
        watch.drain().unwrap();
    }
}

/// Whether what was done fired, with its readiness.
fn fired(watch: &mut PathWatch, what: impl FnOnce()) -> bool {
    settled(watch);
    what();
    let readable = is_readable(watch);
    let fired = watch.drain().unwrap();
    assert!(readable || !fired);
    fired
}

#[test]
fn a_change_is_a_write_that_is_finished() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, "").unwrap();
    for (condition, every_write) in [
        (PathCondition::Changed, false),
        (PathCondition::Modified, true),
    ] {
        let mut watch = watch(condition, &path);
        // Directories above it are everybody's.
        settled(&mut watch);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let writes = fired(&mut watch, || file.write_all(b"x").unwrap());
        assert_eq!(writes, every_write, "{condition:?}");
        assert!(fired(&mut watch, || drop(file)), "{condition:?}");
        assert!(!fired(&mut watch, || drop(fs::read(&path).unwrap())));
        let mode = fs::Permissions::from_mode(0o640);
        assert!(fired(&mut watch, || fs::set_permissions(&path, mode).unwrap()));
        assert!(!watch.holds());
    }
}

#[test]
fn what_goes_and_comes_has_changed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let other = place.path().join("other");
    let mut watch = watch(PathCondition::Changed, &path);
    assert!(!watch.drain().unwrap());
    assert!(fired(&mut watch, || fs::write(&path, "").unwrap()));
    // The new file is watched in its turn.
    assert!(fired(&mut watch, || fs::write(&path, "x").unwrap()));
    assert!(fired(&mut watch, || {
        fs::write(&other, "y").unwrap();
        fs::rename(&other, &path).unwrap();
    }));
    assert!(fired(&mut watch, || fs::write(&path, "z").unwrap()));
    assert!(fired(&mut watch, || fs::rename(&path, &other).unwrap()));
    assert!(!fired(&mut watch, || fs::write(&other, "w").unwrap()));
    assert!(fired(&mut watch, || fs::rename(&other, &path).unwrap()));
    assert!(fired(&mut watch, || fs::remove_file(&path).unwrap()));
    assert!(!fired(&mut watch, || fs::write(&other, "").unwrap()));
}

#[test]
fn entries_of_a_directory_are_its_changes() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("in");
    fs::create_dir(&root).unwrap();
    let mut watch = watch(PathCondition::Changed, &root);
    let file = root.join("file");
    assert!(fired(&mut watch, || fs::write(&file, "").unwrap()));
    assert!(fired(&mut watch, || fs::write(&file, "more").unwrap()));
    let away = place.path().join("away");
    assert!(fired(&mut watch, || fs::rename(&file, &away).unwrap()));
    assert!(fired(&mut watch, || fs::rename(&away, &file).unwrap()));
    assert!(fired(&mut watch, || fs::remove_file(&file).unwrap()));
    assert!(fired(&mut watch, || fs::create_dir(root.join("sub")).unwrap()));
    // Not what happens further down.
    assert!(!fired(&mut watch, || fs::write(root.join("sub/x"), "").unwrap()));
}

#[test]
fn parents_may_come_later_and_be_exchanged() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let path = root.join("a/b/file");
    let mut watch = watch(PathCondition::Modified, &path);
    assert!(!fired(&mut watch, || fs::create_dir(root.join("a")).unwrap()));
    assert!(!fired(&mut watch, || fs::create_dir(root.join("a/b")).unwrap()));
    assert!(fired(&mut watch, || fs::write(&path, "").unwrap()));
    // What is only passed wakes nobody.
    settled(&mut watch);
    fs::write(root.join("beside"), "").unwrap();
    fs::write(root.join("a/b/beside"), "").unwrap();
    assert!(!is_readable(&watch));
    // Another directory in place of the first.
    assert!(fired(&mut watch, || fs::rename(
        root.join("a"),
        root.join("old")
    )
    .unwrap()));
    let made = || {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(&path, "").unwrap();
    };
    assert!(fired(&mut watch, made));
    assert!(fired(&mut watch, || fs::write(&path, "x").unwrap()));
    assert!(!fired(&mut watch, || fs::write(
        root.join("old/b/file"),
        "x"
    )
    .unwrap()));
    assert!(fired(&mut watch, || fs::remove_dir_all(root.join("a")).unwrap()));
    // All at once, between two looks.
    let all = || {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(&path, "").unwrap();
        fs::write(&path, "x").unwrap();
    };
    assert!(fired(&mut watch, all));
}

#[test]
fn a_link_on_the_way_may_lead_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    for name in ["one", "two"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("file"), "").unwrap();
    }
    symlink("one", root.join("link")).unwrap();
    let path = root.join("link/file");
    let mut watch = watch(PathCondition::Changed, &path);
    assert!(fired(&mut watch, || fs::write(root.join("one/file"), "x")
        .unwrap()));
    assert!(!fired(&mut watch, || fs::write(root.join("two/file"), "x")
        .unwrap()));
    settled(&mut watch);
    symlink("two", root.join("new")).unwrap();
    fs::rename(root.join("new"), root.join("link")).unwrap();
    settled(&mut watch);
    assert!(!fired(&mut watch, || fs::write(root.join("one/file"), "y")
        .unwrap()));
    assert!(fired(&mut watch, || fs::write(root.join("two/file"), "y")
        .unwrap()));
    // One that leads nowhere yet.
    symlink("later", root.join("dangling")).unwrap();
    let mut watch = self::watch(PathCondition::Changed, &root.join("dangling"));
    assert!(!fired(&mut watch, || fs::remove_file(
        root.join("dangling")
    )
    .unwrap()));
    assert!(fired(&mut watch, || fs::write(root.join("dangling"), "").unwrap()));
}

#[test]
fn conditions_are_as_they_are_now() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let (go, inbox) = (root.join("sub/go"), root.join("inbox"));
    let mut watch = PathWatch::new(&[
        (PathCondition::Exists, go.clone()),
        (PathCondition::DirectoryNotEmpty, inbox.clone()),
        (PathCondition::Changed, root.join("other")),
    ])
    .unwrap();
    let mut after = |what: &dyn Fn()| {
        settled(&mut watch);
        what();
        assert!(is_readable(&watch));
        assert!(!watch.drain().unwrap());
        watch.holds()
    };
    assert!(!after(&|| fs::create_dir(root.join("sub")).unwrap()));
    assert!(after(&|| fs::write(&go, "").unwrap()));
    assert!(!after(&|| fs::remove_file(&go).unwrap()));
    assert!(!after(&|| fs::create_dir(&inbox).unwrap()));
    assert!(!after(&|| fs::write(inbox.join(".hidden"), "").unwrap()));
    assert!(after(&|| fs::write(inbox.join("letter"), "").unwrap()));
}

#[test]
fn directories_are_made_for_what_is_waited_for_in_them() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    fs::write(root.join("file"), "").unwrap();
    let watches = [
        (PathCondition::DirectoryNotEmpty, root.join("a/b")),
        (PathCondition::Exists, root.join("go")),
        (PathCondition::Changed, root.join("file/below")),
        (PathCondition::Modified, root.to_owned()),
    ];
    let failed = make_directories(&watches, 0o710);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, root.join("file/below"));
    for made in ["a", "a/b"] {
        let mode = fs::metadata(root.join(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o710);
    }
    assert!(!root.join("go").exists());
}

#[test]
fn patterns_are_watched_where_their_wildcards_are() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let pattern = root.join("*/go-*");
    let mut watch = watch(PathCondition::ExistsGlob, &pattern);
    assert!(!watch.holds());
    let mut after = |what: &dyn Fn()| {
        settled(&mut watch);
        what();
        let readable = is_readable(&watch);
        assert!(!watch.drain().unwrap());
        (readable, watch.holds())
    };
    assert_eq!(
        after(&|| fs::create_dir(root.join("new")).unwrap()),
        (true, false)
    );
    assert_eq!(
        after(&|| fs::write(root.join("new/go"), "").unwrap()),
        (true, false)
    );
    assert_eq!(
        after(&|| fs::write(root.join("new/go-1"), "").unwrap()),
        (true, true)
    );
}

#[test]
fn one_directory_may_be_watched_for_several_things() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let file = root.join("file");
    fs::write(&file, "").unwrap();
    let mut watch = PathWatch::new(&[
        (PathCondition::Changed, root.to_owned()),
        (PathCondition::Modified, file.clone()),
        (PathCondition::Exists, root.join("missing")),
    ])
    .unwrap();
    assert!(fired(&mut watch, || fs::write(root.join("x"), "").unwrap()));
    let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    assert!(fired(&mut watch, || open.write_all(b"x").unwrap()));
    assert!(fired(&mut watch, || fs::write(root.join("missing"), "").unwrap()));
    assert!(watch.holds());
}

#[test]
fn many_events_at_once_are_read_and_lose_nothing() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("in");
    fs::create_dir(&root).unwrap();
    let mut watch = watch(PathCondition::Changed, &root);
    let descriptor = watch.fd().as_raw_fd();
    for i in 0..9_000 {
        fs::write(root.join(format!("{i}")), "").unwrap();
    }
    assert!(watch.drain().unwrap());
    settled(&mut watch);
    assert_eq!(watch.fd().as_raw_fd(), descriptor);
    assert!(fired(&mut watch, || fs::write(root.join("last"), "").unwrap()));
}

#[test]
fn a_pid_file_is_a_number_in_a_file_that_can_be_trusted() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let path = root.join("pid");
    let own = super::super::user::own_uid();
    let read = || pid_file(&path, own);
    assert_eq!(read().unwrap(), None);
    for (content, pid) in [
        ("", None),
        ("\n", None),
        ("4242\n", Some(4242)),
        (" 17 \nnote\n", Some(17)),
        ("1", Some(1)),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(read().unwrap(), pid, "{content:?}");
    }
    for content in ["0", "-1", "x", "12x", "99999999999", "\n12", "1\u{0}"] {
        fs::write(&path, content).unwrap();
        let wrong = !matches!(read(), Ok(Some(_)));
        assert!(wrong, "{content:?}");
    }
    fs::write(&path, "1".repeat(10_000)).unwrap();
    assert_eq!(read().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    fs::remove_file(&path).unwrap();
    if own != 0 {
        return;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&path, "12\n").unwrap();
    chown(&path, Some(61_237), None).unwrap();
    assert_eq!(read().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(pid_file(&path, 61_237).unwrap(), Some(12));
    // A link that its directory's owner has made leads to root's own file.
    let home = root.join("home");
    fs::create_dir(&home).unwrap();
    fs::write(root.join("roots"), "1\n").unwrap();
    symlink(root.join("roots"), home.join("pid")).unwrap();
    chown(&home, Some(61_237), None).unwrap();
    let error = pid_file(&home.join("pid"), 61_237).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_pid_file_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/pid");
    let own = super::super::user::own_uid();
    let mut watch = PidFileWatch::new(&path, own).unwrap();
    assert_eq!(watch.drain().unwrap(), None);
    fs::create_dir(place.path().join("run")).unwrap();
    assert_eq!(watch.drain().unwrap(), None);
    let mut file = fs::File::create(&path).unwrap();
    assert_eq!(watch.drain().unwrap(), None);
    // What others do in the directories above is no news.
    while is_readable(&watch.watch) {
        assert_eq!(watch.drain().unwrap(), None);
    }
    file.write_all(b"4242\n").unwrap();
    assert!(is_readable(&watch.watch));
    assert_eq!(watch.drain().unwrap(), Some(4242));
}
