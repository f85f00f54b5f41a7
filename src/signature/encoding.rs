//! The two choices behind most schemes: the HMAC, and the encoding of its bytes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// The hash of an HMAC ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha1`: only for senders that support nothing better.
    Sha1,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    /// All algorithms, with their names in the settings.
    pub const ALL: [(&'static str, Self); 4] = [
        ("sha1", Self::Sha1),
        ("sha256", Self::Sha256),
        ("sha384", Self::Sha384),
        ("sha512", Self::Sha512),
    ];

    /// The length of a signature, in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// How the bytes of a signature are encoded in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `hex`: written in lower case, read in either case.
    Hex,
    /// `base64`: written in the standard alphabet with padding, read with or without.
    Base64,
}

impl Encoding {
    /// All encodings, with their names in the settings.
    pub const ALL: [(&'static str, Self); 2] = [("hex", Self::Hex), ("base64", Self::Base64)];

    /// Encodes `bytes`.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }

    /// Decodes a text; `None` if it is not in this encoding.
    pub fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            // The library would accept the prefix 0x.
            Self::Hex if text.get(1).is_some_and(|x| matches!(x, b'x' | b'X')) => None,
            Self::Hex => const_hex::decode(text).ok(),
            Self::Base64 => LENIENT_BASE64.decode(text).ok(),
        }
    }
}

const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const_hex::encode(bytes)
}

/// An HMAC in progress, already initialized with the key.
#[derive(Clone)]
pub(crate) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
}

impl Mac {
    pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        const ANY_LENGTH: &str = "HMAC takes a key of any length";
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect(ANY_LENGTH)),
            Algorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).expect(ANY_LENGTH)),
            Algorithm::Sha384 => {
                Self::Sha384(Box::new(Hmac::new_from_slice(key).expect(ANY_LENGTH)))
            }
            Algorithm::Sha512 => {
                Self::Sha512(Box::new(Hmac::new_from_slice(key).expect(ANY_LENGTH)))
            }
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha384(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hex_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(Encoding::Hex.decode(b"00fFaB"), Some(vec![0, 255, 0xab]));
        for odd in [
            &b"0"[..],
            b"0g",
            b" 00",
            b"0x00",
            b"0X00",
            b"0x",
            "é".as_bytes(),
            b"+1",
        ] {
            assert_eq!(Encoding::Hex.decode(odd), None, "{odd:?}");
        }
    }

    /// Test case 2 of [RFC 4231](https://www.rfc-editor.org/rfc/rfc4231#section-4.3), and for SHA-1 of
    /// [RFC 2202](https://www.rfc-editor.org/rfc/rfc2202#section-3).
    #[test]
    fn the_vectors_of_the_specifications() {
        let table = [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Algorithm::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Algorithm::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (algorithm, expected) in table {
            let mut mac = Mac::new(algorithm, b"Jefe");
            mac.update(b"what do ya want for nothing?");
            let signature = mac.finish();
            assert_eq!(signature.len(), algorithm.size());
            assert_eq!(hex(&signature), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(bytes: Vec<u8>) {
            for (_, encoding) in Encoding::ALL {
                prop_assert_eq!(encoding.decode(encoding.encode(&bytes).as_bytes()), Some(bytes.clone()));
            }
        }
    }
}
