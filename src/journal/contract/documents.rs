//! Cases about documents.

use std::sync::Arc;

use super::provider::Instances;
use super::samples::{HOSTILE, put};
use crate::clock::FakeClock;
use crate::journal::{Documents, Expected, PutError};

/// Documents are found by the first bytes of their keys, in order.
pub async fn documents_are_found_by_prefix(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    assert_eq!(journal.documents("").await, Ok(vec![]));
    let hostile = format!("hostile/{HOSTILE}");
    let kept: [(&str, &[u8]); 6] = [
        ("a", b""),
        ("a/1", b"{}"),
        ("a/\u{10ffff}", b"\0\xff"),
        ("aa", b"beside"),
        ("b/1", b"other"),
        (&hostile, b"odd"),
    ];
    for (key, value) in kept.iter().rev() {
        put(journal, key, Some(value)).await;
    }
    let of = |keys: &[&str]| -> Vec<(String, Vec<u8>)> {
        let found = kept.iter().filter(|(key, _)| keys.contains(key));
        found
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect()
    };
    let table: [(&str, &[&str]); 7] = [
        ("a/", &["a/1", "a/\u{10ffff}"]),
        ("a", &["a", "a/1", "a/\u{10ffff}", "aa"]),
        ("b/1", &["b/1"]),
        ("b/10", &[]),
        ("c", &[]),
        (&hostile, &[&hostile]),
        ("%", &[]),
    ];
    for (prefix, keys) in table {
        assert_eq!(found(journal, prefix).await, of(keys), "{prefix:?}");
    }
    assert_eq!(found(journal, "").await.len(), kept.len());
    // The last change counts, and a removed document is gone.
    put(journal, "a/1", Some(b"newer")).await;
    put(journal, "b/1", None).await;
    put(journal, "nothing", None).await;
    let newer = [("a/1".to_owned(), b"newer".to_vec())];
    assert_eq!(found(journal, "a/1").await, newer);
    assert_eq!(found(journal, "b").await, []);
}

/// Each change has a higher number than the one before, and every instance learns of it.
pub async fn changes_of_documents_are_numbered(instances: Instances, _: Arc<FakeClock>) {
    let mut told = instances.first().watch_documents();
    let mut newest = *told.borrow_and_update();
    for turn in 0..6u64 {
        let journal = instances.of(turn);
        let value = (turn % 3 != 2).then(|| vec![turn as u8]);
        let key = format!("key {}", turn % 2);
        let version = journal.put_document(&key, value.clone(), Expected::Anything);
        let version = version.await.unwrap();
        assert!(version > newest, "{version} after {newest}");
        newest = version;
        let found = instances.first().documents(&key).await.unwrap();
        let versions: Vec<_> = found.iter().map(|found| found.version).collect();
        assert_eq!(
            versions,
            if value.is_some() {
                vec![version]
            } else {
                vec![]
            }
        );
        // The news may come with a later change, but never before the change is durable.
        told.wait_for(|told| *told >= version).await.unwrap();
    }
}

/// A change that expects another version of the document is refused and changes nothing.
pub async fn a_changed_document_is_not_overwritten(instances: Instances, _: Arc<FakeClock>) {
    let (first, second) = (instances.first(), instances.second());
    let put = async |journal: &dyn Documents, value: Option<&str>, expected| {
        let value = value.map(|value| value.as_bytes().to_vec());
        journal.put_document("key", value, expected).await
    };
    let conflict = Err(PutError::Conflict);
    let absent = Expected::Absent;
    assert_eq!(
        put(first.as_ref(), Some("x"), Expected::Version(1)).await,
        conflict
    );
    let one = put(first.as_ref(), Some("one"), absent).await.unwrap();
    assert_eq!(put(second.as_ref(), Some("x"), absent).await, conflict);
    let two = put(second.as_ref(), Some("two"), Expected::Version(one)).await;
    let two = two.unwrap();
    assert_eq!(
        put(first.as_ref(), Some("x"), Expected::Version(one)).await,
        conflict
    );
    assert_eq!(
        put(first.as_ref(), None, Expected::Version(one)).await,
        conflict
    );
    let kept = vec![("key".to_owned(), b"two".to_vec())];
    assert_eq!(found(first.as_ref(), "key").await, kept);
    put(first.as_ref(), None, Expected::Version(two))
        .await
        .unwrap();
    assert_eq!(
        put(second.as_ref(), Some("x"), Expected::Version(two)).await,
        conflict
    );
    put(second.as_ref(), Some("again"), absent).await.unwrap();
}

async fn found(journal: &dyn Documents, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let documents = journal.documents(prefix).await.unwrap();
    let pairs = documents.into_iter();
    pairs
        .map(|document| (document.key, document.value))
        .collect()
}
