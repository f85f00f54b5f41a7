//! Reads a request to its end and answers a fixed 200, without a look at what is in it: what remains
//! is the cost of sockets, and of the load generator.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Handled;

pub(super) fn run(handled: &Handled) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    handled.announce(listener.local_addr()?)?;
    run_on(vec![listener], &handled.count)
}

/// Serves on this thread, until the process ends; counts what it has answered.
pub(crate) fn run_on(listeners: Vec<TcpListener>, answered: &Arc<AtomicU64>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(accept_all(listener, Arc::clone(answered)));
        }
        while let Some(ended) = accepting.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn accept_all(
    listener: tokio::net::TcpListener,
    answered: Arc<AtomicU64>,
) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let answered = Arc::clone(&answered);
        tokio::spawn(async move {
            // A server that is measured and ended leaves its connections as they are.
            if let Err(error) = answer_all(stream, &answered).await
                && error.kind() != ErrorKind::ConnectionReset
            {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

async fn answer_all(mut stream: TcpStream, answered: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        let Some(whole) = request_length(&buffer[..length]) else {
            continue;
        };
        // The rest of a long body is of no interest.
        let mut left = whole.saturating_sub(length);
        while left > 0 {
            let part = left.min(buffer.len());
            let read = stream.read(&mut buffer[..part]).await?;
            if read == 0 {
                return Ok(());
            }
            left -= read;
        }
        length = 0;
        stream.write_all(ANSWER).await?;
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long the request that starts here is, as soon as its head is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    // Some clients write it large, some small.
    let name = memchr::memmem::find(&bytes[..head], b"ontent-Length: ")
        .or_else(|| memchr::memmem::find(&bytes[..head], b"ontent-length: "))?;
    let digits = bytes[name + 15..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Some(head + body)
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 21\r\n\r\n{\"status\":\"received\"}";
