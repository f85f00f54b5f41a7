//! [`Template`]: what a [`Generic`](super::Generic) scheme signs.

use std::fmt;
use std::str::FromStr;

/// What is signed: the body, and the parts before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
    pub(super) before: Vec<Part>,
    pub(super) after: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Body,
    Header(String),
    Timestamp(String),
}

impl Template {
    /// All parts, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.before.iter().chain([&Part::Body]).chain(&self.after)
    }

    /// The headers that the template names.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        self.parts().filter_map(|part| match part {
            Part::Header(name) | Part::Timestamp(name) => Some(name.as_str()),
            Part::Text(_) | Part::Body => None,
        })
    }
}

/// The body alone.
impl Default for Template {
    fn default() -> Self {
        Self {
            text: "{body}".to_owned(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }
}

/// The template as it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = GenericError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut before = parse(text)?;
        let mut bodies = (0..before.len()).filter(|index| before[*index] == Part::Body);
        let (Some(body), None) = (bodies.next(), bodies.next()) else {
            return Err(GenericError::Body);
        };
        let after = before.split_off(body + 1);
        before.pop();
        Ok(Self {
            text: text.to_owned(),
            before,
            after,
        })
    }
}

fn parse(template: &str) -> Result<Vec<Part>, GenericError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(brace) = rest.find(['{', '}']) {
        text.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(after) = rest.strip_prefix("{{") {
            text.push('{');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("}}") {
            text.push('}');
            rest = after;
        } else {
            let placeholder = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (name, after) = placeholder.ok_or(GenericError::Brace)?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(placeholder_part(name)?);
            rest = after;
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn placeholder_part(name: &str) -> Result<Part, GenericError> {
    match name.split_once(':') {
        None if name == "body" => Ok(Part::Body),
        Some(("header", header)) if !header.is_empty() => Ok(Part::Header(header.to_owned())),
        Some(("timestamp", header)) if !header.is_empty() => Ok(Part::Timestamp(header.to_owned())),
        _ => Err(GenericError::Placeholder(name.to_owned())),
    }
}

/// Why a template is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenericError {
    /// `{body}` must appear exactly once.
    #[error("the template must hold {{body}} exactly once")]
    Body,
    /// An unknown placeholder.
    #[error("unknown placeholder {{{0}}}; there are {{body}}, {{header:NAME}}, {{timestamp:NAME}}")]
    Placeholder(String),
    /// A brace without its counterpart.
    #[error("a single brace; write {{{{ or }}}} for the character itself")]
    Brace,
}
