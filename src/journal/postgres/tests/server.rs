//! [`Server`]: a PostgreSQL server for tests.
//!
//! Its programs are those of /usr/lib/postgresql, or of Debian's packages, which `./test` unpacks into
//! target/peers/postgresql. It has a folder and a port of its own, runs as another user than root, and ends when
//! this process ends, however that happens. fsync is on.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A server in a folder of its own.
pub(super) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl Server {
    /// The server that the tests of this process share; `None`, with a loud line, where PostgreSQL is missing.
    pub(super) fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// Starts a server for one test.
    pub(super) fn start() -> Option<Self> {
        Self::start_with(&[], &[])
    }

    /// The same, with these files in its folder and these settings.
    pub(super) fn start_with(files: &[(&str, &str)], settings: &[&str]) -> Option<Self> {
        let server = Self::unstarted()?;
        server.create();
        for (name, text) in files {
            server.write(name, text);
        }
        server.run_with(settings);
        Some(server)
    }

    /// Starts a standby of this server. It is asynchronous unless the server says otherwise.
    pub(super) fn standby(&self) -> Self {
        let standby = Self::unstarted().expect("there is PostgreSQL");
        standby.make_folder();
        let mut copy = as_user(&self.programs.join("pg_basebackup"));
        copy.args(["-D", standby.folder.to_str().unwrap(), "-R", "-X", "stream"]);
        copy.args([
            "-c",
            "fast",
            "--no-sync",
            "-h",
            "127.0.0.1",
            "-U",
            "offhook",
        ]);
        copy.args(["-p", &self.port.to_string()]);
        done(copy);
        standby.run();
        standby
    }

    /// Makes a primary of a standby.
    pub(super) fn promote(&self) {
        let mut promote = as_user(&self.programs.join("pg_ctl"));
        promote.args(["promote", "-D", self.folder.to_str().unwrap()]);
        done(promote);
    }

    /// Starts the server again with more settings.
    pub(super) fn restart_with(&self, settings: &[&str]) {
        self.kill();
        self.run_with(settings);
    }

    fn unstarted() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os("OFFHOOK_TEST_PEERS").is_none(),
                "./test unpacks PostgreSQL, and it is not there"
            );
            // Not by a macro: what those print is shown only of tests that fail.
            let told =
                "NOT TESTED: the engine postgres, because there is no PostgreSQL: run ./test\n";
            std::io::stderr().write_all(told.as_bytes()).unwrap();
            return None;
        };
        remove_stale_folders();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = parent().join(format!("{PREFIX}{}-{number}", std::process::id()));
        let server = Self {
            programs,
            folder,
            port: unused_port(),
            process: Mutex::default(),
        };
        Some(server)
    }

    pub(super) fn url(&self) -> String {
        format!("postgresql://offhook@127.0.0.1:{}/postgres", self.port)
    }

    /// The folder of its programs, and that of their libraries if they were unpacked.
    #[allow(dead_code)] // those of the command use it
    pub(super) fn programs(&self) -> (&Path, Option<PathBuf>) {
        (&self.programs, libraries(&self.programs.join("postgres")))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server as a power cut would, but for what the system has not written.
    pub(super) fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            let pid = Pid::from_child(&child);
            // Immediate shutdown: no process writes anything more.
            kill_process(pid, Signal::QUIT).unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server, and waits until it can be used.
    pub(super) fn run(&self) {
        self.run_with(&[]);
    }

    fn run_with(&self, settings: &[&str]) {
        let mut command = as_user(&self.programs.join("postgres"));
        command.args([
            "-D",
            self.folder.to_str().unwrap(),
            "-k",
            self.folder.to_str().unwrap(),
        ]);
        command.args(["-p", &self.port.to_string(), "-h", "127.0.0.1"]);
        for setting in SETTINGS.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.folder.with_extension("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        *self.process() = Some(spawn_for_good(command));
        let status = self.folder.join("postmaster.pid");
        for _ in 0..600 {
            let status = fs::read_to_string(&status).unwrap_or_default();
            if status
                .lines()
                .last()
                .is_some_and(|line| ["ready", "standby"].contains(&line.trim()))
            {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default();
        panic!("PostgreSQL does not start: {log}");
    }

    fn make_folder(&self) {
        use std::os::unix::fs::DirBuilderExt as _;

        fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.folder)
            .unwrap();
        give(&self.folder);
    }

    /// Writes a file that only the server reads.
    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;

        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give(&path);
    }

    fn create(&self) {
        self.make_folder();
        let mut initdb = as_user(&self.programs.join("initdb"));
        initdb.args([
            "-D",
            self.folder.to_str().unwrap(),
            "-U",
            "offhook",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]);
        initdb.args(["--locale=C", "--no-sync", "--no-instructions"]);
        done(initdb);
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // A folder that cannot be removed does no harm.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(self.folder.with_extension("log"));
    }
}

/// Gives a file to the user that the server runs as.
fn give(path: &Path) {
    if rustix::process::getuid().is_root() {
        let given = Command::new("chown").arg(NOBODY).arg(path).status();
        assert!(given.unwrap().success());
    }
}

/// The folder of the newest programs.
fn programs() -> Option<PathBuf> {
    let unpacked =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/postgresql/usr/lib/postgresql");
    [Path::new("/usr/lib/postgresql"), &unpacked]
        .into_iter()
        .find_map(|versions| {
            let found = fs::read_dir(versions).ok()?.filter_map(|entry| {
                let path = entry.ok()?.path();
                let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
                let programs = path.join("bin");
                programs
                    .join("postgres")
                    .exists()
                    .then_some((version, programs))
            });
            found.max().map(|(_, programs)| programs)
        })
}

/// A command that is not run as root, and is ended when the thread that starts it ends.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::getuid().is_root() {
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program);
    command.current_dir("/").env("LC_ALL", "C");
    if let Some(libraries) = libraries(program) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

/// The libraries that were unpacked with a program, if they were.
fn libraries(program: &Path) -> Option<PathBuf> {
    let root = program.ancestors().nth(6);
    let root = root.filter(|root| root.ends_with("postgresql"))?;
    let folder = format!("{}-linux-gnu", std::env::consts::ARCH);
    Some(root.join("usr/lib").join(folder))
}

/// Runs a program to its end.
fn done(mut command: Command) {
    let done = command.output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}");
}

/// Starts a process from a thread that lives as long as this process: the signal at the parent's death comes when
/// the thread ends that started it, and tests have threads of their own.
fn spawn_for_good(mut command: Command) -> Child {
    let (sender, spawned) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        sender.send(command.spawn().unwrap()).unwrap();
        loop {
            std::thread::park();
        }
    });
    spawned.recv().unwrap()
}

/// Removes what processes have left that were killed.
fn remove_stale_folders() {
    for entry in fs::read_dir(parent()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = pid
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if test_kill_process(pid).is_err() {
            let _ = fs::remove_dir_all(entry.path());
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// In memory where there is room: no test depends on the disk.
fn parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    match free > 1 << 30 {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}

fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The user that owns nothing.
const NOBODY: &str = "65534";

const PREFIX: &str = "offhook-postgres-";

const SETTINGS: [&str; 8] = [
    "fsync=on",
    "max_connections=200",
    "shared_buffers=32MB",
    "min_wal_size=32MB",
    "max_wal_size=128MB",
    "wal_level=logical",
    "log_min_messages=warning",
    "autovacuum_naptime=60",
];
