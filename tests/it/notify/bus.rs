//! Services of `Type=dbus`, on a bus of the test's own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::live::{Aether, signal};
use crate::notify::{heard, main_pid, service};

/// A real bus, gone when it is dropped.
struct Bus(Child);

impl Bus {
    /// Starts one, and has the daemon take it for the system's.
    fn start(aether: &mut Aether) -> Self {
        let place = aether.root.path();
        let socket = place.join("bus");
        let configuration = place.join("bus.conf");
        let text = format!(
            "<busconfig><type>custom</type><listen>unix:path={}</listen><policy context='default'>\
             <allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/>\
             </policy></busconfig>",
            socket.display()
        );
        std::fs::write(&configuration, text).unwrap();
        let mut bus = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--config-file={}", configuration.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let variable = "DBUS_SYSTEM_BUS_ADDRESS".to_owned();
        aether
            .variables
            .push((variable, address.trim_end().to_owned()));
        Self(bus)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The few messages of the bus that a service needs to have a name (D-Bus specification, message
/// format).
fn owner(aether: &Aether) -> String {
    let address = format!("{}/bus", aether.root.path().display());
    format!(
        "
import struct
bus = socket.socket(socket.AF_UNIX)
bus.connect('{address}')
bus.sendall(b'\\0AUTH EXTERNAL ' + str(os.getuid()).encode().hex().encode() + b'\\r\\n')
bus.recv(999)
bus.sendall(b'BEGIN\\r\\n')
serial = 0

def text(value):
    return struct.pack('<I', len(value)) + value.encode() + b'\\0'

def pad(data):
    return data + bytes(-len(data) % 8)

def call(member, signature='', body=b''):
    global serial
    serial += 1
    fields = b''
    known = ((1, 'o', '/org/freedesktop/DBus'), (2, 's', 'org.freedesktop.DBus'),
             (3, 's', member), (6, 's', 'org.freedesktop.DBus'))
    for code, kind, value in known:
        fields = pad(fields) + bytes([code, 1]) + kind.encode() + b'\\0' + text(value)
    if signature:
        fields = pad(fields) + bytes([8, 1]) + b'g\\0' + bytes([len(signature)])
        fields += signature.encode() + b'\\0'
    head = b'l\\1\\0\\1' + struct.pack('<III', len(body), serial, len(fields))
    bus.sendall(pad(head + fields) + body)
    bus.recv(9999)

def name():
    body = text('org.example.Shop')
    return body + bytes(-len(body) % 4)

call('Hello')
"
    )
}

const SETTINGS: &str = "Type=dbus\nBusName=org.example.Shop\nTimeoutStopSec=20s";

#[test]
fn a_service_is_up_while_it_has_its_name() {
    let mut aether = Aether::prepare();
    let _bus = Bus::start(&mut aether);
    aether.up();
    let text = "
def take(*_):
    call('RequestName', 'su', name() + struct.pack('<I', 4))
    say('taken')
def lose(*_):
    call('ReleaseName', 's', text('org.example.Shop'))
signal.signal(signal.SIGUSR1, take)
signal.signal(signal.SIGUSR2, lose)
say('connected')
wait()
";
    service(&aether, "d", SETTINGS, &(owner(&aether) + text));
    let mut start = aether.command(&["start", "d.service"]).spawn().unwrap();
    heard(&aether, "d.service", "connected", 1);
    let now = aether.wait_state("d.service", "activating", "");
    assert!(start.try_wait().unwrap().is_none(), "{}", now.json());
    let pid = main_pid(&aether, "d.service");
    signal(pid, "USR1");
    assert!(start.wait().unwrap().success());
    aether.wait_state("d.service", "active", "running");
    // The next daemon watches the name as well.
    aether.kill_daemon();
    assert_eq!(main_pid(&aether, "d.service"), pid);
    signal(pid, "USR2");
    let now = aether.wait("d.service", "down", |now| {
        !["active", "deactivating"].contains(&now.text("ActiveState"))
    });
    assert_eq!(now.text("ActiveState"), "inactive", "{}", now.json());
}

#[test]
fn a_name_is_lost_with_the_process_that_has_it() {
    let mut aether = Aether::prepare();
    let _bus = Bus::start(&mut aether);
    aether.up();
    let text = "
call('RequestName', 'su', name() + struct.pack('<I', 4))
wait()
";
    let settings = format!("{SETTINGS}\nRestart=on-failure\nRestartSec=0");
    service(&aether, "d", &settings, &(owner(&aether) + text));
    aether.ctl(&["start", "d.service"]);
    signal(main_pid(&aether, "d.service"), "KILL");
    let now = aether.wait("d.service", "up again", |now| {
        now.text("ActiveState") == "active" && now.number("NRestarts") == Some(1)
    });
    assert!(now.number("MainPID") > Some(0));
}

#[test]
fn a_bus_that_goes_is_missed() {
    let mut aether = Aether::prepare();
    let bus = Bus::start(&mut aether);
    aether.up();
    let text = "
call('RequestName', 'su', name() + struct.pack('<I', 4))
wait()
";
    service(&aether, "d", SETTINGS, &(owner(&aether) + text));
    aether.ctl(&["start", "d.service"]);
    drop(bus);
    aether.wait_line("d.service", |line| {
        line.contains("BusName=org.example.Shop cannot be watched: ")
    });
}

#[test]
fn where_there_is_no_bus_it_is_said() {
    let mut aether = Aether::prepare();
    let nowhere = format!("unix:path={}/nobus", aether.root.path().display());
    let variable = "DBUS_SYSTEM_BUS_ADDRESS".to_owned();
    aether.variables.push((variable, nowhere));
    aether.up();
    let settings = format!("{SETTINGS}\nTimeoutStartSec=3s");
    service(&aether, "d", &settings, "wait()\n");
    aether.refused(&["start", "d.service"]);
    let log = aether.log("d.service");
    assert!(
        log.contains("BusName=org.example.Shop cannot be watched: "),
        "{log}"
    );
}
