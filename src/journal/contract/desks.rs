//! Cases about the progress of consumers.

use std::sync::Arc;

use futures_util::future::join_all;

use super::provider::Instances;
use super::samples::{HOSTILE, change, letter, letters, new, numbered, only_head, save};
use crate::clock::FakeClock;
use crate::journal::ProgressChange;

/// Each consumer's progress is read as it was last saved.
pub async fn progress_comes_back(instances: Instances, _: Arc<FakeClock>) {
    let desk = instances.first().desk(0).await.unwrap();
    let desk = desk.as_ref();
    assert_eq!(desk.saved("a").await, Ok(None));
    save(desk, "a", b"\0one\xff", vec![]).await;
    save(desk, HOSTILE, b"other", vec![]).await;
    assert_eq!(
        desk.saved("a").await,
        Ok(Some(only_head(b"\0one\xff".to_vec())))
    );
    assert_eq!(
        desk.saved(HOSTILE).await,
        Ok(Some(only_head(b"other".to_vec())))
    );
    assert_eq!(desk.saved("b").await, Ok(None));
    save(desk, "a", b"", vec![]).await;
    assert_eq!(desk.saved("a").await, Ok(Some(only_head(Vec::new()))));
    assert_eq!(
        desk.saved(HOSTILE).await,
        Ok(Some(only_head(b"other".to_vec())))
    );
}

/// A save changes the rows that it names, and no row of another consumer.
pub async fn rows_of_progress_change_one_by_one(instances: Instances, _: Arc<FakeClock>) {
    let desk = instances.first().desk(0).await.unwrap();
    let save = async |consumer: &str, head: &[u8], rows: &[(&[u8], Option<&[u8]>)]| {
        let rows = rows.iter();
        let rows = rows.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        let change = ProgressChange {
            rows: rows.collect(),
            ..change(consumer, head, vec![])
        };
        assert_eq!(desk.save(change).await, Ok(()));
    };
    let saved = async |consumer: &str| {
        let saved = desk.saved(consumer).await.unwrap().unwrap();
        (saved.head, saved.rows)
    };
    save(
        "a",
        b"1",
        &[(b"k\0", Some(b"x")), (b"j", Some(b"")), (b"", Some(b"y"))],
    )
    .await;
    save("b", b"2", &[(b"j", Some(b"other"))]).await;
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let all = vec![row(b"", b"y"), row(b"j", b""), row(b"k\0", b"x")];
    assert_eq!(saved("a").await, (b"1".to_vec(), all));
    save(
        "a",
        b"3",
        &[(b"j", None), (b"none", None), (b"", Some(b"z"))],
    )
    .await;
    let left = vec![row(b"", b"z"), row(b"k\0", b"x")];
    assert_eq!(saved("a").await, (b"3".to_vec(), left));
    assert_eq!(saved("b").await, (b"2".to_vec(), vec![row(b"j", b"other")]));
    assert_eq!(instances.first().forget_consumer("a").await, Ok(()));
    assert_eq!(desk.saved("a").await, Ok(None));
    save("a", b"4", &[]).await;
    assert_eq!(saved("a").await, (b"4".to_vec(), vec![]));
    assert_eq!(saved("b").await, (b"2".to_vec(), vec![row(b"j", b"other")]));
}

/// Introducing a known consumer changes nothing.
pub async fn introducing_keeps_what_is_known(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    let desk = journal.desk(0).await.unwrap();
    assert_eq!(journal.introduce("a", b"from now").await, Ok(()));
    assert_eq!(
        desk.saved("a").await,
        Ok(Some(only_head(b"from now".to_vec())))
    );
    save(desk.as_ref(), "a", b"further", vec![]).await;
    assert_eq!(instances.second().introduce("a", b"later").await, Ok(()));
    assert_eq!(
        desk.saved("a").await,
        Ok(Some(only_head(b"further".to_vec())))
    );
}

/// A forgotten consumer is new again; its dead letters stay.
pub async fn a_forgotten_consumer_is_new_again(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    let desk = journal.desk(0).await.unwrap();
    let desk = desk.as_ref();
    for name in ["a", "b", HOSTILE] {
        save(desk, name, b"first", vec![letter(1, name)]).await;
    }
    for name in ["a", HOSTILE, "unknown", "a"] {
        assert_eq!(journal.forget_consumer(name).await, Ok(()));
        assert_eq!(desk.saved(name).await, Ok(None));
    }
    assert_eq!(
        desk.saved("b").await,
        Ok(Some(only_head(b"first".to_vec())))
    );
    assert_eq!(letters(journal.as_ref(), "a").await, [letter(1, "a")]);
    // Another consumer may get the same name.
    save(desk, "a", b"second", vec![]).await;
    assert_eq!(
        desk.saved("a").await,
        Ok(Some(only_head(b"second".to_vec())))
    );
}

/// Concurrent saves and appends all take effect.
pub async fn saves_and_appends_all_count(instances: Instances, _: Arc<FakeClock>) {
    let desk = instances.first().desk(0).await.unwrap();
    let tasks = (0..32).map(|task: u64| {
        let (journal, desk) = (instances.of(task), Arc::clone(&desk));
        tokio::spawn(async move {
            let name = format!("handler:{task}");
            for turn in 1..=5 {
                new(journal.as_ref(), numbered(u128::from(task * 5 + turn))).await;
                let progress = format!("{task} {turn}").into_bytes();
                save(desk.as_ref(), &name, &progress, vec![letter(turn, &name)]).await;
                assert_eq!(desk.saved(&name).await, Ok(Some(only_head(progress))));
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let journal = instances.first().as_ref();
    for task in 0..32 {
        let name = format!("handler:{task}");
        let progress = format!("{task} 5").into_bytes();
        assert_eq!(desk.saved(&name).await, Ok(Some(only_head(progress))));
        let expected: Vec<_> = (1..=5).map(|seq| letter(seq, &name)).collect();
        assert_eq!(letters(journal, &name).await, expected);
    }
    assert_eq!(journal.tail().head(), 32 * 5);
}
