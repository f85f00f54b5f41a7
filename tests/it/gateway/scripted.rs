//! A gateway that answers one request after the other with what it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

/// What it was asked.
#[derive(Debug)]
pub struct Asked {
    /// `POST /path`
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(one, _)| one == name);
        named.next().map(|(_, value)| value.as_str())
    }
}

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer(u16, String),
    /// These bytes, whatever they are, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, until the client gives up.
    Hang,
    /// A body without an end, until the client gives up.
    Endless,
}

pub fn answer(status: u16, body: &str) -> Reply {
    Reply::Answer(status, body.to_owned())
}

/// It runs until it is dropped. The last reply of its script is for all that comes later.
pub struct Scripted {
    pub address: SocketAddr,
    asked: Receiver<Asked>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(script: Vec<Reply>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub fn on(listener: TcpListener, script: Vec<Reply>) -> Self {
        let address = listener.local_addr().unwrap();
        let (told, asked) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for number in 0.. {
                let stream = listener.accept().unwrap().0;
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = BufReader::new(stream);
                let _ = told.send(read(&mut stream));
                reply(
                    stream.get_mut(),
                    &script[number.min(script.len() - 1)],
                    address,
                    &stopped,
                );
            }
        });
        Self {
            address,
            asked,
            stop,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, within a minute.
    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// All that nobody has looked at.
    pub fn rest(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().unwrap().join();
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Asked {
    let mut asked = Asked {
        line: String::new(),
        headers: Vec::new(),
        body: String::new(),
    };
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap_or(0) > 2 {
        let text = line.trim_end();
        match text.split_once(": ") {
            None => asked.line = text.trim_end_matches(" HTTP/1.1").to_owned(),
            Some((name, value)) => {
                let header = (name.to_ascii_lowercase(), value.to_owned());
                asked.headers.push(header);
            }
        }
        line.clear();
    }
    let length = asked
        .header("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = stream.by_ref().take(length);
    body.read_to_string(&mut asked.body).unwrap();
    asked
}

fn reply(stream: &mut TcpStream, reply: &Reply, address: SocketAddr, stopped: &AtomicBool) {
    let head = |status| {
        format!("HTTP/1.1 {status} X\r\nLocation: http://{address}/\r\nConnection: close\r\n")
    };
    // A client that has gone is no error.
    let _ = match reply {
        Reply::Raw(bytes) => stream.write_all(bytes),
        Reply::Hang => {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            while stream.read(&mut [0]).is_err() && !stopped.load(Ordering::SeqCst) {}
            Ok(())
        }
        Reply::Answer(status, body) => {
            let length = body.len();
            let text = format!("{}Content-Length: {length}\r\n\r\n{body}", head(*status));
            stream.write_all(text.as_bytes())
        }
        Reply::Endless => {
            let mut written = stream.write_all(format!("{}\r\n[1", head(200)).as_bytes());
            while written.is_ok() {
                written = stream.write_all(&[b' '; 4096]);
            }
            written
        }
    };
}
