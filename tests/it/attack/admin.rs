//! Attacks on the admin listener.

use fastrand::Rng;
use offhook::testing::TestRequest;

use super::kinds::{Target, for_a_while, somewhere};
use super::sockets::{hold, status, try_send_all, with_token};

/// Half heads, half second heads and half bodies.
pub async fn half_requests(target: &Target, rng: &mut Rng) {
    let get = TestRequest::get("/health").bytes();
    let half_head = get[..get.len() - 2].to_vec();
    let post =
        b"POST /api/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".to_vec();
    let bytes = match rng.u8(..4) {
        0 => half_head,
        1 => [get, half_head].concat(),
        2 => post,
        _ => Vec::new(),
    };
    let held = hold(somewhere(rng), target.admin, rng.usize(1..300), &bytes).await;
    try_send_all(&held, b"a");
    for_a_while(rng).await;
    try_send_all(&held, b"a");
}

/// A browser of the administrator would send the token where a proxy adds it.
pub async fn pages_of_other_sites(target: &Target, rng: &mut Rng) {
    for (method, path) in [
        ("GET", "/api/events"),
        ("POST", "/api/replay"),
        ("POST", "/sessions/A/webhook"),
        ("DELETE", "/sessions/A/webhook"),
        ("POST", "/api/consumers/handler:log/pause"),
    ] {
        let site = ["cross-site", "same-site"][rng.usize(..2)];
        let mut request = with_token(path).header("Sec-Fetch-Site", site);
        request.method = method.to_owned();
        let answer = status(somewhere(rng), target.admin, &request.bytes()).await;
        target.expect("a page of another site", &answer, &[403]);
    }
}

pub async fn wrong_tokens(target: &Target, rng: &mut Rng) {
    let token = "Bearer 0123456789abcdef-token";
    let wrong = [
        vec![],
        vec!["Bearer "],
        vec!["Bearer 0123456789abcdef-toke"],
        vec!["Bearer 0123456789abcdef-token2"],
        vec!["Basic 0123456789abcdef-token"],
        vec![token, token],
        vec!["Bearer x", token],
    ];
    for values in wrong {
        let request = TestRequest::get("/api/events");
        let request = values.iter().fold(request, |request, value| {
            request.header("Authorization", value)
        });
        let answer = status(somewhere(rng), target.admin, &request.bytes()).await;
        // Many of one address are answered 429.
        target.expect("a wrong token", &answer, &[401, 429]);
    }
}
