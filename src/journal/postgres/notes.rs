//! What instances tell each other beside the log: notes of their indexes, commands of administrators.

use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::journal::Postgres;
use super::sql::{number, signed};
use crate::journal::{Grant, Share, ShareCommand, Unavailable};

/// What the index of one instance knows beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its number. Notes become visible in the order of their numbers.
    pub id: u64,
    /// The instance that wrote it.
    pub instance: Uuid,
    /// Its content.
    pub body: Vec<u8>,
}

impl Postgres {
    /// Writes a note for the other instances. Returns its number. The instance that does what only one may do removes
    /// notes that are older than a day: what an instance has not read by then, its index does not show.
    ///
    /// # Errors
    ///
    /// If it cannot be stored now.
    pub async fn add_note(&self, body: &[u8]) -> Result<u64, Unavailable> {
        let (instance, now) = (self.shared.identity(), self.shared.times.now());
        let rows = self
            .shared
            .link
            .call(ADD_NOTE, &[&instance, &body, &now])
            .await?;
        Ok(number(&rows[0], 0))
    }

    /// Returns the notes after this number, at most `most`.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    pub async fn notes(&self, after: u64, most: usize) -> Result<Vec<Note>, Unavailable> {
        let values: [&(dyn ToSql + Sync); 2] = [&signed(after), &signed(most as u64)];
        let rows = self.shared.link.read(NOTES, &values).await?;
        let notes = rows.iter().map(|row| Note {
            id: number(row, 0),
            instance: row.get(1),
            body: row.get(2),
        });
        Ok(notes.collect())
    }

    /// Returns the number of the newest known note, to wait for the next one.
    pub fn watch_notes(&self) -> watch::Receiver<u64> {
        self.shared.news.notes.subscribe()
    }

    /// Leaves commands for the holders of these shares. Returns their numbers when they are durable.
    ///
    /// # Errors
    ///
    /// If they cannot be stored now.
    pub async fn command(
        &self,
        consumer: &str,
        commands: &[(Share, Vec<u8>)],
    ) -> Result<Vec<u64>, Unavailable> {
        let shares: Vec<i32> = commands.iter().map(|(share, _)| (*share).into()).collect();
        let bodies: Vec<&[u8]> = commands.iter().map(|(_, body)| &body[..]).collect();
        let rows = self
            .shared
            .link
            .call(ADD_COMMANDS, &[&shares, &consumer.as_bytes(), &bodies])
            .await?;
        let ids: Option<Vec<i64>> = rows[0].get(0);
        Ok(ids
            .unwrap_or_default()
            .into_iter()
            .map(i64::unsigned_abs)
            .collect())
    }

    /// Waits until these commands were carried out. A holder that has vanished is waited for until another has
    /// taken the share, which takes less than two leases.
    ///
    /// # Errors
    ///
    /// If that cannot be known now.
    pub async fn carried_out(&self, commands: &[u64]) -> Result<(), Unavailable> {
        let ids: Vec<i64> = commands.iter().map(|id| signed(*id)).collect();
        let clock = &self.shared.clock;
        let until = clock.monotonic() + 3 * self.shared.longest_lease();
        let mut pause = SHORTEST_PAUSE;
        while !ids.is_empty() {
            let rows = self.shared.link.read(LEFT, &[&ids]).await?;
            if !rows[0].get::<_, bool>(0) {
                break;
            }
            if clock.monotonic() > until {
                let why =
                    "another instance has not carried out a command in time; it does so later";
                return Err(Unavailable::Away(why.to_owned()));
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Removes a command that was carried out, unless its share is not held by this grant any more.
    ///
    /// # Errors
    ///
    /// If that cannot be stored now.
    pub async fn remove_command(&self, grant: Grant, id: u64) -> Result<(), Unavailable> {
        let (id, epoch) = (signed(id), signed(grant.epoch));
        let values: [&(dyn ToSql + Sync); 3] = [&id, &grant.holder, &epoch];
        let removed = self.shared.link.call(REMOVE_COMMAND, &values).await;
        removed.map(drop)
    }

    /// Returns the commands of a share that are not done, in order.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    pub async fn commands(&self, share: Share) -> Result<Vec<ShareCommand>, Unavailable> {
        let rows = self
            .shared
            .link
            .read(COMMANDS, &[&i32::from(share)])
            .await?;
        let commands = rows.iter().map(|row| {
            let consumer = String::from_utf8(row.get(1));
            let consumer = consumer
                .map_err(|_| Unavailable::Away("a command is not what was written".to_owned()))?;
            Ok(ShareCommand {
                id: number(row, 0),
                share,
                consumer,
                body: row.get(2),
            })
        });
        commands.collect()
    }

    /// Returns the number of the newest known command, to wait for the next one.
    pub fn watch_commands(&self) -> watch::Receiver<u64> {
        self.shared.news.commands.subscribe()
    }
}

const ADD_NOTE: &str = "SELECT add_note_1($1, $2, $3)";
const NOTES: &str = "SELECT id, instance, body FROM note WHERE id > $1 ORDER BY id LIMIT $2";
const ADD_COMMANDS: &str = "WITH added AS (INSERT INTO command (share, consumer, body) \
    SELECT c.share, $2, c.body FROM unnest($1::int[], $3::bytea[]) AS c (share, body) RETURNING id) \
    SELECT array_agg(id), pg_notify(current_schema(), 'c' || max(id)) FROM added";
const LEFT: &str = "SELECT EXISTS (SELECT FROM command WHERE id = ANY ($1))";
const REMOVE_COMMAND: &str = "WITH held AS (SELECT no FROM share WHERE holder = $2 AND epoch = $3 \
    AND no = (SELECT share FROM command WHERE id = $1) FOR SHARE) \
    DELETE FROM command WHERE id = $1 AND share IN (SELECT no FROM held)";
const COMMANDS: &str = "SELECT id, consumer, body FROM command WHERE share = $1 ORDER BY id";

/// Between looks whether commands were carried out.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
