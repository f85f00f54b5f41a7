//! wuzapi: each user has one webhook, and a key for its signatures beside it.

use http::Method;
use serde_json::json;

use super::GatewayError;
use super::api::{Api, Key, Next, Request, Telling};

pub(super) struct Wuzapi;

impl Api for Wuzapi {
    fn has_sessions(&self) -> bool {
        false
    }

    fn needed_key(&self) -> Option<&'static str> {
        Some("the user's token")
    }

    fn key(&self) -> Key {
        Key::Header("token", "")
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["wuzapi"]
    }

    fn check_secret(&self, secret: &str) -> Result<(), GatewayError> {
        if secret.chars().count() >= 32 {
            return Ok(());
        }
        let text = "wuzapi does not take this secret: expected 32 characters or more";
        Err(GatewayError::SecretForm(text.to_owned()))
    }

    fn default_events(&self) -> &'static [&'static str] {
        &[]
    }

    fn check_events(&self, _: &[String]) -> Result<(), GatewayError> {
        let text = "wuzapi is told the events when a session connects: leave them out here";
        Err(GatewayError::Events(text.to_owned()))
    }

    /// First the key, so that nothing is sent without a signature.
    fn register(&self, _: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| json!({ "webhookURL": told.url }).to_string());
        let webhook = Request::new(Method::POST, &["webhook"]).body(body);
        if telling.sent.secret.is_none() {
            return webhook;
        }
        let body = telling.body(|told| json!({ "hmac_key": told.secret }).to_string());
        let key = Request::new(Method::POST, &["session", "hmac", "config"]).body(body);
        key.then(move |status, _| match status {
            200..300 => Next::Send(webhook),
            _ => Next::Nothing,
        })
    }

    fn remove(&self, _: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        Ok(Request::new(Method::POST, &["webhook"]).json(&json!({ "webhookURL": "" })))
    }

    fn show(&self, _: &str) -> Request {
        Request::new(Method::GET, &["webhook"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{in_words, next_in_words, told};
    use super::*;

    #[test]
    fn a_user_gets_its_key_before_its_webhook() {
        let webhook = r#"POST /webhook {"webhookURL":"https://me/hook"}"#;
        let register = |secret| Wuzapi.register("", &told(&[], secret));
        assert_eq!(in_words(&register(None)), webhook);
        let key = r#"POST /session/hmac/config {"hmac_key":"***"}"#;
        assert_eq!(in_words(&register(Some("hidden"))), key);
        assert_eq!(
            next_in_words(register(Some("hidden")), 200, &json!({})),
            webhook
        );
        assert_eq!(
            next_in_words(register(Some("hidden")), 400, &json!({})),
            "nothing"
        );
        assert!(Wuzapi.check_secret(&"s".repeat(31)).is_err());
        assert!(Wuzapi.check_secret(&"s".repeat(32)).is_ok());
    }
}
