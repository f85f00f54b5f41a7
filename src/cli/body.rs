//! Bodies as the command line shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook::escape_controls;
use serde_json::value::RawValue;

use super::output::title;

/// A body as the admin API has sent it: JSON as it came, or in base64.
pub(super) fn body(json: Option<&RawValue>, base64: Option<&str>) -> Option<String> {
    if let Some(json) = json {
        return Some(block("body", json.get().lines()));
    }
    let base64 = base64?;
    let bytes = STANDARD.decode(base64).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Some(match text {
        Some(text) => block("body, no JSON", text.lines()),
        None => block("body in base64, no text", base64.lines()),
    })
}

/// Indents each line, so that no line looks like one of ours.
pub(super) fn block<'a>(heading: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let mut block = format!("\n{}", title(heading));
    for line in lines {
        block += &format!("\n  {}", escape_controls(line));
    }
    block
}
