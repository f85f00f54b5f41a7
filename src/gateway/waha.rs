//! WAHA: a webhook is an entry in the configuration of a session, which is replaced as a whole.
//!
//! A change restarts the session, so it is asked first, and nothing is sent if all is as it should be. Entries of
//! others stay.

use http::Method;
use serde_json::{Map, Value, json};

use super::GatewayError;
use super::api::{Api, Body, EVENT_NAMES, Next, Request, Telling, Told, check_each, is_event_name};
use super::mask::hide_named;

pub(super) struct Waha;

impl Api for Waha {
    fn schemes(&self) -> &'static [&'static str] {
        &["waha"]
    }

    fn default_events(&self) -> &'static [&'static str] {
        &[
            "message",
            "message.reaction",
            "message.edited",
            "message.revoked",
            "message.ack",
            "poll.vote",
            "session.status",
        ]
    }

    fn check_events(&self, events: &[String]) -> Result<(), GatewayError> {
        let has = |name: &str| events.iter().any(|event| event == name);
        if has("message") && has("message.any") {
            let text = "message.any holds what message does: with both, each message comes twice";
            return Err(GatewayError::Events(text.to_owned()));
        }
        check_each(events, is_event_name, EVENT_NAMES)
    }

    fn register(&self, session: &str, telling: &Telling<'_>) -> Request {
        let (session, url) = (session.to_owned(), telling.sent.url.to_owned());
        let (sent, shown) = (entry(telling.sent), entry(telling.shown));
        self.show(&session).then(move |status, answer| {
            if status == 404 {
                let body = |entry: &Value| {
                    json!({"name": session, "config": {"webhooks": [entry]}}).to_string()
                };
                let body = Body {
                    sent: body(&sent),
                    shown: body(&shown),
                };
                return Next::Send(Request::new(Method::POST, &["api", "sessions"]).body(body));
            }
            change(&session, answer, status, |webhooks| {
                let ours = webhooks.iter().position(|one| one["url"] == url.as_str());
                let Some(ours) = ours else {
                    webhooks.push(sent.clone());
                    return Some((webhooks.len() - 1, shown["url"].clone()));
                };
                let is_same = is_same(&webhooks[ours], &sent);
                webhooks[ours] = over(&webhooks[ours], &sent);
                (!is_same).then(|| (ours, shown["url"].clone()))
            })
        })
    }

    fn remove(&self, session: &str, url: Option<&str>) -> Result<Request, GatewayError> {
        let (session, url) = (
            session.to_owned(),
            url.ok_or(GatewayError::WhichUrl)?.to_owned(),
        );
        Ok(self.show(&session).then(move |status, answer| {
            change(&session, answer, status, |webhooks| {
                let before = webhooks.len();
                webhooks.retain(|one| one["url"] != url.as_str());
                (webhooks.len() < before).then_some((before, Value::Null))
            })
        }))
    }

    fn show(&self, session: &str) -> Request {
        Request::new(Method::GET, &["api", "sessions", session])
    }
}

/// Our entry in the list of webhooks.
fn entry(told: Told<'_>) -> Value {
    let mut entry = json!({
        "url": told.url,
        "events": told.events,
        // By default it gives up after 30 s; this way after 18 h.
        "retries": {"policy": "exponential", "delaySeconds": 2, "attempts": 15},
    });
    // Otherwise the key that is there stays.
    if let Some(key) = told.secret {
        entry["hmac"] = json!({ "key": key });
    }
    entry
}

/// Puts a session's configuration with other webhooks, if `edit` changes them. It returns the place of the changed
/// webhook and the URL that is shown for it.
fn change(
    session: &str,
    answer: &Value,
    status: u16,
    edit: impl FnOnce(&mut Vec<Value>) -> Option<(usize, Value)>,
) -> Next {
    if !(200..300).contains(&status) {
        return Next::Nothing;
    }
    let Some((mut config, mut webhooks)) = configuration(answer) else {
        return Next::Odd;
    };
    let Some((ours, shown_url)) = edit(&mut webhooks) else {
        return Next::Unchanged;
    };
    config.insert("webhooks".to_owned(), webhooks.into());
    let mut body = json!({"name": session, "config": config});
    let sent = body.to_string();
    hide_named(&mut body);
    if let Some(entry) = body["config"]["webhooks"].get_mut(ours) {
        entry["url"] = shown_url;
    }
    let shown = body.to_string();
    let request = Request::new(Method::PUT, &["api", "sessions", session]);
    Next::Send(request.body(Body { sent, shown }))
}

/// A session's configuration, and the webhooks in it. `None` for an answer without one: to replace what is not known
/// would remove it.
fn configuration(answer: &Value) -> Option<(Map<String, Value>, Vec<Value>)> {
    let config = match answer.get("config")? {
        Value::Null => Map::new(),
        Value::Object(config) => config.clone(),
        _ => return None,
    };
    let webhooks = match config.get("webhooks") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(webhooks)) => webhooks.clone(),
        Some(_) => return None,
    };
    Some((config, webhooks))
}

/// The fields of `old`, and over them those of `new`.
fn over(old: &Value, new: &Value) -> Value {
    let fields = [old, new].into_iter().filter_map(Value::as_object);
    let fields = fields.flatten();
    let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
    Value::Object(fields.collect())
}

/// Whether `old` says what `new` does. A field that is missing is `null`. Versions of WAHA that know no `policy`
/// do not keep it, and must not be restarted each time.
fn is_same(old: &Value, new: &Value) -> bool {
    match new {
        Value::Object(fields) => fields.iter().all(|(name, new)| {
            let old = &old[name.as_str()];
            (name == "policy" && old.is_null()) || is_same(old, new)
        }),
        new => old == new,
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{in_words, next_in_words, told};
    use super::*;

    const EVENTS: &[&str] = &["message"];

    fn after(status: u16, answer: &Value) -> String {
        let request = Waha.register("s", &told(EVENTS, Some("hidden")));
        assert_eq!(in_words(&request), "GET /api/sessions/s");
        next_in_words(request, status, answer)
    }

    /// Our webhook as it is shown, with its fields in the order of their names.
    const OURS: &str = r#"{"events":["message"],"hmac":{"key":"***"},"retries":{"attempts":15,"delaySeconds":2,"policy":"exponential"},"url":"https://me/hook"}"#;

    #[test]
    fn a_session_keeps_what_else_it_has() {
        let found = json!({"name": "s", "status": "WORKING", "config": {
            "debug": true, "proxy": {"server": "p", "password": "of another"},
            "webhooks": [{"url": "https://other", "events": ["*"], "hmac": {"key": "of another"}}],
        }});
        let expected = format!(
            r#"PUT /api/sessions/s {{"config":{{"debug":true,"proxy":{{"password":"***","server":"p"}},"webhooks":[{{"events":["*"],"hmac":{{"key":"***"}},"url":"https://other"}},{OURS}]}},"name":"s"}}"#
        );
        assert_eq!(after(200, &found), expected);
        let Next::Send(request) = (Waha
            .register("s", &told(EVENTS, Some("hidden")))
            .then
            .unwrap())(200, &found)
        else {
            panic!("nothing is sent")
        };
        let sent: Value = serde_json::from_str(&request.body.unwrap().sent).unwrap();
        assert_eq!(sent["config"]["proxy"], found["config"]["proxy"]);
        assert_eq!(
            sent["config"]["webhooks"][0],
            found["config"]["webhooks"][0]
        );
        assert_eq!(sent["config"]["webhooks"][1]["hmac"]["key"], "hidden");
    }

    #[test]
    fn a_session_is_restarted_only_if_something_differs() {
        let with = |webhook: Value| json!({"name": "s", "config": {"webhooks": [webhook]}});
        let ours = |change: &dyn Fn(&mut Value)| {
            let mut ours = json!({"url": "https://me/hook", "events": ["message"], "hmac": {"key": "hidden"},
                "retries": {"policy": "exponential", "delaySeconds": 2, "attempts": 15}});
            change(&mut ours);
            after(200, &with(ours))
        };
        assert_eq!(ours(&|_| {}), "unchanged");
        assert_eq!(ours(&|one| one["customHeaders"] = json!([])), "unchanged");
        let without_policy = |one: &mut Value| {
            one["retries"].as_object_mut().unwrap().remove("policy");
        };
        assert_eq!(ours(&without_policy), "unchanged", "an older WAHA drops it");
        let put = format!(r#"PUT /api/sessions/s {{"config":{{"webhooks":[{OURS}]}},"name":"s"}}"#);
        assert_eq!(ours(&|one| one["hmac"] = Value::Null), put);
        assert_eq!(ours(&|one| one["events"] = json!(["message.any"])), put);
        assert_eq!(ours(&|one| one["retries"]["attempts"] = json!(3)), put);
        assert_eq!(after(200, &json!({"name": "s", "config": null})), put);
    }

    #[test]
    fn a_new_session_is_made_and_an_error_ends_it() {
        let made = format!(r#"POST /api/sessions {{"config":{{"webhooks":[{OURS}]}},"name":"s"}}"#);
        assert_eq!(after(404, &json!({"statusCode": 404})), made);
        assert_eq!(after(401, &json!({})), "nothing");
        for odd in [
            Value::Null,
            json!([]),
            json!({}),
            json!({"config": []}),
            json!({"config": {"webhooks": {}}}),
        ] {
            assert_eq!(after(200, &odd), "odd", "{odd}");
        }
    }

    #[test]
    fn a_key_that_is_there_stays() {
        let request = Waha.register("s", &told(&["session.status"], None));
        let ours =
            json!({"url": "https://me/hook", "events": ["message"], "hmac": {"key": "kept"}});
        let found = json!({"config": {"webhooks": [ours]}});
        let Next::Send(request) = (request.then.unwrap())(200, &found) else {
            panic!("nothing is sent")
        };
        let sent: Value = serde_json::from_str(&request.body.unwrap().sent).unwrap();
        let ours = &sent["config"]["webhooks"][0];
        assert_eq!(ours["hmac"]["key"], "kept");
        assert_eq!(ours["events"], json!(["session.status"]));
    }

    #[test]
    fn only_the_named_url_is_removed() {
        assert!(matches!(
            Waha.remove("s", None),
            Err(GatewayError::WhichUrl)
        ));
        let removed = |urls: &[&str]| {
            let webhooks: Vec<_> = urls.iter().map(|url| json!({ "url": url })).collect();
            let request = Waha.remove("s", Some("https://me/hook")).unwrap();
            next_in_words(request, 200, &json!({"config": {"webhooks": webhooks}}))
        };
        let left =
            r#"PUT /api/sessions/s {"config":{"webhooks":[{"url":"https://a"}]},"name":"s"}"#;
        assert_eq!(removed(&["https://a", "https://me/hook"]), left);
        assert_eq!(removed(&["https://a"]), "unchanged");
    }

    #[test]
    fn a_message_is_asked_for_once() {
        let check = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Waha.check_events(&names)
        };
        assert!(check(&["message.any", "session.status"]).is_ok());
        assert!(check(&["message", "message.any"]).is_err());
        assert!(check(&["a b"]).is_err());
    }
}
