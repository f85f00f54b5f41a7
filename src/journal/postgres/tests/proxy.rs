//! [`Proxy`]: stands between an instance and the database, and can cut or hold what goes through.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// They are passed on.
    Through,
    /// Answers of the database are held back.
    NoAnswers,
    /// All connections are cut, and new ones too.
    Cut,
}

pub(super) struct Proxy {
    address: SocketAddr,
    flow: Arc<watch::Sender<Flow>>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let flow = Arc::new(watch::Sender::new(Flow::Through));
        let flowing = Arc::clone(&flow);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (answers, cut) = (flowing.subscribe(), flowing.subscribe());
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    pass(client, server, answers, cut).await;
                });
            }
        });
        Self { address, flow }
    }

    pub(super) fn url(&self) -> String {
        format!("postgresql://offhook@{}/postgres", self.address)
    }

    pub(super) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    mut flow: watch::Receiver<Flow>,
    mut cut: watch::Receiver<Flow>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            if flow
                .wait_for(|flow| *flow != Flow::NoAnswers)
                .await
                .is_err()
                || to_client.write_all(&buffer[..count]).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        () = answers => {}
        _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}
