//! Where in an object a field is.

use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field of an object.
    Field(String),
    /// An element of a list, counted from 0.
    Index(usize),
}

/// The path of a field from the top of its object: `spec.strategy.canary.steps[0].setWeight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath {
    segments: Vec<Segment>,
}

impl FieldPath {
    /// A path of fields, separated by dots.
    pub(super) fn of(fields: &str) -> Self {
        Self::default().child(fields)
    }

    /// This path and further fields, separated by dots.
    pub(super) fn child(&self, fields: &str) -> Self {
        let fields = fields.split('.').map(|field| Segment::Field(field.to_owned()));
        Self {
            segments: self.segments.iter().cloned().chain(fields).collect(),
        }
    }

    /// This path and an element.
    pub(super) fn index(&self, index: usize) -> Self {
        let index = std::iter::once(Segment::Index(index));
        Self {
            segments: self.segments.iter().cloned().chain(index).collect(),
        }
    }

    /// This path and what is below it: `match[0].headerName`.
    pub(super) fn below(&self, path: &str) -> Self {
        let mut whole = self.clone();
        for part in path.split('.') {
            let mut parts = part.split('[');
            whole = whole.child(parts.next().unwrap_or_default());
            let indexes = parts.filter_map(|index| index.trim_end_matches(']').parse().ok());
            whole = indexes.fold(whole, |whole, index| whole.index(index));
        }
        whole
    }

    /// The steps of the path.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The path as a JSON pointer: `/spec/strategy/canary/steps/0/setWeight`.
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in &self.segments {
            pointer.push('/');
            match segment {
                Segment::Field(field) => pointer.push_str(&field.replace('~', "~0").replace('/', "~1")),
                Segment::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Field(field) if position == 0 => f.write_str(field)?,
                Segment::Field(field) => write!(f, ".{field}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
