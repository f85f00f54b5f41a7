//! [`Registration`]: what a request asks a subscription to be, and whether it may be so.
//!
//! The body is read field by field, so that an error names the field and never shows a value that
//! may be a secret. An unknown field is refused: one that was ignored would seem to have been set.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, web};
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::EventKind;
use crate::relay::{
    Guard, MAX_SECRETS, RejectedAddress, SubscriptionChange, SubscriptionHeaders, SubscriptionKey,
    SubscriptionKeyError,
};
use crate::signature::{Secret, Secrets, is_undecodable};

/// What is asked for. A field that the body leaves out is `None`.
#[derive(Debug)]
pub(super) struct Registration {
    url: Option<String>,
    /// The kinds; `Some(None)` for all.
    events: Option<Option<BTreeSet<EventKind>>>,
    /// The secrets; `Some` without any for none.
    secrets: Option<Secrets>,
    headers: Option<SubscriptionHeaders>,
    name: Option<String>,
    active: Option<bool>,
}

impl Registration {
    /// Reads a request: which subscription it names, in the path, the query or the body, and what it
    /// asks for.
    pub(super) async fn read(
        request: &HttpRequest,
        name: Option<&str>,
        body: web::Payload,
    ) -> Result<(SubscriptionKey, Self), ApiError> {
        let session = session(request)?;
        let body = match body.to_bytes_limited(MAX_BODY).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Err(ApiError::bad_request(format!("the body: {error}"))),
            Err(_) => {
                let text = format!("the body is longer than {MAX_BODY} bytes");
                return Err(ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    text,
                ));
            }
        };
        let registration = Self::parse(&body)?;
        let name = match (name, registration.name.as_deref()) {
            (Some(one), Some(other)) if one != other => {
                let text = "the name in the path's query and the one in the body differ";
                return Err(ApiError::bad_request(text));
            }
            (one, other) => one.or(other),
        };
        Ok((key(session, name)?, registration))
    }

    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))?;
        let Value::Object(fields) = body else {
            return Err(ApiError::bad_request("the body is no JSON object"));
        };
        let mut names = fields.keys();
        if let Some(unknown) = names.find(|name| !FIELDS.contains(&name.as_str())) {
            let shown: String = unknown.chars().take(LONGEST_SHOWN).collect();
            let allowed = FIELDS.join(", ");
            let text = format!("there is no field {shown:?}; allowed: {allowed}");
            return Err(ApiError::unknown_field(text));
        }
        Ok(Self {
            url: url(&fields)?,
            events: fields.get("events").map(events).transpose()?,
            secrets: secrets(&fields)?,
            headers: fields.get("headers").map(headers).transpose()?,
            name: text(&fields, "name")?,
            active: match fields.get("active") {
                None | Some(Value::Null) => None,
                Some(Value::Bool(active)) => Some(*active),
                Some(_) => return Err(wrong("active", "true or false")),
            },
        })
    }

    /// Returns what it changes, if its URL may be posted to, and a warning of what is probably a
    /// mistake: a host that does not resolve now, or a secret that is no base64.
    pub(super) async fn check(
        self,
        guard: &Guard,
    ) -> Result<(SubscriptionChange, Option<String>), ApiError> {
        let mut warnings = Vec::new();
        let mut change = SubscriptionChange {
            url: None,
            events: self.events,
            secrets: self.secrets,
            headers: self.headers,
            active: self.active,
        };
        if let Some(url) = &self.url {
            let url = guard.url(url).map_err(|error| rejected(&error))?;
            match guard.vet(&url).await {
                Ok(_) => {}
                Err(error) if error.is_unresolved() => {
                    warnings.push(format!("{error}; events wait until it does"));
                }
                Err(error) => return Err(rejected(&error)),
            }
            change.url = Some(url);
        }
        let is_odd = |secrets: &Secrets| secrets.iter().any(is_undecodable);
        if change.secrets.as_ref().is_some_and(is_odd) {
            let text =
                "secret begins with whsec_, but what follows is no base64, so the text is the key";
            warnings.push(text.to_owned());
        }
        let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
        Ok((change, warning))
    }
}

/// The session in the path, percent-decoded as the ingress does it, so that both mean the same one.
pub(super) fn session(request: &HttpRequest) -> Result<String, ApiError> {
    let raw = request.match_info().get("id").unwrap_or_default();
    let session = percent_encoding::percent_decode_str(raw).decode_utf8_lossy();
    // A bad session is reported before the body is read, when the name is not known yet.
    key(session.clone().into_owned(), None)?;
    Ok(session.into_owned())
}

/// The key of the subscription with this name, or with the default name.
pub(super) fn key(session: String, name: Option<&str>) -> Result<SubscriptionKey, ApiError> {
    SubscriptionKey::new(session, name.unwrap_or(DEFAULT_NAME)).map_err(|error| {
        let code = match error {
            SubscriptionKeyError::Session => "bad_session",
            SubscriptionKeyError::Name(_) => "bad_name",
        };
        ApiError::bad_request_as(code, error.to_string())
    })
}

fn url(fields: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    match (text(fields, "webhookUrl")?, text(fields, "url")?) {
        (Some(one), Some(other)) if one != other => Err(ApiError::bad_request(
            "webhookUrl and url are the same field, and differ; leave one of them out",
        )),
        (one, other) => Ok(one.or(other)),
    }
}

fn text(fields: &Map<String, Value>, field: &str) -> Result<Option<String>, ApiError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(field, "a text")),
    }
}

fn events(value: &Value) -> Result<Option<BTreeSet<EventKind>>, ApiError> {
    let names = match value {
        Value::Null => return Ok(None),
        Value::Array(names) => names,
        _ => return Err(wrong("events", "a list such as [\"message\"]")),
    };
    if names.is_empty() {
        let text = "events is empty; leave it out for all events";
        return Err(ApiError::bad_request(text));
    }
    let (mut kinds, mut all) = (BTreeSet::new(), false);
    for name in names {
        let Value::String(name) = name else {
            return Err(wrong("events", "a list of texts"));
        };
        match (name.as_str(), name.parse()) {
            ("*", _) => all = true,
            (_, Ok(kind)) if EventKind::RECEIVED.contains(&kind) => drop(kinds.insert(kind)),
            _ => {
                let shown: String = name.chars().take(LONGEST_SHOWN).collect();
                let allowed = EventKind::RECEIVED.map(EventKind::as_str).join(", ");
                let text = format!("events: found {shown:?}; allowed: {allowed}, *");
                return Err(ApiError::bad_request_as("unknown_event", text));
            }
        }
    }
    Ok((!all).then_some(kinds))
}

/// The field `secret`, or `secrets`. Each is the text itself: a caller must not be able to have the server read
/// its environment or its files. A text that asks for that is refused, since the subscriber would not know why each
/// signature is wrong.
fn secrets(fields: &Map<String, Value>) -> Result<Option<Secrets>, ApiError> {
    let list = match (fields.get("secret"), fields.get("secrets")) {
        (None, None) => return Ok(None),
        (Some(Value::Null), None) | (None, Some(Value::Null)) => {
            return Ok(Some(Secrets::default()));
        }
        (Some(one), None) => std::slice::from_ref(one),
        (None, Some(Value::Array(list))) if (1..=MAX_SECRETS).contains(&list.len()) => list,
        (None, Some(_)) => {
            let text = format!("a list of 1 to {MAX_SECRETS} texts, or null for none");
            return Err(wrong("secrets", &text));
        }
        (Some(_), Some(_)) => {
            let text = "secret and secrets are both there; leave one of them out";
            return Err(ApiError::bad_request(text));
        }
    };
    let secrets: Result<Vec<Secret>, _> = list.iter().map(secret).collect();
    secrets.map(|secrets| Some(Secrets::new(secrets)))
}

fn secret(value: &Value) -> Result<Secret, ApiError> {
    let Value::String(text) = value else {
        return Err(wrong("secret", "a text, or null for none"));
    };
    if text.len() > MAX_SECRET {
        let text = format!("secret is longer than {MAX_SECRET} bytes");
        return Err(ApiError::bad_request(text));
    }
    // settings.toml and the command would read it from elsewhere.
    let names = ["env:", "file:"];
    if let Some(name) = names.into_iter().find(|name| text.starts_with(name)) {
        return Err(ApiError::bad_request(format!(
            "secret begins with {name}, which only settings.toml and the command read; give the text itself, or define \
             the subscription in settings.toml"
        )));
    }
    let empty = |_| ApiError::bad_request("secret is empty; leave it out, or null, for none");
    Secret::new(text).map_err(empty)
}

/// The values are texts, for the same reason as those of [`secrets`].
fn headers(value: &Value) -> Result<SubscriptionHeaders, ApiError> {
    let mut headers = SubscriptionHeaders::default();
    let fields = match value {
        Value::Null => return Ok(headers),
        Value::Object(fields) => fields,
        _ => return Err(wrong("headers", "an object of texts, or null for none")),
    };
    for (name, value) in fields {
        let Value::String(value) = value else {
            return Err(wrong("headers", "an object of texts, or null for none"));
        };
        let with_one = headers.text(name, value);
        headers = with_one.map_err(|error| ApiError::bad_request(format!("headers: {error}")))?;
    }
    Ok(headers)
}

fn wrong(field: &str, expected: &str) -> ApiError {
    ApiError::bad_request(format!("{field}: expected {expected}"))
}

fn rejected(error: &RejectedAddress) -> ApiError {
    let code = match error {
        RejectedAddress::Address { .. } => "refused_address",
        _ => "bad_url",
    };
    ApiError::bad_request_as(code, format!("webhookUrl: {error}"))
}

/// All fields of a registration.
const FIELDS: [&str; 8] = [
    "webhookUrl",
    "url",
    "events",
    "secret",
    "secrets",
    "headers",
    "name",
    "active",
];

/// The name of a subscription that is registered without one.
const DEFAULT_NAME: &str = "default";

/// The longest body of a registration, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// The longest secret, in bytes.
const MAX_SECRET: usize = 1024;

/// How many characters of an unknown event's name an error shows.
const LONGEST_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Registration, String> {
        Registration::parse(body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_missing_field_differs_from_null() {
        let none = read("{}").unwrap();
        assert!(none.secrets.is_none() && none.events.is_none() && none.active.is_none());
        assert!(none.headers.is_none());
        let null = r#"{"secret":null,"events":null,"active":null,"name":null,"headers":null}"#;
        let null = read(null).unwrap();
        assert!(null.secrets.is_some_and(|none| none.is_empty()));
        assert!(null.headers.is_some_and(|none| none.is_empty()));
        assert!(matches!(null.events, Some(None)));
        assert!(null.active.is_none() && null.name.is_none());
        let all = read(r#"{"events":["message","*"],"url":"u"}"#).unwrap();
        assert_eq!(all.events, Some(None));
        assert_eq!(all.url.as_deref(), Some("u"));
        let some = read(r#"{"events":["unknown","message"],"secret":"s"}"#).unwrap();
        let kinds = [EventKind::Message, EventKind::Unknown];
        assert_eq!(some.events, Some(Some(kinds.into())));
        assert!(some.secrets.unwrap().first().unwrap().is(b"s"));
    }

    #[test]
    fn errors_name_the_field_and_show_no_secret() {
        let long = format!(r#"{{"secret":"{}"}}"#, "hidden".repeat(400));
        let many = serde_json::json!({ "secrets": vec!["hidden"; MAX_SECRETS + 1] }).to_string();
        let table = [
            ("", "not JSON"),
            ("{", "not JSON"),
            (r#"{"secret":"hidden""#, "not JSON"),
            (r#"["hidden"]"#, "no JSON object"),
            (r#"{"webhookUrl":7}"#, "webhookUrl: expected a text"),
            (r#"{"webhookUrl":"a","url":"b"}"#, "differ"),
            (r#"{"events":"message"}"#, "events: expected a list"),
            (r#"{"events":[]}"#, "events is empty"),
            (r#"{"events":[7]}"#, "events: expected a list of texts"),
            (
                r#"{"events":["call"]}"#,
                "allowed: message, sent, change, status, connection, unknown, *",
            ),
            (r#"{"secret":["hidden"]}"#, "secret: expected a text"),
            (r#"{"secret":""}"#, "secret is empty"),
            // A caller must not have the server read its files, nor believe that it does.
            (r#"{"secret":"env:PATH"}"#, "secret begins with env:"),
            (
                r#"{"secrets":["hidden","file:/etc/hostname"]}"#,
                "secret begins with file:",
            ),
            (&long, "secret is longer than 1024 bytes"),
            (
                r#"{"secrets":"hidden"}"#,
                "secrets: expected a list of 1 to 8",
            ),
            (r#"{"secrets":[]}"#, "secrets: expected a list of 1 to 8"),
            (&many, "secrets: expected a list of 1 to 8"),
            (r#"{"secrets":["hidden",7]}"#, "secret: expected a text"),
            (r#"{"secrets":["hidden",""]}"#, "secret is empty"),
            (
                r#"{"secret":"hidden","secrets":["hidden"]}"#,
                "secret and secrets are both there",
            ),
            (r#"{"headers":["hidden"]}"#, "headers: expected an object"),
            (r#"{"headers":{"X-A":7}}"#, "headers: expected an object"),
            (
                r#"{"headers":{"Webhook-Id":"hidden"}}"#,
                "headers: the header \"Webhook-Id\": cannot be set",
            ),
            (r#"{"headers":{"X-A":"hidden\nX: y"}}"#, "visible ASCII"),
            (
                r#"{"heders":{"X-A":"hidden"}}"#,
                "there is no field \"heders\"; allowed: webhookUrl, url, events, secret, secrets, headers, name, active",
            ),
            (r#"{"Secret":"hidden"}"#, "there is no field \"Secret\""),
            (r#"{"name":1}"#, "name: expected a text"),
            (r#"{"active":"yes"}"#, "active: expected true or false"),
        ];
        for (body, expected) in table {
            let error = read(body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
            assert!(!error.contains("hidden"), "{body}: {error}");
        }
    }
}
