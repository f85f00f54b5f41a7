//! The admin listener under TLS, and the commands that ask it.

use std::process::Command;

use offhook::settings::TlsSettings;
use offhook::{Offhook, testing};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::Files;
use crate::support::{KEY, Ran, offhook, source};

/// `offhook` with this authority in the environment, if there is one.
fn command(arguments: &[&str], ca: Option<&str>) -> Ran {
    let mut command: Command = offhook(arguments);
    if let Some(ca) = ca {
        command.env("OFFHOOK_CA", ca);
    }
    command.output().unwrap().into()
}

#[actix_web::test]
async fn commands_trust_the_authority_that_they_are_given() {
    let files = Files::new("tls-admin");
    let tls = files.settings();
    let journal = testing::TempJournal::new();
    let offhook = Offhook::builder().source(source());
    let offhook = offhook.journal(journal.settings()).configure(|settings| {
        settings.server.tls = Some(tls.clone());
        settings.admin.as_mut().unwrap().tls = Some(tls);
    });
    let server = testing::start(offhook).await;
    let admin = server.admin_address().unwrap();
    let public = server.public_address();
    let (ca, certificate, key) = (
        files.text("ca.pem"),
        files.text("server.pem"),
        files.text("server.key"),
    );
    let path = files.text("settings.toml");
    let tables = |section, address| {
        format!(
            "[{section}]\nbind = \"{address}\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n"
        )
    };
    let settings = format!(
        "{}{}[[sources]]\nname = \"codeskytz\"\nsecrets = [\"{KEY}\"]\n",
        tables("server", public),
        tables("admin", admin)
    );
    files.write("settings.toml", &settings);
    let stranger = files.text("none.pem");
    actix_web::rt::task::spawn_blocking(move || {
        let admin = format!("https://{admin}");
        let settings = ["--settings", &path];
        let asked = ["--admin", &admin];
        for (arguments, given, status, said) in [
            // The authority is not one of the system's.
            ([&["health"], &asked[..]].concat(), None, 1, "TLS: "),
            (
                [&["health"], &asked[..], &["--ca", &ca]].concat(),
                None,
                0,
                "ready",
            ),
            ([&["health"], &asked[..]].concat(), Some(&*ca), 0, "ready"),
            // The settings say that it is https, and where.
            (
                [&["health"], &settings[..]].concat(),
                Some(&*ca),
                0,
                "ready",
            ),
            (
                [&["consumers"], &settings[..], &["--ca", &ca]].concat(),
                None,
                0,
                "No consumer",
            ),
            ([&["events"], &settings[..]].concat(), Some(&*ca), 0, ""),
            ([&["send"], &settings[..]].concat(), Some(&*ca), 0, ""),
            (
                [&["health"], &asked[..], &["--ca", &stranger]].concat(),
                None,
                1,
                "none.pem",
            ),
        ] {
            let ran = command(&arguments, given);
            assert_eq!(ran.status, status, "{arguments:?} {ran:?}");
            let all = format!("{}{}", ran.printed, ran.said);
            assert!(all.contains(said), "{arguments:?} {ran:?}");
        }
        // Without TLS nothing is answered.
        let plain = command(
            &["health", "--admin", &admin.replace("https", "http")],
            None,
        );
        assert_eq!(plain.status, 1, "{plain:?}");
    })
    .await
    .unwrap();
    server.stop().await;
}

/// The settings on the same machine name the certificate of the listener, so that it is trusted as it is. A listener
/// that asks for a certificate gets one from the options.
#[actix_web::test]
async fn commands_trust_the_certificate_in_their_settings() {
    let files = Files::new("tls-own");
    // As `openssl req -x509` makes it: it is marked as an authority. It does not name the address either.
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["hooks.example.com".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&own).unwrap();
    files.write("own.pem", &certificate.pem());
    files.write("own.key", &own.serialize_pem());
    files.issue("client");
    let mut tls = TlsSettings::new(files.path("own.pem"), files.path("own.key"));
    tls.client_ca = Some(files.path("ca.pem"));
    let offhook = Offhook::builder().source(source()).configure(|settings| {
        settings.journal = offhook::settings::JournalSettings::None;
        settings.admin.as_mut().unwrap().tls = Some(tls);
    });
    let server = testing::start(offhook).await;
    let admin = server.admin_address().unwrap();
    let names = [
        "own.pem",
        "own.key",
        "ca.pem",
        "client.pem",
        "client.key",
        "settings.toml",
    ];
    let [certificate, key, ca, client, client_key, path] = names.map(|name| files.text(name));
    let settings = format!(
        "[admin]\nbind = \"{admin}\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\", client_ca = \"{ca}\" }}\n\
         [[sources]]\nname = \"codeskytz\"\nsecrets = [\"{KEY}\"]\n"
    );
    files.write("settings.toml", &settings);
    actix_web::rt::task::spawn_blocking(move || {
        let identity = ["--client-certificate", &client, "--client-key", &client_key];
        let asked = format!("https://{admin}");
        let by_settings = ["health", "--settings", &path];
        let by_address = ["health", "--admin", &asked];
        for (arguments, given, status, said) in [
            ([&by_settings[..], &identity].concat(), None, 0, "ready"),
            (
                [&by_address[..], &identity].concat(),
                Some(&*certificate),
                0,
                "ready",
            ),
            (
                [&by_address[..], &identity].concat(),
                Some(&*ca),
                1,
                "not ready",
            ),
            (by_settings.to_vec(), None, 1, "not ready"),
        ] {
            let ran = command(&arguments, given);
            assert_eq!(ran.status, status, "{arguments:?} {ran:?}");
            assert!(ran.printed.contains(said), "{arguments:?} {ran:?}");
        }
    })
    .await
    .unwrap();
    server.stop().await;
}
