//! The part of JSON path that printer columns use: `.a.b`, `['a']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`.

use serde_json::Value;

/// The values that a path finds. A path that is not understood finds nothing.
pub(crate) fn find<'a>(root: &'a Value, path: &str) -> Vec<&'a Value> {
    let path = path
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    let mut found = vec![root];
    let mut rest = path;
    while !rest.is_empty() {
        let Some((step, after)) = step(rest) else {
            return Vec::new();
        };
        found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        rest = after;
    }
    found
}

enum Step<'p> {
    Field(String),
    Index(i64),
    All,
    /// Elements whose field has this value.
    Filter(&'p str, &'p str),
}

impl Step<'_> {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => {
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let place = if *index < 0 {
                    list.len() as i64 + index
                } else {
                    *index
                };
                usize::try_from(place)
                    .ok()
                    .and_then(|place| list.get(place))
                    .into_iter()
                    .collect()
            }
            Self::All => match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            },
            Self::Filter(field, wanted) => {
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let matches = |item: &&Value| {
                    find(item, field).first().is_some_and(|found| match found {
                        Value::String(text) => text == wanted,
                        other => other.to_string() == **wanted,
                    })
                };
                list.iter().filter(matches).collect()
            }
        }
    }
}

/// The first step of a path, and the rest.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        if rest.starts_with('[') {
            return step(rest);
        }
        // a dot of a label key is written `\.`
        let mut name = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => name.extend(chars.next().map(|(_, c)| c)),
                Some((index, '.' | '[')) => break index,
                Some((_, c)) => name.push(c),
                None => break rest.len(),
            }
        };
        let after = rest.get(end..)?;
        return match name.as_str() {
            "" => None,
            "*" => Some((Step::All, after)),
            _ => Some((Step::Field(name), after)),
        };
    }
    let inner = path.strip_prefix('[')?;
    let quoted = |c: char| c == '\'' || c == '"';
    if let Some(filter) = inner.strip_prefix("?(@") {
        let (condition, after) = filter.split_once(")]")?;
        let (field, wanted) = condition.split_once("==")?;
        return Some((
            Step::Filter(field.trim(), wanted.trim().trim_matches(quoted)),
            after,
        ));
    }
    let (key, after) = inner.split_once(']')?;
    let step = match key {
        "*" => Step::All,
        key if key.starts_with(quoted) => Step::Field(key.trim_matches(quoted).to_owned()),
        key => Step::Index(key.parse().ok()?),
    };
    Some((step, after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_printer_columns() {
        let object = json!({
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]},
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}}, "n": [1, 2, 3],
        });
        let cases = [
            (".status.phase", json!(["Running"])),
            ("{.status.phase}", json!(["Running"])),
            (".status.none", json!([])),
            (
                r#".status.conditions[?(@.type=="Ready")].status"#,
                json!(["True"]),
            ),
            (".status.conditions[?(@.type=='X')].status", json!(["False"])),
            (".status.conditions[0].type", json!(["Ready"])),
            (".status.conditions[*].type", json!(["Ready", "X"])),
            (".n[-1]", json!([3])),
            (r".metadata.labels.app\.kubernetes\.io/name", json!(["web"])),
            (".metadata.labels['app.kubernetes.io/name']", json!(["web"])),
            (".status[", json!([])),
            ("..", json!([])),
        ];
        for (path, expected) in cases {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        }
    }
}
