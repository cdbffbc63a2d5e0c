//! JSON merge patches (RFC 7386): the difference between two objects, and how to join two patches.

use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`: only what differs, `null` for what is gone. `None` when nothing differs.
/// Lists are replaced whole.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Lays one merge patch over another: where both speak, `over` wins.
pub fn overlay(patch: &mut Value, over: Value) {
    match (patch, over) {
        (Value::Object(patch), Value::Object(over)) => {
            for (key, value) in over {
                overlay(patch.entry(key).or_insert(Value::Null), value);
            }
        }
        (patch, over) => *patch = over,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs() {
        let table = [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (json!({"a": 1, "b": 2}), json!({"b": 2}), Some(json!({"a": null}))),
            (json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}}))),
            (
                json!({"canary": {"weights": {"canary": {"weight": 20}, "stable": {"weight": 80}}}, "phase": "x"}),
                json!({"canary": {"weights": {"canary": {"weight": 40}, "stable": {"weight": 80}}}, "phase": "x"}),
                Some(json!({"canary": {"weights": {"canary": {"weight": 40}}}})),
            ),
            (
                json!({"list": [{"a": 1}, {"b": 1}]}),
                json!({"list": [{"a": 1}, {"b": 2}]}),
                Some(json!({"list": [{"a": 1}, {"b": 2}]})),
            ),
        ];
        for (old, new, patch) in table {
            assert_eq!(difference(&old, &new), patch, "{old} -> {new}");
        }
    }

    #[test]
    fn patches_join() {
        let mut patch = json!({"metadata": {"annotations": {"a": "1"}}, "spec": {"replicas": 1}});
        overlay(
            &mut patch,
            json!({"metadata": {"uid": "u"}, "spec": {"replicas": null}}),
        );
        assert_eq!(
            patch,
            json!({"metadata": {"annotations": {"a": "1"}, "uid": "u"}, "spec": {"replicas": null}})
        );
    }
}
