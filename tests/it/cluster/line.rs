//! [`Line`]: carries the connections of an instance to one server of the database, and can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use actix_web::rt;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// As a network that is cut, it takes bytes and says nothing. What was under way arrives when it is whole again, also
/// where the sender has hung up meanwhile.
pub struct Line {
    address: SocketAddr,
    port: Arc<AtomicU16>,
    cut: watch::Sender<bool>,
}

impl Line {
    /// A line to the server at this port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            address: listener.local_addr().unwrap(),
            port: Arc::new(AtomicU16::new(port)),
            cut: watch::Sender::new(false),
        };
        let (port, cut) = (Arc::clone(&line.port), line.cut.subscribe());
        rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = ("127.0.0.1", port.load(Ordering::Relaxed));
                let cut = cut.clone();
                rt::spawn(async move {
                    // The client's connection ends where there is no server.
                    if let Ok(server) = TcpStream::connect(server).await {
                        carry(client, server, cut).await;
                    }
                });
            }
        });
        line
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    /// The port of the server that new connections are led to.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    pub fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

async fn carry(client: TcpStream, server: TcpStream, cut: watch::Receiver<bool>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, cut.clone()) => {}
        () = pass(from_server, to_client, cut) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut cut: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = from.read(&mut buffer).await;
        // An end does not get through either.
        if cut.wait_for(|cut| !cut).await.is_err() {
            return;
        }
        match read {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).await.is_ok() => {}
            _ => return,
        }
    }
}
