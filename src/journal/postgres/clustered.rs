//! What the dispatcher and the metrics see of a journal that several instances share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use super::desk::saved_everywhere;
use super::journal::Postgres;
use super::{documents, gathering};
use crate::Timestamp;
use crate::journal::{
    AddError, Among, Cluster, Desk, Gathered, Grant, SavedProgress, Seq, Share, ShareCommand,
    Unavailable, Version,
};
use crate::telemetry::{AppendLock, ClusterState};

#[async_trait]
impl Cluster for Postgres {
    fn held(&self) -> watch::Receiver<BTreeMap<Share, Grant>> {
        Postgres::held(self)
    }

    fn lease_until(&self) -> Instant {
        Postgres::lease_until(self)
    }

    async fn now(&self) -> Result<Timestamp, Unavailable> {
        let now = self.shared.times.now();
        let rows = self.shared.link.read("SELECT now_1($1)", &[&now]).await?;
        Ok(Timestamp::from_millisecond(rows[0].get(0)).unwrap_or_default())
    }

    async fn head(&self) -> Result<Seq, Unavailable> {
        let rows = self.shared.link.read(HEAD, &[]).await?;
        Ok(rows[0].get::<_, i64>(0).unsigned_abs())
    }

    fn desk_of(&self, grant: Grant) -> Result<Arc<dyn Desk>, Unavailable> {
        Postgres::desk_of(self, grant)
    }

    async fn saved(&self, consumer: &str) -> Result<BTreeMap<Share, SavedProgress>, Unavailable> {
        saved_everywhere(&self.shared.link, consumer).await
    }

    async fn command(
        &self,
        consumer: &str,
        commands: &[(Share, Vec<u8>)],
    ) -> Result<Vec<u64>, Unavailable> {
        Postgres::command(self, consumer, commands).await
    }

    async fn carried_out(&self, commands: &[u64]) -> Result<(), Unavailable> {
        Postgres::carried_out(self, commands).await
    }

    fn watch_commands(&self) -> watch::Receiver<u64> {
        Postgres::watch_commands(self)
    }

    async fn commands(&self, share: Share) -> Result<Vec<ShareCommand>, Unavailable> {
        Postgres::commands(self, share).await
    }

    async fn remove_command(&self, grant: Grant, id: u64) -> Result<(), Unavailable> {
        Postgres::remove_command(self, grant, id).await
    }

    async fn give_back(&self, grant: Grant) -> Result<(), Unavailable> {
        Postgres::give_back(self, grant).await
    }

    fn applied(&self, version: Version) {
        Postgres::applied(self, version);
    }

    async fn applied_by_all(&self, version: Option<Version>) -> Result<(), Unavailable> {
        documents::applied_by_all(&self.shared, version).await
    }

    async fn add_note(&self, body: &[u8]) -> Result<u64, Unavailable> {
        Postgres::add_note(self, body).await
    }

    async fn notes(&self, after: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, Unavailable> {
        let notes = Postgres::notes(self, after, most).await?.into_iter();
        Ok(notes.map(|note| (note.id, note.body)).collect())
    }

    async fn gather(&self, what: Gathered) {
        gathering::ask(&self.shared, what).await;
    }

    async fn asked_for(&self, what: Gathered) -> Vec<Uuid> {
        self.shared.news.asking(what).asked().await
    }

    fn gathered(&self, what: Gathered, asked: Vec<Uuid>) {
        let (_, answer) = gathering::letters(what);
        for id in asked {
            self.shared.say(format!("{answer}{id}"));
        }
    }

    fn tell(&self, what: &str) {
        let id = self.shared.news.id.simple();
        self.shared.say(format!("t{id}{what}"));
    }

    fn told(&self) -> broadcast::Receiver<Arc<str>> {
        self.shared.news.told.subscribe()
    }

    fn watch_notes(&self) -> watch::Receiver<u64> {
        Postgres::watch_notes(self)
    }

    async fn add_document(
        &self,
        key: &str,
        among: Among,
        value: Vec<u8>,
        consumer: &str,
        head: &[u8],
    ) -> Result<Version, AddError> {
        documents::add(&self.shared, (key, among), &value, (consumer, head)).await
    }

    async fn forget_removed(&self, consumer: &str, document: &str) -> Result<(), Unavailable> {
        documents::forget_removed(&self.shared.link, consumer, document).await
    }

    fn runs(&self, settings: String) {
        self.shared.peers.runs(settings);
        self.shared.grants.look.notify_one();
    }

    fn differ(&self) -> Option<String> {
        self.shared.peers.differ()
    }

    fn state(&self) -> ClusterState {
        let counts = self.counts();
        ClusterState {
            shares: self.shared.grants.held.borrow().len() as u64,
            lease_left: self.shared.lease_left(),
            taken: counts.taken,
            fenced: counts.fenced,
            unknown_found: counts.unknown_found,
            unknown_absent: counts.unknown_absent,
            lost: counts.lost,
            behind: self.shared.following.behind(),
        }
    }

    fn measure(&self, lock: AppendLock) {
        // It is told once.
        let _ = self.shared.append_lock.set(lock);
    }
}

const HEAD: &str = "SELECT coalesce((SELECT max(last) FROM block), first_seq - 1) FROM meta";
