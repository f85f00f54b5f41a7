//! [`Proxy`]: stands between an instance and the database, and can cut or hold what goes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Notifications are left out, as behind a pooler that pools transactions.
    NoNotifications,
    /// Messages say in German how bad they are.
    German,
}

pub(super) struct Proxy {
    address: SocketAddr,
    flow: Arc<watch::Sender<Flow>>,
    /// How many requests the database has answered.
    answered: Arc<AtomicUsize>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let flow = Arc::new(watch::Sender::new(Flow::Through));
        let flowing = Arc::clone(&flow);
        let answered = Arc::<AtomicUsize>::default();
        let counting = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (answers, cut) = (flowing.subscribe(), flowing.subscribe());
                let answered = Arc::clone(&counting);
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    pass(client, server, answers, cut, &answered).await;
                });
            }
        });
        Self {
            address,
            flow,
            answered,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("postgresql://offhook@{}/postgres", self.address)
    }

    /// Returns how many requests were answered so far.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

/// Takes notifications out of whole messages: a kind, and the length of the rest.
fn leave_out_notifications(answer: &mut Vec<u8>) {
    let (mut left, mut at) = (Vec::new(), 0);
    while let Some(length) = answer.get(at + 1..at + 5) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + 1;
        let end = (at + length).min(answer.len());
        if answer[at] != b'A' {
            left.extend_from_slice(&answer[at..end]);
        }
        at = end;
    }
    left.extend_from_slice(&answer[at..]);
    *answer = left;
}

/// Translates the word in the notices and errors of whole messages, as a server with other `lc_messages` does. Another field
/// has it in English.
fn translate(answer: &[u8]) -> Vec<u8> {
    const WORDS: [(&[u8], &[u8]); 2] =
        [(b"SERROR\0", b"SFEHLER\0"), (b"SWARNING\0", b"SWARNUNG\0")];
    let (mut translated, mut at) = (Vec::new(), 0);
    while let Some(length) = answer.get(at + 1..at + 5) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + 1;
        let end = (at + length).min(answer.len());
        let mut rest = answer[at + 5..end].to_vec();
        if let Some((word, other)) = WORDS.iter().find(|(word, _)| rest.starts_with(word))
            && [b'E', b'N'].contains(&answer[at])
        {
            rest.splice(..word.len(), other.iter().copied());
        }
        translated.push(answer[at]);
        translated.extend((rest.len() as u32 + 4).to_be_bytes());
        translated.extend(rest);
        at = end;
    }
    translated.extend_from_slice(&answer[at..]);
    translated
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    mut flow: watch::Receiver<Flow>,
    mut cut: watch::Receiver<Flow>,
    answered: &AtomicUsize,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let now = match flow.wait_for(|flow| *flow != Flow::NoAnswers).await {
                Ok(now) => *now,
                Err(_) => return,
            };
            let mut answer = buffer[..count].to_vec();
            // "Ready for the next one".
            let ends = answer.windows(6).filter(|bytes| bytes == b"Z\0\0\0\x05I");
            answered.fetch_add(ends.count(), Ordering::SeqCst);
            match now {
                Flow::NoNotifications => leave_out_notifications(&mut answer),
                Flow::German => answer = translate(&answer),
                _ => {}
            }
            if to_client.write_all(&answer).await.is_err() {
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
