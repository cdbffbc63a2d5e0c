//! What an object of a kind may hold: one form for Kubernetes' own kinds and for custom resources.
//!
//! It drives pruning and type checks, strategic merge, the field sets of server-side apply, the defaults and the
//! validation of custom resources, and the OpenAPI documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use serde_json::{Map, Value, json};

/// The type of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Anything at all: nothing is checked and nothing is dropped below.
    #[default]
    Any,
    /// A JSON object, with named properties or as a map.
    Object,
    /// A JSON array.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A whole number or text (`IntOrString`, `Quantity`).
    IntOrString,
}

/// How a value travels in protobuf, where its type alone does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wire {
    #[default]
    Plain,
    /// Bytes, base64 in JSON.
    Bytes,
    /// Seconds and nanoseconds.
    Time,
    /// A message with a text in it.
    Quantity,
}

/// How server-side apply treats a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The whole list has one owner.
    #[default]
    Atomic,
    /// Each value has its own owner.
    Set,
    /// Each element has its own owner and is known by these fields.
    Map(Vec<String>),
}

/// Limits of a custom resource's field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) values: Vec<Value>,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) pattern: Option<regex::Regex>,
    pub(crate) format: Option<String>,
    /// The field may not change (the rule `self == oldSelf`; other CEL rules are not evaluated), with its message.
    pub(crate) immutable: Option<String>,
}

/// One place in an object.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// What it holds.
    pub kind: Type,
    /// Named fields of an object.
    pub properties: BTreeMap<String, Arc<Schema>>,
    /// What a map holds under any key.
    pub additional: Option<Arc<Schema>>,
    /// What a list holds.
    pub items: Option<Arc<Schema>>,
    /// Names of the fields that must be there.
    pub required: Vec<String>,
    /// Server-side apply's view of a list.
    pub list: ListType,
    /// The whole object has one owner.
    pub atomic: bool,
    /// Strategic merge joins this list (or set) with the live one instead of replacing it.
    pub patch_merge: bool,
    /// Strategic merge: the field by which list elements are matched.
    pub merge_key: Option<String>,
    /// Strategic merge: fields that the patch does not name are dropped from a matched element (unions).
    pub retain_keys: bool,
    /// Unknown fields are kept.
    pub preserve_unknown: bool,
    /// Null is a value.
    pub nullable: bool,
    /// The value if none is given.
    pub default: Option<Value>,
    /// A whole object with apiVersion, kind and metadata.
    pub embedded: bool,
    /// The type's name, for Kubernetes' own (`core.v1.PodSpec`).
    pub name: String,
    pub(crate) limits: Option<Box<Limits>>,
    pub(crate) wire: Wire,
    /// Names of fields by their number in protobuf (`2.1`: in an inlined message).
    pub(crate) numbers: BTreeMap<String, String>,
}

static ANY: OnceLock<Arc<Schema>> = OnceLock::new();
static BUILTIN: OnceLock<Builtin> = OnceLock::new();

/// Kubernetes' own types.
struct Builtin {
    kinds: BTreeMap<(String, String), Arc<Schema>>,
    metadata: Arc<Schema>,
}

impl Schema {
    /// A place where anything goes.
    pub fn any() -> Arc<Self> {
        ANY.get_or_init(|| {
            Arc::new(Self {
                preserve_unknown: true,
                ..Self::default()
            })
        })
        .clone()
    }

    /// The schema of one of Kubernetes' own kinds, or `None` if it is not in the table.
    pub fn builtin(api_version: &str, kind: &str) -> Option<Arc<Self>> {
        builtin()
            .kinds
            .get(&(api_version.to_owned(), kind.to_owned()))
            .cloned()
    }

    /// The schema of `metadata`.
    pub fn object_meta() -> Arc<Self> {
        builtin().metadata.clone()
    }

    /// An object with `metadata` of which nothing else is known: the form of a custom resource without a schema.
    pub fn permissive() -> Arc<Self> {
        let properties = BTreeMap::from([("metadata".to_owned(), Self::object_meta())]);
        Arc::new(Self {
            kind: Type::Object,
            properties,
            preserve_unknown: true,
            ..Self::default()
        })
    }

    /// Reads the `openAPIV3Schema` of a CustomResourceDefinition.
    pub fn from_openapi(document: &Value) -> Arc<Self> {
        let mut root = parse(document);
        root.kind = Type::Object;
        for field in ["apiVersion", "kind"] {
            root.properties.entry(field.to_owned()).or_insert_with(|| {
                Arc::new(Self {
                    kind: Type::String,
                    ..Self::default()
                })
            });
        }
        root.properties.insert("metadata".to_owned(), Self::object_meta());
        Arc::new(root)
    }

    /// The schema of the field `key` of an object of this schema.
    pub fn field(&self, key: &str) -> Option<&Arc<Self>> {
        self.properties.get(key).or(self.additional.as_ref())
    }

    /// The schema of the field `key`, anything if it is not known.
    pub(crate) fn field_or_any(&self, key: &str) -> Arc<Self> {
        self.field(key).cloned().unwrap_or_else(Self::any)
    }

    /// The schema of the elements of a list, anything if it is not known.
    pub(crate) fn items_or_any(&self) -> Arc<Self> {
        self.items.clone().unwrap_or_else(Self::any)
    }

    /// Whether `key` is declared by name, not just allowed as the key of a map.
    pub(crate) fn declares(&self, key: &str) -> bool {
        self.properties.contains_key(key)
    }

    /// The schema as OpenAPI v3, for clients.
    pub fn to_openapi(&self) -> Value {
        let mut out = Map::new();
        match self.kind {
            Type::Any => {}
            Type::Object => drop(out.insert("type".to_owned(), json!("object"))),
            Type::Array => drop(out.insert("type".to_owned(), json!("array"))),
            Type::String => drop(out.insert("type".to_owned(), json!("string"))),
            Type::Integer => drop(out.insert("type".to_owned(), json!("integer"))),
            Type::Number => drop(out.insert("type".to_owned(), json!("number"))),
            Type::Boolean => drop(out.insert("type".to_owned(), json!("boolean"))),
            Type::IntOrString => drop(out.insert("x-kubernetes-int-or-string".to_owned(), json!(true))),
        }
        if !self.properties.is_empty() {
            let fields = self
                .properties
                .iter()
                .map(|(k, v)| (k.clone(), v.to_openapi()))
                .collect();
            out.insert("properties".to_owned(), Value::Object(fields));
        }
        if let Some(inner) = &self.additional {
            out.insert("additionalProperties".to_owned(), inner.to_openapi());
        }
        if let Some(inner) = &self.items {
            out.insert("items".to_owned(), inner.to_openapi());
        }
        if !self.required.is_empty() {
            out.insert("required".to_owned(), json!(self.required));
        }
        if self.preserve_unknown {
            out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        }
        match &self.list {
            ListType::Set => drop(out.insert("x-kubernetes-list-type".to_owned(), json!("set"))),
            ListType::Map(keys) => {
                out.insert("x-kubernetes-list-type".to_owned(), json!("map"));
                out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
            }
            ListType::Atomic => {}
        }
        if self.atomic {
            out.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
        if self.patch_merge {
            let strategy = if self.retain_keys {
                "merge,retainKeys"
            } else {
                "merge"
            };
            out.insert("x-kubernetes-patch-strategy".to_owned(), json!(strategy));
        }
        if let Some(key) = &self.merge_key {
            out.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
        }
        Value::Object(out)
    }
}

fn builtin() -> &'static Builtin {
    BUILTIN.get_or_init(|| Table::read(include_str!("schema/builtin.tsv")).build())
}

/// `schema/builtin.tsv`, read: see `schema/distil.py` for its form.
#[derive(Default)]
struct Table<'a> {
    kinds: Vec<(&'a str, &'a str)>,
    atomic: BTreeSet<&'a str>,
    fields: BTreeMap<&'a str, Vec<[&'a str; 4]>>,
    built: BTreeMap<&'a str, Arc<Schema>>,
}

impl<'a> Table<'a> {
    fn read(text: &'a str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let mut columns = line.split('\t');
            let mut next = || columns.next().unwrap_or_default();
            let (name, field, number, holds, rules) = (next(), next(), next(), next(), next());
            match (field, rules) {
                ("", "kind") => table.kinds.push((name, holds)),
                ("", _) => drop(table.atomic.insert(name)),
                _ => table
                    .fields
                    .entry(name)
                    .or_default()
                    .push([field, number, holds, rules]),
            }
        }
        table
    }

    fn build(mut self) -> Builtin {
        let kinds = std::mem::take(&mut self.kinds);
        let kinds = kinds
            .into_iter()
            .filter_map(|(name, kind)| {
                let (api_version, kind) = kind.rsplit_once('/')?;
                Some(((api_version.to_owned(), kind.to_owned()), self.named(name)))
            })
            .collect();
        Builtin {
            kinds,
            metadata: self.named("meta.v1.ObjectMeta"),
        }
    }

    fn named(&mut self, name: &'a str) -> Arc<Schema> {
        if let Some(schema) = self.built.get(name) {
            return schema.clone();
        }
        // a type that holds itself ends in "anything" (the table has none: they are all plain there)
        self.built.insert(name, Schema::any());
        let mut schema = Schema {
            kind: Type::Object,
            name: name.to_owned(),
            ..Schema::default()
        };
        schema.atomic = self.atomic.contains(name);
        for [field, number, holds, rules] in self.fields.get(name).cloned().unwrap_or_default() {
            if !number.is_empty() {
                schema.numbers.insert(number.to_owned(), field.to_owned());
            }
            let mut inner = (*self.holding(holds)).clone();
            for rule in rules.split(' ') {
                match rule.split_once('=').unwrap_or((rule, "")) {
                    ("required", _) => schema.required.push(field.to_owned()),
                    ("patch", strategies) => {
                        inner.patch_merge = strategies.split(',').any(|s| s == "merge");
                        inner.retain_keys = strategies.split(',').any(|s| s == "retainKeys");
                    }
                    ("merge", key) => inner.merge_key = Some(key.to_owned()),
                    ("list", "set") => inner.list = ListType::Set,
                    ("list", keys) => {
                        let keys = keys.strip_prefix("map:").unwrap_or(keys);
                        inner.list = ListType::Map(keys.split(',').map(str::to_owned).collect());
                    }
                    ("map", _) => inner.atomic = true,
                    ("default", value) => inner.default = Some(json!(value)),
                    _ => {}
                }
            }
            schema.properties.insert(field.to_owned(), Arc::new(inner));
        }
        let schema = Arc::new(schema);
        self.built.insert(name, schema.clone());
        schema
    }

    fn holding(&mut self, holds: &'a str) -> Arc<Schema> {
        let wired = |kind, wire| {
            Arc::new(Schema {
                kind,
                wire,
                ..Schema::default()
            })
        };
        let plain = |kind| wired(kind, Wire::Plain);
        if let Some(inner) = holds.strip_prefix("[]") {
            let items = Some(self.holding(inner));
            return Arc::new(Schema {
                kind: Type::Array,
                items,
                ..Schema::default()
            });
        }
        if let Some(inner) = holds.strip_prefix("{}") {
            let additional = Some(self.holding(inner));
            return Arc::new(Schema {
                kind: Type::Object,
                additional,
                ..Schema::default()
            });
        }
        match holds {
            "string" => plain(Type::String),
            "integer" => plain(Type::Integer),
            "number" => plain(Type::Number),
            "boolean" => plain(Type::Boolean),
            "int-or-string" => plain(Type::IntOrString),
            "quantity" => wired(Type::IntOrString, Wire::Quantity),
            "bytes" => wired(Type::String, Wire::Bytes),
            "time" => wired(Type::String, Wire::Time),
            "any" => Schema::any(),
            name => self.named(name),
        }
    }
}

fn parse(document: &Value) -> Schema {
    let mut schema = Schema::default();
    let flag = |key: &str| document.get(key).and_then(Value::as_bool).unwrap_or(false);
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    schema.preserve_unknown = flag("x-kubernetes-preserve-unknown-fields");
    schema.embedded = flag("x-kubernetes-embedded-resource");
    schema.nullable = flag("nullable");
    schema.default = document.get("default").cloned();
    schema.kind = match text("type") {
        _ if flag("x-kubernetes-int-or-string") => Type::IntOrString,
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        _ => Type::Any,
    };
    if let Some(fields) = document.get("properties").and_then(Value::as_object) {
        schema.properties = fields
            .iter()
            .map(|(k, v)| (k.clone(), Arc::new(parse(v))))
            .collect();
    }
    match document.get("additionalProperties") {
        Some(Value::Bool(true)) => schema.additional = Some(Schema::any()),
        Some(inner @ Value::Object(_)) => schema.additional = Some(Arc::new(parse(inner))),
        _ => {}
    }
    schema.items = document.get("items").map(|inner| Arc::new(parse(inner)));
    schema.required = strings(document.get("required"));
    schema.list = match text("x-kubernetes-list-type") {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(strings(document.get("x-kubernetes-list-map-keys"))),
        _ => ListType::Atomic,
    };
    schema.atomic = text("x-kubernetes-map-type") == Some("atomic");
    schema.limits = limits(document);
    schema
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn limits(document: &Value) -> Option<Box<Limits>> {
    let count = |key: &str| document.get(key).and_then(Value::as_u64);
    let flag = |key: &str| document.get(key).and_then(Value::as_bool).unwrap_or(false);
    let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
    let rules = document.get("x-kubernetes-validations").and_then(Value::as_array);
    let immutable = rules.into_iter().flatten().find(|rule| {
        let rule = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
        rule.split_whitespace().collect::<String>() == "self==oldSelf"
    });
    let limits = Limits {
        values: document
            .get("enum")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        minimum: document.get("minimum").and_then(Value::as_f64),
        exclusive_minimum: flag("exclusiveMinimum"),
        maximum: document.get("maximum").and_then(Value::as_f64),
        exclusive_maximum: flag("exclusiveMaximum"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        // a pattern that this engine does not know is not checked
        pattern: text("pattern").and_then(|pattern| regex::Regex::new(&pattern).ok()),
        format: text("format"),
        immutable: immutable.map(|rule| {
            let message = rule.get("message").and_then(Value::as_str);
            message.map_or_else(|| "failed rule: self == oldSelf".to_owned(), str::to_owned)
        }),
    };
    let none = limits.values.is_empty()
        && [limits.minimum, limits.maximum].iter().all(Option::is_none)
        && [
            limits.min_length,
            limits.max_length,
            limits.min_items,
            limits.max_items,
        ]
        .iter()
        .all(Option::is_none)
        && [limits.min_properties, limits.max_properties]
            .iter()
            .all(Option::is_none)
        && limits.pattern.is_none()
        && [&limits.format, &limits.immutable]
            .iter()
            .all(|text| text.is_none());
    (!none).then(|| Box::new(limits))
}
