//! systemd: what it is told, and the sockets that it opens. The test plays systemd for the real program.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use offhook::testing::TestRequest;

use crate::served::{Served, command, settings, within};
use crate::support::{DOCUMENTED, Folder, Program, address_in, signed};

/// What systemd is told.
struct Told(UnixDatagram);

impl Told {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.0.join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(socket)
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("a message within a minute");
        let text = str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next two messages are those of a reload. Returns when it began, and the status at its end.
    fn reload(&self) -> (u128, String) {
        let begun = self.next();
        let [reloading, at, status] = &begun[..] else {
            panic!("{begun:?}")
        };
        assert_eq!(reloading, "RELOADING=1");
        assert_eq!(status, "STATUS=loading the settings again");
        let at = at.strip_prefix("MONOTONIC_USEC=").unwrap();
        let ended = self.next();
        let [ready, status] = &ended[..] else {
            panic!("{ended:?}")
        };
        assert_eq!(ready, "READY=1");
        (at.parse().unwrap(), status.clone())
    }
}

#[actix_web::test]
async fn systemd_is_told_of_the_start_reloads_and_the_stop() {
    let folder = Folder::new("systemd-notify");
    settings(&folder, "");
    let told = Told::new(&folder);
    let mut command = command(&folder);
    command.env("NOTIFY_SOCKET", folder.0.join("notify"));
    let served = Served::try_start(&mut command).unwrap();
    let usual = format!("STATUS=receiving webhooks on {}", served.public);
    assert_eq!(told.next(), ["READY=1", &usual]);

    // Nothing has changed.
    served.program.signal("HUP");
    let (first, status) = told.reload();
    assert_eq!(status, usual);

    let path = folder.0.join("settings.toml");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, "[server\nREADY=1").unwrap();
    served.program.signal("HUP");
    let (second, status) = told.reload();
    assert_eq!(
        status,
        format!("{usual}; the settings file was refused, see the log")
    );
    assert!(0 < first && first < second, "{first} {second}");

    std::fs::write(&path, good).unwrap();
    served.program.signal("HUP");
    // The watch may have seen the other file too.
    while told.reload().1 != usual {}
    served.program.signal("TERM");
    let stopping = loop {
        let lines = told.next();
        if lines[0] == "STOPPING=1" {
            break lines;
        }
    };
    assert_eq!(
        stopping,
        [
            "STOPPING=1",
            "STATUS=finishing what runs",
            "EXTEND_TIMEOUT_USEC=40000000"
        ]
    );
    assert!(served.program.wait().success());
}

/// A socket that is given does not keep the server from starting where nothing listens at it.
#[actix_web::test]
async fn a_notify_socket_that_is_gone_is_only_told() {
    let folder = Folder::new("systemd-gone");
    settings(&folder, "");
    let mut command = command(&folder);
    command.env("NOTIFY_SOCKET", folder.0.join("nothing"));
    let program = Program::start(&mut command);
    program.logged("systemd cannot be told (NOTIFY_SOCKET): ");
    let to = address_in(&program.logged("/webhook"));
    assert_eq!(signed(DOCUMENTED[0]).send(to).await.status, 200);
    program.stop();
}

/// Opens three sockets, of which the settings name two, and becomes offhook, as systemd does it. The last argument
/// is `serve`.
const SYSTEMD: &str = "
import fcntl, os, socket, sys
sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(3)]
deaf = socket.socket()
deaf.bind(('127.0.0.1', 0))
ports = [socket.getsockname()[1] for socket in sockets]
for name, port in zip(('SERVER', 'ADMIN'), ports):
    os.environ[f'OFFHOOK__{name}__BIND'] = f'127.0.0.1:{port}'
above = [fcntl.fcntl(socket.fileno(), fcntl.F_DUPFD, 100) for socket in sockets + [deaf]]
for number, descriptor in enumerate(above):
    os.dup2(descriptor, 3 + number)
pid, binary, *arguments = sys.argv[1:]
os.environ.update(LISTEN_PID=pid or str(os.getpid()), LISTEN_FDS='4')
print(*ports, flush=True)
os.execv(binary, [binary, *arguments])
";

fn activated(folder: &Folder, pid: &str) -> Program {
    let mut python = Command::new("python3");
    python.args(["-c", SYSTEMD, pid, env!("CARGO_BIN_EXE_offhook")]);
    Program::start(&mut within(folder, python))
}

#[actix_web::test]
async fn sockets_of_systemd_are_served() {
    let folder = Folder::new("systemd-sockets");
    settings(&folder, "");
    let program = activated(&folder, "");
    let ports: Vec<u16> = program
        .line()
        .split(' ')
        .map(|port| port.parse().unwrap())
        .collect();
    program.logged("does not listen");
    let line = program.logged("systemd has opened");
    assert!(
        line.ends_with(&format!(
            "systemd has opened 127.0.0.1:{}, which is neither server.bind nor admin.bind, so nobody is \
             served there",
            ports[2]
        )),
        "{line}"
    );
    let public = address_in(&program.logged("/webhook"));
    let admin = address_in(&program.logged("/ready"));
    assert_eq!([public.port(), admin.port()], ports[..2]);
    // Where a second socket were bound, the start would have failed.
    assert_eq!(signed(DOCUMENTED[0]).send(public).await.status, 200);
    assert_eq!(TestRequest::get("/ready").send(admin).await.status, 200);
    program.stop();
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let folder = Folder::new("systemd-other");
    settings(&folder, "");
    let program = activated(&folder, "1");
    let line = program.logged("server.bind");
    assert!(line.contains("in use"), "{line}");
    assert!(!program.wait().success());
}

/// A socket that nobody reads would hold up the start and the stop.
#[actix_web::test]
async fn a_full_notify_socket_holds_up_nothing() {
    let folder = Folder::new("systemd-full");
    settings(&folder, "");
    let path = folder.0.join("notify");
    let _full = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(&[b'X'; 1000], &path).is_ok() {}
    let mut command = command(&folder);
    command.env("NOTIFY_SOCKET", &path);
    let program = Program::start(&mut command);
    program.logged("systemd cannot be told (NOTIFY_SOCKET): ");
    program.logged("/webhook");
    program.stop();
}

/// A name that begins with `@` is not a file's.
#[cfg(target_os = "linux")]
#[actix_web::test]
async fn an_abstract_notify_socket_is_told() {
    use std::os::linux::net::SocketAddrExt as _;
    let folder = Folder::new("systemd-abstract");
    settings(&folder, "");
    let name = format!("offhook-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let told = Told(UnixDatagram::bind_addr(&address).unwrap());
    told.0
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut command = command(&folder);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let served = Served::try_start(&mut command).unwrap();
    assert_eq!(told.next()[0], "READY=1");
    served.program.stop();
}

/// An empty name is none.
#[actix_web::test]
async fn an_empty_notify_socket_is_none() {
    let folder = Folder::new("systemd-empty");
    settings(&folder, "");
    let mut command = command(&folder);
    command.env("NOTIFY_SOCKET", "");
    let served = Served::try_start(&mut command).unwrap();
    served.program.signal("HUP");
    served.program.logged("says what runs already");
    served.program.stop();
}
