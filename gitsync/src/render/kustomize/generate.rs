//! ConfigMaps and Secrets out of literals and files, and the digest in their names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_manifests::Place;

use super::load::{LoadError, Loader};
use super::object::{Behavior, Object, child, map, texts};
use crate::digest::sha256;

/// What to generate. Values may be secrets: nothing here is printed.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Generator {
    name: String,
    namespace: String,
    behavior: String,
    literals: Vec<String>,
    files: Vec<String>,
    envs: Vec<String>,
    env: String,
    options: Option<Options>,
    /// Of a Secret.
    #[serde(rename = "type")]
    kind: String,
}

/// What all generated objects get.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Options {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    disable_name_suffix_hash: bool,
    immutable: bool,
}

impl Options {
    /// Its own labels and annotations win over those for all.
    fn with(mut self, global: &Self) -> Self {
        let pairs = [
            (&mut self.labels, &global.labels),
            (&mut self.annotations, &global.annotations),
        ];
        for (own, all) in pairs {
            for (key, value) in all {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        self.disable_name_suffix_hash |= global.disable_name_suffix_hash;
        self.immutable |= global.immutable;
        self
    }
}

impl Generator {
    pub(super) fn config_map(
        self,
        loader: &Loader<'_>,
        folder: &str,
        global: Option<&Options>,
        place: Place,
    ) -> Result<Object, LoadError> {
        if !self.kind.is_empty() {
            return Err("type: only a Secret has one".to_owned().into());
        }
        let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
        let root = map(&mut value);
        for (key, bytes) in self.pairs(loader, folder)? {
            match String::from_utf8(bytes) {
                Ok(text) => drop(child(root, "data").insert(key, Value::String(text))),
                Err(binary) => {
                    let text = Value::String(base64(binary.as_bytes()));
                    child(root, "binaryData").insert(key, text);
                }
            }
        }
        self.finished(value, global, place)
    }

    pub(super) fn secret(
        self,
        loader: &Loader<'_>,
        folder: &str,
        global: Option<&Options>,
        place: Place,
    ) -> Result<Object, LoadError> {
        let kind = if self.kind.is_empty() {
            "Opaque"
        } else {
            &self.kind
        };
        let pairs = self.pairs(loader, folder)?.into_iter();
        let data: Map<String, Value> = pairs
            .map(|(key, bytes)| (key, Value::String(base64(&bytes))))
            .collect();
        let value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": kind, "data": data});
        self.finished(value, global, place)
    }

    fn finished(self, value: Value, global: Option<&Options>, place: Place) -> Result<Object, LoadError> {
        if self.name.is_empty() {
            return Err("name: a generated object needs one".to_owned().into());
        }
        let options = self.options.unwrap_or_default();
        let options = global.map_or_else(|| options.clone(), |global| options.clone().with(global));
        let mut object = Object::new(value, place);
        object.set_name(self.name);
        object.set_namespace(self.namespace);
        for (field, entries) in [("labels", options.labels), ("annotations", options.annotations)] {
            let entries = entries
                .into_iter()
                .map(|(key, value)| (key, Value::String(value)));
            object.set_texts(field, entries.collect());
        }
        if options.immutable {
            map(&mut object.value).insert("immutable".to_owned(), Value::Bool(true));
        }
        object.hashed = !options.disable_name_suffix_hash;
        object.behavior = match self.behavior.as_str() {
            "replace" => Behavior::Replace,
            "merge" => Behavior::Merge,
            "" | "create" | "unspecified" => Behavior::Create,
            _ => {
                return Err("behavior: only create, merge and replace are known"
                    .to_owned()
                    .into());
            }
        };
        Ok(object)
    }

    fn pairs(&self, loader: &Loader<'_>, folder: &str) -> Result<BTreeMap<String, Vec<u8>>, LoadError> {
        let mut all = BTreeMap::new();
        let mut add = |key: String, value: Vec<u8>| {
            check_key(&key)?;
            if all.contains_key(&key) {
                return Err(format!("{}: the key `{key}` is there twice", self.name));
            }
            all.insert(key, value);
            Ok(())
        };
        let env = Some(&self.env).filter(|env| !env.is_empty());
        for file in self.envs.iter().chain(env) {
            let (path, text) = loader.text(folder, file)?;
            for (key, value) in lines(&path, &text)? {
                add(key, value.into_bytes())?;
            }
        }
        for literal in &self.literals {
            let (key, value) = literal
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| format!("{}: a literal is key=value", self.name))?;
            add(key.to_owned(), unquoted(value).as_bytes().to_vec())?;
        }
        for file in &self.files {
            let (key, path) = source(file)?;
            let (_, bytes) = loader.bytes(folder, path)?;
            add(key.to_owned(), bytes.to_vec())?;
        }
        Ok(all)
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let dots = key == "." || key.starts_with("..");
    if key.is_empty() || key.len() > 253 || dots || !key.bytes().all(plain) {
        return Err(format!(
            "`{}` is no valid key: letters, digits, `-`, `_` and `.`, up to 253",
            key.chars().take(40).collect::<String>()
        ));
    }
    Ok(())
}

/// A path, or key and path.
fn source(file: &str) -> Result<(&str, &str), String> {
    let fault = || format!("files: `{file}` is neither a path nor key=path");
    match file.split_once('=') {
        None => Ok((file.rsplit('/').next().unwrap_or(file), file)),
        Some((key, path)) if !key.is_empty() && !path.is_empty() && !path.contains('=') => Ok((key, path)),
        Some(_) => Err(fault()),
    }
}

/// Takes quotes away that surround the whole.
fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// The lines of a file of environment variables. Errors do not repeat a line: it may hold a secret.
fn lines(path: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.split('\n').enumerate() {
        if line.len() >= 65_536 {
            return Err(format!("{path}:{}: the line is longer than 64 KiB", at + 1));
        }
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let digit = key.starts_with(|c: char| c.is_ascii_digit());
        if key.is_empty() || digit || key == "." || key.starts_with("..") || !key.bytes().all(plain) {
            return Err(format!(
                "{path}:{}: a line is NAME=value, the name of letters, digits, `-`, `_` and `.`",
                at + 1
            ));
        }
        all.push((key.to_owned(), value.to_owned()));
    }
    Ok(all)
}

/// In lines of 70, if it is longer than one.
fn base64(bytes: &[u8]) -> String {
    let encoded = crate::base64::encode(bytes);
    let lines = encoded.len() / 70 + 1;
    let mut text = String::with_capacity(encoded.len() + lines);
    for line in encoded.as_bytes().chunks(70) {
        text.extend(line.iter().copied().map(char::from));
        if lines > 1 {
            text.push('\n');
        }
    }
    text
}

/// Adds the data of the object that a generated one merges into; its own wins.
pub(super) fn merge_data(object: &mut Object, old: &Object) {
    for field in ["data", "binaryData"] {
        let mut merged = texts(old.value.get(field));
        merged.append(&mut texts(object.value.get(field)));
        let root = map(&mut object.value);
        if merged.is_empty() {
            root.remove(field);
        } else {
            root.insert(field.to_owned(), Value::Object(merged));
        }
    }
}

/// The suffix of a generated object's name.
///
/// # Errors
/// The object was patched into something else than a ConfigMap or Secret.
pub(super) fn suffix(object: &Object) -> Result<String, String> {
    let field = |name: &str| match object.value.get(name) {
        None | Some(Value::Null) => Value::from(""),
        Some(value) => value.clone(),
    };
    let mut hashed = json!({"kind": object.kind(), "name": "", "data": field("data")});
    let optional = match object.kind() {
        "ConfigMap" => "binaryData",
        "Secret" => {
            map(&mut hashed).insert("type".to_owned(), field("type"));
            "stringData"
        }
        kind => {
            return Err(format!(
                "a generated object became a {kind}: its name cannot get a digest"
            ));
        }
    };
    if let Some(Value::Object(_)) = object.value.get(optional) {
        map(&mut hashed).insert(optional.to_owned(), field(optional));
    }
    let digest = sha256(as_go_writes(&hashed.to_string()).as_bytes());
    let letter = |c: char| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        c => c,
    };
    Ok(digest.chars().take(10).map(letter).collect())
}

/// Go's JSON writer escapes what HTML and JavaScript would trip over.
fn as_go_writes(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
