//! [`Spot`]: one value of the settings with its place, and how a table is read. [`Notes`]: everything that
//! is wrong, and where.
//!
//! [`keys!`] derives the reading of a struct from a list of its keys. The allowed keys of a table are
//! the keys that are read, so the two cannot differ.

use std::cell::{Cell, RefCell};

use config::{Map, Value, ValueKind};

use crate::error::Problem;

/// Collects the problems while settings are read and checked.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The name of the settings file, as messages show it.
    file: String,
    /// The keys that the environment sets, such as `server.bind`.
    pub(super) overridden: Vec<String>,
    /// The problems.
    noted: RefCell<Vec<Problem>>,
    /// How many of them were found while the settings were read.
    of_reading: Cell<usize>,
}

impl Notes {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            ..Self::default()
        }
    }

    /// Notes a problem at a key such as `sources[0].name`.
    pub(super) fn add(&self, keys: &str, text: impl Into<String>) {
        // Keys of a section such as `[server]` depend on each other, items of a list do not.
        let about = match keys.find('[') {
            Some(_) => keys,
            None => keys.split('.').next().unwrap_or_default(),
        };
        let related = |noted: &Problem| holds(&noted.keys, about) || holds(about, &noted.keys);
        let of_reading = self.of_reading.get();
        if self.noted.borrow().iter().take(of_reading).any(related) {
            return;
        }
        // An item of a list was set by the variable of the whole list.
        let list = keys.split('[').next().unwrap_or_default();
        let place = if self.is_overridden(list) {
            let variable = list.to_ascii_uppercase().replace('.', "__");
            format!("environment variable OFFHOOK__{variable}")
        } else {
            format!("{}: {keys}", self.file)
        };
        self.push(keys, place, text.into());
    }

    /// Notes a problem with an environment variable that cannot be an override.
    pub(super) fn add_variable(&self, name: &str, text: impl Into<String>) {
        self.push("", format!("environment variable {name}"), text.into());
    }

    fn push(&self, keys: &str, place: String, text: String) {
        let keys = keys.to_owned();
        let problem = Problem { place, keys, text };
        self.noted.borrow_mut().push(problem);
    }

    fn is_overridden(&self, keys: &str) -> bool {
        self.overridden.iter().any(|overridden| overridden == keys)
    }

    /// The settings were read. The checks that follow note nothing where there is a problem: a value that
    /// could not be read would only be reported again, as missing.
    pub(super) fn end_reading(&self) {
        self.of_reading.set(self.noted.borrow().len());
    }

    /// The problems that were noted, in their order.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.noted.into_inner()
    }
}

/// Whether `keys` are those of `table`, or of something in it.
fn holds(table: &str, keys: &str) -> bool {
    let rest = keys.strip_prefix(table).filter(|_| !table.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One value, its place, and where its problems are noted.
pub(super) struct Spot<'a> {
    /// The value; [`ValueKind::Nil`] if there is none.
    pub(super) value: &'a ValueKind,
    /// The place, such as `sources[0].name`.
    keys: String,
    notes: &'a Notes,
    /// The keys of this table that were read, and whether each is allowed.
    read: RefCell<Vec<(&'static str, bool)>>,
}

impl<'a> Spot<'a> {
    /// The root of the tree, or, with `keys`, a value in it.
    pub(super) fn new(value: &'a ValueKind, keys: String, notes: &'a Notes) -> Self {
        Self {
            value,
            keys,
            notes,
            read: RefCell::default(),
        }
    }

    /// Reads this table with `take`, then notes the keys that `take` has not read.
    pub(super) fn table<T>(&self, take: impl FnOnce(&Self) -> T) -> Option<T> {
        let ValueKind::Table(map) = self.value else {
            return self.wrong_kind("a table");
        };
        let taken = take(self);
        self.note_unknown(map);
        Some(taken)
    }

    /// The value of `defaults`, changed by the keys of this table.
    pub(super) fn over<T: Keys>(&self, mut defaults: T) -> T {
        defaults.fill(self);
        defaults
    }

    /// Reads the table at a key into `section`, if there is one.
    pub(super) fn section(&self, key: &'static str, section: &mut impl Keys) {
        self.read(key, |spot| spot.table(|table| section.fill(table)));
    }

    /// Reads the tables of a `[[key]]` list, and adds them to `list`.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        list: &mut Vec<T>,
        take: impl Fn(&Spot<'_>) -> Option<T>,
    ) {
        let example = format!("write [[{key}]]");
        let tables = self.read(key, |spot| {
            spot.each(&example, |item| item.table(&take).flatten())
        });
        list.extend(tables.unwrap_or_default());
    }

    /// Reads a key of this table; `None` if it is absent or its value is wrong.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        kind: impl FnOnce(&Spot<'a>) -> Option<T>,
    ) -> Option<T> {
        self.read.borrow_mut().push((key, true));
        self.has(key).then(|| kind(&self.at(key)))?
    }

    /// Reads a key that is required and must not be an empty text. `what` describes it in the error.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        kind: impl FnOnce(&Spot<'a>) -> Option<T>,
        what: &str,
    ) -> Option<T> {
        let missing = match self.at(key).value {
            ValueKind::Nil => "is missing",
            ValueKind::String(text) if text.is_empty() => "is empty",
            _ => return self.read(key, kind),
        };
        self.at(key).note(format!("{missing}; it is {what}"));
        self.read(key, |_| None)
    }

    /// Skips the keys that `take` would read and that were not read yet, because they belong to another
    /// kind of table. Notes `wrong` at those that are present.
    pub(super) fn pass<T>(&self, wrong: Option<&str>, take: impl FnOnce(&Spot<'_>) -> T) {
        let (empty, notes) = (ValueKind::Table(Map::new()), Notes::default());
        let other = Spot::new(&empty, String::new(), &notes);
        take(&other);
        let mut read = self.read.borrow_mut();
        for (key, _) in other.read.into_inner() {
            if read.iter().any(|(known, _)| *known == key) {
                continue;
            }
            read.push((key, false));
            if let Some(wrong) = wrong.filter(|_| self.has(key)) {
                self.at(key).note(wrong);
            }
        }
    }

    /// Reads each item of a list such as `example`, and notes the problems of all items; `None` if there
    /// is a problem. Environment variables hold only texts, so there commas separate the items.
    pub(super) fn each<T>(
        &self,
        example: &str,
        kind: impl Fn(&Spot<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let texts: Vec<ValueKind>;
        let items: Vec<&ValueKind> = match self.value {
            ValueKind::Array(items) => items.iter().map(|item| &item.kind).collect(),
            ValueKind::String(text) if self.notes.is_overridden(&self.keys) => {
                let parts = text.split(',').map(str::trim);
                let parts = parts.filter(|part| !part.is_empty());
                texts = parts.map(Into::into).collect();
                texts.iter().collect()
            }
            _ => return self.wrong_kind(&format!("a list: {example}")),
        };
        let items = items.into_iter().enumerate().map(|(index, value)| {
            let keys = format!("{}[{index}]", self.keys);
            kind(&Spot::new(value, keys, self.notes))
        });
        let items: Vec<Option<T>> = items.collect();
        items.into_iter().collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        matches!(self.value, ValueKind::Table(map) if map.contains_key(key))
    }

    /// The value at a key of this table.
    pub(super) fn at(&self, key: &str) -> Self {
        let value = match self.value {
            ValueKind::Table(map) => map.get(key).map(|value| &value.kind),
            _ => None,
        };
        let keys = match self.keys.as_str() {
            "" => key.to_owned(),
            before => format!("{before}.{key}"),
        };
        Self::new(value.unwrap_or(&ValueKind::Nil), keys, self.notes)
    }

    /// Notes a problem at this place.
    pub(super) fn note(&self, text: impl Into<String>) {
        self.notes.add(&self.keys, text);
    }

    /// Notes that another value was expected, and shows the one found. Not for secrets.
    pub(super) fn wrong<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => {
                self.value.to_string()
            }
            _ => return self.wrong_kind(expected),
        };
        self.note(format!("found {found}, expected {expected}"));
        None
    }

    /// Notes that another value was expected, and shows only the kind of the one found.
    pub(super) fn wrong_kind<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            ValueKind::Nil => "nothing",
            ValueKind::Boolean(_) => "true or false",
            ValueKind::String(_) => "a text",
            ValueKind::Table(_) => "a table",
            ValueKind::Array(_) => "a list",
            _ => "a number",
        };
        self.note(format!("found {found}, expected {expected}"));
        None
    }

    fn note_unknown(&self, map: &Map<String, Value>) {
        let read = self.read.borrow();
        let mut unknown: Vec<&String> = map.keys().collect();
        unknown.retain(|key| read.iter().all(|(known, _)| known != key));
        unknown.sort_unstable();
        let allowed = read.iter().filter(|(_, allowed)| *allowed);
        let mut allowed: Vec<&str> = allowed.map(|(key, _)| *key).collect();
        allowed.sort_unstable();
        let there_are = allowed.join(", ");
        for key in unknown {
            let text = match meant(key, &allowed) {
                Some(meant) => format!("unknown key, did you mean {meant}? There are: {there_are}"),
                None => format!("unknown key; there are: {there_are}"),
            };
            self.at(key).note(text);
        }
    }
}

/// The name of `known` that `found` was probably meant to be: at most one letter in three differs.
fn meant<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = |name: &str| strsim::damerau_levenshtein(found, name);
    let nearest = known.iter().min_by_key(|name| wrong(name))?;
    (wrong(nearest) * 3 <= found.chars().count()).then_some(*nearest)
}

/// A struct whose fields are keys of a table; see [`keys!`].
pub(super) trait Keys {
    /// Sets the fields whose keys are present. The other fields stay unchanged.
    fn fill(&mut self, table: &Spot<'_>);
}

/// Derives [`Keys`]: `keys!(Type { key: kind, key: kind => "what it is", … })`. Each key sets the field
/// of its name. Its kind (see `kinds.rs`) says how the value is written and limited. A required key has
/// a description.
macro_rules! keys {
    ($type:ty { $($key:ident: $kind:expr $(=> $what:literal)?),* $(,)? }) => {
        impl $crate::settings::spot::Keys for $type {
            fn fill(&mut self, table: &$crate::settings::spot::Spot<'_>) {
                $(
                    let value = $crate::settings::spot::keys!(@read table $key $kind $(=> $what)?);
                    if let Some(value) = value {
                        self.$key = value;
                    }
                )*
            }
        }
    };
    (@read $table:ident $key:ident $kind:expr) => {
        $table.read(stringify!($key), $kind)
    };
    (@read $table:ident $key:ident $kind:expr => $what:literal) => {
        $table.required(stringify!($key), $kind, $what)
    };
}

pub(super) use keys;
