//! Cases about the progress of consumers.

use std::sync::Arc;

use futures_util::future::join_all;

use super::provider::Instances;
use super::samples::{HOSTILE, letter, letters, new, numbered, save};
use crate::clock::FakeClock;

/// Each consumer's progress is read as it was last saved.
pub async fn progress_comes_back(instances: Instances, _: Arc<FakeClock>) {
    let desk = instances.first().desk(0).await.unwrap();
    let desk = desk.as_ref();
    assert_eq!(desk.saved("a").await, Ok(None));
    save(desk, "a", b"\0one\xff", vec![]).await;
    save(desk, HOSTILE, b"other", vec![]).await;
    assert_eq!(desk.saved("a").await, Ok(Some(b"\0one\xff".to_vec())));
    assert_eq!(desk.saved(HOSTILE).await, Ok(Some(b"other".to_vec())));
    assert_eq!(desk.saved("b").await, Ok(None));
    save(desk, "a", b"", vec![]).await;
    assert_eq!(desk.saved("a").await, Ok(Some(Vec::new())));
    assert_eq!(desk.saved(HOSTILE).await, Ok(Some(b"other".to_vec())));
}

/// Introducing a known consumer changes nothing.
pub async fn introducing_keeps_what_is_known(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    let desk = journal.desk(0).await.unwrap();
    assert_eq!(journal.introduce("a", b"from now").await, Ok(()));
    assert_eq!(desk.saved("a").await, Ok(Some(b"from now".to_vec())));
    save(desk.as_ref(), "a", b"further", vec![]).await;
    assert_eq!(instances.second().introduce("a", b"later").await, Ok(()));
    assert_eq!(desk.saved("a").await, Ok(Some(b"further".to_vec())));
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
    assert_eq!(desk.saved("b").await, Ok(Some(b"first".to_vec())));
    assert_eq!(letters(journal.as_ref(), "a").await, [letter(1, "a")]);
    // Another consumer may get the same name.
    save(desk, "a", b"second", vec![]).await;
    assert_eq!(desk.saved("a").await, Ok(Some(b"second".to_vec())));
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
                assert_eq!(desk.saved(&name).await, Ok(Some(progress)));
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
        assert_eq!(desk.saved(&name).await, Ok(Some(progress)));
        let expected: Vec<_> = (1..=5).map(|seq| letter(seq, &name)).collect();
        assert_eq!(letters(journal, &name).await, expected);
    }
    assert_eq!(journal.tail().head(), 32 * 5);
}
