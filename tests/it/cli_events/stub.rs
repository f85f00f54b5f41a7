//! A server that answers one request with what it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::support::{Ran, offhook};

/// What the stub was asked.
#[derive(Debug, Default)]
pub struct Asked {
    /// `GET /path?query`
    pub line: String,
    pub authorization: Option<String>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs with a server that answers `body`.
pub fn ask(arguments: &[&str], status: u16, body: &str) -> (Asked, Ran) {
    ask_with(arguments, status, body, |_| ())
}

pub fn ask_with(
    arguments: &[&str],
    status: u16,
    body: &str,
    environment: impl FnOnce(&mut Command),
) -> (Asked, Ran) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 {status} Whatever\r\nLocation: http://{address}/\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let stub = thread::spawn(move || serve(&listener, &answer));
    let mut command = offhook(arguments);
    command.env("OFFHOOK_ADMIN", format!("http://{address}"));
    environment(&mut command);
    let ran: Ran = command.output().unwrap().into();
    // Where the program asked nothing, this ends the stub.
    drop(TcpStream::connect(address));
    (stub.join().unwrap(), ran)
}

fn serve(listener: &TcpListener, answer: &str) -> Asked {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let mut asked = Asked::default();
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap_or(0) > 2 {
        let text = line.trim_end();
        match text.split_once(": ") {
            None => asked.line = text.trim_end_matches(" HTTP/1.1").to_owned(),
            Some((name, value)) => match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => asked.authorization = Some(value.to_owned()),
                _ => (),
            },
        }
        line.clear();
    }
    stream
        .by_ref()
        .take(length)
        .read_to_string(&mut asked.body)
        .unwrap();
    let _ = stream.get_mut().write_all(answer.as_bytes());
    asked
}
