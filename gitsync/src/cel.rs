//! The Common Expression Language, as far as questions about one object need it.
//!
//! A tenant writes expressions, and they run in the thread that plans for everybody. So everything has a bound: the length and
//! the nesting of an expression, and the steps that it takes, which are counted. Nothing here recurses deeper than an
//! expression is nested, and nothing is copied out of the object.

mod evaluate;
mod functions;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
mod value;

use std::cell::Cell;

use serde_json::Value;

use self::evaluate::{Fault, Run};
use self::parser::Node;

/// Longest expression, in bytes.
pub(crate) const MAX_LENGTH: usize = 1024;
/// Most steps of one expression on one object.
const MOST_STEPS: u64 = 100_000;

/// A question about an object that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression(Node);

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {message}")]
pub(crate) struct Problem {
    /// Counted from 1.
    at: usize,
    message: String,
}

/// How many steps all expressions of a plan may take together.
#[derive(Debug)]
pub(crate) struct Budget(Cell<u64>);

impl Budget {
    pub(crate) fn new(steps: u64) -> Self {
        Self(Cell::new(steps))
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Says where it is wrong, and how to mend it.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_LENGTH {
            let message = format!("is {} bytes long: at most {MAX_LENGTH} are taken", text.len());
            return Err(Problem { at: 1, message });
        }
        parser::parse(text).map(Self)
    }

    /// Whether it is true of an object, whose top-level fields are its variables.
    ///
    /// # Errors
    /// In words: a field that is not there, a wrong type, too many steps.
    pub(crate) fn holds(&self, object: &Value, budget: &Budget) -> Result<bool, String> {
        let all = budget.0.get();
        let run = Run::new(object, all.min(MOST_STEPS));
        let answer = run.whether(&self.0);
        budget.0.set(all - all.min(run.spent()));
        answer.map_err(|fault| match fault {
            Fault::Wrong(message) => message,
            Fault::Steps if all > MOST_STEPS => {
                format!("takes more than {MOST_STEPS} steps on this object: let it look at less")
            }
            Fault::Steps => {
                "is not asked any more: the health checks of this Delivery take too many steps together"
                    .to_owned()
            }
        })
    }
}
