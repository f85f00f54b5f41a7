//! What a request to the admin API says: its body, ids, times and limits.

use actix_web::error::QueryPayloadError;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use actix_web::web::Query;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use uuid::Uuid;

use super::error::ApiError;
use crate::journal::Part;
use crate::{EventId, EventKind, Timestamp};

/// The token that a request shows.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = only(headers, &AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// The value of a header that is there once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A request's JSON body; an empty one is `{}`.
pub(super) fn json_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    // Its fields would be read of a list, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::bad_request(
            "the body: expected a JSON object, such as {}",
        ));
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body: {error}");
        // serde has no other way to tell it apart.
        if error.is_data() && error.to_string().starts_with("unknown field") {
            ApiError::unknown_field(text)
        } else {
            ApiError::bad_request(text)
        }
    })
}

/// What the fields of a request say that can be in its body or in its query. Some clients send no body.
pub(super) fn body_or_query<T: DeserializeOwned>(query: &str, body: &[u8]) -> Result<T, ApiError> {
    match (query, body.trim_ascii()) {
        ("", _) => json_body(body),
        (_, []) => {
            let read = Query::<T>::from_query(query);
            Ok(read
                .map_err(|error| wrong_query(query, &error))?
                .into_inner())
        }
        _ => {
            let text = "expected the fields in the body or in the query, not in both";
            Err(ApiError::bad_request(text))
        }
    }
}

/// A query that cannot be read. serde does not say of which parameter its error is.
pub(super) fn wrong_query(query: &str, problem: &QueryPayloadError) -> ApiError {
    let text = match problem {
        QueryPayloadError::Deserialize(error) => error.to_string(),
        other => other.to_string(),
    };
    let is_typed = |key: &str, value: &str| {
        TYPED.contains(&key) && value.parse::<u64>().is_err() && value.parse::<bool>().is_err()
    };
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let wrong = pairs.find(|(key, value)| {
        text.starts_with(&format!("unknown variant `{value}`")) || is_typed(key, value)
    });
    ApiError::bad_request(match wrong {
        Some((key, value)) if !text.starts_with("unknown field") => {
            format!("{key}: found {value:?}: {text}")
        }
        _ => format!("the query: {text}"),
    })
}

/// The parameters that are numbers, or true or false.
const TYPED: [&str; 8] = [
    "limit",
    "status",
    "explained",
    "after",
    "rate",
    "all",
    "dry_run",
    "strict",
];

/// The time in the field `key`.
pub(super) fn time(key: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        ApiError::bad_request(format!(
            "{key}: found {text:?}, expected a time such as 2026-01-08T12:00:00Z"
        ))
    })
}

/// An event's id.
pub(super) fn event_id(text: &str) -> Result<EventId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("found {text:?}, expected an event's id")))
}

/// The complete id of an event that is to be deleted. What a beginning names changes with what is received
/// and removed.
pub(super) fn complete_id(text: &str) -> Result<EventId, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request_as(
            "incomplete_id",
            format!(
                "found {text:?}, expected the complete id of an event, such as \
                 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17: its beginning is not enough to delete it"
            ),
        )
    })
}

/// The beginning of an event's id.
#[derive(Debug)]
pub(super) struct IdBeginning {
    /// Hexadecimal digits, without hyphens, as many as the id of a body has at most.
    digits: String,
}

impl IdBeginning {
    /// Reads at least [`SHORTEST_BEGINNING`] characters of an id.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let digits = text.replace('-', "").to_ascii_lowercase();
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hexadecimal && (SHORTEST_BEGINNING..=ID_DIGITS).contains(&digits.len()) {
            return Ok(Self { digits });
        }
        Err(ApiError::bad_request(format!(
            "found {text:?}, expected an event's id, or its first {SHORTEST_BEGINNING} characters or more"
        )))
    }

    /// The first and the last id that begin so.
    pub(super) fn bounds(&self) -> (EventId, EventId) {
        let [first, last] = [
            format!("{:0<ID_DIGITS$}", self.digits),
            format!("{:f<ID_DIGITS$}", self.digits),
        ]
        .map(|digits| u128::from_str_radix(&digits, 16).expect("32 hexadecimal digits"));
        let id = |number, part| EventId::new(Uuid::from_u128(number), part);
        (id(first, Part::MIN), id(last, Part::MAX))
    }
}

/// An event kind; `None` for all.
pub(super) fn event_kind(text: Option<String>) -> Result<Option<EventKind>, ApiError> {
    let Some(text) = text.filter(|text| text != "*") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let allowed = EventKind::ALL.map(EventKind::as_str).join(", ");
        ApiError::bad_request(format!("event: found {text:?}; allowed: {allowed}, *"))
    })
}

/// A page's size: `limit`, or the default, within bounds.
pub(super) fn page_size(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(DEFAULT_PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        other => {
            let text = format!("limit: found {other}, expected 1 to {MAX_PAGE}");
            Err(ApiError::bad_request(text))
        }
    }
}

/// Runs a change to its end, also when the client hangs up before the answer.
pub(super) async fn run_to_end<T: Send + 'static>(
    change: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(change).await.map_err(|_| {
        ApiError::unavailable(
            "a change was broken off; look what became of it before asking once more",
        )
    })
}

/// In the first eight characters of an id is the time, to a minute.
const SHORTEST_BEGINNING: usize = 8;

/// The hexadecimal digits of the id of a body.
const ID_DIGITS: usize = 32;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn an_unknown_field_is_named_with_the_others() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Asked {
            #[serde(rename = "rate")]
            _rate: Option<u32>,
        }
        let code = |body: &str| {
            let error = json_body::<Asked>(body.as_bytes()).unwrap_err();
            (error.code(), error.to_string())
        };
        let (is, text) = code(r#"{"rte":1}"#);
        assert_eq!(is, "unknown_field");
        assert!(
            text.contains("unknown field `rte`, expected `rate`"),
            "{text}"
        );
        for other in [
            r#"{"rate":"x"}"#,
            "{",
            "[\"unknown field\"]",
            r#"{"rate":-1}"#,
        ] {
            assert_eq!(code(other).0, "bad_request", "{other}");
        }
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Dead,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only read")]
        struct Asked {
            session: Option<String>,
            limit: Option<usize>,
            state: Option<Word>,
            explained: Option<bool>,
        }
        for (query, expected) in [
            ("session=x&limit=abc", "limit: found \"abc\": invalid digit"),
            ("limit=-1", "limit: found \"-1\": invalid digit"),
            (
                "state=foo&limit=1",
                "state: found \"foo\": unknown variant `foo`, expected `dead`",
            ),
            (
                "session=a&explained=maybe",
                "explained: found \"maybe\": provided string",
            ),
            (
                "sesion=a&limit=1",
                "the query: unknown field `sesion`, expected",
            ),
        ] {
            let error = Query::<Asked>::from_query(query).unwrap_err();
            let text = wrong_query(query, &error).to_string();
            assert!(text.starts_with(expected), "{query}: {text}");
        }
    }

    #[test]
    fn beginnings_of_ids() {
        let id: EventId = "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17.2".parse().unwrap();
        for text in ["0198f9a2", "0198F9A2-6c", "0198f9a26c1e7d40", "0198f9a2-"] {
            let (first, last) = IdBeginning::parse(text).unwrap().bounds();
            assert!((first..=last).contains(&id), "{text}");
        }
        for text in ["0198f9a3", "0198f9a1ffff"] {
            let (first, last) = IdBeginning::parse(text).unwrap().bounds();
            assert!(!(first..=last).contains(&id), "{text}");
        }
        let long = "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17a";
        for odd in ["", "0198f9a", "0198f9a2.2", "0198f9ag", "--------", long] {
            assert!(IdBeginning::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn bearer_tokens() {
        let token = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token(&["Bearer x y"]).as_deref(), Some("x y"));
        assert_eq!(token(&["bearer t"]).as_deref(), Some("t"));
        for odd in [
            &["Basic t"][..],
            &["Bearer"],
            &["Bearer t", "Bearer t"],
            &[],
        ] {
            assert_eq!(token(odd), None, "{odd:?}");
        }
    }
}
