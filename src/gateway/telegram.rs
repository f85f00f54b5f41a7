//! Telegram's Bot API: each bot has one webhook, and its token stands in the path.

use http::Method;
use serde_json::json;

use super::GatewayError;
use super::api::{Api, Key, Request, Telling, check_each};

pub(super) struct Telegram;

impl Api for Telegram {
    fn url(&self) -> Option<&'static str> {
        Some("https://api.telegram.org")
    }

    fn has_sessions(&self) -> bool {
        false
    }

    fn needed_key(&self) -> Option<&'static str> {
        Some("the bot's token")
    }

    fn key(&self) -> Key {
        Key::Path
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["telegram", "token"]
    }

    fn needs_https(&self) -> bool {
        true
    }

    fn check_secret(&self, secret: &str) -> Result<(), GatewayError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if secret.len() <= 256 && secret.chars().all(is_plain) {
            return Ok(());
        }
        let text =
            "Telegram does not take this secret: expected 1 to 256 of A-Z, a-z, 0-9, _ and -";
        Err(GatewayError::SecretForm(text.to_owned()))
    }

    /// All that become typed events.
    fn default_events(&self) -> &'static [&'static str] {
        &[
            "message",
            "edited_message",
            "channel_post",
            "edited_channel_post",
            "callback_query",
        ]
    }

    fn check_events(&self, events: &[String]) -> Result<(), GatewayError> {
        let is_good = |name: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            (1..=64).contains(&name.len()) && name.chars().all(plain)
        };
        check_each(
            events,
            is_good,
            "names such as edited_message, in lower case and with _",
        )
    }

    fn register(&self, _: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| {
            let mut body = json!({
                "url": told.url,
                "allowed_updates": told.events,
                "max_connections": 40,
            });
            if let Some(token) = told.secret {
                body["secret_token"] = token.into();
            }
            body.to_string()
        });
        Request::new(Method::POST, &["setWebhook"]).body(body)
    }

    fn remove(&self, _: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        Ok(Request::new(Method::POST, &["deleteWebhook"]))
    }

    fn show(&self, _: &str) -> Request {
        Request::new(Method::GET, &["getWebhookInfo"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{in_words, told};
    use super::*;

    #[test]
    fn a_bot_is_registered_and_removed() {
        assert_eq!(
            in_words(&Telegram.register("", &told(&["message"], Some("hidden")))),
            r#"POST /setWebhook {"allowed_updates":["message"],"max_connections":40,"secret_token":"***","url":"https://me/hook"}"#
        );
        let removed = Telegram.remove("", None).unwrap();
        assert_eq!(in_words(&removed), "POST /deleteWebhook");
        assert_eq!(in_words(&Telegram.show("")), "GET /getWebhookInfo");
    }

    #[test]
    fn secrets_and_events_are_those_that_it_takes() {
        assert!(Telegram.check_secret("A-z_0").is_ok());
        for odd in ["hidden hidden", &"h".repeat(257)] {
            let error = Telegram.check_secret(odd).unwrap_err().to_string();
            assert!(
                error.contains("256") && !error.contains("hidden"),
                "{error}"
            );
        }
        assert!(
            Telegram
                .check_events(&["message_reaction".to_owned()])
                .is_ok()
        );
        assert!(
            Telegram
                .check_events(&["message.reaction".to_owned()])
                .is_err()
        );
    }
}
