//! The schemes of gateways: every case of `tests/gateways/schemes.jsonl` is judged as it says, by a source as the
//! settings make it.

mod command;
mod live;

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook::clock::{Clock as _, SystemClock};
use offhook::settings::Settings;
use offhook::signature::{
    Challenge, EvolutionJwt, Generic, Headers, Refusal, Scheme, Secret, Slack, StandardWebhooks,
    Stripe, Twilio,
};
use offhook::{Source, Timestamp};
use serde_json::{Value, json};

use crate::support::{Folder, peers};

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
    let folder = Folder::new(&format!("scheme-{}", case["id"].as_str().unwrap()));
    let file = folder.0.join("settings.toml");
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

/// Each block of settings in docs/gateways.md is good.
#[test]
fn the_page_of_gateways_has_good_settings() {
    let page = include_str!("../../docs/gateways.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 12);
    let folder = Folder::new("gateways-page");
    let file = folder.0.join("settings.toml");
    // As one file, with texts in place of variables.
    let text = blocks.concat();
    let text = text.replace("env:TELEGRAM_BOT_TOKEN", "123456:ABC");
    let text = text.replace("env:GOWA_BASIC_AUTH", "user:password");
    let text = text.replace("\"env:", "\"the_text_of_the_variable_");
    std::fs::write(&file, text).unwrap();
    let settings = Settings::load(&file).unwrap_or_else(|problems| panic!("{problems}"));
    let schemes: Vec<&str> = settings
        .sources
        .iter()
        .map(|source| source.scheme.name())
        .collect();
    assert!(settings.gateways.len() >= 6);
    for gateway in &settings.gateways {
        let known = gateway.has_secret_of(&settings.sources);
        assert_eq!(known, Some(true), "{}", gateway.name);
        let warnings = gateway.registration.warnings(&gateway.gateway);
        assert!(warnings.is_empty(), "{warnings:?}");
    }
    for case in include_str!("../gateways/schemes.jsonl").lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let scheme = case["scheme"].as_str().unwrap();
        assert!(
            scheme == "standard-webhooks" || schemes.contains(&scheme),
            "{scheme}"
        );
    }
}

/// The official libraries take what `sign` makes, and what they sign is taken.
#[test]
fn the_official_libraries_agree() {
    let Some(peers) = peers() else { return };
    let (key, whsec) = (
        "key-0123456789abcdef",
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
    );
    let (body, form) = (r#"{"a":"é"}"#, "To=whatsapp%3A%2B1&Body=Hi+there&Body2=");
    let url = "https://me.example/twilio?a=%2F";
    let now = SystemClock.now();
    let schemes: [Box<dyn Scheme>; 7] = [
        Box::new(Generic::preset("github").unwrap()),
        Box::new(Stripe::default()),
        Box::new(Slack::default()),
        Box::new(Twilio::new(url).unwrap()),
        Box::new(Generic::preset("line").unwrap()),
        Box::new(StandardWebhooks::default()),
        Box::new(EvolutionJwt),
    ];
    let of = |scheme: &dyn Scheme| match scheme.name() {
        "standard-webhooks" => (whsec, body),
        "twilio" => (key, form),
        _ => (key, body),
    };
    let mut ours = serde_json::Map::new();
    for scheme in &schemes {
        let (key, body) = of(scheme.as_ref());
        let signed = scheme.sign(body.as_bytes(), &Secret::new(key).unwrap(), now);
        let pairs = signed
            .iter()
            .map(|one| (one.name.to_ascii_lowercase(), one.value.clone().into()));
        ours.insert(scheme.name().to_owned(), Value::Object(pairs.collect()));
    }
    let input = json!({
        "key": key, "whsec": whsec, "body": body, "form": form, "url": url, "now": now.as_second(), "ours": ours,
    });
    let node = peers.join("node/node_modules");
    let mut node_command = Command::new("node");
    node_command.arg(script("js")).env("NODE_PATH", node);
    let mut python = Command::new(peers.join("python/bin/python"));
    python.arg(script("py"));
    let mut told = told(&mut node_command, &input);
    assert_eq!(told.len(), schemes.len());
    told.extend(self::told(&mut python, &input));
    assert_eq!(told.len(), schemes.len() + 1);
    for one in told {
        let mut known = schemes.iter();
        let scheme = known.find(|scheme| one["scheme"] == scheme.name()).unwrap();
        assert_eq!(one["accepts"], true, "{}", scheme.name());
        let signed = one["signed"].as_object().unwrap();
        let (key, body) = of(scheme.as_ref());
        let headers = signed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let head = Head {
            headers: headers.collect(),
            target: "/twilio?a=%2F",
        };
        let claim = scheme.claim(&head, now).unwrap();
        let secret = Secret::new(key).unwrap();
        assert!(
            scheme.matches(&claim, body.as_bytes(), &secret),
            "{}",
            scheme.name()
        );
    }
}

fn script(language: &str) -> String {
    format!(
        "{}/tests/peers/schemes.{language}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// What a script prints for this input, a line for each library.
fn told(script: &mut Command, input: &Value) -> Vec<Value> {
    let script = script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut given = child.stdin.take().unwrap();
    given.write_all(input.to_string().as_bytes()).unwrap();
    drop(given);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
