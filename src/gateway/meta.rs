//! Meta: a WhatsApp Business Account can send to a URL of its own, and an app has one for all else.
//!
//! Meta asks the URL for its challenge before it answers, so the server must run.

use http::Method;
use serde_json::json;

use super::GatewayError;
use super::api::{Api, Key, Request, SecretUse, Telling, check_each};

pub(super) struct Meta;
pub(super) struct MetaApp;

/// What is the same for both.
macro_rules! of_meta {
    ($key:literal) => {
        fn url(&self) -> Option<&'static str> {
            Some("https://graph.facebook.com")
        }

        fn needed_key(&self) -> Option<&'static str> {
            Some($key)
        }

        fn key(&self) -> Key {
            Key::Header("authorization", "Bearer ")
        }

        fn secret(&self) -> SecretUse {
            SecretUse::Verifies
        }

        fn schemes(&self) -> &'static [&'static str] {
            &["meta"]
        }

        fn needs_https(&self) -> bool {
            true
        }
    };
}

impl Api for Meta {
    of_meta!("an access token that may manage the account");

    fn default_events(&self) -> &'static [&'static str] {
        &[]
    }

    fn check_events(&self, _: &[String]) -> Result<(), GatewayError> {
        let text = "the fields are those that the app has subscribed to: leave the events out here";
        Err(GatewayError::Events(text.to_owned()))
    }

    fn register(&self, session: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| {
            json!({"override_callback_uri": told.url, "verify_token": told.secret}).to_string()
        });
        Request::new(Method::POST, &[session, "subscribed_apps"]).body(body)
    }

    fn remove(&self, session: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        // To subscribe without a URL takes the account's own away. DELETE would unsubscribe the app from the account.
        Ok(Request::new(Method::POST, &[session, "subscribed_apps"]))
    }

    fn show(&self, session: &str) -> Request {
        Request::new(Method::GET, &[session, "subscribed_apps"])
    }
}

impl Api for MetaApp {
    of_meta!("the app's access token, APP_ID|APP_SECRET");

    fn default_events(&self) -> &'static [&'static str] {
        &["messages"]
    }

    fn check_events(&self, events: &[String]) -> Result<(), GatewayError> {
        let is_good = |name: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            (1..=64).contains(&name.len()) && name.chars().all(plain)
        };
        check_each(
            events,
            is_good,
            "fields such as messages, in lower case and with _",
        )
    }

    fn register(&self, session: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| {
            json!({
                "object": "whatsapp_business_account",
                "callback_url": told.url,
                "verify_token": told.secret,
                "fields": told.events.join(","),
            })
            .to_string()
        });
        Request::new(Method::POST, &[session, "subscriptions"]).body(body)
    }

    fn remove(&self, session: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        let request = Request::new(Method::DELETE, &[session, "subscriptions"]);
        Ok(request.query("object=whatsapp_business_account"))
    }

    fn show(&self, session: &str) -> Request {
        Request::new(Method::GET, &[session, "subscriptions"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{in_words, told};
    use super::*;

    #[test]
    fn an_account_and_an_app_are_registered_and_removed() {
        assert_eq!(
            in_words(&Meta.register("102", &told(&[], Some("hidden")))),
            r#"POST /102/subscribed_apps {"override_callback_uri":"https://me/hook","verify_token":"***"}"#
        );
        assert_eq!(
            in_words(&MetaApp.register("7", &told(&["messages", "calls"], Some("hidden")))),
            r#"POST /7/subscriptions {"callback_url":"https://me/hook","fields":"messages,calls","object":"whatsapp_business_account","verify_token":"***"}"#
        );
        let removed = |api: &dyn Api| in_words(&api.remove("7", None).unwrap());
        assert_eq!(removed(&Meta), "POST /7/subscribed_apps");
        assert_eq!(
            removed(&MetaApp),
            "DELETE /7/subscriptions?object=whatsapp_business_account"
        );
        assert_eq!(in_words(&Meta.show("7")), "GET /7/subscribed_apps");
    }

    #[test]
    fn fields_belong_to_the_app() {
        let names = ["messages".to_owned()];
        assert!(Meta.check_events(&names).is_err() && MetaApp.check_events(&names).is_ok());
        assert!(MetaApp.check_events(&["a,b".to_owned()]).is_err());
    }
}
