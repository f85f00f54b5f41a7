//! Secrets and signatures as they are set up: several signatures in a header, and white space at the end of
//! a secret.

use std::process::Command;

use offhook::signature::{Encoding, Generic, Scheme as _};
use offhook::testing::TestRequest;

use super::sent;
use crate::served::{self, Served};
use crate::support::{Folder, KEY, offhook, secret, signed};

#[actix_web::test]
async fn one_of_several_signatures_is_enough() {
    let folder = Folder::new("identity-separator");
    let text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [journal]\npath = \"journal\"\n\
         [[sources]]\nname = \"pager\"\nsecrets = [\"{KEY}\", \"next\"]\ndialect = \"raw\"\n\
         scheme = \"hmac\"\nheader = \"X-PagerDuty-Signature\"\nprefix = \"v1=\"\nseparator = \",\"\n\
         [[sources]]\nname = \"base\"\npath = \"/base\"\nsecrets = [\"{KEY}\"]\ndialect = \"raw\"\n\
         scheme = \"hmac\"\nheader = \"X-Sig\"\nencoding = \"base64\"\nseparator = \" ; \"\n"
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    let served = Served::start(&folder);
    let body = r#"{"a":1}"#;
    let mac = |key: &str, encoding: Encoding| {
        let scheme = Generic::new("x").encoding(encoding);
        let signed = scheme.sign(
            body.as_bytes(),
            &secret(key),
            offhook::Timestamp::UNIX_EPOCH,
        );
        signed[0].value.clone()
    };
    let (good, next) = (mac(KEY, Encoding::Hex), mac("next", Encoding::Hex));
    let (wrong, zeros) = (mac("wrong", Encoding::Hex), "0".repeat(64));
    let table = [
        (format!("v1={good}"), 200),
        (format!("v1={zeros},v1={good}"), 200),
        (format!("v1={good},v1={zeros}"), 200),
        (format!("v1={wrong},v1={next}"), 200),
        (format!("v0={zeros}, v1={good} ,"), 200),
        (format!("v1=short,v1={good}"), 200),
        (format!("v1={zeros},v1={wrong}"), 401),
        (format!("v1={zeros};v1={good}"), 401),
        (format!("v0={good}"), 401),
        (format!("v1={},{}", &good[..32], &good[32..]), 401),
        (",".to_owned(), 401),
        (String::new(), 401),
        // So many are tried, and no more.
        (
            format!("{}v1={good}", format!("v1={zeros},").repeat(15)),
            200,
        ),
        (
            format!("{}v1={good}", format!("v1={zeros},").repeat(16)),
            401,
        ),
    ];
    for (value, expected) in table {
        let request = TestRequest::post(body).header("X-PagerDuty-Signature", &value);
        let answer = request.send(served.public).await;
        assert_eq!(answer.status, expected, "{value}");
    }
    let base = format!(
        "{} ; {}",
        mac("wrong", Encoding::Base64),
        mac(KEY, Encoding::Base64)
    );
    let request = TestRequest::post(body).path("/base").header("X-Sig", &base);
    assert_eq!(request.send(served.public).await.status, 200);
    // Two headers are no list.
    let both = TestRequest::post(body).header("X-PagerDuty-Signature", &format!("v1={good}"));
    let both = both.header("X-PagerDuty-Signature", &format!("v1={zeros}"));
    assert_eq!(both.send(served.public).await.status, 401);
    served.program.stop();
}

/// `check` says the same as the start does: both take a secret, or both name it.
#[actix_web::test]
async fn white_space_after_a_secret_is_taken_off_or_told() {
    let folder = Folder::new("identity-blank");
    let table = [
        ("", true),
        ("\n", true),
        ("\r\n", true),
        ("\n\n", false),
        (" ", false),
        (" \n", false),
        ("\t", false),
        ("\r\r\n", false),
    ];
    let set = |command: &mut Command, key: &str, end: &str| {
        command.env("HOOK_SECRET", format!("{key}{end}"));
    };
    for (end, good) in table {
        for reference in ["env:HOOK_SECRET", "file:secret.txt"] {
            served::settings(&folder, "");
            let file = folder.0.join("settings.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace(KEY, reference)).unwrap();
            std::fs::write(folder.0.join("secret.txt"), format!("{KEY}{end}")).unwrap();

            let mut check = offhook(&["check"]);
            set(check.current_dir(&folder.0), KEY, end);
            let checked = check.output().unwrap();
            let said = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert_eq!(checked.status.success(), good, "{reference} {end:?} {said}");
            let mut serve = served::command(&folder);
            set(&mut serve, KEY, end);
            match Served::try_start(&mut serve) {
                Ok(served) => {
                    assert!(good, "{reference} {end:?}");
                    assert_eq!(sent(&signed("{}"), served.public).await, 200);
                    served.program.stop();
                }
                Err(started) => {
                    assert!(!good, "{reference} {end:?} {started}");
                    for said in [&said, &started] {
                        let line = said
                            .lines()
                            .find(|line| line.contains("sources[0].secrets[0]"));
                        let line = line.unwrap_or_else(|| panic!("{said}"));
                        assert!(
                            line.contains("white space") && line.contains(reference),
                            "{line}"
                        );
                        assert!(!said.contains(KEY), "{said}");
                    }
                }
            }
            let _ = std::fs::remove_dir_all(folder.0.join("journal"));
        }
    }
}
