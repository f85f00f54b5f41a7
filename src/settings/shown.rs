//! [`Settings::shown`]: the settings that run, by the keys of `settings.toml`.

use std::time::Duration;

use humantime::format_duration;
use serde_json::{Map, Value, json};

use super::Settings;
use crate::Source;

impl Settings {
    /// The settings as they run, by the keys of `settings.toml`, also those that the file leaves out. Of a secret
    /// there is `…`. A key that has no value is left out.
    pub(crate) fn shown(&self) -> Value {
        let settings = self.effective();
        let mut shown = serde_json::to_value(&settings).unwrap_or_default();
        shown["sources"] = settings.sources.iter().map(source).collect();
        for list in ["handlers", "subscriptions"] {
            let items = shown[list].as_array_mut();
            for item in items.into_iter().flatten() {
                raise(item, "used");
                raise(item, "options");
            }
        }
        raise(&mut shown["relay"], "options");
        rewrite(&mut shown);
        shown
    }
}

fn source(source: &Source) -> Value {
    let mut shown = json!({
        "name": source.name,
        "path": source.path,
        "dialect": source.dialect.name(),
        "probe": source.probe,
        "quiet_after": source.quiet_after,
    });
    let mut parameters = source.dialect.parameters();
    if let Some(token) = &source.path_token {
        shown["unsigned"] = true.into();
        shown["path_token"] = json!(token);
    } else {
        shown["scheme"] = source.scheme.name().into();
        shown["secrets"] = json!(source.secrets);
        parameters.extend(source.scheme.parameters());
    }
    for (key, value) in parameters {
        // An empty text is that of a key without a value.
        if !value.is_empty() {
            shown[key] = value.into();
        }
    }
    let mut sessions = Map::new();
    for (id, secrets) in &source.sessions {
        sessions.insert(id.clone(), json!({ "secrets": secrets }));
    }
    for (id, silence) in &source.quiet_sessions {
        let session = sessions.entry(id.clone()).or_insert_with(|| json!({}));
        session["quiet_after"] = json!(silence);
    }
    shown["sessions"] = sessions.into();
    shown
}

/// Moves the keys of the table `key` to the table that holds it.
fn raise(table: &mut Value, key: &str) {
    if let Value::Object(fields) = table
        && let Some(Value::Object(inner)) = fields.remove(key)
    {
        fields.extend(inner);
    }
}

/// Writes durations and names of keys as in the file, and takes out what has no value.
fn rewrite(value: &mut Value) {
    if let Some(duration) = duration(value) {
        *value = format_duration(duration).to_string().into();
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            if let Some(monotonic) = fields.remove("monotonic") {
                let status = if monotonic == true {
                    "monotonic"
                } else {
                    "all"
                };
                fields.insert("status".to_owned(), status.into());
            }
            fields.values_mut().for_each(rewrite);
        }
        _ => {}
    }
}

/// A duration as serde writes it.
fn duration(value: &Value) -> Option<Duration> {
    let fields = value.as_object().filter(|fields| fields.len() == 2)?;
    let nanos = u32::try_from(fields.get("nanos")?.as_u64()?).ok()?;
    Some(Duration::new(fields.get("secs")?.as_u64()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [journal]
        retention = "1h"
        [dispatch]
        status = "monotonic"
        [[sources]]
        name = "hub"
        path = "/hub"
        scheme = "hmac"
        header = "X-Sig"
        prefix = "v1="
        dialect = "raw"
        event_pointer = "/type"
        secrets = ["hidden"]
        sessions.a.secrets = ["hidden"]
        sessions.a.quiet_after = "2h"
        [[sources]]
        name = "plain"
        path = "/plain"
        unsigned = true
        path_token = "hidden-0123456789"
        [[handlers]]
        name = "file"
        use = "jsonl"
        path = "x.jsonl"
        timeout = "1500ms"
    "#;

    #[test]
    fn the_keys_are_those_of_the_file() {
        let shown = Settings::of_text(FILE).unwrap().shown();
        let sources = json!([
            {"name": "hub", "path": "/hub", "scheme": "hmac", "header": "X-Sig", "prefix": "v1=",
             "algorithm": "sha256", "encoding": "hex", "template": "{body}", "tolerance": "5m",
             "dialect": "raw", "event_pointer": "/type", "probe": false, "secrets": ["…"],
             "sessions": {"a": {"secrets": ["…"], "quiet_after": "2h"}}},
            {"name": "plain", "path": "/plain", "unsigned": true, "path_token": "…",
             "dialect": "codeskytz", "probe": false, "sessions": {}},
        ]);
        assert_eq!(shown["sources"], sources);
        let handler = json!({
            "name": "file", "use": "jsonl", "path": "x.jsonl", "order": "conversation",
            "timeout": "1s 500ms", "concurrency": 64, "status": "monotonic",
            "retry": {"first": "1s", "factor": 2.0, "max": "5m", "attempts": 12, "jitter": 0.2},
        });
        assert_eq!(shown["handlers"][0], handler);
        assert_eq!(shown["journal"]["retention"], "1h");
        assert_eq!(shown["server"]["request_timeout"], "10s");
        assert_eq!(shown["relay"]["timeout"], "10s");
        assert_eq!(shown["relay"]["suspend_after"], "1day");
        let text = shown.to_string();
        for hidden in ["hidden", "nanos", "null", "monotonic\":"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
}
