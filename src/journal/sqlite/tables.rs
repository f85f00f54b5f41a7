//! [`Table`]: the rows of a table beside the log, as far as they can be read, and whether each is what was
//! written.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::walk::is_damage;
use super::{dead, delete, rows};
use crate::Timestamp;
use crate::journal::{DeadLetter, Position};

/// A table, by its columns.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Which columns are its primary key.
    key: Vec<usize>,
}

impl Table {
    /// Returns all tables but that of the log.
    pub(super) fn all(database: &Connection) -> rusqlite::Result<Vec<Self>> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'blocks' \
                   AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut statement = database.prepare(sql)?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.map(|name| Self::named(database, name?)).collect()
    }

    pub(super) fn named(database: &Connection, name: String) -> rusqlite::Result<Self> {
        let sql = "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid";
        let mut statement = database.prepare(sql)?;
        let columns = statement.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(String, usize)> = columns.collect::<rusqlite::Result<_>>()?;
        let mut key: Vec<_> = (0..columns.len()).filter(|at| columns[*at].1 > 0).collect();
        key.sort_by_key(|at| columns[*at].1);
        Ok(Self {
            name,
            columns: columns.into_iter().map(|(name, _)| name).collect(),
            key,
        })
    }

    /// Calls `each` with its rows: from the beginning to where the table is damaged, and then from its end back
    /// to there. Returns whether no row is hidden by a damaged page.
    pub(super) fn read(
        &self,
        database: &Connection,
        mut each: impl FnMut(&[Value]) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let mut last = None;
        let forward = self.read_on(database, "", |row| {
            last = Some(self.key_of(row));
            each(row)?;
            Ok(true)
        });
        let is_complete = forward?;
        if is_complete || self.key.is_empty() {
            return Ok(is_complete);
        }
        self.read_on(database, " DESC", |row| {
            let is_new = last.as_ref() != Some(&self.key_of(row));
            if is_new {
                each(row)?;
            }
            Ok(is_new)
        })?;
        Ok(false)
    }

    /// Reads rows until `each` returns false. Returns false where a page is damaged.
    fn read_on(
        &self,
        database: &Connection,
        direction: &str,
        mut each: impl FnMut(&[Value]) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<bool> {
        let order = self
            .key
            .iter()
            .map(|at| quoted(&self.columns[*at]) + direction);
        let order = match order.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "rowid".to_owned(),
            order => order,
        };
        let sql = format!("SELECT * FROM {} ORDER BY {order}", quoted(&self.name));
        let mut statement = database.prepare(&sql)?;
        let mut rows = statement.query([])?;
        loop {
            let values = match rows.next() {
                Ok(None) => return Ok(true),
                Ok(Some(row)) => (0..self.columns.len()).map(|at| row.get(at)).collect(),
                Err(error) => Err(error),
            };
            match values {
                Ok(values) => {
                    let values: Vec<Value> = values;
                    if !each(&values)? {
                        return Ok(true);
                    }
                }
                Err(error) if is_damage(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.key.iter().map(|at| row[*at].clone()).collect()
    }

    fn value<'a>(&self, row: &'a [Value], column: &str) -> Option<&'a Value> {
        row.get(self.columns.iter().position(|name| name == column)?)
    }

    pub(super) fn text<'a>(&self, row: &'a [Value], column: &str) -> Option<&'a str> {
        match self.value(row, column)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self, row: &[Value], column: &str) -> Option<i64> {
        match self.value(row, column)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn blob<'a>(&self, row: &'a [Value], column: &str) -> Option<&'a [u8]> {
        match self.value(row, column)? {
            Value::Blob(blob) => Some(blob),
            _ => None,
        }
    }

    /// Returns whether a row is what was written. Tables of older versions have no sums.
    pub(super) fn is_whole(&self, row: &[Value]) -> bool {
        if !self.columns.iter().any(|name| name == "sum") {
            return true;
        }
        let found = self.number(row, "sum");
        found.is_some() && found == self.sum(row)
    }

    fn sum(&self, row: &[Value]) -> Option<i64> {
        let (text, blob) = (|name| self.text(row, name), |name| self.blob(row, name));
        let number = |name| self.number(row, name).map(i64::cast_unsigned);
        Some(match &*self.name {
            "consumers" => rows::head_sum(text("name")?, blob("saved")?),
            "progress" => rows::row_sum(text("consumer")?, blob("key")?, blob("value")?),
            "documents" => rows::document_sum(text("key")?, blob("value")?, number("version")?),
            "counters" => rows::counter_sum(text("name")?, number("value")?),
            "dead_letters" => {
                let part = number("part")?.try_into().ok()?;
                let letter = DeadLetter {
                    position: Position::new(number("seq")?, part),
                    attempts: number("attempts")?.try_into().ok()?,
                    reason: text("reason")?.to_owned(),
                    at: Timestamp::from_millisecond(self.number(row, "at")?).ok()?,
                };
                dead::letter_sum(text("consumer")?, &letter)
            }
            "deletions" => delete::deletion_sum(number("seq")?, number("number")?),
            // Another table with a sum of its own.
            _ => self.number(row, "sum")?,
        })
    }

    /// Names a row for the reader.
    pub(super) fn name_of(&self, row: &[Value]) -> String {
        let named = ["consumer", "name", "key"];
        let named = named.iter().find_map(|column| self.text(row, column));
        let event = self
            .number(row, "seq")
            .map(|seq| format!(" of event {seq}"));
        format!(
            "a row of {}{}{}",
            self.name,
            named.map_or(String::new(), |named| format!(
                " ({})",
                crate::escape_controls(named)
            )),
            event.unwrap_or_default()
        )
    }
}

/// Writes a name for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
