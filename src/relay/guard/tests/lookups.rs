//! Hosts are resolved, and each of their addresses is judged.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;

/// Answers with the first list, then the second, and so on, and then with the last one forever.
#[derive(Debug)]
struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Self {
        let read = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Self {
            answers: answers.iter().map(read).collect(),
            asked: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Lookup for Scripted {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.answers[asked.min(self.answers.len() - 1)].clone())
    }
}

const CRM: &str = "https://crm.example/webhook";

async fn vetted(guard: &Guard, url: &str) -> Result<Vec<SocketAddr>, RejectedAddress> {
    guard.vet(&guard.url(url)?).await
}

#[actix_web::test]
async fn every_address_of_a_host_is_judged() {
    let table: [(&[&str], bool); 6] = [
        (&["8.8.8.8"], true),
        (&["8.8.8.8", "2606:4700::1"], true),
        (&["8.8.8.8", "10.0.0.1"], false),
        (&["10.0.0.1", "8.8.8.8"], false),
        (&["::ffff:127.0.0.1"], false),
        (&["8.8.8.8", "64:ff9b::a9fe:a9fe"], false),
    ];
    for (addresses, passes) in table {
        let guard = Guard::default().lookup(Scripted::new(&[addresses]));
        let found = vetted(&guard, CRM).await;
        assert_eq!(found.is_ok(), passes, "{addresses:?}: {found:?}");
    }
    let guard = Guard::default().lookup(Scripted::new(&[&["8.8.8.8"]]));
    let found = vetted(&guard, CRM).await.unwrap();
    assert_eq!(found, ["8.8.8.8:443".parse().unwrap()]);
    let found = vetted(&guard, "http://crm.example:81/").await.unwrap();
    assert_eq!(found, ["8.8.8.8:81".parse().unwrap()]);
    let found = vetted(&guard, "http://[2606:4700::1]/").await.unwrap();
    assert_eq!(found, ["[2606:4700::1]:80".parse().unwrap()]);
}

#[actix_web::test]
async fn a_host_exception_opens_all_its_addresses() {
    let lookup = || Scripted::new(&[&["10.0.0.1", "169.254.169.254"]]);
    let named = guard(false, &["crm.example"]).lookup(lookup());
    assert!(vetted(&named, "https://CRM.example./").await.is_ok());
    assert!(vetted(&named, "https://www.crm.example/").await.is_err());
    let network = guard(false, &["10.0.0.0/8"]).lookup(lookup());
    assert!(vetted(&network, CRM).await.is_err());
}

#[actix_web::test]
async fn vet_checks_the_url_too() {
    for url in [
        "http://127.0.0.1/",
        "ftp://crm.example/",
        "http://a@crm.example/",
        "data:x",
    ] {
        let url = Url::parse(url).unwrap();
        assert!(guard(false, &[]).vet(&url).await.is_err(), "{url}");
    }
}

#[actix_web::test]
async fn a_host_without_addresses_is_unresolved() {
    let guard = Guard::default().lookup(Scripted::new(&[&[]]));
    let error = vetted(&guard, CRM).await.unwrap_err();
    assert!(error.is_unresolved());
    assert_eq!(
        error.to_string(),
        "the host crm.example does not resolve: it has no address"
    );
    // RFC 6761: this name never resolves. The system says so, or that it cannot ask.
    let system = vetted(&Guard::default(), "http://nowhere.invalid/").await;
    assert!(system.unwrap_err().is_unresolved());
}

/// A name server that gives one answer for each notification.
#[derive(Debug, Clone, Default)]
struct Slow {
    asked: Arc<AtomicUsize>,
    told: Arc<tokio::sync::Notify>,
}

#[async_trait]
impl Lookup for Slow {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.told.notified().await;
        Ok(vec![[8, 8, 8, 8].into()])
    }
}

#[actix_web::test]
async fn a_host_is_looked_up_once_at_a_time() {
    let slow = Slow::default();
    let guard = Guard::default().lookup(slow.clone());
    let vet = || vetted(&guard, "https://slow.example/");
    let mut given_up = Box::pin(vet());
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(vet())).collect();
    for vet in &mut waiting {
        assert!(futures_util::poll!(vet).is_pending());
        // The runtime has one thread, so a started lookup has run after this.
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
    slow.told.notify_one();
    for vetted in futures_util::future::join_all(waiting).await {
        assert_eq!(vetted.unwrap(), ["8.8.8.8:443".parse().unwrap()]);
    }
    // Addresses are not cached.
    slow.told.notify_one();
    vet().await.unwrap();
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
}

#[actix_web::test]
async fn the_system_resolves_localhost_where_allowed() {
    let found = vetted(&guard(true, &[]), "http://localhost:5000/")
        .await
        .unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback()));
    assert!(!found.is_empty());
}
