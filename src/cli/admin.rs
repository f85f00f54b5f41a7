//! Shared code of the commands that ask a running server: [`Server`] sends the requests and prints the
//! answers, and every failure says what to do.

mod open;

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use clap::builder::PossibleValuesParser;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use indexmap::IndexMap;
use offhook::clock::{Clock as _, SystemClock};
use offhook::http_client::{Answered, HttpClient, Unanswered};
use offhook::signature::Secret;
use offhook::{EventKind, Timestamp, escape_controls, escape_controls_in_json};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::admin_address::{AdminAddress, AdminListener};
use super::client::TIMEOUT;
use super::output::{self, Failure, Outcome, Verdict};
use super::table::{self, Row};

/// The running server, from the command's options, which may also follow the name of an action.
#[derive(Args)]
pub(super) struct Server {
    #[command(flatten)]
    address: AdminAddress,

    /// Its admin token, if it has one: env:NAME, file:PATH, or the text itself; default: the one in the file
    /// of --settings, in OFFHOOK_ADMIN_TOKEN, or in ./settings.toml if the address is from there too
    #[arg(long)]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve, global = true)]
    token: Option<Secret>,

    /// Print the server's JSON instead
    #[arg(long, global = true)]
    json: bool,
}

impl Server {
    /// Asks the server, and returns the JSON of its answer. The segments of `path` may contain any
    /// characters. `fields` are the body of a POST, or else the query; fields that are `None` are left
    /// out.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &[&str],
        fields: &impl Serialize,
    ) -> Result<String, Failure> {
        if method == Method::POST {
            return self.ask_in_body(method, path, fields);
        }
        let fields = given(fields).map_err(Failure::usage)?;
        self.exchange(method, path, &fields, String::new(), Duration::ZERO)
    }

    /// The same, with the fields always in the body: a query may be logged on its way.
    pub(super) fn ask_in_body(
        &self,
        method: Method,
        path: &[&str],
        fields: &impl Serialize,
    ) -> Result<String, Failure> {
        self.ask_patiently(method, path, fields, Duration::ZERO)
    }

    /// The same. The server takes a changed settings file by itself; until then it does not know a token or a
    /// certificate that is new there, so it is asked again for up to `patience`.
    pub(super) fn ask_patiently(
        &self,
        method: Method,
        path: &[&str],
        fields: &impl Serialize,
        patience: Duration,
    ) -> Result<String, Failure> {
        let fields = given(fields).map_err(Failure::usage)?;
        let body = json!(fields).to_string();
        self.exchange(method, path, &Fields::new(), body, patience)
    }

    fn exchange(
        &self,
        method: Method,
        path: &[&str],
        query: &Fields,
        body: String,
        patience: Duration,
    ) -> Result<String, Failure> {
        let listener = self.address.find()?;
        let url = url(&listener.url, path, query)?;
        let asked = format!("{method} {url}");
        let token = match &self.token {
            Some(token) => Some(token.clone()),
            None => self.address.token(&listener)?,
        };
        let mut request = HttpClient::request(method, &url);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &token {
            request = request.header(AUTHORIZATION, authorization(token)?);
        }
        let request = request.body(body.into()).map_err(Failure::usage)?;
        let is_from_settings = listener.is_from_settings() && self.token.is_none();
        let patience = if is_from_settings {
            patience
        } else {
            Duration::ZERO
        };
        let answered = self.send(&listener, &url, &request, patience)?;
        if answered.is_cut {
            return Err(unreached(&listener, "the answer is longer than 384 MiB"));
        }
        let status = answered.response.status().as_u16();
        let json = String::from_utf8(answered.response.into_body()).ok();
        let json = json.filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        match json {
            Some(json) if (200..300).contains(&status) => Ok(json),
            json => {
                if let Some(json) = json.as_ref().filter(|_| self.json) {
                    print_json(json)?;
                }
                let had_token = token.is_some();
                let mut text = refused(&asked, status, json, had_token);
                if status == 401 && had_token && is_from_settings {
                    text += NOT_TAKEN_YET;
                }
                Err(Failure::failed(text))
            }
        }
    }

    /// Sends the request until the answer is no sign of settings that the server does not have yet, for up to
    /// `patience`.
    fn send(
        &self,
        listener: &AdminListener,
        url: &Url,
        request: &http::Request<Bytes>,
        patience: Duration,
    ) -> Result<Answered, Failure> {
        let until = SystemClock.monotonic() + patience;
        actix_rt::System::new().block_on(async {
            loop {
                let certificate = listener.certificate();
                let http = self.address.trust.client(url, 1, certificate);
                let http = http.map_err(Failure::failed)?;
                let answered = http.send(request.clone(), TIMEOUT, LONGEST_ANSWER).await;
                let may_pass = match &answered {
                    Ok(answered) => answered.response.status() == StatusCode::UNAUTHORIZED,
                    Err(error) => matches!(error, Unanswered::Unreachable(_)),
                };
                if !may_pass || SystemClock.monotonic() >= until {
                    return answered.map_err(|error| unreached(listener, &error.to_string()));
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    }

    /// Shows an answer: with `--json` as it came, or else by `show`.
    pub(super) fn show<T: DeserializeOwned>(
        &self,
        answer: &str,
        show: impl FnOnce(T) -> Result<(), Failure>,
    ) -> Outcome {
        if self.json {
            print_json(answer)?;
        } else {
            show(read(answer)?)?;
        }
        Ok(Verdict::Yes)
    }

    /// Asks to delete something. `done` is the word for success.
    pub(super) fn delete(&self, path: &[&str], fields: &impl Serialize, done: &str) -> Outcome {
        let answer = self.ask(Method::DELETE, path, fields)?;
        self.show(&answer, |_: IgnoredAny| output::print(&output::good(done)))
    }

    /// Asks for a list and shows it as a table. `none` is the text for an empty list.
    pub(super) fn list<T: DeserializeOwned, const N: usize>(
        &self,
        path: &[&str],
        fields: &impl Serialize,
        headings: [&str; N],
        row: impl Fn(T, Timestamp) -> Row<N>,
        none: &str,
    ) -> Outcome {
        let answer = self.ask(Method::GET, path, fields)?;
        self.show(&answer, |page: Page<T>| {
            let now = SystemClock.now();
            let rows = page.list.into_iter().map(|one| row(one, now));
            table::print(headings, rows, none)?;
            if let Some(warning) = page.warning {
                output::note(&format!("warning: {}", escape_controls(&warning)));
            }
            if let Some(next) = page.next {
                let next = escape_controls(&next);
                output::note(&format!("There are older ones: --before {next}"));
            }
            Ok(())
        })
    }
}

/// The URL of a path below `admin`, whose parts may contain any characters.
fn url(admin: &Url, path: &[&str], query: &Fields) -> Result<Url, Failure> {
    // These are path steps even when they are escaped.
    if let Some(odd) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
        return Err(Failure::usage(format!("{odd:?} is not an id or a name")));
    }
    let mut url = admin.clone();
    url.set_fragment(None);
    url.set_query(None);
    let mut parts = url.path_segments_mut().expect("an http URL has a path");
    parts.pop_if_empty().extend(path);
    drop(parts);
    for (name, value) in query {
        let text = value.as_str().map_or(value.to_string(), str::to_owned);
        url.query_pairs_mut().append_pair(name, &text);
    }
    Ok(url)
}

fn unreached(listener: &AdminListener, error: &str) -> Failure {
    let admin = listener.shown();
    let advice = if error.starts_with("TLS:") {
        NOT_TRUSTED.to_owned()
    } else {
        listener.advice()
    };
    Failure::failed(format!("{admin}: {error}\n{advice}"))
}

/// Why the server does not do what was asked, and what to do.
fn refused(asked: &str, status: u16, json: Option<String>, had_token: bool) -> String {
    let answered = format!("{asked} answered {status}");
    let text = json.and_then(|json| serde_json::from_str::<Refused>(&json).ok());
    match (status, text) {
        (401, _) => {
            let what = if had_token {
                "That is not the server's admin token"
            } else {
                "The server asks for its admin token"
            };
            format!(
                "{answered}\n{what}, `token` below [admin] in its settings: give it with --token or \
                 in OFFHOOK_ADMIN_TOKEN."
            )
        }
        (_, Some(text)) if !is_no_path(&text.error) => {
            let mut lines = text.problems;
            if lines.len() != 1 {
                lines.push(text.error);
            }
            let lines = lines.iter().map(|line| {
                let cut: String = line.chars().take(LONGEST_ERROR).collect();
                escape_controls(&cut).into_owned()
            });
            let lines: Vec<String> = lines.collect();
            format!("{}\n({answered})", lines.join("\n"))
        }
        (300..=399, None) => format!(
            "{answered}\nRedirects are not followed: give the admin listener's own URL with --admin."
        ),
        _ => format!(
            "{answered}\nIs that offhook's admin listener, and of the same version as this program? \
             Give its URL with --admin or in OFFHOOK_ADMIN."
        ),
    }
}

/// Whether the path is not there, in the words of the admin listener, or of the public one.
fn is_no_path(error: &str) -> bool {
    error == "there is no such path" || error.eq_ignore_ascii_case("not found")
}

type Fields = IndexMap<String, Value>;

/// The fields that have a value, in their order.
fn given(fields: &impl Serialize) -> serde_json::Result<Fields> {
    let fields: Option<Fields> = serde_json::from_str(&serde_json::to_string(fields)?)?;
    let mut fields = fields.unwrap_or_default();
    fields.retain(|_, value| !value.is_null());
    Ok(fields)
}

/// The header that holds the token.
fn authorization(token: &Secret) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
    let mut value = value
        .map_err(|_| Failure::usage("--token: a token is one line without control characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn print_json(answer: &str) -> Result<(), Failure> {
    output::print(&escape_controls_in_json(answer.trim_end()))
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    serde_json::from_str(answer).map_err(|error| {
        Failure::failed(format!(
            "the server's answer is not understood: {error}\nIs it of the same version as this \
             program ({})? --json prints it as it came.",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

/// A list, and where its next page begins.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(alias = "consumers", alias = "dead", alias = "events")]
    #[serde(
        alias = "refused",
        alias = "replays",
        alias = "subscriptions",
        alias = "webhooks"
    )]
    list: Vec<T>,
    next: Option<String>,
    /// What somebody should look at.
    warning: Option<String>,
}

/// An answer that refuses what was asked.
#[derive(Deserialize)]
struct Refused {
    error: String,
    /// Each on a line of its own, if there are several.
    #[serde(default)]
    problems: Vec<String>,
}

/// Parses the name of one of `kinds`.
pub(super) fn kinds(kinds: impl IntoIterator<Item = EventKind>) -> PossibleValuesParser {
    PossibleValuesParser::new(kinds.into_iter().map(EventKind::as_str))
}

const NOT_TRUSTED: &str = "A server listens there. Give its certificate, or the authority of it, with --ca FILE or in \
     OFFHOOK_CA; if it asks for a certificate (client_ca), give one with --client-certificate FILE and --client-key FILE.";

const NOT_TAKEN_YET: &str = "\nIf the token in the settings was changed, the server may still have the one from \
     before: its log says whether it has taken the file. Give the old one with --token, or send the server SIGHUP.";

/// How long to wait before the server is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// Enough for a body of 256 MiB in base64, and its metadata.
const LONGEST_ANSWER: usize = 384 * 1024 * 1024;

/// The length at which the server's reason is cut, in characters.
const LONGEST_ERROR: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_path_stays_one() {
        let url = |path: &[&str]| {
            let query = given(&json!({ "a": "b&c", "d": null })).unwrap();
            let url = url(&"http://h:1/x/?y#z".parse().unwrap(), path, &query);
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
}
