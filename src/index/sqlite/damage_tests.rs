//! Wherever damage is met, the index is built again, without a restart, and shows nothing wrong meanwhile.

use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::indexer::tests::{World, journal, made};
use crate::Timestamp;
use crate::dispatch::Outcome;
use crate::index::Search as _;
use crate::journal::{Position, TestFolder};

/// More than three segments of a test.
const EVENTS: u64 = 90;

fn path(folder: &TestFolder) -> PathBuf {
    folder.path().join("index.db")
}

/// What a complete index shows.
fn all(newest: u64) -> Vec<u128> {
    (1..=newest.into()).rev().take(100).collect()
}

async fn filled(world: &World) {
    for number in 1..=EVENTS {
        world.append(number).await;
    }
    assert_eq!(world.ids().await, all(EVENTS));
}

/// Waits until searches show all events again. What they show before is not wrong.
async fn mended(world: &World, newest: u64) {
    let all = all(newest);
    let mended = async {
        loop {
            match world.try_ids().await {
                Ok(ids) if ids == all => return,
                Ok(ids) => assert!(ids.iter().all(|id| *id <= all[0]), "{ids:?}"),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let hang = Duration::from_secs(60);
    tokio::time::timeout(hang, mended).await.expect("mended");
}

/// Changes the database as another program would.
fn change(folder: &TestFolder, sql: &str) {
    let database = Connection::open(path(folder)).unwrap();
    database.execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_search_meets_is_mended() {
    for sql in [
        // Not the encoding, and the encoding of something else.
        "UPDATE contents SET events = x'ff'",
        "UPDATE contents SET events = (SELECT events FROM contents ORDER BY id LIMIT 1)",
        "UPDATE contents SET events = x'0000'",
        "DELETE FROM contents",
        "DROP TABLE contents",
        "DELETE FROM state",
    ] {
        let folder = TestFolder::new();
        let world = World::start(&folder, &journal());
        filled(&world).await;
        change(&folder, sql);
        mended(&world, EVENTS).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_timeline_is_not_shown() {
    let folder = TestFolder::new();
    let world = World::start(&folder, &journal());
    filled(&world).await;
    let consumer = world.index.notes().consumer("handler:a");
    for attempt in 1..=40 {
        let ended = made(Outcome::Done);
        consumer.attempted(Position::first(7), attempt, &ended, Timestamp::UNIX_EPOCH);
    }
    let attempts = async || world.index.attempts(Position::first(7)).await;
    while attempts().await.unwrap().len() < 40 {}
    // One byte of a name in the blob.
    let name = "UPDATE attempts SET notes = CAST(replace(CAST(notes AS TEXT), 'handler:a', 'handler:b') AS BLOB)";
    change(&folder, name);
    let shown = attempts().await.unwrap_or_default();
    assert!(
        shown.iter().all(|one| one.consumer == "handler:a"),
        "{shown:?}"
    );
    mended(&world, EVENTS).await;
    drop(consumer);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_write_meets_is_mended() {
    for sql in ["DROP TABLE segments", "UPDATE contents SET events = x'ff'"] {
        let folder = TestFolder::new();
        let world = World::start(&folder, &journal());
        filled(&world).await;
        change(&folder, sql);
        for number in EVENTS + 1..=2 * EVENTS {
            world.append(number).await;
        }
        mended(&world, 2 * EVENTS).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_removed_while_it_runs_comes_back() {
    let folder = TestFolder::new();
    let world = World::start(&folder, &journal());
    filled(&world).await;
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    for number in EVENTS + 1..=2 * EVENTS {
        world.append(number).await;
    }
    mended(&world, 2 * EVENTS).await;
    let there = async {
        while !path(&folder).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there)
        .await
        .unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_wal_is_mended_while_it_runs() {
    let folder = TestFolder::new();
    let wal = folder.path().join("index.db-wal");
    for length in [None, Some(0), Some(40_000)] {
        let world = World::start(&folder, &journal());
        filled(&world).await;
        match length {
            Some(length) => std::fs::File::options()
                .write(true)
                .open(&wal)
                .unwrap()
                .set_len(length)
                .unwrap(),
            None => garble(&wal, 1),
        }
        mended(&world, EVENTS).await;
        for number in EVENTS + 1..=2 * EVENTS {
            world.append(number).await;
        }
        mended(&world, 2 * EVENTS).await;
        world.stop().await;
    }
}

/// Writes noise over two pages at a place that depends on `seed`.
fn garble(file: &Path, seed: u64) {
    let noise: Vec<u8> = (0..8192u64)
        .map(|at| ((at + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) >> 40) as u8)
        .collect();
    let file = std::fs::File::options()
        .write(true)
        .read(true)
        .open(file)
        .unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    let place = seed.wrapping_mul(7) % pages.max(1) * 4096;
    file.write_all_at(&noise, place).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_damaged_before_the_start_are_mended() {
    let (folder, journal) = (TestFolder::new(), journal());
    let world = World::start(&folder, &journal);
    filled(&world).await;
    world.stop().await;
    for seed in 0..24 {
        garble(&path(&folder), seed);
        let world = World::start(&folder, &journal);
        mended(&world, EVENTS).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_readable_by_its_owner_only() {
    let folder = TestFolder::new();
    std::fs::write(path(&folder), "no database").unwrap();
    let world = World::start(&folder, &journal());
    filled(&world).await;
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    world.stop().await;
}
