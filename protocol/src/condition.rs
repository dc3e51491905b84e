//! Conditions: `when` of jobs and steps, in the Common Expression Language.
//!
//! The text is parsed by the `cel` crate and then made into a small tree of our own, which is evaluated here
//! with a budget. So no expression, however it came into a file, can stall or abort the process: length,
//! nesting and the number of operators are checked before the parser sees it, macros nest at most twice, and
//! evaluation counts its work and refuses to go on beyond [`BUDGET`]. No clock and no chance decides a result.
//!
//! **Language.** Values are null, bool, int (64 bits), double, string, list and map. Operators are those of
//! CEL, `in` and `? :` included; `&&` and `||` are true to CEL in that a side that decides the result makes an
//! error of the other side irrelevant. Macros: `has(a.b)`, `all`, `exists`, `exists_one`, `map`, `filter`.
//! Functions: `size`, `contains`, `startsWith`, `endsWith`, `matches`, `lowerAscii`, `upperAscii`, `trim`,
//! `split`, `join`, `string`, `int`, `double`, `bool`. A key that is missing is an error; `has` asks for it.

mod constant;
mod evaluate;
mod functions;
mod limits;
mod lower;
mod references;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tree::Node;

pub use evaluate::BUDGET;
pub use limits::{MAX_BYTES, MAX_DEPTH, MAX_NESTED_MACROS, MAX_NESTING, MAX_OPERATORS};
pub use references::{Reference, Scope};

/// What is wrong with a condition. Offsets are in bytes from the beginning of the expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// More than [`MAX_BYTES`].
    #[error("the expression has {length} bytes, at most {MAX_BYTES} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Brackets, operators or macros go too deep or are too many.
    #[error("{message}")]
    TooComplex {
        /// Which limit is exceeded.
        message: String,
        /// Where.
        offset: usize,
    },
    /// Not an expression.
    #[error("{message}")]
    Syntax {
        /// What was found.
        message: String,
        /// Where.
        offset: usize,
    },
    /// CEL, but not of the kind that is possible here.
    #[error("{message}")]
    Unsupported {
        /// What is not supported.
        message: String,
        /// Where.
        offset: usize,
    },
    /// A function that does not exist.
    #[error("unknown function `{name}`")]
    UnknownFunction {
        /// Its name.
        name: String,
        /// Where.
        offset: usize,
    },
    /// A variable that is not in the [`Scope`].
    #[error("unknown variable `{name}`")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// Where.
        offset: usize,
    },
    /// A field that a variable of the [`Scope`] does not have.
    #[error("`{variable}` has no field `{name}`")]
    UnknownField {
        /// The variable.
        variable: String,
        /// The field.
        name: String,
        /// Where.
        offset: usize,
    },
    /// Evaluation failed: a key is missing, types do not fit.
    #[error("{message}")]
    Evaluation {
        /// What failed.
        message: String,
        /// Where.
        offset: usize,
    },
    /// Evaluation took more than [`BUDGET`].
    #[error("the expression does too much work on this data")]
    TooExpensive,
    /// The result of a condition is not a bool.
    #[error("a condition must be true or false, this one is {found}")]
    NotBool {
        /// What it is instead.
        found: &'static str,
    },
}

impl ConditionError {
    /// Where in the expression the error is, in bytes, if it is at one place.
    pub fn offset(&self) -> Option<usize> {
        match self {
            Self::TooLong { .. } | Self::TooExpensive | Self::NotBool { .. } => None,
            Self::TooComplex { offset, .. }
            | Self::Syntax { offset, .. }
            | Self::Unsupported { offset, .. }
            | Self::UnknownFunction { offset, .. }
            | Self::UnknownVariable { offset, .. }
            | Self::UnknownField { offset, .. }
            | Self::Evaluation { offset, .. } => Some(*offset),
        }
    }
}

/// A parsed expression. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    root: Arc<Node>,
}

impl Expression {
    /// Parses an expression and checks everything that needs no data: syntax, limits, functions.
    ///
    /// What was parsed is remembered: a configuration says the same conditions again and again, and a run evaluates
    /// them as often.
    pub fn parse(source: &str) -> Result<Self, ConditionError> {
        static PARSED: Mutex<BTreeMap<String, Expression>> = Mutex::new(BTreeMap::new());
        const REMEMBERED: usize = 512;
        let parsed = || PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expression) = parsed().get(source) {
            return Ok(expression.clone());
        }
        limits::check(source)?;
        let expression = Self { source: source.into(), root: Arc::new(lower::parse(source)?) };
        let mut parsed = parsed();
        if parsed.len() >= REMEMBERED {
            parsed.clear();
        }
        parsed.insert(source.to_owned(), expression.clone());
        Ok(expression)
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables and fields that it refers to, in the order of the text.
    pub fn references(&self) -> Vec<Reference> {
        references::collect(&self.root)
    }

    /// Refuses names that a scope does not have; the first one in the text is reported.
    pub fn check(&self, scope: &Scope) -> Result<(), ConditionError> {
        references::check(&self.references(), scope)
    }

    /// Evaluates to a bool. `context` is an object whose keys are the variables.
    pub fn evaluate(&self, context: &serde_json::Value) -> Result<bool, ConditionError> {
        match evaluate::evaluate(&self.root, Some(context))? {
            value::Value::Bool(result) => Ok(result),
            other => Err(ConditionError::NotBool { found: other.kind() }),
        }
    }

    /// Evaluates to any value.
    pub fn evaluate_value(&self, context: &serde_json::Value) -> Result<serde_json::Value, ConditionError> {
        Ok(evaluate::evaluate(&self.root, Some(context))?.to_json())
    }

    /// What it evaluates to whatever the variables are, as far as that can be told: `Some(false)` means that
    /// it can never be true, `Some(true)` that it is true whenever it can be evaluated at all. `None` means
    /// that it may be either.
    pub fn constant_value(&self) -> Option<bool> {
        constant::value(&self.root)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}
