//! What one evaluation may cost.

use super::{EvalError, MAX_MEMORY, MAX_STEPS};

/// Counts down while an expression runs.
#[derive(Debug, Default)]
pub(super) struct Budget {
    memory: usize,
    steps: usize,
}

impl Budget {
    /// So many units of work: nodes visited, items looked at.
    pub(super) fn step(&mut self, units: usize) -> Result<(), EvalError> {
        self.steps = self.steps.saturating_add(units);
        if self.steps > MAX_STEPS {
            return Err(EvalError::new("step budget exceeded"));
        }
        Ok(())
    }

    /// So many bytes read from end to end.
    pub(super) fn scan(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.step(bytes / 64)
    }

    /// So many items of lists and maps; asked before they are allocated.
    pub(super) fn memory(&mut self, items: usize) -> Result<(), EvalError> {
        self.memory = self.memory.saturating_add(items);
        if self.memory >= MAX_MEMORY {
            return Err(EvalError::new("memory budget exceeded"));
        }
        Ok(())
    }

    /// So many bytes of text; an item of a list is about as large as 16 of them.
    pub(super) fn bytes(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.scan(bytes)?;
        self.memory(bytes / 16)
    }
}
