//! What a start says, and what it refuses.

use std::net::TcpListener;

use offhook::Offhook;

use super::{Cluster, client, message};
use crate::served::{Served, command, until};
use crate::support::{Folder, run};

/// What the start of an instance says that does not start.
fn refused(folder: &Folder) -> String {
    match Served::try_start(&mut command(folder)) {
        Ok(_) => panic!("it starts"),
        Err(said) => said,
    }
}

#[actix_web::test]
async fn a_start_says_where_events_are() {
    let Some(cluster) = Cluster::new("start", "") else {
        return;
    };
    let folder = cluster.settings("first");
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let host = cluster.url.split('@').nth(1).unwrap();
    let host = host.split('/').next().unwrap();
    let secret = text.replace("offhook@", "offhook:geheim@");
    std::fs::write(&path, &secret).unwrap();
    let ran = run(&["check", "--settings", path.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let said = format!("on the disk of the primary of the database ({host}, schema it_");
    assert!(ran.printed.contains(&said), "{ran:?}");
    assert!(ran.printed.contains("this instance is first"), "{ran:?}");
    assert!(!ran.printed.contains("geheim"), "{ran:?}");

    let served = Served::start(&folder);
    assert!(served.is_ready().await);
    let answer = served.try_send(&message(0, 0)).await;
    assert_eq!(answer.unwrap().status, 200);
    let arguments = ["journal", "verify", "--json", "--settings"];
    let ran = run(&[&arguments[..], &[path.to_str().unwrap()]].concat());
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.json()["events"], 1, "{ran:?}");
    // The number of shares was fixed when the schema was made.
    let other = cluster.settings("other");
    let text = secret.replace("instance = \"first\"", "instance = \"other\"\nshares = 3");
    std::fs::write(other.0.join("settings.toml"), text).unwrap();
    let said = refused(&other);
    assert!(
        said.contains("was made with 16 shares, and this instance wants 3"),
        "{said}"
    );
    let text = secret.replace("instance = \"first\"", "durability = \"replicated\"");
    std::fs::write(other.0.join("settings.toml"), text).unwrap();
    let said = refused(&other);
    assert!(said.contains("no synchronous standby"), "{said}");
    let text = secret.replace(host, "127.0.0.1:1");
    std::fs::write(other.0.join("settings.toml"), text).unwrap();
    let said = refused(&other);
    let url = "journal.url: the database cannot be used now";
    assert!(said.contains(url), "{said}");
    assert!(!said.contains("geheim"), "{said}");
    served.program.stop();
}

/// In a process that goes on.
#[actix_web::test]
async fn a_refused_start_leaves_no_instance_behind() {
    let Some(cluster) = Cluster::new("refused", "") else {
        return;
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = cluster.settings("first").0.join("settings.toml");
    let offhook = Offhook::from_settings(path).unwrap();
    let started = offhook.bind(taken.local_addr().unwrap()).start().await;
    let said = started.unwrap_err().to_string();
    assert!(said.contains("server.bind"), "{said}");
    let client = client(&cluster.url).await.unwrap();
    let instances = format!("SELECT FROM {}.instance", cluster.schema);
    until("the instance has left", async || {
        client.query(&instances, &[]).await.unwrap().is_empty()
    })
    .await;
}
