//! The condition language of metrics: expr-lang 1.17, as Argo Rollouts embeds it (contract 3.12).
//!
//! A condition is tenant input in a shared controller, so everything that it can cost is bounded: the length of its
//! source, the depth and the size of its tree, the steps it takes and the memory it asks for. Nothing in here panics,
//! reads a clock or does IO; time zones are compiled in.
//!
//! ```
//! use tidegate_analysis::expr::{Env, Kind, Program, Value};
//!
//! let program = Program::compile("result[0] >= 0.95", Kind::Condition)?;
//! let env = Env { result: Value::floats([0.97]), now: jiff::Timestamp::UNIX_EPOCH };
//! assert!(program.run_bool(&env)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ast;
mod base64;
mod budget;
mod builtins;
mod check;
mod eval;
mod golayout;
pub mod goregex;
mod gotime;
mod lexer;
mod parser;
mod value;

pub use self::value::{List, Map, Value};

use jiff::Timestamp;

use self::check::Type;

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 16 << 10;
/// The deepest nesting of an expression.
pub const MAX_DEPTH: usize = 128;
/// The largest tree, in nodes.
pub const MAX_NODES: usize = 10_000;
/// The most items of lists and maps that one run may make (upstream's memory budget).
pub const MAX_MEMORY: usize = 1_000_000;
/// The most steps of one run: nodes visited, items compared, blocks of 64 bytes read.
pub const MAX_STEPS: usize = 2_000_000;

/// What an expression is for, which decides the names that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A `successCondition` or `failureCondition`: knows `result` and the functions on it.
    Condition,
    /// The start or the end of a `rangeQuery`: knows no result.
    Range,
}

/// What an expression is evaluated against.
#[derive(Debug, Clone)]
pub struct Env {
    /// The result of the measurement; not looked at by a [`Kind::Range`].
    pub result: Value,
    /// What `now()` answers.
    pub now: Timestamp,
}

/// An expression that cannot be run: the message as upstream words it, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is wrong, without the place.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl CompileError {
    fn at(source: &str, at: usize, message: impl Into<String>) -> Self {
        let before = source.get(..at).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            message: short(message.into()),
            line: before.matches('\n').count() as u32 + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() as u32 + 1,
        }
    }
}

/// An expression that failed while it ran, or whose value is of the wrong type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    message: String,
}

impl EvalError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: short(message.into()),
        }
    }

    fn operation(operator: &str, left: &Value, right: &Value) -> Self {
        Self::new(format!(
            "invalid operation: {} {operator} {}",
            left.type_name(),
            right.type_name()
        ))
    }
}

impl From<CompileError> for EvalError {
    fn from(error: CompileError) -> Self {
        Self {
            message: error.message,
        }
    }
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    source: String,
    kind: Kind,
    root: ast::Node,
}

impl Program {
    /// Parses an expression and checks what can be checked without a result: syntax, names, numbers of arguments,
    /// types of what is written out.
    ///
    /// # Errors
    /// With a message as upstream words it, and the place.
    pub fn compile(source: &str, kind: Kind) -> Result<Self, CompileError> {
        if source.len() > MAX_SOURCE {
            let message = format!("expression is longer than {MAX_SOURCE} bytes");
            return Err(CompileError {
                message,
                line: 1,
                column: 1,
            });
        }
        let program = Self {
            root: parser::parse(source)?,
            source: source.to_owned(),
            kind,
        };
        check::check(source, &program.root, kind, &Type::Any)?;
        Ok(program)
    }

    /// Runs a condition.
    ///
    /// # Errors
    /// When the types of the expression do not fit the result, when it fails, when it costs more than its budget,
    /// or when its value is not a boolean.
    pub fn run_bool(&self, env: &Env) -> Result<bool, EvalError> {
        match self.run(env)? {
            Value::Bool(value) => Ok(value),
            other => Err(EvalError::new(format!(
                "expected bool, but got {}",
                other.type_name()
            ))),
        }
    }

    /// Runs the start or end of a range query.
    ///
    /// # Errors
    /// As for [`Program::run_bool`], with a time in the place of a boolean.
    pub fn run_time(&self, env: &Env) -> Result<Timestamp, EvalError> {
        match self.run(env)? {
            Value::Time(value) => Ok(value.timestamp()),
            other => Err(EvalError::new(format!(
                "expected time.Time, but got {}",
                other.type_name()
            ))),
        }
    }

    /// Runs an expression for its value.
    ///
    /// # Errors
    /// As for [`Program::run_bool`], for whatever value.
    pub fn run(&self, env: &Env) -> Result<Value, EvalError> {
        check::check(&self.source, &self.root, self.kind, &Type::of(&env.result))?;
        eval::Run::new(env, self.kind).eval(&self.root)
    }
}

/// The longest message of an error in bytes: messages end up in a status, and may quote a result.
const MAX_MESSAGE: usize = 1024;

fn short(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message
}
