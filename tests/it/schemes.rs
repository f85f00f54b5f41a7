//! The schemes of gateways: every case of `tests/gateways/schemes.jsonl` is judged as it says, by a source as the
//! settings make it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook::settings::Settings;
use offhook::signature::{Challenge, Headers, Refusal, Scheme, Secret};
use offhook::{Source, Timestamp};
use serde_json::Value;

use crate::support::folder;

/// The head of a case.
struct Head<'a> {
    headers: Vec<(&'a str, &'a str)>,
    target: &'a str,
}

impl Headers for Head<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        let mut values = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Err(Refusal::Missing),
            // HTTP takes off the space around a value.
            (Some((_, value)), None) => Ok(value.trim().as_bytes()),
            _ => Err(Refusal::Repeated),
        }
    }

    fn target(&self) -> Option<&str> {
        Some(self.target)
    }
}

/// The source of a case, read from settings.
fn source(case: &Value) -> Source {
    let mut text = format!(
        "[[sources]]\nname = \"gw\"\nscheme = {}\nsecrets = {}\n",
        case["scheme"], case["secrets"]
    );
    for (key, value) in case["settings"].as_object().into_iter().flatten() {
        text += &format!("{key} = {value}\n");
    }
    let folder = folder();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, &text).unwrap();
    let settings = Settings::load(&file).unwrap_or_else(|error| panic!("{error}\n{text}"));
    settings.sources.into_iter().next().unwrap()
}

/// The verdict, in the words of the cases.
fn judge(case: &Value) -> String {
    let source = source(case);
    let scheme: &dyn Scheme = source.scheme.as_ref();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let url = text(&case["url"]);
    let target = &url[url.match_indices('/').nth(2).unwrap().0..];
    if case["method"] == "GET" {
        return match scheme.challenge(target.split_once('?').unwrap().1) {
            Challenge::Echo(echo) => {
                assert_eq!(case["answer"]["body"], echo);
                "challenge".to_owned()
            }
            Challenge::Refused | Challenge::Absent => "refuse".to_owned(),
            other => format!("{other:?}"),
        };
    }
    let headers = case["headers"].as_array().unwrap().iter();
    let headers = headers.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    let head = Head {
        headers: headers.collect(),
        target,
    };
    let body = STANDARD.decode(text(&case["body_base64"])).unwrap();
    let now = Timestamp::from_second(case["now"].as_i64().unwrap()).unwrap();
    let claim = match scheme.claim(&head, now) {
        Ok(claim) => claim,
        Err(refusal) => return format!("{refusal:?}").to_ascii_lowercase(),
    };
    let right = |secret: &Secret| scheme.matches(&claim, &body, secret);
    if !source.secrets.iter().any(right) {
        return "mismatch".to_owned();
    }
    match scheme.handshake().and_then(|answer| answer(&body)) {
        Some(answer) => {
            assert_eq!(case["answer"]["body"], answer);
            "challenge".to_owned()
        }
        None => "accept".to_owned(),
    }
}

#[test]
fn each_request_is_judged_as_its_case_says() {
    let cases = include_str!("../gateways/schemes.jsonl").lines();
    let (mut judged, mut wrong) = (0, Vec::new());
    for case in cases {
        let case: Value = serde_json::from_str(case).unwrap();
        let verdict = judge(&case);
        if case["verdict"] != verdict {
            wrong.push(format!("{}: {}: {verdict}", case["id"], case["why"]));
        }
        judged += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {judged}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(judged >= 97);
}
