//! A stored template with values that the Go types cannot hold: every typed Go client fails to list the whole namespace as
//! long as it is there. Upstream loses such values when it updates the object; here they are taken out, and it is told.

use serde_json::{Map, Value, json};
use tidegate_crds::template::drop_malformed_fields;

use crate::draft::Draft;
use crate::observed::Observed;
use crate::plan::Change;

/// How many fields an event names.
const NAMED: usize = 10;

/// Takes the values out. They do not count in the hash of a version, so it stays the same (contract 2.1).
pub(crate) fn act(seen: &Observed, draft: &mut Draft) {
    let Some(template) = &seen.rollout.spec.template else {
        return;
    };
    if seen
        .identity
        .as_ref()
        .is_some_and(|known| known.malformed.is_empty())
    {
        return;
    }
    let mut clean = template.clone();
    let dropped = drop_malformed_fields(&mut clean);
    if dropped.is_empty() {
        return;
    }
    let mut named = dropped.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if dropped.len() > NAMED {
        named = format!("{named} and {} more", dropped.len() - NAMED);
    }
    draft.act_and_warn(
        Change::PatchRollout {
            patch: json!({ "spec": { "template": difference(template, &clean) } }),
        },
        "MalformedFieldsDropped",
        format!("Took out of spec.template what cannot be read: {named}"),
        seen.rollout.metadata.resource_version.clone(),
    );
}

/// The merge patch from a value to one with less in it; lists are written whole.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return to.clone();
    };
    let changed = from.iter().filter(|(key, value)| to.get(*key) != Some(*value));
    let entries = changed.map(|(key, value)| {
        let patch = to.get(key).map_or(Value::Null, |to| difference(value, to));
        (key.clone(), patch)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}
