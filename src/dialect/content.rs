//! Decodes a `Content-Encoding`, only for the typed event: the body is stored, verified and relayed as
//! received.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Removes the encodings of a body; the last one named was applied last.
///
/// Supports `gzip`, `x-gzip`, `deflate` and `identity`. Never returns more than `limit` bytes.
pub(super) fn decode(
    body: &Bytes,
    encodings: Option<&[u8]>,
    limit: usize,
) -> Result<Bytes, String> {
    let Some(encodings) = encodings else {
        return Ok(body.clone());
    };
    let encodings =
        std::str::from_utf8(encodings).map_err(|_| "the header is no text".to_owned())?;
    let mut content = body.clone();
    for (depth, encoding) in encodings.rsplit(',').map(str::trim).enumerate() {
        if depth == MAX_ENCODINGS {
            return Err(format!("more than {MAX_ENCODINGS} encodings"));
        }
        content = match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => content,
            "gzip" | "x-gzip" => unpack("gzip", MultiGzDecoder::new(&content[..]), limit)?,
            // "deflate" is the zlib format (RFC 9110, 8.4.1.2); some senders omit the zlib header.
            "deflate" => unpack("deflate", ZlibDecoder::new(&content[..]), limit)
                .or_else(|_| unpack("deflate", DeflateDecoder::new(&content[..]), limit))?,
            other => return Err(format!("unknown encoding {other:.20}")),
        };
    }
    Ok(content)
}

fn unpack(name: &str, packed: impl Read, limit: usize) -> Result<Bytes, String> {
    let mut content = Vec::new();
    let one_too_many = (limit as u64).saturating_add(1);
    packed
        .take(one_too_many)
        .read_to_end(&mut content)
        .map_err(|error| format!("{name}: {error}"))?;
    match content.len() > limit {
        true => Err(format!("{name}: more than {limit} bytes")),
        false => Ok(content.into()),
    }
}

const MAX_ENCODINGS: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    macro_rules! packed {
        ($encoder:ident, $bytes:expr) => {{
            let mut encoder = $encoder::new(Vec::new(), Compression::best());
            encoder.write_all($bytes).unwrap();
            Bytes::from(encoder.finish().unwrap())
        }};
    }

    #[test]
    fn the_encodings_that_are_undone() {
        let text = b"Hello!";
        let gzip = packed!(GzEncoder, text);
        let table = [
            (Bytes::from_static(text), None),
            (Bytes::from_static(text), Some("identity")),
            (gzip.clone(), Some("gzip")),
            (gzip.clone(), Some("X-GZIP")),
            (packed!(ZlibEncoder, text), Some("deflate")),
            (packed!(DeflateEncoder, text), Some("deflate")),
            (packed!(ZlibEncoder, &gzip), Some("gzip, deflate")),
        ];
        for (body, encoding) in table {
            let content = decode(&body, encoding.map(str::as_bytes), 100);
            assert_eq!(content.as_deref(), Ok(&text[..]), "{encoding:?}");
        }
    }

    #[test]
    fn what_cannot_be_undone_says_why() {
        let error = |body: Bytes, encoding: &str| decode(&body, Some(encoding.as_bytes()), 1000);
        let bomb = packed!(GzEncoder, &[0; 100_000]);
        assert_eq!(
            error(bomb.clone(), "gzip").unwrap_err(),
            "gzip: more than 1000 bytes"
        );
        assert_eq!(
            error(Bytes::new(), "br").unwrap_err(),
            "unknown encoding br"
        );
        assert!(error(bomb.slice(..20), "gzip").is_err());
        assert!(error(Bytes::from_static(b"plain"), "gzip").is_err());
        assert!(error(Bytes::from_static(b"plain"), "deflate").is_err());
        let many = "identity,".repeat(9);
        assert_eq!(
            error(Bytes::new(), &many).unwrap_err(),
            "more than 4 encodings"
        );
    }
}
