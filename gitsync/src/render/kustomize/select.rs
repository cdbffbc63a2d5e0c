//! Which objects a patch or a replacement is for.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::id::{Gvk, Id};
use super::object::Object;

/// What the objects must be, be called and carry; what is empty fits all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Selector {
    group: String,
    version: String,
    kind: String,
    pub(super) name: String,
    namespace: String,
    #[serde(rename = "annotationSelector")]
    annotations: String,
    #[serde(rename = "labelSelector")]
    labels: String,
}

impl Selector {
    /// For group, version, kind, name and namespace.
    pub(super) fn named([group, version, kind, name, namespace]: [&String; 5]) -> Self {
        Self {
            group: group.clone(),
            version: version.clone(),
            kind: kind.clone(),
            name: name.clone(),
            namespace: namespace.clone(),
            ..Self::default()
        }
    }

    /// The objects of a patch's target, where each text is a regular expression for the whole.
    ///
    /// # Errors
    /// A text is no regular expression, or no selector.
    pub(super) fn matching(&self, objects: &[Object]) -> Result<Vec<usize>, String> {
        let texts = [
            &self.group,
            &self.version,
            &self.kind,
            &self.name,
            &self.namespace,
        ];
        let mut patterns = Vec::new();
        for text in texts {
            patterns.push(whole(text)?);
        }
        let [group, version, kind, name, namespace] = patterns.as_slice() else {
            return Ok(Vec::new());
        };
        let fits = |pattern: &Option<Regex>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
        };
        let mut found = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            let ids = [object.original_id(), object.id()];
            let gvk = object.gvk();
            if ids.iter().any(|id| fits(namespace, id.effective_namespace()))
                && ids.iter().any(|id| fits(name, &id.name))
                && fits(group, &gvk.group)
                && fits(version, &gvk.version)
                && fits(kind, &gvk.kind)
                && self.fits_metadata(object)?
            {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// Whether labels and annotations fit.
    pub(super) fn fits_metadata(&self, object: &Object) -> Result<bool, String> {
        Ok(has(&self.labels, &object.texts("labels"))?
            && has(&self.annotations, &object.texts("annotations"))?)
    }

    /// Whether it asks for labels or annotations.
    pub(super) fn wants_metadata(&self) -> bool {
        !(self.labels.is_empty() && self.annotations.is_empty())
    }

    /// Whether it asks for kind, name or namespace.
    pub(super) fn wants_id(&self) -> bool {
        let texts = [
            &self.group,
            &self.version,
            &self.kind,
            &self.name,
            &self.namespace,
        ];
        texts.iter().any(|text| !text.is_empty())
    }

    /// Whether the object is or was called so, to the letter: as replacements ask.
    pub(super) fn names(&self, object: &Object) -> bool {
        let gvk = Gvk {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        };
        let namespace = |id: &Id| {
            if id.namespace.is_empty() {
                "default"
            } else {
                &id.namespace
            }
            .to_owned()
        };
        let wanted = if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        };
        object.any_id(|id| {
            (self.name.is_empty() || self.name == id.name)
                && (self.namespace.is_empty() || wanted == namespace(id))
                && id.gvk.selected_by(&gvk)
        })
    }
}

fn whole(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    pattern(&format!("^(?:{text})$")).map(Some)
}

/// A regular expression out of a repository.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|_| format!("`{text}` is no valid regular expression"))
}

/// Whether labels fit a selector such as `app=web,tier in (a, b),!old`.
fn has(selector: &str, labels: &Map<String, Value>) -> Result<bool, String> {
    let mut fits = true;
    for text in terms(selector) {
        let term = Term::parse(text).ok_or_else(|| format!("`{selector}` is no valid selector"))?;
        fits &= term.fits(labels);
    }
    Ok(fits)
}

/// Splits at the commas that do not stand in parentheses.
fn terms(selector: &str) -> Vec<&str> {
    let mut inside = false;
    let split = selector.split(|c| {
        inside = (inside || c == '(') && c != ')';
        c == ',' && !inside
    });
    let terms: Vec<&str> = split.map(str::trim).collect();
    if terms == [""] { Vec::new() } else { terms }
}

/// One requirement.
struct Term<'a> {
    key: &'a str,
    /// Whether it must be so, or must not.
    wanted: bool,
    /// The values that it is about; `None` for any.
    values: Option<Vec<&'a str>>,
    bound: Option<(bool, i64)>,
}

impl<'a> Term<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let term = |key: &'a str, wanted, values| Self {
            key: key.trim(),
            wanted,
            values,
            bound: None,
        };
        let one = |value: &'a str| Some(vec![value.trim()]);
        let list = |text: &'a str| {
            let inside = text.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inside.split(',').map(str::trim).collect::<Vec<_>>())
        };
        let parsed = if let Some((key, values)) = text.split_once(" notin") {
            term(key, false, Some(list(values)?))
        } else if let Some((key, values)) = text.split_once(" in") {
            term(key, true, Some(list(values)?))
        } else if let Some((key, value)) = text.split_once("!=") {
            term(key, false, one(value))
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            term(key, true, one(value))
        } else if let Some((key, value)) = text.split_once(['<', '>']) {
            let bound = (text.contains('>'), value.trim().parse().ok()?);
            Self {
                bound: Some(bound),
                ..term(key, true, None)
            }
        } else if let Some(key) = text.strip_prefix('!') {
            term(key, false, None)
        } else {
            term(text, true, None)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let values_plain = parsed
            .values
            .iter()
            .flatten()
            .all(|value| value.chars().all(plain));
        (!parsed.key.is_empty() && parsed.key.chars().all(plain) && values_plain).then_some(parsed)
    }

    fn fits(&self, labels: &Map<String, Value>) -> bool {
        let value = labels.get(self.key).and_then(Value::as_str);
        if let Some((above, bound)) = self.bound {
            let number = value.and_then(|value| value.parse::<i64>().ok());
            return number.is_some_and(|number| if above { number > bound } else { number < bound });
        }
        let found = match &self.values {
            None => value.is_some(),
            Some(values) => value.is_some_and(|value| values.contains(&value)),
        };
        found == self.wanted
    }
}
