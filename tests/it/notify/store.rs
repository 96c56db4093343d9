//! The descriptor store (`FDSTORE=1`) and `BARRIER=1`.

use crate::live::{Aether, signal};
use crate::notify::{heard, main_pid, service};

/// Stores a socket whose last close takes as long as it says, and has no copy of it any more.
const SLOW: &str = "
import struct
door = socket.create_server(('127.0.0.1', 0))
one = socket.create_connection(door.getsockname())
peer, _ = door.accept()
one.setblocking(False)
try:
    while True:
        one.send(bytes(65536))
except BlockingIOError:
    pass
one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 40))
notify('FDSTORE=1\\nFDNAME=slow', one.fileno())
barrier()
one.close()
notify('FDSTOREREMOVE=1\\nFDNAME=slow')
barrier()
say('removed')
notify('READY=1')
wait()
";

#[test]
fn stored_descriptors_that_are_slow_to_close_hold_nobody_up() {
    let aether = Aether::start();
    service(&aether, "k", "Type=notify\nFileDescriptorStoreMax=2", SLOW);
    aether.unit(
        "o.service",
        "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    );
    let began = std::time::Instant::now();
    aether.ctl(&["start", "k.service"]);
    heard(&aether, "k.service", "removed", 1);
    // A process that the keeper has to reap, and descriptors that it has to take.
    aether.ctl(&["start", "o.service"]);
    aether.kill_daemon();
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(25), "{took:?}");
}

#[test]
fn long_names_leave_room_for_what_others_store() {
    let aether = Aether::start();
    let text = "
for length in [230] * 480 + [100, 60, 30, 10, 1] * 5:
    notify('FDSTORE=1\\nFDNAME=' + 'x' * length, 0)
barrier()
notify('READY=1')
wait()
";
    let settings = "Type=notify\nFileDescriptorStoreMax=512";
    service(&aether, "long", settings, text);
    let settings = "Type=notify\nFileDescriptorStoreMax=2";
    service(&aether, "k", settings, KEEPER);
    aether.ctl(&["start", "long.service"]);
    aether.ctl(&["start", "k.service"]);
    aether.kill_daemon();
    aether.ctl(&["restart", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 2), ALL);
}

/// Stores two files by name when it has none yet, and says what it was given.
const KEEPER: &str = "
names = passed()
say('got', *(f'{name}={os.pread(3 + at, 9, 0).decode()}' for at, name in enumerate(names)))
if not names:
    for name in ('shop', 'till'):
        with open(f'/proc/self/fd/{os.memfd_create(name)}', 'w+') as kept:
            kept.write(name.upper())
            kept.flush()
            notify(f'FDSTORE=1\\nFDNAME={name}', kept.fileno())
    barrier()
notify('READY=1')
wait()
";

const ALL: &str = "shop=SHOP till=TILL";

#[test]
fn stored_descriptors_come_back_after_a_crash_and_after_ours() {
    let aether = Aether::start();
    let settings = "Type=notify\nRestart=on-failure\nRestartSec=0\nFileDescriptorStoreMax=2";
    service(&aether, "k", settings, KEEPER);
    aether.ctl(&["start", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 1), "");
    signal(main_pid(&aether, "k.service"), "KILL");
    assert_eq!(heard(&aether, "k.service", "got", 2), ALL);
    aether.wait_state("k.service", "active", "running");
    aether.kill_daemon();
    aether.ctl(&["restart", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 3), ALL);
    // They are the run's alone: who stops gives them up.
    aether.ctl(&["stop", "k.service"]);
    aether.ctl(&["start", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 4), "");
}

#[test]
fn preserved_descriptors_outlive_a_stop() {
    let aether = Aether::start();
    let settings = "Type=notify\nFileDescriptorStoreMax=2\nFileDescriptorStorePreserve=yes";
    service(&aether, "k", settings, KEEPER);
    aether.ctl(&["start", "k.service"]);
    aether.ctl(&["stop", "k.service"]);
    aether.kill_daemon();
    aether.ctl(&["start", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 2), ALL);
}

#[test]
fn descriptors_that_are_not_preserved_are_gone_with_the_run() {
    let aether = Aether::start();
    let settings = "Type=notify\nRestart=on-failure\nRestartSec=0\nFileDescriptorStoreMax=2\n\
                    FileDescriptorStorePreserve=no";
    service(&aether, "k", settings, KEEPER);
    aether.ctl(&["start", "k.service"]);
    signal(main_pid(&aether, "k.service"), "KILL");
    assert_eq!(heard(&aether, "k.service", "got", 2), "");
    aether.wait_state("k.service", "active", "running");
    aether.kill_daemon();
    aether.ctl(&["restart", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 3), "");
}

#[test]
fn a_start_that_fails_and_is_tried_again_keeps_what_it_stored() {
    let aether = Aether::start();
    let settings = "Type=notify\nRestart=on-failure\nRestartSec=0\nFileDescriptorStoreMax=2";
    let text = KEEPER.replace("    barrier()\n", "    barrier()\n    sys.exit(1)\n");
    service(&aether, "k", settings, &text);
    aether.run(&["start", "k.service"]);
    assert_eq!(heard(&aether, "k.service", "got", 2), ALL);
}

#[test]
fn more_descriptors_than_may_be_stored_are_closed_and_it_is_said() {
    let aether = Aether::start();
    service(
        &aether,
        "m",
        "Type=notify\nFileDescriptorStoreMax=2",
        "
names = passed()
say('got', *names)
if not names:
    reader, writer = os.pipe()
    null = os.open('/dev/null', os.O_RDONLY)
    notify('FDSTORE=1\\nFDNAME=x', null, null, writer)
    os.close(writer)
    say('closed', os.read(reader, 1) == b'')
notify('READY=1')
wait()
",
    );
    aether.ctl(&["start", "m.service"]);
    assert_eq!(heard(&aether, "m.service", "closed", 1), "True");
    aether.wait_line("m.service", |line| {
        line.contains("FileDescriptorStoreMax=2")
    });
    // What was within the limit is kept, also beyond our death.
    aether.kill_daemon();
    aether.ctl(&["restart", "m.service"]);
    assert_eq!(heard(&aether, "m.service", "got", 2), "x x");
}

#[test]
fn descriptors_are_removed_by_name_and_in_the_order_in_which_it_is_said() {
    let aether = Aether::start();
    service(
        &aether,
        "r",
        "Type=notify\nFileDescriptorStoreMax=20",
        "
names = passed()
say('got', *names)
if not names:
    null = os.open('/dev/null', os.O_RDONLY)
    for name in ('old', 'new', 'old'):
        notify(f'FDSTORE=1\\nFDNAME={name}', null)
    for number in range(10):
        notify(f'FDSTORE=1\\nFDNAME={number}', null)
    notify('FDSTOREREMOVE=1\\nFDNAME=old')
    notify('FDSTOREREMOVE=1\\nFDNAME=new')
    notify('FDSTORE=1\\nFDNAME=new', null)
    barrier()
notify('READY=1')
wait()
",
    );
    aether.ctl(&["start", "r.service"]);
    let all = "0 1 2 3 4 5 6 7 8 9 new";
    aether.ctl(&["restart", "r.service"]);
    assert_eq!(heard(&aether, "r.service", "got", 2), all);
    aether.kill_daemon();
    aether.ctl(&["restart", "r.service"]);
    assert_eq!(heard(&aether, "r.service", "got", 3), all);
}

#[test]
fn what_is_stored_with_the_last_breath_is_kept() {
    let aether = Aether::start();
    let settings = "Restart=on-failure\nRestartSec=0\nFileDescriptorStoreMax=20";
    service(
        &aether,
        "l",
        &format!("{settings}\nType=notify\n[Unit]\nStartLimitBurst=0"),
        "
names = passed()
if len(names) == 10:
    say('got', *names)
    notify('READY=1')
    wait()
null = os.open('/dev/null', os.O_RDONLY)
notify(f'FDSTORE=1\\nFDNAME={len(names)}', null)
os._exit(1)
",
    );
    aether.run(&["start", "l.service"]);
    let got = heard(&aether, "l.service", "got", 1);
    assert_eq!(got, "0 1 2 3 4 5 6 7 8 9");
}

#[test]
fn a_barrier_falls_when_all_that_was_said_before_it_is_known() {
    let aether = Aether::start();
    service(
        &aether,
        "b",
        "Type=notify",
        "
for number in range(200):
    notify(f'X_NUMBER={number}')
notify('READY=1\\nSTATUS=before')
barrier()
say('through')
wait()
",
    );
    let mut start = aether.command(&["start", "b.service"]).spawn().unwrap();
    heard(&aether, "b.service", "through", 1);
    let now = aether.properties("b.service");
    assert_eq!(now.text("StatusText"), "before");
    assert_eq!(now.text("ActiveState"), "active");
    assert!(start.wait().unwrap().success());
}
