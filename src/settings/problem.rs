//! [`Notes`]: everything that is wrong with the settings, at once.

use std::cell::RefCell;

use crate::error::{Problem, Problems};

/// Where problems are noted while the settings are read.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<Vec<Problem>>);

impl Notes {
    pub(crate) fn add(&self, place: String, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem {
            place,
            text: text.into(),
        });
    }

    /// Whether something was noted at `place`.
    pub(crate) fn has(&self, place: &str) -> bool {
        self.0.borrow().iter().any(|problem| problem.place == place)
    }

    /// What was noted, and what the whole of the settings tells besides, but for sections of which
    /// something is wrong already: what was left out there would only be told again.
    pub(crate) fn and(self, whole: Result<(), Problems>) -> Result<(), Problems> {
        let section = |problem: &Problem| {
            let key = problem.place.split(": ").nth(1).unwrap_or_default();
            key.split(['.', '[']).next().unwrap_or_default().to_owned()
        };
        let wrong: Vec<_> = self.0.borrow().iter().map(section).collect();
        let whole = whole
            .err()
            .map_or(Vec::new(), |problems| problems.into_list());
        let whole = whole
            .into_iter()
            .filter(|problem| !wrong.contains(&section(problem)));
        self.0.borrow_mut().extend(whole);
        self.into_result()
    }

    /// Ok when nothing was noted.
    pub(crate) fn into_result(self) -> Result<(), Problems> {
        let problems = self.0.into_inner();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Problems::of(problems)),
        }
    }
}
