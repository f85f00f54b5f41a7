//! `trusted_proxies`: whose address is logged for a request that came through a proxy.

use offhook::testing::TestRequest;

use crate::served::{Served, settings};
use crate::support::{DOCUMENTED, Folder, ask, signed};

/// A request that is refused, with what a proxy says of its client.
fn forged(clients: &str) -> TestRequest {
    let mut request = signed(DOCUMENTED[0]).header("X-Forwarded-For", clients);
    request.body.push(b' ');
    request
}

#[actix_web::test]
async fn the_client_behind_a_trusted_proxy_is_logged() {
    let trusting = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
    for (trusted, clients, expected) in [
        (
            trusting,
            "198.51.100.1, 203.0.113.7, 10.1.2.3",
            "from 203.0.113.7: answered",
        ),
        (trusting, "nonsense", "from 127.0.0.1"),
        ("", "203.0.113.7", "from 127.0.0.1"),
    ] {
        let folder = Folder::new("proxies");
        settings(&folder, "");
        let path = folder.0.join("settings.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            text.replacen("[server]", &format!("[server]\n{trusted}"), 1),
        )
        .unwrap();
        let served = Served::start(&folder);
        let answer = served.try_send(&forged(clients)).await;
        assert_eq!(answer.unwrap().status, 401);
        let line = served.program.logged("answered 401");
        assert!(line.contains(expected), "{line}");
        served.program.stop();
    }
}

#[actix_web::test]
async fn other_proxies_count_after_a_reload() {
    let folder = Folder::new("proxies-reload");
    settings(&folder, "");
    let served = Served::start(&folder);
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let trusting = "[server]\ntrusted_proxies = [\"127.0.0.1\"]";
    std::fs::write(&path, text.replacen("[server]", trusting, 1)).unwrap();
    let (status, report) = ask(served.admin, "POST", "/api/reload", "{}".to_owned()).await;
    assert_eq!(status, 200, "{report}");
    let answer = served.try_send(&forged("203.0.113.7")).await;
    assert_eq!(answer.unwrap().status, 401);
    let line = served.program.logged("answered 401");
    assert!(line.contains("from 203.0.113.7: answered"), "{line}");
    served.program.stop();
}
