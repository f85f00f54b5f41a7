use super::*;

#[test]
fn a_session_stays_one_part_of_the_path() {
    let table = [
        ("http://g:1", "s", "http://g:1/sessions/s/webhook"),
        (
            "http://g/x/",
            "a/../b?c#d",
            "http://g/x/sessions/a%2F..%2Fb%3Fc%23d/webhook",
        ),
        (
            "https://g",
            "%2e%2e é",
            "https://g/sessions/%252e%252e%20%C3%A9/webhook",
        ),
    ];
    for (base, session, expected) in table {
        let gateway = Gateway::new(base).unwrap();
        let request = gateway.api().show(gateway.session(session).unwrap());
        let (url, shown) = gateway.address(&request);
        assert_eq!((url.as_str(), shown.as_str()), (expected, expected));
    }
    let gateway = Gateway::new("http://g").unwrap();
    for odd in ["", ".", "..", "a\nb", &"x".repeat(257)] {
        assert!(gateway.session(odd).is_err(), "{odd:?}");
    }
}

#[test]
fn only_urls_to_which_a_secret_may_go() {
    for odd in [
        "",
        "g:80",
        "ftp://g",
        "file:///etc",
        "http://u:hidden@g",
        "http://hidden@g",
        "http://g/?hidden",
        "http://g/#hidden",
        "http://g/a b",
        "http://g/\thidden",
    ] {
        let error = Gateway::new(odd).unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{odd}: {error}");
    }
    assert_eq!(Gateway::new("http://g:8080/").unwrap().host(), "g:8080");
}

#[test]
fn headers_are_checked_and_never_shown() {
    let gateway = || Gateway::new("http://g").unwrap();
    let sent = |value| {
        let gateway = gateway().header("Authorization", value).unwrap();
        assert!(!format!("{gateway:?}").contains("hidden"), "{gateway:?}");
        assert_eq!(
            gateway.header_names().collect::<Vec<_>>(),
            ["authorization"]
        );
        gateway.headers["authorization"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(sent("Bearer hidden"), "Bearer hidden");
    assert_eq!(sent("hidden:x"), "hidden:x");
    let home = std::env::var("PATH").unwrap();
    assert_eq!(sent("Bearer env:PATH"), format!("Bearer {home}"));
    assert_eq!(sent("env:PATH"), home);
    for (name, value) in [
        ("a b", "x"),
        ("", "x"),
        ("X-Key", ""),
        ("X-Key", "hidden\nX: y"),
        ("X-Key", "Bearer env:OFFHOOK_TEST_NO_SUCH_VARIABLE"),
        ("Host", "hidden"),
    ] {
        let error = gateway().header(name, value).unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
    }
    let twice = gateway().header("X-Key", "a").unwrap().header("x-key", "b");
    assert!(twice.unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_key_stands_where_each_kind_takes_it() {
    let table = [
        (Kind::Codeskytz, "hidden", "x-api-key: hidden"),
        (Kind::Waha, "hidden", "x-api-key: hidden"),
        (Kind::Evolution, "hidden", "apikey: hidden"),
        // "u:hidden"
        (Kind::Gowa, "u:hidden", "authorization: Basic dTpoaWRkZW4="),
        (Kind::Meta, "hidden", "authorization: Bearer hidden"),
        (Kind::MetaApp, "7|hidden", "authorization: Bearer 7|hidden"),
        (Kind::Wuzapi, "hidden", "token: hidden"),
    ];
    for (kind, key, expected) in table {
        let gateway = Gateway::of(kind, "http://g").unwrap();
        assert_eq!(gateway.check_key().is_err(), kind.needed_key().is_some());
        let gateway = gateway.api_key(key).unwrap();
        let (name, value) = gateway.headers.iter().next().unwrap();
        assert_eq!(format!("{name}: {}", value.to_str().unwrap()), expected);
        assert!(!format!("{gateway:?}").contains("hidden"), "{gateway:?}");
        assert!(gateway.check_key().is_ok());
        assert!(
            gateway
                .api_key(key)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }
    let gowa = Gateway::of(Kind::Gowa, "http://g").unwrap();
    let error = gowa.api_key("hidden").unwrap_err().to_string();
    assert!(
        error.contains("user:password") && !error.contains("hidden"),
        "{error}"
    );
}

#[test]
fn a_token_in_the_path_is_never_shown() {
    let telegram = || Gateway::of(Kind::Telegram, "http://g/x/").unwrap();
    assert!(telegram().check_key().is_err());
    for odd in [
        "hidden",
        "1:",
        ":hidden",
        "1:hid/den",
        "x1:hidden",
        "1:hid:den",
    ] {
        let error = telegram().api_key(odd).unwrap_err().to_string();
        assert!(!error.contains("hid"), "{error}");
    }
    let gateway = telegram().api_key("12:hidden_-A").unwrap();
    assert!(gateway.check_key().is_ok());
    let (url, shown) = gateway.address(&gateway.api().show(""));
    assert_eq!(url.as_str(), "http://g/x/bot12:hidden_-A/getWebhookInfo");
    assert_eq!(shown, "http://g/x/bot***/getWebhookInfo");
    assert!(!format!("{gateway:?}").contains("hidden"), "{gateway:?}");
    assert_eq!(gateway.mask().text("at bot12:hidden_-A/"), "at bot***/");
}
