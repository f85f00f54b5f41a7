//! GOWA: each device has one webhook.

use http::Method;
use serde_json::json;

use super::GatewayError;
use super::api::{Api, EVENT_NAMES, Key, Request, Telling, check_each, is_event_name};

pub(super) struct Gowa;

impl Api for Gowa {
    fn key(&self) -> Key {
        Key::Basic
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["gowa", "github"]
    }

    fn default_events(&self) -> &'static [&'static str] {
        &[
            "message",
            "message.reaction",
            "message.edited",
            "message.revoked",
            "message.ack",
        ]
    }

    fn check_events(&self, events: &[String]) -> Result<(), GatewayError> {
        check_each(events, is_event_name, EVENT_NAMES)
    }

    fn register(&self, session: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| {
            let mut body =
                json!({"webhook_url": told.url, "webhook_events": told.events.join(",")});
            if let Some(secret) = told.secret {
                body["webhook_secret"] = secret.into();
            }
            body.to_string()
        });
        Request::new(Method::PATCH, &["devices", session, "webhook"]).body(body)
    }

    fn remove(&self, session: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        let request = Request::new(Method::PATCH, &["devices", session, "webhook"]);
        Ok(request.json(&json!({ "webhook_url": "" })))
    }

    fn show(&self, session: &str) -> Request {
        Request::new(Method::GET, &["devices", session, "webhook"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{in_words, told};
    use super::*;

    #[test]
    fn a_device_is_registered_and_removed() {
        let events: &[&str] = &["message", "message.ack"];
        assert_eq!(
            in_words(&Gowa.register("d", &told(events, Some("hidden")))),
            r#"PATCH /devices/d/webhook {"webhook_events":"message,message.ack","webhook_secret":"***","webhook_url":"https://me/hook"}"#
        );
        let removed = Gowa.remove("d", None).unwrap();
        assert_eq!(
            in_words(&removed),
            r#"PATCH /devices/d/webhook {"webhook_url":""}"#
        );
        assert_eq!(in_words(&Gowa.show("d")), "GET /devices/d/webhook");
    }
}
