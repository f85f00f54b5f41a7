//! Whatever arrives on a connection, in whatever pieces: the answers are whole, nothing follows the last
//! one, an event is handled if and only if its sender is told so, and the pieces make no difference.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use offhook::signature::Secret;
use offhook::testing::{self, Recorder, TestRequest};
use offhook::{Offhook, Source};

use super::Input;

/// The real server on a thread of its own, and what its handler gets.
pub struct Guarded {
    address: SocketAddr,
    recorder: Recorder,
}

impl Guarded {
    /// Starts it. It runs until the process ends.
    pub fn start() -> Self {
        let recorder = Recorder::default();
        let (address, given) = mpsc::channel();
        let handler = recorder.clone();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let offhook = Offhook::builder()
                    .source(Source::new("s").secret(secret()).probe())
                    .handler("recorder", handler)
                    .without_admin()
                    .configure(|settings| {
                        settings.server.workers = 1;
                        settings.server.max_body = MAX_BODY;
                        settings.server.health_path = Some("/healthz".to_owned());
                    });
                let server = testing::start(offhook).await;
                let _ = address.send(server.public_address());
                std::future::pending::<()>().await;
                drop(server);
            });
        });
        let address = given.recv().expect("the server starts");
        Self { address, recorder }
    }

    /// Sends what `input` says, in pieces and in one, and checks what must hold.
    pub fn check(&self, input: &[u8]) {
        let pieces = pieces(input);
        let cut = self.answers(&pieces);
        let whole = self.answers(&[pieces.concat()]);
        assert_eq!(cut, whole, "pieces make a difference: {pieces:?}");
    }

    /// The statuses that are answered to these pieces.
    fn answers(&self, pieces: &[Vec<u8>]) -> Vec<u16> {
        let before = self.recorder.deliveries().len();
        let mut stream = TcpStream::connect(self.address).expect("connections are taken");
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(LONGEST));
        for piece in pieces {
            // Behind the last answer nothing is taken.
            if stream.write_all(piece).is_err() {
                break;
            }
            std::thread::yield_now();
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answers) {
            assert!(
                error.kind() == ErrorKind::ConnectionReset,
                "{error}: {pieces:?}"
            );
        }
        let (statuses, received) = parse(&answers);
        let handled = self.recorder.deliveries().len() - before;
        assert_eq!(handled, received, "{pieces:?}");
        statuses
    }
}

/// The statuses of all answers but `100 Continue`, and how many of them are for events.
fn parse(mut answers: &[u8]) -> (Vec<u16>, usize) {
    let (mut statuses, mut received, mut ended) = (Vec::new(), 0, false);
    while !answers.is_empty() {
        assert!(!ended, "something follows the last answer");
        let end = answers.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a whole head") + 4;
        let head = std::str::from_utf8(&answers[..end]).expect("text");
        let head = head.to_ascii_lowercase();
        let status = head
            .strip_prefix("http/1.1 ")
            .or(head.strip_prefix("http/1.0 "));
        let status = status
            .and_then(|rest| rest.get(..3))
            .and_then(|status| status.parse().ok());
        let status: u16 = status.expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        let body = answers[end..].get(..length).expect("a whole body");
        ended = head.contains("\r\nconnection: close\r\n");
        if status != 100 {
            statuses.push(status);
            received += usize::from(body == br#"{"status":"received"}"#);
        }
        answers = &answers[end + length..];
    }
    (statuses, received)
}

fn secret() -> Secret {
    Secret::new("key").expect("not empty")
}

/// What the input says: bytes, requests, and where they are cut.
fn pieces(input: &[u8]) -> Vec<Vec<u8>> {
    let mut input = Input(input);
    let mut pieces = vec![Vec::new()];
    let mut length = 0;
    while let (Some(what), true) = (input.byte(), length < MAX_SENT) {
        let bytes = match what % 8 {
            0 => input.bytes(usize::from(what >> 3)).to_vec(),
            1 => {
                pieces.push(Vec::new());
                continue;
            }
            _ => {
                let request = request(input.byte().unwrap_or(0), usize::from(what >> 3));
                let from = usize::from(what % 8 == 7) * usize::from(input.byte().unwrap_or(0));
                request[from.min(request.len())..].to_vec()
            }
        };
        // Some pieces end in the middle of what is written.
        let at = usize::from(what / 3) * usize::from(what & 1);
        let (now, later) = bytes.split_at(at.min(bytes.len()));
        if let Some(last) = pieces.last_mut() {
            last.extend(now);
        }
        pieces.push(later.to_vec());
        length += bytes.len();
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// A request of some kind, with a body of about `size` bytes.
fn request(kind: u8, size: usize) -> Vec<u8> {
    // The end of a head means nothing in a body.
    let body = [
        b"{}\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n".repeat(size / 16),
        vec![b'x'; size],
    ]
    .concat();
    let good = TestRequest::signed(body.clone(), &secret());
    let (line, rest) = (b"\r\n".as_slice(), |bytes: Vec<u8>| {
        let at = bytes.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
        (bytes[..at].to_vec(), bytes[at..].to_vec())
    });
    let with = |bytes: Vec<u8>, more: &str| {
        let (first, others) = rest(bytes);
        [&first[..], line, more.as_bytes(), &others].concat()
    };
    let chunked = || {
        let head = String::from_utf8_lossy(&good.bytes()).replace(
            &format!("Content-Length: {}", body.len()),
            "Transfer-Encoding: chunked",
        );
        let head = head.as_bytes()[..head.len() - body.len()].to_vec();
        let chunk =
            |part: &[u8]| [format!("{:x};x=\r\n", part.len()).as_bytes(), part, line].concat();
        let chunks: Vec<u8> = body.chunks(1 + size / 2).flat_map(chunk).collect();
        [head, chunks, b"0\r\n\r\n".to_vec()].concat()
    };
    match kind % 20 {
        0..4 => good.bytes(),
        4 => TestRequest::post(body)
            .header("X-Webhook-Signature", &"0".repeat(64))
            .bytes(),
        5 => TestRequest::post(body).bytes(),
        6 => chunked(),
        7 => with(good.bytes(), "Expect: 100-continue"),
        8 => with(good.bytes(), "Connection: close"),
        9 => with(good.bytes(), "Upgrade: websocket\r\nConnection: Upgrade"),
        10 => with(good.bytes(), "Upgrade: h2c"),
        11 => good.path("/other").bytes(),
        12 => TestRequest::get("/healthz").bytes(),
        13 => TestRequest::get("/webhook").bytes(),
        14 => with(chunked(), "Expect: 100-continue"),
        15 => TestRequest::signed(vec![b'x'; MAX_BODY + size], &secret()).bytes(),
        16 => [line, &good.bytes()].concat(),
        17 => String::from_utf8_lossy(&good.bytes())
            .replacen("HTTP/1.1", "HTTP/1.0", 1)
            .into(),
        18 => with(good.bytes(), "Content-Length: 1"),
        _ => with(good.bytes(), &format!("X-Long: {}", "x".repeat(64 * size))),
    }
}

const MAX_BODY: usize = 1000;

/// The most bytes of one connection.
const MAX_SENT: usize = 64 * 1024;

/// A hang limit.
const LONGEST: Duration = Duration::from_secs(20);
