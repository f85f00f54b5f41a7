//! `OFFHOOK__…`

use super::*;
use crate::relay::Trace;
use crate::settings::LogFormat;

#[test]
fn the_environment_overrides_keys_outside_lists() {
    let text = with_source("[server]\nworkers = 2\nbind = \"127.0.0.1:1\"");
    let settings = load_with(
        &text,
        &[
            ("OFFHOOK__SERVER__BIND", "127.0.0.1:2"),
            ("OFFHOOK__SERVER__MAX_BODY", "5 KiB"),
            ("OFFHOOK__ADMIN__TOKEN", "t"),
            ("OFFHOOK__DISPATCH__CONCURRENCY", "7"),
            ("OFFHOOK__LOG__FORMAT", "json"),
            ("OFFHOOK__RELAY__TRACE", "unsampled"),
            ("OFFHOOK_ADMIN_TOKEN", "not an override"),
            ("OFFHOOK_CRM__SECRET", "nor this"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(settings.server.bind.port(), 2);
    assert_eq!(
        (settings.server.workers, settings.server.max_body),
        (2, 5120)
    );
    assert!(settings.admin.unwrap().token.is_some());
    assert_eq!(settings.dispatch.concurrency, Some(7));
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.relay.options.trace, Trace::Unsampled);
}

#[test]
fn commas_separate_items_in_the_environment() {
    let relay = |allow: &str, give_up_on: &str| {
        let environment = [
            ("OFFHOOK__RELAY__ALLOW", allow),
            ("OFFHOOK__RELAY__GIVE_UP_ON", give_up_on),
        ];
        load_with(
            &with_source("[relay]\nallow = [\"10.0.0.1\"]"),
            &environment,
        )
    };
    let options = relay("localhost, 10.1.2.0/24", "404,422")
        .unwrap()
        .relay
        .options;
    let allow: Vec<String> = options.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["localhost", "10.1.2.0/24"]);
    assert_eq!(options.give_up_on, [404, 422].into());
    assert!(relay("", "").unwrap().relay.options.allow.is_empty());
    let found = relay("localhost", "404,never").unwrap_err().to_string();
    let expected =
        "environment variable OFFHOOK__RELAY__GIVE_UP_ON: found \"never\", expected a whole number";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn an_unknown_override_stops_the_start() {
    let table = [
        (
            ("OFFHOOK__SERVER__BND", "x"),
            "environment variable OFFHOOK__SERVER__BND: unknown key, did you mean bind? There are: bind, ",
        ),
        (
            ("OFFHOOK__SERVER__BIND", "x"),
            "environment variable OFFHOOK__SERVER__BIND: found \"x\", expected an address",
        ),
        // The value can be read, but contradicts another.
        (
            ("OFFHOOK__SERVER__MAX_IN_FLIGHT", "1 KiB"),
            "environment variable OFFHOOK__SERVER__MAX_IN_FLIGHT: must be at least server.max_body",
        ),
        (
            ("OFFHOOK__SERVR__BIND", "x"),
            "environment variable OFFHOOK__SERVR__BIND: unknown; it is OFFHOOK__SECTION__KEY",
        ),
        (
            ("OFFHOOK__SERVER", "x"),
            "environment variable OFFHOOK__SERVER: unknown",
        ),
        (
            ("OFFHOOK_RELAY__ALLOW", "localhost"),
            "environment variable OFFHOOK_RELAY__ALLOW: not an override, one underscore is missing: \
             OFFHOOK__RELAY__ALLOW",
        ),
        (
            ("OFFHOOK__SERVER__BIND__X", "x"),
            "environment variable OFFHOOK__SERVER__BIND__X: server.bind.x is unknown",
        ),
        (
            ("OFFHOOK__DISPATCH__RETRY__FIRST", "x"),
            "this is deeper: set it in the file",
        ),
        (
            ("OFFHOOK__SERVER__MIN_BODY_RATE", "0"),
            "found \"0\", expected bytes a second, such as \"16 KiB\"; the least is \"1 B\"",
        ),
        (
            ("OFFHOOK__SOURCES__0__NAME", "x"),
            "OFFHOOK__SOURCES__0__NAME: [[sources]] is a list and cannot",
        ),
    ];
    for (variable, problem) in table {
        let found = load_with(&with_source(""), &[variable]).expect_err(problem);
        assert_eq!(found.list().len(), 1, "{found}");
        assert!(found.to_string().contains(problem), "{problem}\n{found}");
    }
}
