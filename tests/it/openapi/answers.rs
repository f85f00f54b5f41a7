//! Holds each answer of the admin listener that a test gets to what the document says of it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use offhook::testing::{self, TestRequest, TestResponse};
use serde_json::{Value, json};

use super::document::{DOCUMENT, methods, path_of, resolved};

/// From now on each answer to a [`TestRequest`] is judged, in all tests.
pub fn judge_all() {
    testing::look_at_answers(|request, answer| {
        // Only the admin listener sends it, and with every answer.
        if answer.header("cross-origin-resource-policy").is_some()
            && let Err(why) = judge(request, answer)
        {
            let (method, path, status) = (&request.method, &request.path, answer.status);
            panic!("{method} {path}: {status} is not as src/admin/openapi.json says: {why}");
        }
    });
}

/// Whether the answer is one of those in the document.
pub fn judge(request: &TestRequest, answer: &TestResponse) -> Result<(), String> {
    let asked = request.path.split('?').next().unwrap_or_default();
    // Where an application mounts it.
    let asked = asked.strip_prefix("/ops").unwrap_or(asked);
    let path = path_of(asked);
    let item = path.map(|path| resolved(&DOCUMENT["paths"][path]));
    let operation = item.and_then(|item| item.get(request.method.to_ascii_lowercase()));
    let Some(operation) = operation else {
        return judge_stray(request, path, answer);
    };
    let status = answer.status.to_string();
    let said = operation["responses"].get(&status);
    let said = resolved(said.ok_or("the status is not there")?);
    for (name, header) in said["headers"].as_object().into_iter().flatten() {
        if header["required"] == true && answer.header(&name.to_ascii_lowercase()).is_none() {
            return Err(format!("the header {name} is missing"));
        }
    }
    let kinds = said["content"].as_object().ok_or("it says no content")?;
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    let content = kinds.get(kind).ok_or_else(|| format!("found {kind:?}"))?;
    if kind != "application/json" {
        return Ok(());
    }
    let place = format!("{} {} {status}", request.method, path.unwrap_or_default());
    fits(&place, &content["schema"], &answer.body)
}

/// Of another path or method: it has the form of all errors.
fn judge_stray(
    request: &TestRequest,
    path: Option<&str>,
    answer: &TestResponse,
) -> Result<(), String> {
    match (answer.status, path) {
        (405, Some(path)) => {
            let allowed = answer.header("allow").unwrap_or_default();
            let mut allowed: Vec<&str> = allowed.split(", ").collect();
            allowed.sort_unstable();
            let mut said = methods().remove(path).unwrap_or_default();
            said.sort_unstable();
            if allowed != said {
                return Err(format!("it allows {allowed:?}, not {said:?}"));
            }
        }
        (401 | 403 | 404 | 415 | 429 | 503, _) => {}
        _ => return Err("the path or the method is not there".to_owned()),
    }
    if request.method == "HEAD" {
        return Ok(());
    }
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    fits("Problem", &problem, &answer.body)
}

/// Whether a body is as its schema says. `place` names the schema.
fn fits(place: &str, schema: &Value, body: &[u8]) -> Result<(), String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let validator = validator(place, schema);
    let mut wrong = validator.iter_errors(&body);
    match wrong.next() {
        None => Ok(()),
        Some(error) => Err(format!(
            "at {:?}: {error}: {body}",
            error.instance_path().to_string()
        )),
    }
}

fn validator(place: &str, schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap();
    let validator = made.entry(place.to_owned()).or_insert_with(|| {
        let mut schema = schema.clone();
        // What its references lead to.
        schema["components"] = DOCUMENT["components"].clone();
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        Arc::new(options.build(&schema).unwrap())
    });
    Arc::clone(validator)
}
