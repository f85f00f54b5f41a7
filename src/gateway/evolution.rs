//! Evolution API: each instance has one webhook.

use http::Method;
use serde_json::{Value, json};

use super::GatewayError;
use super::api::{Api, Body, Key, Next, Request, Telling, check_each};
use super::mask::MASKED;

pub(super) struct Evolution;

impl Api for Evolution {
    fn key(&self) -> Key {
        Key::Header("apikey", "")
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["evolution-jwt"]
    }

    /// All that become typed events, and that every version 2 takes.
    fn default_events(&self) -> &'static [&'static str] {
        &[
            "MESSAGES_UPSERT",
            "MESSAGES_EDITED",
            "MESSAGES_UPDATE",
            "MESSAGES_DELETE",
            "SEND_MESSAGE",
            "CONNECTION_UPDATE",
            "QRCODE_UPDATED",
        ]
    }

    fn check_events(&self, events: &[String]) -> Result<(), GatewayError> {
        let is_good = |name: &str| {
            let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            (1..=64).contains(&name.len()) && name.chars().all(plain)
        };
        let allowed = "names such as MESSAGES_UPSERT, in upper case and with _";
        check_each(events, is_good, allowed)
    }

    fn register(&self, session: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| {
            let mut webhook = json!({
                "enabled": true,
                "url": told.url,
                "events": told.events,
                // It would add the event's name to the path, which offhook would take for a session.
                "byEvents": false,
                "base64": false,
            });
            if let Some(key) = told.secret {
                webhook["headers"] = json!({ "jwt_key": key });
            }
            json!({ "webhook": webhook }).to_string()
        });
        set(session).body(body)
    }

    /// It wants the URL of what is switched off, so it is asked for it first.
    fn remove(&self, session: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        let session = session.to_owned();
        Ok(self.show(&session).then(move |status, answer| {
            if !(200..300).contains(&status) {
                return Next::Nothing;
            }
            let url = answer["url"]
                .as_str()
                .filter(|_| answer["enabled"] != Value::Bool(false));
            url.map_or(Next::Unchanged, |url| {
                let body = |url: &str| {
                    let webhook = json!({"enabled": false, "url": url, "events": []});
                    json!({ "webhook": webhook }).to_string()
                };
                // The URL may hold a token.
                Next::Send(set(&session).body(Body {
                    sent: body(url),
                    shown: body(MASKED),
                }))
            })
        }))
    }

    fn show(&self, session: &str) -> Request {
        Request::new(Method::GET, &["webhook", "find", session])
    }
}

fn set(instance: &str) -> Request {
    Request::new(Method::POST, &["webhook", "set", instance])
}

#[cfg(test)]
mod tests {
    use super::super::api::{in_words, next_in_words, told};
    use super::*;

    #[test]
    fn an_instance_is_registered_and_switched_off() {
        let with = |secret| in_words(&Evolution.register("i", &told(&["SEND_MESSAGE"], secret)));
        assert_eq!(
            with(Some("hidden")),
            r#"POST /webhook/set/i {"webhook":{"base64":false,"byEvents":false,"enabled":true,"events":["SEND_MESSAGE"],"headers":{"jwt_key":"***"},"url":"https://me/hook"}}"#
        );
        assert!(!with(None).contains("headers"));

        let after = |status, answer| {
            let request = Evolution.remove("i", None).unwrap();
            assert_eq!(in_words(&request), "GET /webhook/find/i");
            next_in_words(request, status, &answer)
        };
        assert_eq!(
            after(200, json!({"url": "https://old", "enabled": true})),
            r#"POST /webhook/set/i {"webhook":{"enabled":false,"events":[],"url":"***"}}"#
        );
        assert_eq!(
            after(200, json!({"url": "https://old", "enabled": false})),
            "unchanged"
        );
        assert_eq!(after(200, Value::Null), "unchanged");
        assert_eq!(after(404, json!({})), "nothing");
    }

    #[test]
    fn events_are_written_as_it_writes_them() {
        assert!(
            Evolution
                .check_events(&["GROUPS_UPSERT".to_owned()])
                .is_ok()
        );
        let error = Evolution.check_events(&["messages.upsert".to_owned()]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("MESSAGES_UPSERT"), "{error}");
    }
}
