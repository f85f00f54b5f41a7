//! The script, the stylesheet and the icon, each under a name with its hash: it never changes.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use sha2::{Digest as _, Sha256};

use crate::admin::error::{Answer, ApiError};

/// A file of the dashboard.
pub(super) struct Asset {
    /// The name in its address.
    pub(super) name: String,
    kind: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = const_hex::encode(&Sha256::digest(bytes)[..8]);
        let name = format!("{stem}-{hash}.{ending}");
        Self { name, kind, bytes }
    }
}

pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("assets/app.js");
    Asset::new("app", "js", "text/javascript; charset=utf-8", bytes)
});

pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("assets/app.css");
    Asset::new("app", "css", "text/css; charset=utf-8", bytes)
});

pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("assets/icon.svg");
    Asset::new("icon", "svg", "image/svg+xml", bytes)
});

/// `GET /assets/{name}`
pub(super) async fn asset(name: web::Path<String>) -> Answer {
    let all = [&*SCRIPT, &*STYLE, &*ICON];
    let asset = all.into_iter().find(|asset| asset.name == *name);
    let asset =
        asset.ok_or_else(|| ApiError::not_found("there is no such asset; load the page again"))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, asset.kind))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(asset.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are read whole by people, and loaded before anything is seen.
    #[test]
    fn they_stay_small() {
        assert!(
            SCRIPT.bytes.len() <= 19 * 1024 + 256,
            "{}",
            SCRIPT.bytes.len()
        );
        let lines = SCRIPT.bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines <= 600, "{lines}");
        assert!(STYLE.bytes.len() <= 14 * 1024, "{}", STYLE.bytes.len());
        assert!(ICON.bytes.len() <= 1024);
    }

    /// The content security policy has only one for the script's own markup.
    #[test]
    fn the_script_makes_no_markup() {
        let text = std::str::from_utf8(SCRIPT.bytes).unwrap();
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http:",
            "https:",
        ] {
            assert!(!text.contains(sink), "{sink}");
        }
        assert_eq!(text.matches("createPolicy(").count(), 1);
        assert_eq!(text.matches("parseFromString(").count(), 1);
    }
}
