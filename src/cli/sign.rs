//! `offhook sign`: prints the header lines that sign a body.

use std::collections::BTreeMap;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{
    Algorithm, Encoding, EvolutionJwt, Generic, Scheme, Secret, Slack, StandardWebhooks, Stripe,
    Token, Twilio, XWebhookSignature,
};

use super::input::read_body;
use super::output::{self, Failure, Outcome, Verdict};

/// Print the header lines that sign a body
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Sign {
    /// The body; - for standard input. Every byte counts, a final line break too
    #[arg(default_value = "-")]
    file: String,

    /// The shared secret: env:NAME, file:PATH, or the text itself
    #[arg(long, env = "OFFHOOK_SECRET", hide_env_values = true)]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Secret,

    /// How to sign
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Name::XWebhookSignature)]
    scheme: Name,

    /// The event's id in the header webhook-id; by default made from the time and the body
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    hmac: Hmac,
}

/// The schemes by their names in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// The gateway's own: X-Webhook-Signature with the HMAC-SHA256 in hexadecimal
    XWebhookSignature,
    /// webhook-id, webhook-timestamp and webhook-signature; a secret whsec_… is decoded
    StandardWebhooks,
    /// An HMAC as the options below describe it
    Hmac,
    /// GitHub: X-Hub-Signature-256
    Github,
    /// Stripe: Stripe-Signature with the time; the secret's text is the key, whsec_ and all
    Stripe,
    /// Slack: X-Slack-Signature with the time
    Slack,
    /// WhatsApp Cloud API, Messenger, Instagram: X-Hub-Signature-256 with the app's secret
    Meta,
    /// WAHA: X-Webhook-Hmac, SHA-512
    Waha,
    /// GOWA: X-Hub-Signature-256
    Gowa,
    /// Shopify: X-Shopify-Hmac-Sha256 in base64
    Shopify,
    /// LINE: X-Line-Signature in base64
    Line,
    /// Viber: X-Viber-Content-Signature with the bot's token
    Viber,
    /// wuzapi: x-hmac-signature
    Wuzapi,
    /// OpenWA: X-OpenWA-Signature
    Openwa,
    /// The secret itself in the header --header
    Token,
    /// Telegram: the secret itself in X-Telegram-Bot-Api-Secret-Token
    Telegram,
    /// Evolution API with a jwt_key: a token in Authorization
    EvolutionJwt,
    /// Twilio: X-Twilio-Signature, which needs --public-url
    Twilio,
}

/// The keys of `scheme = "hmac"` in the settings.
#[derive(Default, PartialEq, Args)]
#[command(next_help_heading = "Options of --scheme hmac, token and twilio")]
pub(super) struct Hmac {
    /// The header that carries the signature, or with token the secret
    #[arg(long, value_name = "NAME", required_if_eq_any([("scheme", "hmac"), ("scheme", "token")]))]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    header: Option<String>,

    /// The hash under the HMAC; default: sha256
    #[arg(long, value_name = "NAME", value_parser = one_of(&Algorithm::ALL))]
    algorithm: Option<Algorithm>,

    /// How the signature is written; default: hex
    #[arg(long, value_name = "NAME", value_parser = one_of(&Encoding::ALL))]
    encoding: Option<Encoding>,

    /// A text before the signature in its header, such as sha256=
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// What is signed; default: {body}. {timestamp:NAME} is the time, sent in the header NAME
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,

    /// The address that Twilio was given, with its query
    #[arg(long, value_name = "URL", required_if_eq("scheme", "twilio"))]
    public_url: Option<String>,
}

/// Parses one of the names that the library defines for its values.
fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    let names = all.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(move |found| {
        let named = all.iter().find(|(name, _)| *name == found);
        named.map(|(_, value)| *value).ok_or("unknown name")
    })
}

impl Sign {
    pub(super) fn run(self) -> Outcome {
        self.hmac.check_signable()?;
        let scheme = self.hmac.scheme(self.scheme)?;
        if self.id.is_some() && self.scheme != Name::StandardWebhooks {
            let text = "--id belongs to --scheme standard-webhooks; add it";
            return Err(Failure::usage(text));
        }
        let body = read_body(&self.file)?;
        let now = SystemClock.now();
        let signed = match &self.id {
            Some(id) => StandardWebhooks::default().sign_as(id, &body, &self.secret, now),
            None => scheme.sign(&body, &self.secret, now),
        };
        if self.json {
            let headers = signed.iter().map(|header| (&header.name, &header.value));
            output::print_json(&headers.collect::<BTreeMap<_, _>>())?;
            return Ok(Verdict::Yes);
        }
        for header in signed {
            output::print(&format!("{}: {}", header.name, header.value))?;
        }
        Ok(Verdict::Yes)
    }
}

impl Hmac {
    /// The value of another header is not known when a body is signed.
    fn check_signable(&self) -> Result<(), Failure> {
        let template = self.template.as_deref().unwrap_or_default();
        if template.replace("{{", "").contains("{header:") {
            return Err(Failure::usage(
                "--template: a {header:NAME} cannot be signed here; write its value instead",
            ));
        }
        Ok(())
    }

    /// The options that are given and do not belong to this scheme.
    fn foreign(&self, name: Name) -> Vec<&'static str> {
        let (hmac, token, twilio) = (
            name == Name::Hmac,
            name == Name::Token,
            name == Name::Twilio,
        );
        let table = [
            ("--header", self.header.is_some(), hmac || token),
            ("--algorithm", self.algorithm.is_some(), hmac || twilio),
            ("--encoding", self.encoding.is_some(), hmac),
            ("--prefix", self.prefix.is_some(), hmac || token),
            ("--template", self.template.is_some(), hmac),
            ("--public-url", self.public_url.is_some(), twilio),
        ];
        let foreign = { table.iter() }.filter(|(_, is_given, belongs)| *is_given && !belongs);
        foreign.map(|(option, ..)| *option).collect()
    }

    fn twilio(self) -> Result<Box<dyn Scheme>, Failure> {
        let wrong = || Failure::usage("--public-url: expected such as https://me.example/twilio");
        let twilio = Twilio::new(self.public_url.unwrap_or_default()).ok_or_else(wrong)?;
        match self.algorithm {
            None => Ok(Box::new(twilio)),
            Some(one @ (Algorithm::Sha1 | Algorithm::Sha256)) => {
                Ok(Box::new(twilio.algorithm(one)))
            }
            Some(_) => Err(Failure::usage("--algorithm: Twilio uses sha1 or sha256")),
        }
    }

    pub(super) fn scheme(self, name: Name) -> Result<Box<dyn Scheme>, Failure> {
        let foreign = self.foreign(name);
        if !foreign.is_empty() {
            let (foreign, named) = (foreign.join(" and "), name.to_possible_value());
            let named = named.as_ref().map_or("", |name| name.get_name());
            return Err(Failure::usage(format!(
                "{foreign}: --scheme {named} does not take this; take it out, or name another scheme"
            )));
        }
        match name {
            Name::XWebhookSignature => return Ok(Box::new(XWebhookSignature)),
            Name::StandardWebhooks => return Ok(Box::new(StandardWebhooks::default())),
            Name::Stripe => return Ok(Box::new(Stripe::default())),
            Name::Slack => return Ok(Box::new(Slack::default())),
            Name::Telegram => return Ok(Box::new(Token::telegram())),
            Name::EvolutionJwt => return Ok(Box::new(EvolutionJwt)),
            // clap requires the header with `--scheme token`.
            Name::Token => {
                let token = Token::new(self.header.unwrap_or_default());
                return Ok(Box::new(token.prefix(self.prefix.unwrap_or_default())));
            }
            Name::Twilio => return self.twilio(),
            Name::Hmac => {}
            preset => {
                let name = preset.to_possible_value();
                let preset = name.and_then(|name| Generic::preset(name.get_name()));
                let none = || Failure::usage("--scheme: there is no such preset");
                return Ok(Box::new(preset.ok_or_else(none)?));
            }
        }
        // clap requires the header with `--scheme hmac`.
        let mut scheme = Generic::new(self.header.unwrap_or_default())
            .algorithm(self.algorithm.unwrap_or(Algorithm::Sha256))
            .encoding(self.encoding.unwrap_or(Encoding::Hex))
            .prefix(self.prefix.unwrap_or_default());
        if let Some(template) = &self.template {
            let wrong = |error| Failure::usage(format!("--template: {error}"));
            scheme = scheme.template(template).map_err(wrong)?;
        }
        Ok(Box::new(scheme))
    }
}

const EXAMPLES: &str = "\
Examples:
  printf '{}' | offhook sign --secret your-secret-key
  offhook sign body.json --secret env:SECRET
  offhook sign body.json --secret file:/run/secrets/hook --scheme hmac \\
      --header X-Hub-Signature-256 --prefix sha256=
  offhook sign body.json --secret env:SECRET --scheme hmac \\
      --header X-Signature --template '{timestamp:X-Timestamp}.{body}'
  offhook sign body.json --secret env:WHSEC --scheme standard-webhooks --id msg_1
  offhook sign form.txt --secret env:TWILIO_AUTH_TOKEN --scheme twilio --public-url https://me.example/twilio

Exit status: 0 signed, 2 usage, or when the body or the secret cannot be read.";

#[cfg(test)]
mod tests {
    use offhook::Timestamp;

    use super::*;

    fn signed(hmac: Hmac, name: Name) -> Vec<String> {
        let scheme = hmac.scheme(name).unwrap();
        let secret = Secret::new("key").unwrap();
        let headers = scheme.sign(b"{}", &secret, Timestamp::UNIX_EPOCH);
        let line =
            |header: offhook::signature::SignedHeader| format!("{}: {}", header.name, header.value);
        headers.into_iter().map(line).collect()
    }

    #[test]
    fn options_make_the_scheme() {
        let described = Hmac {
            header: Some("X-Hub-Signature-256".into()),
            prefix: Some("sha256=".into()),
            ..Hmac::default()
        };
        let own = signed(Hmac::default(), Name::XWebhookSignature);
        let digits = own[0].strip_prefix("X-Webhook-Signature: ").unwrap();
        let expected = format!("X-Hub-Signature-256: sha256={digits}");
        assert_eq!(signed(described, Name::Hmac), [expected]);
        let timed = Hmac {
            header: Some("S".into()),
            template: Some("{timestamp:T}.{body}".into()),
            ..Hmac::default()
        };
        assert_eq!(signed(timed, Name::Hmac)[1], "T: 0");
        let standard = signed(Hmac::default(), Name::StandardWebhooks);
        assert!(standard[0].starts_with("webhook-id: msg_"));
        assert_eq!(standard[1], "webhook-timestamp: 0");
    }

    #[test]
    fn options_of_another_scheme_are_rejected() {
        let lone = Hmac {
            encoding: Some(Encoding::Base64),
            ..Hmac::default()
        };
        assert!(lone.scheme(Name::XWebhookSignature).is_err());
        for template in ["no body", "{header:X-Id}.{body}"] {
            let odd = Hmac {
                header: Some("S".into()),
                template: Some(template.into()),
                ..Hmac::default()
            };
            let checked = odd.check_signable();
            assert!(
                checked.and_then(|()| odd.scheme(Name::Hmac)).is_err(),
                "{template}"
            );
        }
    }
}
