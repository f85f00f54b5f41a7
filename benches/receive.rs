//! What receiving costs, side by side:
//!
//! - `none`: offhook with the engine `none` and a handler that counts;
//! - `bare`: a bare actix-web app that does the same check and parses the same JSON;
//! - `sqlite`: offhook with its journal, and the same handler following it;
//! - `file`: the bare app, appending each body to one file, answering when a group of them is there
//!   (fdatasync): what durable answers cost at least.
//!
//! ```sh
//! cargo bench --bench receive            # all of them, 5 rounds of 3 s each
//! SERVERS=none,bare ROUNDS=9 SECONDS=5 cargo bench --bench receive
//! KEPT=5000000 SERVERS=sqlite cargo bench --bench receive     # with so many events kept already
//! ```
//!
//! Each server has one worker and runs as a process of its own on one core; the load generator is on
//! another. They take turns within each round, so a change of the machine's speed meets all.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hmac::{Hmac, KeyInit as _, Mac as _};
use offhook::clock::{Clock as _, SystemClock};
use offhook::settings::JournalSettings;
use offhook::signature::{Encoding, Secret};
use offhook::testing::TestEvent;
use offhook::{
    Delivery, EventHandler, HandlerError, MessageEvent, Offhook, Source, Timestamp, async_trait,
};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const KEY: &str = "a-secret-of-the-benchmark";
const CONNECTIONS: usize = 64;
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() {
    let system = actix_web::rt::System::new();
    match std::env::var("OFFHOOK_BENCH_SERVER").as_deref() {
        Ok("none") => system.block_on(offhook_server(JournalSettings::None)),
        Ok("sqlite") => system.block_on(offhook_server(journal())),
        Ok("bare") => system.block_on(bare_server(None)),
        Ok("file") => system.block_on(bare_server(Some(GroupFile::create()))),
        Ok(other) => eprintln!("no server {other:?}; there are none, bare, sqlite, file"),
        Err(_) => {
            drop(system);
            compare();
        }
    }
}

/// A folder of this run's own, on a real disk.
fn folder() -> std::path::PathBuf {
    let folder = std::env::var_os("OFFHOOK_BENCH_FOLDER").map(std::path::PathBuf::from);
    folder.unwrap_or_else(|| {
        let name = format!("offhook-bench-{}", std::process::id());
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    })
}

fn journal() -> JournalSettings {
    let mut journal = JournalSettings::default();
    if let JournalSettings::Sqlite { path, .. } = &mut journal {
        *path = folder().join("journal");
    }
    journal
}

fn compare() {
    let number = |name: &str, default| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let (rounds, seconds, kept) = (number("ROUNDS", 5), number("SECONDS", 3), number("KEPT", 0));
    let names = std::env::var("SERVERS").unwrap_or_else(|_| "none,bare,sqlite,file".to_owned());
    let names: Vec<&str> = names.split(',').collect();
    pin(LOAD_CORE);
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut requests = Requests::new();
    println!(
        "{CONNECTIONS} connections, bodies of {} bytes, {rounds} rounds of {seconds} s, one worker on \
         core {SERVER_CORE}, load from core {LOAD_CORE}",
        requests.body_length()
    );
    let servers: Vec<_> = names
        .iter()
        .map(|name| Server::start(name, &folder))
        .collect();
    for server in servers.iter().filter(|_| kept > 0) {
        server.fill(&mut requests, kept);
    }
    let mut results: Vec<Vec<Measured>> = names.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (server, results) in servers.iter().zip(&mut results) {
            let result = server.measure(&mut requests, Duration::from_secs(seconds as u64));
            // The first round warms up.
            if round > 0 {
                results.push(result);
            }
        }
    }
    for ((name, results), server) in names.iter().zip(&results).zip(&servers) {
        report(name, results, server.resident_mib());
    }
    for (over, under) in [("none", "bare"), ("sqlite", "bare"), ("sqlite", "file")] {
        let find = |wanted| names.iter().position(|name| *name == wanted);
        if let (Some(over_at), Some(under_at)) = (find(over), find(under)) {
            let rates = results[over_at].iter().zip(&results[under_at]);
            let (low, median, high) = spread(rates.map(|(over, under)| over.rate / under.rate));
            println!(
                "{:<16} {median:>8.3}   ({low:.3} – {high:.3})",
                format!("{over} ÷ {under}")
            );
        }
    }
    drop(servers);
    // What is left in the target folder harms nobody.
    let _ = std::fs::remove_dir_all(folder);
}

struct Measured {
    rate: f64,
    cpu_micros: f64,
}

fn report(name: &str, results: &[Measured], resident: u64) {
    let (low, median, high) = spread(results.iter().map(|result| result.rate));
    let (_, cpu, _) = spread(results.iter().map(|result| result.cpu_micros));
    println!(
        "{name:<16} {median:>8.0} requests/s   ({low:.0} – {high:.0})   {cpu:.1} µs CPU each, \
         {resident} MiB resident"
    );
}

fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    )
}

/// Messages of about 300 bytes, each of them unique over the whole run and signed when it is made:
/// the generator makes more of them between the measurements.
struct Requests {
    secret: Secret,
    next: u64,
}

impl Requests {
    fn new() -> Self {
        let secret = Secret::new(KEY).expect("not empty");
        Self { secret, next: 0 }
    }

    fn body_length(&self) -> usize {
        self.event(0).body().len()
    }

    fn event(&self, number: u64) -> TestEvent {
        TestEvent::message(&format!("+{}", number % 10_000), &"Hello! ".repeat(12))
            .session("408f7372-f7c9-4299-a8db-326bc5548a73")
            .id(&format!("3EB0{number:016X}"))
            .field("timestamp", "2025-01-08T12:00:00.000Z")
    }

    /// The next `count` requests, for all connections together.
    fn take(&mut self, count: usize) -> Arc<Vec<Vec<u8>>> {
        let first = self.next;
        self.next += count as u64;
        let numbers = first..self.next;
        Arc::new(
            numbers
                .map(|number| self.event(number).sign(&self.secret).bytes())
                .collect(),
        )
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str, folder: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .env("OFFHOOK_BENCH_SERVER", name)
            .env("OFFHOOK_BENCH_FOLDER", folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }

    /// Sends as fast as it can for `time`.
    fn measure(&self, requests: &mut Requests, time: Duration) -> Measured {
        // More than can be answered in the time.
        let requests = requests.take(time.as_secs() as usize * 150_000);
        let cpu_before = self.cpu_seconds();
        let started = SystemClock.monotonic();
        let end = Some(started + time);
        let answered = actix_web::rt::System::new().block_on(load(self.address, &requests, end));
        let seconds = (SystemClock.monotonic() - started).as_secs_f64();
        let cpu = self.cpu_seconds() - cpu_before;
        Measured {
            rate: answered as f64 / seconds,
            cpu_micros: cpu * 1e6 / answered as f64,
        }
    }

    /// Sends `count` events, however long that takes.
    fn fill(&self, requests: &mut Requests, mut count: usize) {
        let started = SystemClock.monotonic();
        while count > 0 {
            let part = requests.take(count.min(500_000));
            count -= part.len();
            actix_web::rt::System::new().block_on(load(self.address, &part, None));
        }
        println!("filled in {:.0?}", SystemClock.monotonic() - started);
    }

    /// What proc(5) says is in memory.
    fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    }

    /// User and system time, as proc(5) has it.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("Linux");
        let after_name = stat.rsplit(") ").next().expect("a name");
        let ticks = after_name.split(' ').skip(11).take(2);
        let ticks: f64 = ticks
            .map(|ticks| ticks.parse::<f64>().expect("a number"))
            .sum();
        ticks / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends each request once, until they or the time end.
async fn load(to: SocketAddr, requests: &Arc<Vec<Vec<u8>>>, end: Option<Instant>) -> u64 {
    let answered = Arc::new(AtomicU64::new(0));
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (requests, answered) = (Arc::clone(requests), Arc::clone(&answered));
            actix_web::rt::spawn(async move {
                let mut stream = TcpStream::connect(to).await.expect("a connection");
                stream.set_nodelay(true).expect("a socket option");
                let mut answer = [0; 1024];
                for request in requests.iter().skip(number).step_by(CONNECTIONS) {
                    stream.write_all(request).await.expect("sent");
                    let mut length = 0;
                    while !answer[..length].ends_with(b"{\"status\":\"received\"}") {
                        let read = stream.read(&mut answer[length..]).await.expect("read");
                        assert!(read > 0, "closed after {:?}", &answer[..length]);
                        length += read;
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 200"));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if end.is_some_and(|end| SystemClock.monotonic() >= end) {
                        return;
                    }
                }
            })
        })
        .collect();
    for connection in connections {
        connection.await.expect("no panic");
    }
    answered.load(Ordering::Relaxed)
}

#[derive(Default)]
struct Counter(AtomicU64);

#[async_trait]
impl EventHandler for Counter {
    async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
        self.0
            .fetch_add(event.message().len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

async fn offhook_server(journal: JournalSettings) {
    pin(SERVER_CORE);
    let server = Offhook::builder()
        .source(Source::new("bench").secret(Secret::new(KEY).expect("not empty")))
        .handler("counter", Counter::default())
        .bind(([127, 0, 0, 1], 0))
        .without_admin()
        .journal(journal)
        .configure(|settings| settings.server.workers = 1)
        .start()
        .await
        .expect("it starts");
    println!("{}", server.public_address());
    server.run_until_stopped().await.expect("it runs");
}

/// What the events' fields are for: the bare app takes them apart, too.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Message {
    event: String,
    session_id: Option<String>,
    message_id: Option<String>,
    from: Option<String>,
    message: Option<String>,
    r#type: Option<String>,
    timestamp: Option<String>,
}

async fn bare(
    req: HttpRequest,
    body: web::Bytes,
    counter: web::Data<AtomicU64>,
    file: web::Data<Option<GroupFile>>,
) -> HttpResponse {
    let signature = req.headers().get("X-Webhook-Signature");
    let signature = signature.and_then(|value| Encoding::Hex.decode(value.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
    mac.update(&body);
    let expected = mac.finalize().into_bytes();
    let right = signature.is_some_and(|signature| expected.as_slice().ct_eq(&signature).into());
    if !right {
        let error = serde_json::json!({ "error": "Invalid signature" });
        return HttpResponse::Unauthorized().json(error);
    }
    let Ok(message) = serde_json::from_slice::<Message>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    // The typed event has a time, not a text.
    let sent = message
        .timestamp
        .and_then(|time| time.parse::<Timestamp>().ok());
    std::hint::black_box(sent);
    let length = message.message.map_or(0, |text| text.len());
    counter.fetch_add(length as u64, Ordering::Relaxed);
    if let Some(file) = file.as_ref() {
        file.append(body).await;
    }
    HttpResponse::Ok().json(serde_json::json!({ "status": "received" }))
}

async fn bare_server(file: Option<GroupFile>) {
    pin(SERVER_CORE);
    let counter = web::Data::new(AtomicU64::new(0));
    let file = web::Data::new(file);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(counter.clone())
            .app_data(file.clone())
            .route("/webhook", web::post().to(bare))
    })
    .workers(1)
    .bind("127.0.0.1:0")
    .expect("a free port");
    println!("{}", server.addrs()[0]);
    server.run().await.expect("it runs");
}

/// One file, one thread: what waits is written together, synchronised once, and answered.
struct GroupFile(
    tokio::sync::mpsc::UnboundedSender<(web::Bytes, tokio::sync::oneshot::Sender<()>)>,
);

impl GroupFile {
    fn create() -> Self {
        use std::io::Write as _;
        let mut file = std::fs::File::create(folder().join("bodies")).expect("a file");
        let (bodies, mut waiting) =
            tokio::sync::mpsc::unbounded_channel::<(web::Bytes, tokio::sync::oneshot::Sender<()>)>(
            );
        std::thread::spawn(move || {
            while let Some(first) = waiting.blocking_recv() {
                let mut group = vec![first];
                while let Ok(next) = waiting.try_recv() {
                    group.push(next);
                }
                let mut bytes = Vec::new();
                for (body, _) in &group {
                    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
                    bytes.extend_from_slice(body);
                }
                file.write_all(&bytes).expect("written");
                file.sync_data().expect("synchronised");
                for (_, answer) in group {
                    let _ = answer.send(());
                }
            }
        });
        Self(bodies)
    }

    async fn append(&self, body: web::Bytes) {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0.send((body, answer)).expect("the thread runs");
        answered.await.expect("the thread runs");
    }
}

/// Keeps this process, and the threads it will start, on one core.
fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cores) {
        eprintln!("not pinned to core {core}: {error}");
    }
}
