//! A SQLite INSERT per request, as one writes it by hand: one connection behind a lock, write-ahead
//! log, `synchronous=FULL`, the message's id as a unique key, away from the worker's thread.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::{self, Bytes};
use rusqlite::Connection;

pub(super) struct Table(Arc<Mutex<Connection>>);

impl Table {
    pub(super) fn create(folder: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(folder.join("by-hand.db"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE events (id INTEGER PRIMARY KEY, message_id TEXT UNIQUE, body BLOB NOT NULL);",
        )?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    pub(super) async fn insert(&self, id: Option<String>, body: Bytes) -> anyhow::Result<()> {
        let connection = Arc::clone(&self.0);
        let inserted = web::block(move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let mut insert = connection.prepare_cached(INSERT)?;
            insert.execute((id, &body[..]))
        });
        inserted.await??;
        Ok(())
    }
}

const INSERT: &str =
    "INSERT INTO events (message_id, body) VALUES (?1, ?2) ON CONFLICT (message_id) DO NOTHING";
