//! What the dispatcher and the metrics see of a journal that several instances share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;

use super::desk::saved;
use super::journal::Postgres;
use crate::journal::{Cluster, Desk, Grant, SavedProgress, Share, Unavailable};
use crate::telemetry::ClusterState;

#[async_trait]
impl Cluster for Postgres {
    fn held(&self) -> watch::Receiver<BTreeMap<Share, Grant>> {
        Postgres::held(self)
    }

    fn lease_until(&self) -> Instant {
        Postgres::lease_until(self)
    }

    fn desk_of(&self, grant: Grant) -> Result<Arc<dyn Desk>, Unavailable> {
        Postgres::desk_of(self, grant)
    }

    async fn saved(
        &self,
        share: Share,
        consumer: &str,
    ) -> Result<Option<SavedProgress>, Unavailable> {
        saved(&self.shared.link, share, consumer).await
    }

    async fn give_back(&self, grant: Grant) -> Result<(), Unavailable> {
        Postgres::give_back(self, grant).await
    }

    fn state(&self) -> ClusterState {
        let counts = self.counts();
        let now = self.shared.clock.monotonic();
        ClusterState {
            shares: self.shared.grants.held.borrow().len() as u64,
            lease_left: self.shared.lease_until().saturating_duration_since(now),
            taken: counts.taken,
            fenced: counts.fenced,
            unknown_found: counts.unknown_found,
            unknown_absent: counts.unknown_absent,
            lost: counts.lost,
        }
    }
}
