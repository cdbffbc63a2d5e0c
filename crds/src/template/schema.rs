//! The Go types under `PodTemplateSpec` and `CanaryStep`, as a table.
//!
//! `go-field-order.json` lists for each type its fields in marshalling order with `omitempty` and `omitzero`,
//! taken from k8s.io/api 0.34 and upstream's own types (contract 2.4). It is parsed once.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// The Go type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Bool,
    /// A signed integer with its bounds.
    Int(i64, i64),
    /// JSON that is carried along untouched.
    Raw,
    Quantity,
    IntOrString,
    Time,
    /// An index into [`Schema::fields`].
    Struct(usize),
    Pointer(Box<Kind>),
    List(Box<Kind>),
    Map(Box<Kind>),
}

/// When a field is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    Never,
    /// `omitempty`: false, 0, nil pointer, and any empty string, list or map, but never a struct.
    Empty,
    /// `omitzero`: also a struct that is its zero value.
    Zero,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) omit: Omit,
}

/// Every struct, with its fields in marshalling order.
#[derive(Debug)]
pub(super) struct Schema {
    structs: Vec<Vec<Field>>,
    pub(super) pod_template: Kind,
    pub(super) canary_step: Kind,
}

impl Schema {
    pub(super) fn get() -> &'static Self {
        static SCHEMA: LazyLock<Schema> =
            LazyLock::new(|| Schema::parse(include_str!("go-field-order.json")));
        &SCHEMA
    }

    /// The fields of a struct kind's index.
    pub(super) fn fields(&self, index: usize) -> &[Field] {
        self.structs.get(index).map_or(&[], Vec::as_slice)
    }

    #[expect(
        clippy::expect_used,
        reason = "the table is part of this crate and every test reads it"
    )]
    fn parse(table: &str) -> Self {
        #[derive(Deserialize)]
        struct Row {
            json: String,
            r#type: String,
            #[serde(default)]
            omitempty: bool,
            #[serde(default)]
            omitzero: bool,
        }

        let table: BTreeMap<String, Vec<Row>> =
            serde_json::from_str(table).expect("invariant: the field table is JSON");
        let index: BTreeMap<&str, usize> = table
            .keys()
            .enumerate()
            .map(|(i, name)| (name.as_str(), i))
            .collect();
        let field = |row: &Row| Field {
            name: row.json.clone(),
            kind: kind(&row.r#type, &index).expect("invariant: the field table names known types"),
            omit: match (row.omitzero, row.omitempty) {
                (true, _) => Omit::Zero,
                (false, true) => Omit::Empty,
                (false, false) => Omit::Never,
            },
        };
        Self {
            structs: table
                .values()
                .map(|rows| rows.iter().map(field).collect())
                .collect(),
            pod_template: kind("PodTemplateSpec", &index)
                .expect("invariant: the field table has pod templates"),
            canary_step: kind("CanaryStep", &index).expect("invariant: the field table has canary steps"),
        }
    }
}

fn kind(name: &str, index: &BTreeMap<&str, usize>) -> Option<Kind> {
    if let Some(inner) = name.strip_prefix('*') {
        return Some(Kind::Pointer(Box::new(kind(inner, index)?)));
    }
    if let Some(inner) = name.strip_prefix("[]") {
        return Some(Kind::List(Box::new(kind(inner, index)?)));
    }
    if let Some(inner) = name.strip_prefix("map[string]") {
        return Some(Kind::Map(Box::new(kind(inner, index)?)));
    }
    Some(match name {
        "string" => Kind::String,
        "bool" => Kind::Bool,
        "int32" => Kind::Int(i64::from(i32::MIN), i64::from(i32::MAX)),
        "int64" => Kind::Int(i64::MIN, i64::MAX),
        // json.RawMessage; no field here is a plain byte slice
        "bytes" | "FieldsV1" => Kind::Raw,
        "Quantity" => Kind::Quantity,
        "IntOrString" => Kind::IntOrString,
        "Time" => Kind::Time,
        _ => Kind::Struct(*index.get(name)?),
    })
}
