//! [`Extra`]: the fields of a body that have no typed field.

use bytestring::ByteString;
use serde::de::DeserializeOwned;

/// Fields kept as raw JSON text, in the order the body has them.
/// It holds fields that offhook has no name for, and fields whose value has another type than expected
/// (the typed field is then `None`). Values share the body's memory, so nothing is copied, however large
/// they are. If a body repeats a key, the last one counts, as in the parsers of JavaScript and Python.
///
/// ```
/// use offhook_handlers::Extra;
///
/// let mut extra = Extra::default();
/// extra.push("isGroup", "true".into());
/// extra.push("mentions", r#"["+19999999999"]"#.into());
///
/// assert_eq!(extra.get("isGroup"), Some("true"));
/// assert_eq!(extra.parse::<Vec<String>>("mentions").unwrap().unwrap(), ["+19999999999"]);
/// assert!(extra.parse::<u64>("absent").is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    fields: Vec<(String, ByteString)>,
}

impl Extra {
    /// No fields.
    pub const fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// The JSON text of the field `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let last = self.fields.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, value)| value.as_ref())
    }

    /// The field `name`, parsed as a `T`; `None` if the body has no such field.
    ///
    /// # Errors
    ///
    /// `Some(Err(_))` when the field's JSON is not a `T`.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> Option<serde_json::Result<T>> {
        self.get(name).map(serde_json::from_str)
    }

    /// All fields, as name and JSON text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_ref()))
    }

    /// The number of fields. Repeated keys are counted each time.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds a field; `json` is its JSON text.
    pub fn push(&mut self, name: impl Into<String>, json: ByteString) {
        self.fields.push((name.into(), json));
    }
}
