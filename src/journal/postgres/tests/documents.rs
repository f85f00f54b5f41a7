//! Documents whose consumers begin with them.

use super::{open, options, server};
use crate::journal::contract::{only_head, save};
use crate::journal::{Cluster as _, Desks as _, Documents as _, PutError};

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
    let added = first.add_document("key", b"first".to_vec(), "one", b"start");
    assert_eq!(added.await, Ok(1));
    let desk = first.desk(0).await.unwrap();
    assert_eq!(desk.saved("one").await, Ok(Some(only_head(*b"start"))));
    save(desk.as_ref(), "one", b"further", vec![]).await;
    let added = second.add_document("key", b"second".to_vec(), "one", b"later");
    assert_eq!(added.await, Err(PutError::Conflict));
    assert_eq!(desk.saved("one").await, Ok(Some(only_head(*b"further"))));
    save(desk.as_ref(), "one", b"on", vec![]).await;
    let stored = second.documents("").await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!((&*stored[0].value, stored[0].version), (&b"first"[..], 1));
}
