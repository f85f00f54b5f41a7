//! One file, one thread: what waits is written together, synchronised once, and answered. No index, no
//! duplicates, no way to read it again: what a durable answer costs at least.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use actix_web::web::Bytes;
use anyhow::anyhow;
use tokio::sync::{mpsc, oneshot};

type Waiting = (Bytes, oneshot::Sender<()>);

pub(super) struct GroupFile(mpsc::Sender<Waiting>);

impl GroupFile {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        let file = File::create(path)?;
        let (bodies, waiting) = mpsc::channel(MOST_WAITING);
        std::thread::spawn(move || {
            if let Err(error) = write_groups(file, waiting) {
                eprintln!("the file failed: {error}");
            }
        });
        Ok(Self(bodies))
    }

    pub(super) async fn append(&self, body: Bytes) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| anyhow!("the writer has ended");
        self.0.send((body, answer)).await.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))
    }
}

fn write_groups(mut file: File, mut waiting: mpsc::Receiver<Waiting>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut answers = Vec::new();
    while let Some(first) = waiting.blocking_recv() {
        let mut next = Some(first);
        while let Some((body, answer)) = next {
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&body);
            answers.push(answer);
            next = waiting.try_recv().ok();
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        bytes.clear();
        for answer in answers.drain(..) {
            // A sender that has gone needs no answer.
            let _ = answer.send(());
        }
    }
    Ok(())
}

const MOST_WAITING: usize = 8192;
