//! systemd: the sockets that it has opened for this process, and what it is told about it. Without systemd
//! none of this does anything.

use std::ffi::OsStr;
use std::io;
use std::net::{self, TcpListener};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;

use crate::reload::Stage;

/// Takes the socket that systemd has opened for this address, if there is one
/// ([sd_listen_fds](https://www.freedesktop.org/software/systemd/man/sd_listen_fds.html)).
pub(super) fn inherited(address: net::SocketAddr) -> Option<TcpListener> {
    let mut sockets = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |socket: &TcpListener| {
        let found = socket.local_addr();
        found.is_ok_and(|found| is_same(found, address))
    };
    let at = sockets.iter().position(fits)?;
    Some(sockets.swap_remove(at))
}

/// Says which sockets nobody has taken.
pub(super) fn warn_of_others() {
    let sockets = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    for address in sockets.iter().filter_map(|socket| socket.local_addr().ok()) {
        log::warn!(
            "systemd has opened {address}, which is neither server.bind nor admin.bind, so nobody is served there"
        );
    }
}

/// Tells systemd what the server does ([sd_notify](https://www.freedesktop.org/software/systemd/man/sd_notify.html)).
/// It tells nothing before [`Supervisor::ready`]: a program that only starts a server tells it itself.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    /// What it does when nothing else happens.
    usual: OnceLock<String>,
    is_stopping: AtomicBool,
}

impl Supervisor {
    /// The server listens, so units that wait for it can start.
    pub(super) fn ready(&self, public: net::SocketAddr) {
        let usual = self
            .usual
            .get_or_init(|| format!("receiving webhooks on {public}"));
        tell(&[NotifyState::Ready, NotifyState::Status(usual)]);
    }

    /// A reload begins or has ended. It is ready again also after one that was refused.
    pub(super) fn reload(&self, stage: Stage) {
        let Some(usual) = self.usual.get() else {
            return;
        };
        match stage {
            Stage::Begun => {
                let status = NotifyState::Status("loading the settings again");
                // systemd requires the time; without it nothing is told.
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    tell(&[NotifyState::Reloading, now, status]);
                }
            }
            Stage::Ended { is_refused } => {
                let more = if is_refused { REFUSED } else { "" };
                let status = format!("{usual}{more}");
                tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
            }
        }
    }

    /// The server stops, which may take `longest` from now on.
    pub(super) fn stopping(&self, longest: Duration) {
        let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        let extended = NotifyState::ExtendTimeoutUsec(micros);
        if self.is_stopping.swap(true, Ordering::Relaxed) {
            return tell(&[extended]);
        }
        let status = NotifyState::Status("finishing what runs");
        tell(&[NotifyState::Stopping, status, extended]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(socket.as_bytes(), state) {
        log::warn!("systemd cannot be told (NOTIFY_SOCKET): {error}");
    }
}

/// `sd_notify::notify` waits without end for room in the socket, and does not know abstract sockets.
fn send(socket: &[u8], state: &[NotifyState<'_>]) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(OsStr::from_bytes(socket))?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_write_timeout(Some(LONGEST_TELLING))?;
    let text: String = state.iter().map(|line| format!("{line}\n")).collect();
    datagram.connect_addr(&address)?;
    datagram.send(text.as_bytes())?;
    Ok(())
}

/// A socket of systemd's for all addresses also takes IPv4.
fn is_same(found: net::SocketAddr, wanted: net::SocketAddr) -> bool {
    let all = found.ip().is_unspecified() && wanted.ip().is_unspecified();
    found.port() == wanted.port()
        && (all || found.ip().to_canonical() == wanted.ip().to_canonical())
}

/// How long a message may wait for room.
const LONGEST_TELLING: Duration = Duration::from_millis(200);

/// The problems may have several lines, which would be commands to systemd.
const REFUSED: &str = "; the settings file was refused, see the log";

/// The sockets that nobody has taken yet. They are given once to a process.
static INHERITED: LazyLock<Mutex<Vec<TcpListener>>> = LazyLock::new(|| {
    let mut given = ListenFd::from_env();
    let sockets = (0..given.len()).filter_map(|at| {
        let taken = given.take_tcp_listener(at);
        let socket = taken.unwrap_or_else(|error| {
            log::warn!("a socket of systemd's cannot be used: {error}");
            None
        })?;
        let listens = socket_acceptconn(&socket).is_ok_and(|listens| listens);
        if !listens {
            log::warn!(
                "a socket of systemd's cannot be used: it does not listen; its unit needs ListenStream= and Accept=no"
            );
        }
        listens.then_some(socket)
    });
    Mutex::new(sockets.collect())
});
