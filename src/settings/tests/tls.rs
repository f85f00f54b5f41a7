//! `[server.tls]`, `[admin.tls]` and `trusted_proxies`. What is wrong with the files themselves is tested in
//! `certificate.rs`.

use super::*;

#[test]
fn the_rest_has_defaults() {
    let text = with_source("[admin]\ntls = { certificate = \"c\", key = \"k\" }");
    let admin = load(&text).unwrap().admin.unwrap();
    assert_eq!(admin.tls, Some(TlsSettings::new("c", "k")));
    let settings = load(&with_source("")).unwrap();
    assert_eq!(
        (settings.server.tls, settings.server.trusted_proxies),
        (None, vec![])
    );
}

#[test]
fn one_problem_each() {
    with_source_each_has_one_problem(&PROBLEMS);
}

const PROBLEMS: [(&str, &str); 9] = [
    (
        "[server]\ntls = { key = \"k\" }",
        "server.tls.certificate: is missing; it is a PEM file with the certificate and those that lead to \
         the root",
    ),
    (
        "[admin.tls]\ncertificate = \"c\"",
        "admin.tls.key: is missing; it is a PEM file with the certificate's private key",
    ),
    (
        "[server.tls]\ncertificate = \"\"\nkey = \"k\"",
        "server.tls.certificate: is empty; it is a PEM file",
    ),
    (
        "[server.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"\"",
        "server.tls.client_ca: is empty; it is a path",
    ),
    (
        "[server.tls]\ncertificate = \"c\"\nkey = \"k\"\nclientca = \"x\"",
        "server.tls.clientca: unknown key, did you mean client_ca? There are: certificate, client_ca, key, \
         min_version",
    ),
    (
        "[server.tls]\ncertificate = \"c\"\nkey = \"k\"\nmin_version = \"1.1\"",
        "server.tls.min_version: found \"1.1\"; allowed: 1.2, 1.3",
    ),
    (
        "[server]\ntls = true",
        "server.tls: found true or false, expected a table",
    ),
    (
        "[server]\ntrusted_proxies = [\"10.0.0.0/33\"]",
        "server.trusted_proxies[0]: found \"10.0.0.0/33\", expected a network such as \"10.0.0.0/8\", or an \
         address",
    ),
    (
        "[server]\ntrusted_proxies = \"10.0.0.1\"",
        "server.trusted_proxies: ",
    ),
];
