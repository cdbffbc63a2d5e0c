//! What expressions work with: mostly parts of the object itself.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::{Map, Value};

#[derive(Clone, Debug)]
pub(super) enum Val<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'v>),
    List(Items<'v>),
    Map(Fields<'v>),
    /// What `.?` found.
    Maybe(Option<Box<Val<'v>>>),
}

/// Like all that is made here it is made once: another name for it costs nothing.
#[derive(Clone, Debug)]
pub(super) enum Text<'v> {
    Json(&'v str),
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Json(text) => text,
            Self::Made(text) => text,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Items<'v> {
    Json(&'v [Value]),
    Made(Rc<Vec<Val<'v>>>),
}

#[derive(Clone, Debug)]
pub(super) enum Fields<'v> {
    Json(&'v Map<String, Value>),
    Made(Rc<BTreeMap<Rc<str>, Val<'v>>>),
}

impl<'v> Val<'v> {
    pub(super) fn of(value: &'v Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Self::Int(number),
                (None, number) => Self::Double(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Text::Json(text)),
            Value::Array(items) => Self::List(Items::Json(items)),
            Value::Object(fields) => Self::Map(Fields::Json(fields)),
        }
    }

    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Items::Made(Rc::new(items)))
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Maybe(_) => "an optional",
        }
    }
}

impl<'v> Items<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Val<'v>> {
        match self {
            Self::Json(items) => items.get(index).map(Val::of),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Val<'v>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'v> Fields<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(fields) => fields.len(),
            Self::Made(fields) => fields.len(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Val<'v>> {
        match self {
            Self::Json(fields) => fields.get(name).map(Val::of),
            Self::Made(fields) => fields.get(name).cloned(),
        }
    }

    pub(super) fn keys(&self) -> Vec<Val<'v>> {
        match self {
            Self::Json(fields) => fields.keys().map(|key| Val::Text(Text::Json(key))).collect(),
            Self::Made(fields) => fields.keys().map(|key| Val::text(Rc::clone(key))).collect(),
        }
    }
}
