//! Shared code of the commands that call a running server: [`Server`] holds its address and sends the
//! requests, and every failure says what to do.

use std::fmt::Debug;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use offhook::escape_controls;
use offhook::http_client::HttpClient;
use offhook::signature::Secret;
use serde::{Deserialize, Serialize};
use url::Url;

use super::answer::Answer;
use super::output::Failure;
use super::{client, invocation};

/// The running server, from the command's options.
#[derive(Args)]
pub(super) struct Server {
    /// The admin listener of the running server
    #[arg(
        long,
        value_name = "URL",
        env = "OFFHOOK_ADMIN",
        default_value = "http://127.0.0.1:5001",
        value_parser = admin_url
    )]
    admin: Url,

    /// Its admin token, if it has one: env:NAME, file:PATH, or the text itself
    #[arg(
        long,
        env = "OFFHOOK_ADMIN_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    token: Option<String>,

    /// Print the server's JSON instead
    #[arg(long)]
    pub(super) json: bool,
}

impl Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.admin)
    }
}

fn admin_url(text: &str) -> Result<Url, String> {
    let expected = "expected a URL such as http://127.0.0.1:5001";
    let url = Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{expected}; a token is given with --token"));
    }
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(expected.to_owned()),
    }
}

impl Server {
    /// Sends a GET to `path`, whose segments may contain any characters. Query values that are `None`
    /// are left out.
    pub(super) fn get(
        &self,
        path: &[&str],
        query: &[(&str, Option<&str>)],
    ) -> Result<Answer, Failure> {
        self.ask(Method::GET, &self.url(path, query)?, None)
    }

    pub(super) fn post(&self, path: &[&str], body: &impl Serialize) -> Result<Answer, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        self.ask(Method::POST, &self.url(path, &[])?, Some(body))
    }

    pub(super) fn delete(
        &self,
        path: &[&str],
        query: &[(&str, Option<&str>)],
    ) -> Result<Answer, Failure> {
        self.ask(Method::DELETE, &self.url(path, query)?, None)
    }

    fn url(&self, path: &[&str], query: &[(&str, Option<&str>)]) -> Result<Url, Failure> {
        // These are path steps even when they are escaped.
        if let Some(odd) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(Failure::usage(format!("{odd:?} is not an id or a name")));
        }
        let mut url = self.admin.clone();
        url.set_fragment(None);
        url.set_query(None);
        let mut parts = url.path_segments_mut().expect("an http URL has a path");
        parts.pop_if_empty().extend(path);
        drop(parts);
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }

    fn ask(&self, method: Method, url: &Url, body: Option<Vec<u8>>) -> Result<Answer, Failure> {
        let http = HttpClient::new(url, 1).map_err(Failure::failed)?;
        let asked = format!("{method} {url}");
        let mut request = HttpClient::request(method, url);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = self.authorization()? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(body.unwrap_or_default().into());
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        let exchange = actix_rt::System::new().block_on(exchange(&http, request));
        let (status, body) = exchange.map_err(|error| self.unreached(&error))?;
        let answer = Answer::new(&body);
        match answer {
            Some(answer) if (200..300).contains(&status) => Ok(answer),
            answer => {
                if let Some(answer) = answer.as_ref().filter(|_| self.json) {
                    answer.print_json()?;
                }
                Err(Failure::failed(self.refused(&asked, status, answer)))
            }
        }
    }

    /// The header that holds the token, if there is one.
    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(reference) = &self.token else {
            return Ok(None);
        };
        let token = Secret::resolve(reference)
            .map_err(|error| Failure::usage(format!("--token: {error}")))?;
        let value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
        let mut value = value.map_err(|_| {
            Failure::usage("--token: a token is one line without control characters")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn unreached(&self, error: &str) -> Failure {
        let (admin, serve) = (self.admin.as_str().trim_end_matches('/'), invocation());
        Failure::failed(format!(
            "{admin}: {error}\nIs offhook running? `{serve} serve` starts it, and says where its \
             admin listener is; if that is elsewhere, give it with --admin or in OFFHOOK_ADMIN."
        ))
    }

    fn refused(&self, asked: &str, status: u16, answer: Option<Answer>) -> String {
        let answered = format!("{asked} answered {status}");
        let text = answer.and_then(|answer| answer.read::<Refusal>().ok());
        let text = text.map(|refusal| cut(&refusal.error));
        match (status, text) {
            (401, _) => {
                let what = match self.token {
                    None => "The server asks for its admin token",
                    Some(_) => "That is not the server's admin token",
                };
                format!(
                    "{answered}\n{what}, `token` below [admin] in its settings: give it with \
                     --token or in OFFHOOK_ADMIN_TOKEN."
                )
            }
            (_, Some(text)) if text.eq_ignore_ascii_case("not found") => {
                format!("{answered}\n{ELSEWHERE}")
            }
            (_, Some(text)) => format!("{text}\n({answered})"),
            (300..=399, None) => format!(
                "{answered}\nRedirects are not followed: give the admin listener's own URL with \
                 --admin."
            ),
            (_, None) => format!("{answered}\n{ELSEWHERE}"),
        }
    }
}

/// Sends the request and reads the whole answer, or says in a few words why there is none.
async fn exchange(http: &HttpClient, request: Request<Bytes>) -> Result<(u16, Vec<u8>), String> {
    let answered = http.send(request, client::TIMEOUT, LONGEST_ANSWER).await;
    let answered = answered.map_err(|unanswered| client::in_words(&unanswered))?;
    if answered.is_cut {
        return Err("the answer is longer than 384 MiB".to_owned());
    }
    let status = answered.response.status().as_u16();
    Ok((status, answered.response.into_body()))
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn cut(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_ERROR).collect();
    escape_controls(&cut).into_owned()
}

/// The kinds of events as options name them. offhook makes the last two itself.
pub(super) const KINDS: [&str; 6] = [
    "message",
    "status",
    "connection",
    "unknown",
    "source.quiet",
    "source.resumed",
];

/// The kinds that a subscription can name.
pub(super) const RECEIVED: [&str; 4] = ["message", "status", "connection", "unknown"];

const ELSEWHERE: &str = "Is that offhook's admin listener, and of the same version as this program? \
                         Give its URL with --admin or in OFFHOOK_ADMIN.";
/// Enough for a body of 256 MiB in base64, and its metadata.
const LONGEST_ANSWER: usize = 384 * 1024 * 1024;
const LONGEST_ERROR: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(admin: &str) -> Server {
        Server {
            admin: admin_url(admin).unwrap(),
            token: None,
            json: false,
        }
    }

    #[test]
    fn a_part_of_the_path_stays_one() {
        let url = |path: &[&str]| {
            let url = server("http://h:1/x/?y#z").url(path, &[("a", Some("b&c")), ("d", None)]);
            url.map(|url| url.to_string())
        };
        assert_eq!(
            url(&["api", "a/../b?c", "%2e"]).unwrap(),
            "http://h:1/x/api/a%2F..%2Fb%3Fc/%252e?a=b%26c"
        );
        for odd in ["", ".", ".."] {
            assert!(url(&["api", odd]).is_err());
        }
    }

    #[test]
    fn only_urls_without_a_password() {
        for odd in ["", "localhost:5001", "ftp://x", "http://u:p@h", "/api"] {
            assert!(
                admin_url(odd)
                    .unwrap_err()
                    .contains("http://127.0.0.1:5001")
            );
        }
    }
}
