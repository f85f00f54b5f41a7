//! [`Pair`]: a primary and its synchronous standby.

use std::sync::Arc;

use super::{Database, blocking, client};
use crate::served::until;

pub struct Pair {
    pub primary: Arc<Database>,
    pub standby: Arc<Database>,
}

impl Pair {
    /// `None`, with a loud line, where PostgreSQL is missing.
    pub async fn start() -> Option<Self> {
        let primary = Arc::new(blocking(Database::start).await?);
        let client = client(&primary.url()).await.unwrap();
        // A copy of the database has another name, and does not count as a standby while it is made.
        for sql in [
            "ALTER SYSTEM SET synchronous_standby_names = 'walreceiver'",
            "SELECT pg_reload_conf()",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        let copied = Arc::clone(&primary);
        let standby = Arc::new(blocking(move || copied.standby()).await);
        let pair = Self { primary, standby };
        pair.in_step().await;
        Some(pair)
    }

    /// Waits until the standby is one that a commit waits for.
    pub async fn in_step(&self) {
        let url = self.primary.url();
        until("in step", async || {
            let Some(client) = client(&url).await else {
                return false;
            };
            let asked = client.query_one(IN_STEP, &[]).await;
            asked.is_ok_and(|row| row.get(0))
        })
        .await;
    }

    /// Kills the primary, and starts it again.
    pub async fn restart(&self) {
        let primary = Arc::clone(&self.primary);
        blocking(move || {
            primary.kill();
            primary.run();
        })
        .await;
    }

    /// Kills the primary, and has the standby take over. There is no standby then.
    pub async fn fail_over(&self) {
        let (old, new) = (Arc::clone(&self.primary), Arc::clone(&self.standby));
        blocking(move || {
            old.kill();
            new.promote();
        })
        .await;
    }

    /// After a fail-over, starts a new standby in place of what was the primary.
    pub async fn replace(&mut self) {
        let new = Arc::clone(&self.standby);
        let standby = Arc::new(blocking(move || new.standby()).await);
        self.primary = std::mem::replace(&mut self.standby, standby);
    }
}

const IN_STEP: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication \
    WHERE application_name = 'walreceiver' AND state = 'streaming' AND sync_state = 'sync')";
