//! [`Pages`]: finds rows in the pages of a damaged database file, without the pages that lead to them.
//!
//! SQLite finds a row through the pages above it. If one of those is damaged, the rows below it are whole and
//! cannot be reached. This reads every page on its own, as far as <https://sqlite.org/fileformat.html> needs it:
//! a page that is a leaf of a table begins with [`LEAF`], and a row has its number, its length and its values; what
//! does not fit goes on in a chain of overflow pages.
//!
//! Nothing is certain here. A page may be one that is no longer in use, so a row is only a candidate: its
//! caller looks for rows that are missing, and knows them by their columns and checksums.

use rusqlite::types::Value;

/// Where the row of a table begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    page: u32,
    offset: usize,
}

/// The pages of a database file. `Read` returns a page by its number, which begins with 1.
pub(super) struct Pages<Read> {
    read: Read,
    /// The length of each page in bytes.
    size: usize,
    count: u32,
}

/// The beginning of a row: its number, how long its values are, and where they begin in the page.
struct Cell {
    rowid: i64,
    length: usize,
    start: usize,
}

impl<Read: Fn(u32) -> Option<Vec<u8>>> Pages<Read> {
    /// Reads a file of `count` pages of `size` bytes.
    pub(super) fn new(read: Read, size: usize, count: u32) -> Self {
        Self { read, size, count }
    }

    /// Calls `each` with the number and the place of every row whose first values have these types.
    pub(super) fn find(&self, types: &[Type], mut each: impl FnMut(i64, Place)) {
        for number in 1..=self.count {
            let Some(page) = self.page(number) else {
                continue;
            };
            for offset in leaf_rows(&page, number) {
                let Some(cell) = cell(&page, offset) else {
                    continue;
                };
                let local = &page[cell.start..];
                let local = &local[..local.len().min(self.local(cell.length))];
                if header(local).is_some_and(|(found, _)| {
                    let known = found.iter().zip(types);
                    found.len() >= types.len()
                        && known.into_iter().all(|(one, wanted)| wanted.is(*one))
                }) {
                    let place = Place {
                        page: number,
                        offset,
                    };
                    each(cell.rowid, place);
                }
            }
        }
    }

    /// Returns the values of a row; `None` if they cannot be read.
    pub(super) fn row(&self, place: Place) -> Option<Vec<Value>> {
        let page = self.page(place.page)?;
        let cell = cell(&page, place.offset)?;
        // A chain that leads in a circle must end too.
        if cell.length > self.size * self.count as usize {
            return None;
        }
        let local = self.local(cell.length);
        let mut bytes = page.get(cell.start..cell.start + local)?.to_vec();
        if local < cell.length {
            let mut next = page.get(cell.start + local..)?.first_chunk().copied()?;
            while bytes.len() < cell.length {
                let page = self.page(u32::from_be_bytes(next))?;
                let (after, content) = page.split_first_chunk()?;
                let length = content.len().min(cell.length - bytes.len());
                bytes.extend_from_slice(&content[..length]);
                next = *after;
            }
        }
        values(&bytes)
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        let is_there = (1..=self.count).contains(&number);
        let page = is_there.then(|| (self.read)(number)).flatten();
        page.filter(|page| page.len() == self.size)
    }

    /// Returns how many bytes of a row of this length are in the leaf.
    fn local(&self, length: usize) -> usize {
        let most = self.size - 35;
        if length <= most {
            return length;
        }
        let least = (self.size - 12) * 32 / 255 - 23;
        let local = least + (length - least) % (self.size - 4);
        if local <= most { local } else { least }
    }
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Null,
    Integer,
}

impl Type {
    fn is(self, serial: u64) -> bool {
        match self {
            Self::Null => serial == 0,
            Self::Integer => matches!(serial, 1..=6 | 8 | 9),
        }
    }
}

/// Returns where the rows of a table's leaf begin; nothing for another page.
fn leaf_rows(page: &[u8], number: u32) -> Vec<usize> {
    // The first page begins with the header of the file.
    let start = if number == 1 { 100 } else { 0 };
    let Some([LEAF, _, _, high, low, ..]) = page.get(start..) else {
        return Vec::new();
    };
    let count = usize::from(u16::from_be_bytes([*high, *low]));
    let places = page[start..].get(8..).unwrap_or_default();
    let (places, _) = places.as_chunks::<2>();
    let places = places.iter().take(count);
    places
        .map(|place| usize::from(u16::from_be_bytes(*place)))
        .collect()
}

fn cell(page: &[u8], offset: usize) -> Option<Cell> {
    let mut rest = page.get(offset..)?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let rowid = varint(&mut rest)?.cast_signed();
    let start = page.len() - rest.len();
    (length <= LONGEST).then_some(Cell {
        rowid,
        length,
        start,
    })
}

/// Returns the types of a row's values, and the bytes of the values.
fn header(row: &[u8]) -> Option<(Vec<u64>, &[u8])> {
    let mut rest = row;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let start = row.len() - rest.len();
    let mut types = row.get(start..length)?;
    let mut found = Vec::new();
    while !types.is_empty() {
        found.push(varint(&mut types)?);
    }
    Some((found, &row[length..]))
}

fn values(row: &[u8]) -> Option<Vec<Value>> {
    let (types, mut rest) = header(row)?;
    let value = |serial: u64| {
        let length = match serial {
            0 | 8 | 9 => 0,
            1..=4 => serial,
            5 => 6,
            6 | 7 => 8,
            12.. => (serial - 12) / 2,
            _ => return None,
        };
        let bytes = rest.split_off(..usize::try_from(length).ok()?)?;
        Some(match serial {
            0 => Value::Null,
            8 | 9 => Value::Integer((serial - 8).cast_signed()),
            1..=6 => Value::Integer(integer(bytes)),
            7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            _ if serial.is_multiple_of(2) => Value::Blob(bytes.to_vec()),
            _ => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
        })
    };
    types.into_iter().map(value).collect()
}

/// Reads a signed number, the highest byte first.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) {
        -1
    } else {
        0
    };
    bytes
        .iter()
        .fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

/// Takes a number of up to nine bytes.
fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for _ in 0..8 {
        let byte = *from.split_off_first()?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(number);
        }
    }
    Some(number << 8 | u64::from(*from.split_off_first()?))
}

/// How a leaf of a table begins.
const LEAF: u8 = 0x0d;

/// SQLite's longest value, in bytes.
const LONGEST: usize = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rusqlite::{Connection, params};

    use super::*;
    use crate::journal::TestFolder;

    const TYPES: [Type; 2] = [Type::Null, Type::Integer];

    fn all(file: &[u8], size: usize) -> Vec<(i64, Option<Vec<Value>>)> {
        let read = |number: u32| {
            let start = (number as usize - 1) * size;
            file.get(start..start + size).map(<[u8]>::to_vec)
        };
        let pages = Pages::new(read, size, u32::try_from(file.len() / size).unwrap());
        let mut found = Vec::new();
        pages.find(&TYPES, |rowid, place| found.push((rowid, place)));
        found.sort_by_key(|(rowid, _)| *rowid);
        found
            .into_iter()
            .map(|(rowid, place)| (rowid, pages.row(place)))
            .collect()
    }

    #[test]
    fn rows_are_found_without_the_pages_above() {
        for size in [512, 4096, 16384] {
            let folder = TestFolder::new();
            let path = folder.path().join("x.db");
            let database = Connection::open(&path).unwrap();
            database.pragma_update(None, "page_size", size).unwrap();
            let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, bytes BLOB NOT NULL); \
                       CREATE TABLE other (text TEXT, number INTEGER)";
            database.execute_batch(sql).unwrap();
            let numbers = [
                0,
                1,
                -1,
                200,
                -70_000,
                1 << 28,
                -(1 << 40),
                1 << 50,
                i64::MIN,
            ];
            let mut written = Vec::new();
            for id in 1..200_i64 {
                let number = numbers[id as usize % numbers.len()];
                let bytes: Vec<u8> = (0..id * id % 9000).map(|at| (at * id) as u8).collect();
                database
                    .execute("INSERT INTO t VALUES (?, ?, ?)", params![id, number, bytes])
                    .unwrap();
                database
                    .execute("INSERT INTO other VALUES ('x', ?)", [id])
                    .unwrap();
                written.push((
                    id,
                    Some(vec![
                        Value::Null,
                        Value::Integer(number),
                        Value::Blob(bytes),
                    ]),
                ));
            }
            let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 't'";
            let root: usize = database.query_row(sql, [], |row| row.get(0)).unwrap();
            drop(database);
            let mut file = std::fs::read(&path).unwrap();
            assert_eq!(all(&file, size), written);
            file[(root - 1) * size..root * size].fill(0xee);
            assert_eq!(all(&file, size), written);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(
            mut noise in vec(prop_oneof![any::<u8>(), Just(0x0d), Just(0), Just(2)], 2048..3000),
            leaves in vec(any::<bool>(), 4),
        ) {
            for (number, is_leaf) in leaves.into_iter().enumerate() {
                if is_leaf {
                    noise[number * 512..][..5].copy_from_slice(&[LEAF, 0, 0, 0, 9]);
                }
            }
            all(&noise, 512);
        }
    }
}
