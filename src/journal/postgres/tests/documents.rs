//! Documents whose consumers begin with them.

use super::{open, options, server};
use crate::journal::contract::{only_head, save};
use crate::journal::{
    AddError, Among, Cluster as _, Desks as _, Documents as _, Expected, PutError,
};

/// More than any of these tests adds.
const MANY: Among = Among {
    prefix: "",
    most: 100,
};

/// Of two instances that add the same document, the slower one changes nothing: neither what is stored, nor how far the
/// consumer has come meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_to_add_a_document_changes_nothing() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (first, second) = (open(&options).await, open(&options).await);
    // An earlier consumer of this name has left its progress.
    first.introduce("one", b"left").await.unwrap();
    let added = first.add_document("key", MANY, b"first".to_vec(), "one", b"start");
    assert_eq!(added.await, Ok(1));
    let desk = first.desk(0).await.unwrap();
    assert_eq!(desk.saved("one").await, Ok(Some(only_head(*b"start"))));
    save(desk.as_ref(), "one", b"further", vec![]).await;
    let added = second.add_document("key", MANY, b"second".to_vec(), "one", b"later");
    assert_eq!(added.await, Err(AddError::Put(PutError::Conflict)));
    assert_eq!(desk.saved("one").await, Ok(Some(only_head(*b"further"))));
    save(desk.as_ref(), "one", b"on", vec![]).await;
    let stored = second.documents("").await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!((&*stored[0].value, stored[0].version), (&b"first"[..], 1));
}

/// Two instances add documents at the same time, and neither knows those of the other yet.
#[tokio::test(flavor = "multi_thread")]
async fn instances_together_add_no_more_documents_than_there_may_be() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (first, second) = (open(&options).await, open(&options).await);
    let put = first.put_document("other", Some(vec![1]), Expected::Absent);
    put.await.unwrap();
    let among = Among {
        prefix: "one/",
        most: 3,
    };
    let add = async |number: usize| {
        let (key, consumer) = (format!("one/{number}"), format!("consumer {number}"));
        let journal = if number.is_multiple_of(2) {
            &first
        } else {
            &second
        };
        journal
            .add_document(&key, among, vec![1], &consumer, b"start")
            .await
    };
    let added = futures_util::future::join_all((0..12).map(add)).await;
    let refused = added.iter().filter(|one| **one == Err(AddError::TooMany));
    assert_eq!(refused.count(), 9, "{added:?}");
    let stored = first.documents("one/").await.unwrap();
    assert_eq!(stored.len(), 3, "{stored:?}");
    // What is there is a conflict, and not one too many.
    let again = second.add_document(&stored[0].key, among, vec![2], "again", b"start");
    assert_eq!(again.await, Err(AddError::Put(PutError::Conflict)));
    let removed = first.put_document(&stored[0].key, None, Expected::Anything);
    removed.await.unwrap();
    assert!(add(20).await.is_ok());
    assert_eq!(add(21).await, Err(AddError::TooMany));
}
