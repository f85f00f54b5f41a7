//! Dead letters.

use tokio_postgres::Row;

use super::link::Link;
use super::sql::{number, signed};
use crate::Timestamp;
use crate::journal::{DeadLetter, NamedLetter, Position, Unavailable};

/// Returns letters, the newest event first.
pub(super) async fn list(
    link: &Link,
    consumer: Option<&str>,
    before: Option<(Position, &str)>,
    most: usize,
) -> Result<Vec<NamedLetter>, Unavailable> {
    let consumer = consumer.map(str::as_bytes);
    // Behind every letter.
    let (position, name) = before.map_or((None, ""), |(position, name)| (Some(position), name));
    let seq = position.map_or(i64::MAX, |position| signed(position.seq()));
    let part = position.map_or(0, |position| i32::from(position.part()));
    let (name, most) = (name.as_bytes(), signed(most as u64));
    let rows = match consumer {
        Some(consumer) => {
            link.read(OF_ONE, &[&seq, &part, &name, &most, &consumer])
                .await
        }
        None => link.read(OF_ALL, &[&seq, &part, &name, &most]).await,
    };
    rows?.iter().map(letter).collect()
}

/// Returns all letters of these events.
pub(super) async fn of(link: &Link, events: &[Position]) -> Result<Vec<NamedLetter>, Unavailable> {
    let (seqs, parts) = places(events);
    let rows = link.read(OF_EVENTS, &[&seqs, &parts]).await?;
    rows.iter().map(letter).collect()
}

/// Removes letters of a consumer. Returns how many there were.
pub(super) async fn forget(
    link: &Link,
    consumer: &str,
    events: &[Position],
) -> Result<usize, Unavailable> {
    let (seqs, parts) = places(events);
    let rows = link
        .call(FORGET, &[&seqs, &parts, &consumer.as_bytes()])
        .await?;
    Ok(number(&rows[0], 0) as usize)
}

fn places(events: &[Position]) -> (Vec<i64>, Vec<i32>) {
    let places = events
        .iter()
        .map(|event| (signed(event.seq()), i32::from(event.part())));
    places.unzip()
}

pub(super) fn letter(row: &Row) -> Result<NamedLetter, Unavailable> {
    let text = |column| {
        let text = String::from_utf8(row.get(column));
        text.map_err(|_| Unavailable::Away("a dead letter is not what was written".to_owned()))
    };
    let letter = DeadLetter {
        position: Position::new(number(row, 1), row.get::<_, i32>(2) as u16),
        attempts: row.get::<_, i64>(3) as u32,
        reason: text(4)?,
        at: Timestamp::from_millisecond(row.get(5)).unwrap_or_default(),
    };
    Ok((text(0)?, letter))
}

const OF_ALL: &str = "SELECT consumer, seq, part, attempts, reason, at FROM dead \
    WHERE (seq, part, consumer) < ($1, $2, $3) ORDER BY seq DESC, part DESC, consumer DESC LIMIT $4";
const OF_ONE: &str = "SELECT consumer, seq, part, attempts, reason, at FROM dead \
    WHERE consumer = $5 AND (seq, part, consumer) < ($1, $2, $3) \
    ORDER BY seq DESC, part DESC LIMIT $4";
const OF_EVENTS: &str = "SELECT d.consumer, d.seq, d.part, d.attempts, d.reason, d.at \
    FROM unnest($1::bigint[], $2::int[]) AS e (seq, part) JOIN dead d ON d.seq = e.seq AND d.part = e.part \
    ORDER BY d.seq, d.part, d.consumer";
const FORGET: &str = "WITH gone AS (DELETE FROM dead d USING unnest($1::bigint[], $2::int[]) AS e (seq, part) \
    WHERE d.consumer = $3 AND d.seq = e.seq AND d.part = e.part RETURNING 1) SELECT count(*) FROM gone";
