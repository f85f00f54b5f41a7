//! TLS to the database: its certificate is verified with the host's name, and ours is shown.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{Cluster, Database, message};
use crate::served::{Served, command};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let name = "test authority of the database";
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this host, or of this user, and its key, in PEM.
fn issued(authority: &Authority, host: &str, user: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, user);
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[actix_web::test]
async fn the_database_and_the_instance_prove_themselves() {
    let authority = authority();
    let (certificate, key) = issued(&authority, "localhost", "localhost");
    let root = authority.pem();
    let files = [
        ("server.crt", certificate.as_str()),
        ("server.key", key.as_str()),
        ("ca.crt", root.as_str()),
        ("pg_hba.conf", "hostssl all all 127.0.0.1/32 cert\n"),
    ];
    let settings = [
        "ssl=on",
        "ssl_cert_file=server.crt",
        "ssl_key_file=server.key",
        "ssl_ca_file=ca.crt",
    ];
    let Some(database) = Database::start_with(&files, &settings) else {
        return;
    };
    let cluster = Cluster::on(&database, "tls", "");
    let folder = cluster.settings("tls");
    let write = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).unwrap();
    let (certificate, key) = issued(&authority, "offhook", "offhook");
    write("ca.pem", &root);
    write("other.pem", &self::authority().pem());
    write("client.pem", &certificate);
    write("client.key", &key);
    let text = std::fs::read_to_string(folder.0.join("settings.toml")).unwrap();
    let localhost = text.replace("@127.0.0.1", "@localhost");
    let with = |text: &str, tls: &str| {
        let tls = format!("tls = {{ {tls} }}\nschema");
        write("settings.toml", &text.replacen("schema", &tls, 1));
        Served::try_start(&mut command(&folder))
    };
    let own = "certificate = \"client.pem\", key = \"client.key\"";
    let table = [
        (
            &localhost,
            format!("ca = \"other.pem\", {own}"),
            "invalid peer certificate",
        ),
        (&localhost, own.to_owned(), "invalid peer certificate"),
        // The certificate is for another name.
        (
            &text,
            format!("ca = \"ca.pem\", {own}"),
            "invalid peer certificate",
        ),
        (&localhost, "ca = \"ca.pem\"".to_owned(), "certificate"),
        (&localhost, "ca = \"none.pem\"".to_owned(), "none.pem"),
    ];
    for (text, tls, expected) in &table {
        match with(text, tls) {
            Ok(_) => panic!("it starts with {tls}"),
            Err(said) => assert!(said.contains(expected), "{tls}: {said}"),
        }
    }
    let served = with(&localhost, &format!("ca = \"ca.pem\", {own}"));
    let served = served.unwrap_or_else(|said| panic!("{said}"));
    let answer = served.try_send(&message(0, 0)).await.unwrap();
    assert_eq!(answer.status, 200);
    served.program.stop();
}
