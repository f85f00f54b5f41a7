//! What instances tell each other beside the log: notes of their indexes, commands of administrators, replays.

use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::journal::Postgres;
use super::sql::{number, signed};
use crate::journal::{Share, Unavailable};

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

/// What an administrator asked for, until the holder of the share has done it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its number.
    pub id: u64,
    /// The share that it concerns.
    pub share: Share,
    /// The consumer that it is for.
    pub consumer: String,
    /// Its content.
    pub body: Vec<u8>,
}

impl Postgres {
    /// Writes a note for the other instances. Returns its number.
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

    /// Leaves commands for the holders of these shares. Returns when they are durable.
    ///
    /// # Errors
    ///
    /// If they cannot be stored now.
    pub async fn command(
        &self,
        consumer: &str,
        commands: &[(Share, Vec<u8>)],
    ) -> Result<(), Unavailable> {
        let shares: Vec<i32> = commands.iter().map(|(share, _)| (*share).into()).collect();
        let bodies: Vec<&[u8]> = commands.iter().map(|(_, body)| &body[..]).collect();
        self.shared
            .link
            .call(ADD_COMMANDS, &[&shares, &consumer.as_bytes(), &bodies])
            .await
            .map(drop)
    }

    /// Returns the commands of a share that are not done, in order.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    pub async fn commands(&self, share: Share) -> Result<Vec<Command>, Unavailable> {
        let rows = self
            .shared
            .link
            .read(COMMANDS, &[&i32::from(share)])
            .await?;
        let commands = rows.iter().map(|row| {
            let consumer = String::from_utf8(row.get(1));
            let consumer = consumer
                .map_err(|_| Unavailable::Away("a command is not what was written".to_owned()))?;
            Ok(Command {
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

    /// Stores a replay, or removes it if `body` is `None`.
    ///
    /// # Errors
    ///
    /// If that cannot be stored now.
    pub async fn put_replay(&self, id: Uuid, body: Option<&[u8]>) -> Result<(), Unavailable> {
        let call = match body {
            Some(body) => self.shared.link.call(PUT_REPLAY, &[&id, &body]).await,
            None => self.shared.link.call(REMOVE_REPLAY, &[&id]).await,
        };
        call.map(drop)
    }

    /// Returns all replays, in the order of their ids.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    pub async fn replays(&self) -> Result<Vec<(Uuid, Vec<u8>)>, Unavailable> {
        let rows = self.shared.link.read(REPLAYS, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

const ADD_NOTE: &str = "SELECT add_note_1($1, $2, $3)";
const NOTES: &str = "SELECT id, instance, body FROM note WHERE id > $1 ORDER BY id LIMIT $2";
const ADD_COMMANDS: &str = "WITH added AS (INSERT INTO command (share, consumer, body) \
    SELECT c.share, $2, c.body FROM unnest($1::int[], $3::bytea[]) AS c (share, body) RETURNING id) \
    SELECT pg_notify(current_schema(), 'c' || max(id)) FROM added";
const COMMANDS: &str = "SELECT id, consumer, body FROM command WHERE share = $1 ORDER BY id";
const PUT_REPLAY: &str = "INSERT INTO replay (id, body) VALUES ($1, $2) \
    ON CONFLICT (id) DO UPDATE SET body = excluded.body";
const REMOVE_REPLAY: &str = "DELETE FROM replay WHERE id = $1";
const REPLAYS: &str = "SELECT id, body FROM replay ORDER BY id";
