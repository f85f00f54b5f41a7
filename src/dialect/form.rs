//! Bodies of the type `application/x-www-form-urlencoded`.

use std::borrow::Cow;

use bytestring::ByteString;
use serde_json::Value;
use url::form_urlencoded;

use super::MAX_EXTRA;
use crate::Extra;

/// The fields of a form, in order.
pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Reads the first fields of a form. Any text is one.
    pub(super) fn of(body: &'a str) -> Self {
        let fields = form_urlencoded::parse(body.trim().as_bytes());
        Self(fields.take(MAX_EXTRA).collect())
    }

    /// The value of a field that is there once, and is not empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(field, _)| field == name);
        let (_, value) = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(&**value)
    }

    /// All fields, with their values as JSON texts.
    pub(super) fn extra(&self) -> Extra {
        let mut extra = Extra::default();
        for (name, value) in &self.0 {
            let json: ByteString = Value::from(&**value).to_string().into();
            extra.push(&**name, json);
        }
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_fields() {
        let form = Form::of("A=1&B=a+b%20%C3%A9&A=2&C=&D");
        assert_eq!(form.value("B"), Some("a b é"));
        for name in ["A", "C", "D", "E"] {
            assert_eq!(form.value(name), None, "{name}");
        }
        assert_eq!(form.extra().get("B"), Some("\"a b é\""));
        assert_eq!(form.extra().len(), 5);
    }
}
