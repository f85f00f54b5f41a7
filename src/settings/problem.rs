//! [`Notes`]: collects everything that is wrong with the settings, and where.

use std::cell::RefCell;

use crate::error::{Problem, Problems};

/// Collects the problems while settings are read and checked.
#[derive(Debug)]
pub(super) struct Notes {
    /// The name of the settings file, as messages show it.
    file: String,
    notes: RefCell<Vec<Note>>,
}

#[derive(Debug)]
struct Note {
    /// The first key of its place.
    section: String,
    problem: Problem,
}

impl Notes {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            notes: RefCell::default(),
        }
    }

    /// Notes a problem at a key such as `sources[0].name`, or at the file if `keys` is empty.
    pub(super) fn add(&self, keys: &str, text: impl Into<String>) {
        let place = match keys {
            "" => self.file.clone(),
            keys => format!("{}: {keys}", self.file),
        };
        self.push(keys, place, text.into());
    }

    /// Notes a problem with a value that the environment has set.
    pub(super) fn add_override(&self, keys: &str, text: impl Into<String>) {
        // An item of a list was set by the variable of the whole list.
        let list = keys.split('[').next().unwrap_or_default();
        let variable = list.to_ascii_uppercase().replace('.', "__");
        let place = format!("environment variable OFFHOOK__{variable}");
        self.push(keys, place, text.into());
    }

    /// Notes a problem with an environment variable that cannot be an override.
    pub(super) fn add_variable(&self, name: &str, text: impl Into<String>) {
        self.push("", format!("environment variable {name}"), text.into());
    }

    fn push(&self, keys: &str, place: String, text: String) {
        let section = keys.split(['.', '[']).next().unwrap_or_default();
        let section = section.to_owned();
        let problem = Problem { place, text };
        self.notes.borrow_mut().push(Note { section, problem });
    }

    /// Adds the notes of the checks on all settings, except for sections that already have a problem: a
    /// value that could not be read there would only be reported again as missing.
    pub(super) fn and(self, whole: Self) -> Self {
        let mut notes = self.notes.into_inner();
        let sections: Vec<_> = notes.iter().map(|note| note.section.clone()).collect();
        let mut more = whole.notes.into_inner();
        more.retain(|note| !sections.contains(&note.section));
        notes.append(&mut more);
        Self {
            file: self.file,
            notes: RefCell::new(notes),
        }
    }

    /// Returns `Ok` if nothing was noted.
    pub(super) fn into_result(self) -> Result<(), Problems> {
        let notes = self.notes.into_inner().into_iter();
        let problems: Vec<Problem> = notes.map(|note| note.problem).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems::of(problems))
        }
    }
}

/// The name of `known` that `found` was probably meant to be: at most one letter in three differs.
pub(super) fn meant<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = |name: &str| strsim::damerau_levenshtein(found, name);
    let nearest = known.iter().min_by_key(|name| wrong(name))?;
    (wrong(nearest) * 3 <= found.chars().count()).then_some(*nearest)
}
