//! [`SavedCopy`]: the new database that a damaged journal is saved into, row by row.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::folder::{self, FILE, OpenError};
use super::partial::FilesError;
use super::tables::{Table, quoted};
use super::{reading, rows, schema, store};
use crate::journal::block::{Block, Format};
use crate::journal::dedup::DedupEntry;
use crate::journal::{Missing, Record, Seq};

#[derive(Debug)]
pub(super) struct SavedCopy {
    database: Connection,
    folder: PathBuf,
    /// The version of its tables until it is finished.
    version: i64,
    /// The columns of its tables.
    columns: HashMap<String, Vec<String>>,
    /// The consumers whose head is saved, and all consumers that are known of.
    heads: BTreeSet<String>,
    consumers: BTreeSet<String>,
}

impl SavedCopy {
    /// Creates a database without tables in a folder.
    pub(super) fn create(folder: &Path) -> Result<Self, FilesError> {
        let path = folder.join(FILE);
        folder::create_private(&path).map_err(FilesError::io(&path))?;
        let open = || {
            let database = Connection::open(&path)?;
            database.pragma_update(None, "page_size", store::PAGE)?;
            // A half copy is removed, and a whole one is synced at the end.
            database.pragma_update(None, "journal_mode", "OFF")?;
            database.pragma_update(None, "synchronous", "OFF")?;
            Ok(database)
        };
        Ok(Self {
            database: open().map_err(|error| FilesError::database(folder, &error))?,
            folder: folder.to_owned(),
            version: schema::VERSION,
            columns: HashMap::new(),
            heads: BTreeSet::new(),
            consumers: BTreeSet::new(),
        })
    }

    /// Creates the tables that the damaged journal has, or, if it does not say or is of this version, those of
    /// this version.
    pub(super) fn create_tables(&mut self, damaged: &Connection) -> Result<(), FilesError> {
        let version = damaged.pragma_query_value(None, "user_version", |row| row.get(0));
        let older = version
            .ok()
            .filter(|version| (2..schema::VERSION).contains(version));
        let mut create = || -> Result<(), OpenError> {
            match older.zip(tables_of(damaged)) {
                Some((version, tables)) => {
                    self.database.execute_batch(&tables)?;
                    self.version = version;
                }
                None => {
                    schema::migrate(&mut self.database, 0)?;
                    // Those of an empty journal. What is not saved is to be missing, and not 0.
                    self.database.execute("DELETE FROM counters", [])?;
                }
            }
            let blocks = Table::named(&self.database, "blocks".to_owned())?;
            let tables = Table::all(&self.database)?.into_iter().chain([blocks]);
            self.columns = tables.map(|table| (table.name, table.columns)).collect();
            self.database.execute_batch("BEGIN")?;
            Ok(())
        };
        let created = create();
        created.map_err(|error| FilesError::unknown(&self.folder, &error))
    }

    /// Inserts a row of the log as it is.
    pub(super) fn insert(&mut self, columns: &[String], values: &[Value]) -> rusqlite::Result<()> {
        self.insert_row("blocks", columns, values).map(drop)
    }

    /// Inserts these bodies of a block, in blocks of their own.
    pub(super) fn insert_some(
        &mut self,
        block: &Block<&[u8]>,
        records: &[Record],
        keys: &[DedupEntry],
    ) -> rusqlite::Result<()> {
        for run in records.chunk_by(|one, next| one.seq + 1 == next.seq) {
            let mut new = Block {
                kept_at: block.kept_at,
                format: block.format,
                ..Block::default()
            };
            for record in run {
                let own = keys.iter().filter(|key| key.position.seq() == record.seq);
                let mut own: Vec<DedupEntry> = own.copied().collect();
                if own.is_empty() && block.format == Format::Whole {
                    // This format has one for each body. Its window has ended.
                    own.push(DedupEntry {
                        hash: 0,
                        position: crate::journal::Position::first(record.seq),
                        until: i64::MIN,
                    });
                }
                if let Some(Missing::Deleted(at)) = record.missing {
                    new.push_deleted(record.seq, &own, &record.received, at);
                    continue;
                }
                new.push(
                    record.seq,
                    own,
                    &record.received,
                    &record.parts,
                    &record.events,
                );
            }
            new.finish();
            self.insert_block(new)?;
        }
        Ok(())
    }

    fn insert_block(&mut self, block: Block) -> rusqlite::Result<()> {
        let number = |number: u64| Value::Integer(number.cast_signed());
        let columns = [
            "last", "first", "kept_at", "format", "claims", "events", "sums",
        ];
        let values = [
            number(block.last),
            number(block.first),
            Value::Integer(block.kept_at),
            Value::Integer(block.format as i64),
            Value::Blob(block.keys),
            Value::Blob(block.bodies),
            Value::Blob(block.sums),
        ];
        self.insert_row("blocks", &columns.map(str::to_owned), &values)
            .map(drop)
    }

    /// Adds a row of another table, if it is whole. Returns false if it is not added.
    pub(super) fn add(
        &mut self,
        table: &Table,
        row: &[Value],
        is_whole: bool,
    ) -> rusqlite::Result<bool> {
        let name = match &*table.name {
            "consumers" => table.text(row, "name"),
            "progress" => table.text(row, "consumer"),
            _ => None,
        };
        self.consumers.extend(name.map(str::to_owned));
        let is_added = is_whole && self.insert_row(&table.name, &table.columns, row)?;
        if is_added && table.name == "consumers" {
            self.heads.extend(name.map(str::to_owned));
        }
        Ok(is_added)
    }

    /// Inserts the values of the columns that both tables have.
    fn insert_row(
        &self,
        table: &str,
        columns: &[String],
        values: &[Value],
    ) -> rusqlite::Result<bool> {
        let Some(own) = self.columns.get(table) else {
            return Ok(false);
        };
        let both = columns.iter().zip(values);
        let both: Vec<_> = both.filter(|(name, _)| own.contains(name)).collect();
        let names: Vec<_> = both.iter().map(|(name, _)| quoted(name)).collect();
        let sql = format!(
            "INSERT OR REPLACE INTO {} ({}) VALUES (?{})",
            quoted(table),
            names.join(", "),
            ", ?".repeat(both.len().saturating_sub(1))
        );
        let mut statement = self.database.prepare_cached(&sql)?;
        let added = statement.execute(params_from_iter(both.iter().map(|(_, value)| value)));
        let is_misfit = |code| {
            matches!(
                code,
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
            )
        };
        match added {
            Err(error) if is_misfit(error.sqlite_error_code()) => Ok(false),
            added => added.map(|_| true),
        }
    }

    /// Returns the consumers that are known of and have no head.
    pub(super) fn headless(&self) -> Vec<String> {
        self.consumers.difference(&self.heads).cloned().collect()
    }

    /// Completes it, in the newest version. Its events begin with `oldest`. No body is to get a number up to
    /// `head`, where that is given. `lost` are the numbers that are missing. `makes_keys` says whether the next start
    /// makes all dedup keys from the events again.
    pub(super) fn finish(
        mut self,
        oldest: Seq,
        head: Option<Seq>,
        lost: &[(Seq, Seq)],
        makes_keys: bool,
    ) -> Result<(), FilesError> {
        let headless = self.headless();
        let mut finish = || -> Result<(), OpenError> {
            self.database.execute_batch("COMMIT")?;
            schema::migrate(&mut self.database, self.version)?;
            if rows::counter(&self.database, rows::TRIMMED)?.is_none() {
                rows::set_counter(&self.database, rows::TRIMMED, oldest - 1)?;
            }
            for name in &headless {
                rows::introduce(&self.database, name, FROM_THE_OLDEST)?;
            }
            for (first, last) in lost {
                rows::note_loss(&self.database, *first, *last)?;
            }
            if let Some(head) = head {
                set_head(&self.database, head)?;
            }
            if makes_keys {
                let sql = "DELETE FROM counters WHERE name = 'dedup_keys'";
                self.database.execute(sql, [])?;
            }
            Ok(())
        };
        finish().map_err(|error| FilesError::unknown(&self.folder, &error))?;
        let closed = self.database.close();
        closed.map_err(|(_, error)| FilesError::database(&self.folder, &error))
    }
}

/// Returns what creates the tables of a database; `None` if that cannot be read or is garbled.
fn tables_of(database: &Connection) -> Option<String> {
    let sql = "SELECT sql FROM sqlite_schema \
               WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    let mut statement = database.prepare(sql).ok()?;
    let all = statement
        .query_map([], |row| row.get::<_, String>(0))
        .ok()?;
    let all = all.collect::<rusqlite::Result<Vec<_>>>().ok()?.join(";\n");
    let trial = Connection::open_in_memory().ok()?;
    trial.execute_batch(&all).ok()?;
    let has = |name: &str| trial.prepare(&format!("SELECT * FROM {name}")).is_ok();
    (has("blocks") && has("consumers") && has("documents")).then_some(all)
}

/// Lets the next body get a number after `head`: what is missing before it is noted as lost.
fn set_head(database: &Connection, head: Seq) -> rusqlite::Result<()> {
    if reading::head(database)? < head {
        rows::set_counter(database, rows::LOST, head)?;
    }
    let (newest, _) = reading::newest(database)?;
    if newest < head {
        rows::note_loss(database, newest + 1, head)?;
    }
    Ok(())
}

/// The progress of a consumer that has settled nothing, see `dispatch/saved`.
const FROM_THE_OLDEST: &[u8] = br#"{"floor":0}"#;
