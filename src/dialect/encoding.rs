//! Undoes the `Content-Encoding` of a body, within [`Depth`].

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// How far a body is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// For a body whose sender is not proven yet: one encoding, and little more than was sent.
    Peek,
    /// For the typed events.
    Full,
}

impl Depth {
    /// The most encodings of a body.
    fn encodings(self) -> usize {
        match self {
            Self::Peek => 1,
            Self::Full => 2,
        }
    }

    /// The most bytes that a body of `sent` bytes may be decoded to.
    pub(super) fn limit(self, sent: usize, max_body: usize) -> usize {
        // JSON compresses to about a tenth.
        let (ratio, always) = match self {
            Self::Peek => (32, 64 * 1024),
            Self::Full => (100, 1024 * 1024),
        };
        sent.saturating_mul(ratio).max(always).min(max_body)
    }
}

/// Removes the encodings of a body; the last one named was applied last. Returns `None` if there is
/// nothing to remove.
///
/// Supports `gzip`, `x-gzip`, `deflate` and `identity`.
///
/// # Errors
///
/// Why the body cannot be decoded within the limits.
pub(super) fn decode(
    body: &Bytes,
    encodings: Option<&[u8]>,
    depth: Depth,
    max_body: usize,
) -> Result<Option<Bytes>, String> {
    let Some(encodings) = encodings else {
        return Ok(None);
    };
    let encodings = str::from_utf8(encodings).map_err(|_| "the header is no text".to_owned())?;
    let names = encodings
        .rsplit(',')
        .map(|name| name.trim().to_ascii_lowercase());
    let names: Vec<String> = names
        .filter(|name| !matches!(name.as_str(), "" | "identity"))
        .take(depth.encodings() + 1)
        .collect();
    if names.len() > depth.encodings() {
        return Err(format!("more than {} encodings", depth.encodings()));
    }
    let limit = depth.limit(body.len(), max_body);
    let mut decoded = None;
    for name in names {
        let content = decoded.as_ref().unwrap_or(body);
        decoded = Some(match name.as_str() {
            "gzip" | "x-gzip" => unpack("gzip", MultiGzDecoder::new(&content[..]), limit)?,
            "deflate" if has_zlib_header(content) => {
                unpack("deflate", ZlibDecoder::new(&content[..]), limit)?
            }
            "deflate" => unpack("deflate", DeflateDecoder::new(&content[..]), limit)?,
            other => return Err(format!("unknown encoding {other:.20}")),
        });
    }
    Ok(decoded)
}

/// "deflate" is the zlib format (RFC 9110, 8.4.1.2), but some senders omit its header. A format without
/// it never begins so, because an encoder leaves the bits behind the type of a stored block at 0. Trying
/// both would let a body mean something else under a lower limit.
fn has_zlib_header(content: &[u8]) -> bool {
    content.first().is_some_and(|first| first & 0x0f == 8)
}

fn unpack(name: &str, packed: impl Read, limit: usize) -> Result<Bytes, String> {
    let mut content = Vec::new();
    let one_too_many = (limit as u64).saturating_add(1);
    packed
        .take(one_too_many)
        .read_to_end(&mut content)
        .map_err(|error| format!("{name}: {error}"))?;
    if content.len() > limit {
        return Err(format!("{name}: more than {limit} bytes"));
    }
    // Reading doubles the memory each time; what is left over would be held and not counted.
    content.shrink_to_fit();
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
            (
                Bytes::from_static(text),
                Some("identity, ,identity,identity"),
            ),
            (gzip.clone(), Some("gzip")),
            (gzip.clone(), Some("X-GZIP")),
            (gzip.clone(), Some("identity, gzip, identity")),
            (packed!(ZlibEncoder, text), Some("deflate")),
            (packed!(DeflateEncoder, text), Some("deflate")),
            (packed!(ZlibEncoder, &gzip), Some("gzip, deflate")),
        ];
        for (body, encoding) in table {
            let content = decode(&body, encoding.map(str::as_bytes), Depth::Full, 100);
            let content = content.map(|content| content.unwrap_or(body));
            assert_eq!(content.as_deref(), Ok(&text[..]), "{encoding:?}");
        }
    }

    #[test]
    fn what_cannot_be_undone_says_why() {
        let error = |body: Bytes, encoding: &str| {
            decode(&body, Some(encoding.as_bytes()), Depth::Full, 1000).unwrap_err()
        };
        let bomb = packed!(GzEncoder, &[0; 100_000]);
        assert_eq!(error(bomb.clone(), "gzip"), "gzip: more than 1000 bytes");
        let bomb_deflate = packed!(ZlibEncoder, &[0; 100_000]);
        assert_eq!(
            error(bomb_deflate, "deflate"),
            "deflate: more than 1000 bytes"
        );
        assert_eq!(error(Bytes::new(), "br"), "unknown encoding br");
        assert!(error(bomb.slice(..20), "gzip").starts_with("gzip: "));
        let plain = || Bytes::from_static(b"plain");
        assert!(error(plain(), "gzip").starts_with("gzip: "));
        assert!(error(plain(), "deflate").starts_with("deflate: "));
        assert_eq!(error(plain(), "gzip,gzip,gzip"), "more than 2 encodings");
    }

    #[test]
    fn the_limits_follow_what_was_sent() {
        const MIB: usize = 1024 * 1024;
        let table = [
            // depth, sent, limit
            (Depth::Peek, 100, 64 * 1024),
            (Depth::Peek, 10_000, 320_000),
            (Depth::Full, 100, MIB),
            (Depth::Full, 30_000, 3_000_000),
            (Depth::Full, MIB, 32 * MIB),
        ];
        for (depth, sent, limit) in table {
            assert_eq!(depth.limit(sent, 32 * MIB), limit, "{depth:?} {sent}");
        }
        let nested = packed!(GzEncoder, &packed!(GzEncoder, b"{}"));
        let peek = |encoding: &str| decode(&nested, Some(encoding.as_bytes()), Depth::Peek, MIB);
        assert!(peek("gzip").is_ok());
        assert_eq!(peek("gzip, gzip"), Err("more than 1 encodings".to_owned()));
        // What is between the two is limited too.
        let wide = packed!(GzEncoder, &packed!(GzEncoder, &vec![0; 40 * MIB]));
        let full = decode(&wide, Some(b"gzip, gzip"), Depth::Full, 64 * MIB);
        assert_eq!(full, Err(format!("gzip: more than {MIB} bytes")));
    }
}
