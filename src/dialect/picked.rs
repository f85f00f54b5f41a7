//! [`Picked`]: some fields of a JSON object, by name. What is absent, `null`, or of another type is `None`; that
//! never hides the other fields.

use bytestring::ByteString;
use jiff::Timestamp;

use super::{MAX_EXTRA, object};
use crate::{Extra, UnknownReason};

/// The fields of one object that have these names, as JSON text. Of a repeated name the last value counts.
#[derive(Clone)]
pub(super) struct Picked<'a, const N: usize> {
    json: &'a str,
    names: [&'static str; N],
    values: [Option<&'a str>; N],
    /// Which fields are in a typed field.
    taken: [bool; N],
}

impl<'a, const N: usize> Picked<'a, N> {
    /// The fields of a whole body.
    ///
    /// # Errors
    ///
    /// When it is not JSON, or not an object.
    pub(super) fn of_body(body: &'a str, names: [&'static str; N]) -> Result<Self, UnknownReason> {
        let mut picked = Self {
            json: body,
            names,
            values: [None; N],
            taken: [false; N],
        };
        object::for_each_field(body, |key, value| {
            let place = names.iter().position(|name| name.as_bytes() == key.bytes());
            if let Some(place) = place {
                picked.values[place] = Some(value).filter(|value| *value != "null");
            }
        })?;
        Ok(picked)
    }

    /// The fields of an object within a body; none if it is something else.
    pub(super) fn of(json: Option<&'a str>, names: [&'static str; N]) -> Self {
        let none = || Self {
            json: "",
            names,
            values: [None; N],
            taken: [false; N],
        };
        let object = json.filter(|json| json.starts_with('{'));
        object.map_or_else(none, |json| {
            Self::of_body(json, names).unwrap_or_else(|_| none())
        })
    }

    /// Whether there is an object at all.
    pub(super) fn is_object(&self) -> bool {
        !self.json.is_empty()
    }

    /// The object's text.
    pub(super) fn json(&self) -> &'a str {
        self.json
    }

    /// A field as JSON text.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let place = self.names.iter().position(|one| *one == name);
        debug_assert!(place.is_some(), "{name} is not picked");
        self.values[place?]
    }

    /// Some fields of an object in a field.
    pub(super) fn inner<const M: usize>(
        &self,
        name: &str,
        names: [&'static str; M],
    ) -> Picked<'a, M> {
        Picked::of(self.get(name), names)
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, text)
    }

    /// A text that is not empty.
    pub(super) fn words(&mut self, name: &str) -> Option<String> {
        self.take(name, |json| text(json).filter(|text| !text.is_empty()))
    }

    /// A text, or the text of a number.
    pub(super) fn scalar(&mut self, name: &str) -> Option<String> {
        self.take(name, scalar)
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name, |json| match json {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A number, also as a text.
    pub(super) fn number(&mut self, name: &str) -> Option<f64> {
        self.take(name, |json| {
            let number: f64 = scalar(json)?.trim().parse().ok()?;
            number.is_finite().then_some(number)
        })
    }

    pub(super) fn time(&mut self, name: &str) -> Option<Timestamp> {
        self.take(name, object::timestamp)
    }

    /// Reads a field with `read`. What it can read needs no other place.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.get(name)?)?;
        let place = self.names.iter().position(|one| *one == name)?;
        self.taken[place] = true;
        Some(value)
    }

    /// All fields but those that were read, without those named in `without`, and no more than there is `room`
    /// for.
    pub(super) fn extra(&self, body: &ByteString, without: &[&str], room: &mut usize) -> Extra {
        let mut extra = Extra::default();
        if !self.is_object() {
            return extra;
        }
        // It was read before, so this does not fail.
        let _ = object::for_each_field(self.json, |key, value| {
            let bytes = key.bytes();
            let taken = self.names.iter().zip(self.taken);
            let is_taken = { taken }.any(|(name, taken)| taken && name.as_bytes() == bytes);
            let is_without = without.iter().any(|name| name.as_bytes() == bytes);
            if *room > 0 && extra.len() < MAX_EXTRA && !is_taken && !is_without {
                *room -= 1;
                extra.push(key.decoded(), body.slice_ref(value));
            }
        });
        extra
    }
}

pub(super) fn text(json: &str) -> Option<String> {
    object::string(json).map(|text| text.into_owned())
}

pub(super) fn scalar(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(json.to_owned()),
        _ => text(json),
    }
}

/// The elements of an array; of something else that alone. Of nothing, and of an empty array, one `None`, so that
/// there is always something to make an event of.
pub(super) fn each<'a>(json: Option<&'a str>, mut one: impl FnMut(Option<&'a str>)) {
    let Some(array) = json.filter(|json| json.starts_with('[')) else {
        return one(json);
    };
    let mut is_empty = true;
    object::for_each_item(array, |item| {
        is_empty = false;
        one(Some(item));
    });
    if is_empty {
        one(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_types_are_none_and_stay() {
        let body: ByteString = r#"{"a":1,"b":"x","c":"no","d":null,"a":"2","e":[1]}"#.into();
        let mut picked = Picked::of_body(&body, ["a", "b", "c", "d"]).unwrap();
        assert_eq!(picked.text("a").as_deref(), Some("2"));
        assert_eq!(picked.number("b"), None);
        assert_eq!(picked.flag("c"), None);
        assert_eq!(picked.text("d"), None);
        let mut room = 3;
        let extra = picked.extra(&body, &["e"], &mut room);
        let kept: Vec<_> = extra.iter().collect();
        assert_eq!(kept, [("b", "\"x\""), ("c", "\"no\""), ("d", "null")]);
        assert_eq!(room, 0);
        assert!(picked.extra(&body, &[], &mut room).is_empty());
    }

    #[test]
    fn there_is_always_one() {
        let found = |json| {
            let mut found = Vec::new();
            each(json, |one| found.push(one));
            found
        };
        assert_eq!(found(Some("[1, {}]")), [Some("1"), Some("{}")]);
        assert_eq!(found(Some("{}")), [Some("{}")]);
        assert_eq!(found(Some("[]")), [None]);
        assert_eq!(found(None), [None]);
    }
}
