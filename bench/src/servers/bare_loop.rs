//! What the relay is compared with: the same HTTP client, set up in the same way, in a loop; no journal,
//! no signature, no retry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::web::Bytes;
use clap::Args;

use super::Handled;

#[derive(Debug, Clone, Args)]
pub(crate) struct LoopOptions {
    /// The subscribers.
    #[arg(long, value_delimiter = ',')]
    to: Vec<SocketAddr>,
    /// How many requests each of them gets.
    #[arg(long)]
    events: u64,
    /// How many are on their way to each at once.
    #[arg(long)]
    concurrency: usize,
    /// The length of a body in bytes.
    #[arg(long)]
    body: usize,
}

pub(crate) fn run(options: &LoopOptions) -> anyhow::Result<()> {
    let handled = Handled::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Nothing here is encrypted, but the client wants to be able to. One that is set is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(Duration::from_secs(10))
            .connect_timeout(Duration::from_secs(7))
            .build()?;
        let body = Bytes::from(vec![b'x'; options.body]);
        handled.announce(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        handled.opened().await;
        for address in &options.to {
            let left = Arc::new(AtomicU64::new(options.events));
            for _ in 0..options.concurrency {
                let url = format!("http://{address}/webhook");
                let (client, left) = (client.clone(), Arc::clone(&left));
                let (body, handled) = (body.clone(), handled.clone());
                tokio::spawn(async move {
                    if let Err(error) = send(&client, &url, &body, &left, &handled).await {
                        eprintln!("{error}");
                    }
                });
            }
        }
        // Until the benchmark has counted, and ends this.
        std::future::pending().await
    })
}

async fn send(
    client: &reqwest::Client,
    url: &str,
    body: &Bytes,
    left: &AtomicU64,
    handled: &Handled,
) -> reqwest::Result<()> {
    let one_less = |left: u64| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_ok()
    {
        let request = client.post(url).header("Content-Type", "application/json");
        let answer = request
            .body(body.clone())
            .send()
            .await?
            .error_for_status()?;
        answer.bytes().await?;
        handled.one_more();
    }
    Ok(())
}
