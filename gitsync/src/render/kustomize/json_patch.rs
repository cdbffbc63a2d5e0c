//! JSON patches (RFC 6902) as the library that Kustomize uses applies them: a `replace` may add a key, and an index
//! may count from the end.

use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// One operation.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Operation {
    op: Verb,
    path: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    value: Value,
}

/// Applies all operations, or none if one fails.
///
/// # Errors
/// Names the operation and the path.
pub(super) fn apply(object: &mut Value, operations: &[Operation]) -> Result<(), String> {
    let mut patched = object.clone();
    for (at, operation) in operations.iter().enumerate() {
        step(&mut patched, operation)
            .map_err(|message| format!("operation {} ({}): {message}", at + 1, operation.path))?;
    }
    *object = patched;
    Ok(())
}

fn step(object: &mut Value, operation: &Operation) -> Result<(), String> {
    let Operation {
        op,
        path,
        from,
        value,
    } = operation;
    let from = from.as_deref();
    match op {
        Verb::Add => add(object, path, value.clone()),
        Verb::Replace if path.is_empty() => {
            *object = value.clone();
            Ok(())
        }
        Verb::Replace => replace(object, path, value.clone()),
        Verb::Remove => remove(object, path).map(drop),
        Verb::Copy => {
            let value = get(object, from.ok_or("it needs `from`")?)?.clone();
            add(object, path, value)
        }
        Verb::Move => {
            let value = remove(object, from.ok_or("it needs `from`")?)?;
            add(object, path, value)
        }
        Verb::Test => {
            let found = if path.is_empty() {
                Ok(&*object)
            } else {
                get(object, path)
            };
            let missing = found.is_err() && value.is_null();
            if missing || found.is_ok_and(|found| found == value) {
                Ok(())
            } else {
                Err("the test failed".to_owned())
            }
        }
    }
}

const MISSING: &str = "there is nothing at this path";

/// The list or map that a path ends in, and the last key.
fn holder<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let mut keys: Vec<String> = path.split('/').skip(1).map(unescaped).collect();
    let last = keys.pop().ok_or("a path begins with a slash")?;
    let mut value = object;
    for key in keys {
        value = match value {
            Value::Object(map) => map.get_mut(&key),
            Value::Array(items) => {
                let at = index(&key, items.len())?;
                items.get_mut(at)
            }
            _ => None,
        }
        .ok_or(MISSING)?;
    }
    Ok((value, last))
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// A place in a list of `len`; negative ones count from its end.
fn index(key: &str, len: usize) -> Result<usize, String> {
    let at: i64 = key
        .parse()
        .map_err(|_| format!("`{key}` is no place in a list"))?;
    let at = if at < 0 { at + len as i64 } else { at };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < len)
        .ok_or_else(|| format!("the list has no place `{key}`"))
}

fn get<'a>(object: &'a Value, path: &str) -> Result<&'a Value, String> {
    let mut value = object;
    for key in path.split('/').skip(1).map(unescaped) {
        value = match value {
            Value::Object(map) => map.get(&key),
            Value::Array(items) => items.get(index(&key, items.len())?),
            _ => None,
        }
        .ok_or(MISSING)?;
    }
    Ok(value)
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match holder(object, path)? {
        (Value::Object(map), key) => drop(map.insert(key, value)),
        (Value::Array(items), key) if key == "-" => items.push(value),
        (Value::Array(items), key) => {
            let at = index(&key, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => return Err(MISSING.to_owned()),
    }
    Ok(())
}

fn replace(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match holder(object, path)? {
        (Value::Object(map), key) => drop(map.insert(key, value)),
        (Value::Array(items), key) => {
            let at = index(&key, items.len())?;
            *items.get_mut(at).ok_or(MISSING)? = value;
        }
        _ => return Err(MISSING.to_owned()),
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str) -> Result<Value, String> {
    match holder(object, path)? {
        (Value::Object(map), key) => map.remove(&key).ok_or_else(|| MISSING.to_owned()),
        (Value::Array(items), key) => {
            let at = index(&key, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err(MISSING.to_owned()),
    }
}
