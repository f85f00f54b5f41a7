//! What receiving costs: offhook with the engine `none` and a handler that counts, beside a bare
//! actix-web app that does the same check and parses the same JSON.
//!
//! ```sh
//! cargo bench --bench receive            # 5 rounds of 3 s each
//! ROUNDS=9 SECONDS=5 cargo bench --bench receive
//! ```
//!
//! Both servers have one worker and run as processes of their own on one core; the load generator
//! is on another. They take turns within each round, so a change of the machine's speed meets both.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hmac::{Hmac, KeyInit as _, Mac as _};
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{Encoding, Secret};
use offhook::testing::TestEvent;
use offhook::{Delivery, EventHandler, HandlerError, MessageEvent, Offhook, Source, async_trait};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const KEY: &str = "a-secret-of-the-benchmark";
const CONNECTIONS: usize = 64;
const MESSAGES: usize = 50_000;
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() {
    match std::env::var("OFFHOOK_BENCH_SERVER").as_deref() {
        Ok("offhook") => actix_web::rt::System::new().block_on(offhook_server()),
        Ok(_) => actix_web::rt::System::new().block_on(bare_server()),
        Err(_) => compare(),
    }
}

fn compare() {
    let number = |name: &str, default| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let (rounds, seconds) = (number("ROUNDS", 5), number("SECONDS", 3));
    pin(LOAD_CORE);
    let requests = requests();
    let length = requests[0].len();
    println!(
        "{CONNECTIONS} connections, requests of {length} bytes, {rounds} rounds of {seconds} s, \
         one worker on core {SERVER_CORE}, load from core {LOAD_CORE}"
    );
    let servers = [Server::start("offhook"), Server::start("bare")];
    let mut results = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (server, results) in servers.iter().zip(&mut results) {
            let result = server.measure(&requests, Duration::from_secs(seconds));
            // The first round warms up.
            if round > 0 {
                results.push(result);
            }
        }
    }
    let [ours, bare] = results;
    let ratios = ours
        .iter()
        .zip(&bare)
        .map(|(ours, bare)| ours.rate / bare.rate);
    report("offhook, engine none", &ours);
    report("bare actix-web", &bare);
    let (low, median, high) = spread(ratios);
    println!("offhook ÷ bare        {median:.3}   ({low:.3} – {high:.3})");
}

struct Measured {
    rate: f64,
    cpu_micros: f64,
}

fn report(name: &str, results: &[Measured]) {
    let (low, median, high) = spread(results.iter().map(|result| result.rate));
    let (_, cpu, _) = spread(results.iter().map(|result| result.cpu_micros));
    println!("{name:<21} {median:>7.0} requests/s   ({low:.0} – {high:.0})   {cpu:.1} µs CPU each");
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

/// Unique messages of about 300 bytes, signed beforehand.
fn requests() -> Arc<Vec<Vec<u8>>> {
    let secret = Secret::new(KEY).expect("not empty");
    let requests = (0..MESSAGES).map(|number| {
        let event = TestEvent::message(&format!("+{}", number % 10_000), &"Hello! ".repeat(12))
            .session("408f7372-f7c9-4299-a8db-326bc5548a73")
            .id(&format!("3EB0{number:016X}"))
            .field("timestamp", "2025-01-08T12:00:00.000Z");
        event.sign(&secret).bytes()
    });
    Arc::new(requests.collect())
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .env("OFFHOOK_BENCH_SERVER", name)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }

    fn measure(&self, requests: &Arc<Vec<Vec<u8>>>, time: Duration) -> Measured {
        let cpu_before = self.cpu_seconds();
        let started = SystemClock.monotonic();
        let answered = actix_web::rt::System::new().block_on(load(self.address, requests, time));
        let seconds = (SystemClock.monotonic() - started).as_secs_f64();
        let cpu = self.cpu_seconds() - cpu_before;
        Measured {
            rate: answered as f64 / seconds,
            cpu_micros: cpu * 1e6 / answered as f64,
        }
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

async fn load(to: SocketAddr, requests: &Arc<Vec<Vec<u8>>>, time: Duration) -> u64 {
    let answered = Arc::new(AtomicU64::new(0));
    let end = SystemClock.monotonic() + time;
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (requests, answered) = (Arc::clone(requests), Arc::clone(&answered));
            actix_web::rt::spawn(async move {
                let mut stream = TcpStream::connect(to).await.expect("a connection");
                stream.set_nodelay(true).expect("a socket option");
                let mut answer = [0; 1024];
                for request in requests.iter().skip(number).step_by(CONNECTIONS).cycle() {
                    stream.write_all(request).await.expect("sent");
                    let mut length = 0;
                    while !answer[..length].ends_with(b"{\"status\":\"received\"}") {
                        let read = stream.read(&mut answer[length..]).await.expect("read");
                        assert!(read > 0, "closed after {:?}", &answer[..length]);
                        length += read;
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 200"));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if SystemClock.monotonic() >= end {
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

async fn offhook_server() {
    pin(SERVER_CORE);
    let server = Offhook::builder()
        .source(Source::new("bench").secret(Secret::new(KEY).expect("not empty")))
        .handler("counter", Counter::default())
        .bind(([127, 0, 0, 1], 0))
        .without_admin()
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

async fn bare(req: HttpRequest, body: web::Bytes, counter: web::Data<AtomicU64>) -> HttpResponse {
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
    let length = message.message.map_or(0, |text| text.len());
    counter.fetch_add(length as u64, Ordering::Relaxed);
    HttpResponse::Ok().json(serde_json::json!({ "status": "received" }))
}

async fn bare_server() {
    pin(SERVER_CORE);
    let counter = web::Data::new(AtomicU64::new(0));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(counter.clone())
            .route("/webhook", web::post().to(bare))
    })
    .workers(1)
    .bind("127.0.0.1:0")
    .expect("a free port");
    println!("{}", server.addrs()[0]);
    server.run().await.expect("it runs");
}

/// Keeps this process, and the threads it will start, on one core.
fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cores) {
        eprintln!("not pinned to core {core}: {error}");
    }
}
