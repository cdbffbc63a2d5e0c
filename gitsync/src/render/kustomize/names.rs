//! References by name: when an object is renamed, those that refer to it follow.

use serde_json::Value;

use super::fields::{FieldSpec, Fields, Make, visit};
use super::id::{CLUSTER, Gvk, Id};
use super::object::{Object, text};

/// What an object that may be referred to is and was called.
struct Candidate {
    current: Id,
    original: Id,
    previous: Vec<Id>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

impl Candidate {
    fn of(object: &Object) -> Self {
        Self {
            current: object.id(),
            original: object.original_id(),
            previous: object.previous_ids(),
            prefixes: object.prefixes.clone(),
            suffixes: object.suffixes.clone(),
        }
    }

    fn was(&self, fits: impl Fn(&Id) -> bool) -> bool {
        self.previous.iter().any(fits)
    }

    /// Whether both went through the same kustomizations; with `loose`, an object that got no prefix fits any.
    fn built_with(&self, other: &Self, loose: bool) -> bool {
        let same = |one: &[String], two: &[String]| {
            (loose && (one.is_empty() || two.is_empty())) || same_ending(one, two)
        };
        same(&self.prefixes, &other.prefixes) && same(&self.suffixes, &other.suffixes)
    }
}

fn same_ending(one: &[String], two: &[String]) -> bool {
    if one.is_empty() || two.is_empty() {
        return one.len() == two.len();
    }
    one.iter().rev().zip(two.iter().rev()).all(|(a, b)| a == b)
}

/// Rewrites all references.
///
/// # Errors
/// A reference may mean several objects.
pub(super) fn follow(objects: &mut [Object], fields: &Fields) -> Result<(), String> {
    let candidates: Vec<Candidate> = objects.iter().map(Candidate::of).collect();
    for (object, own) in objects.iter_mut().zip(&candidates) {
        let reachable = reachable(object, own, &candidates);
        let role = role_ref(object);
        for reference in &fields.name_reference {
            let target = reference.gvk();
            for spec in &reference.referrers {
                if !own.original.gvk.selected_by(&spec.gvk()) {
                    continue;
                }
                let role = role.as_ref().filter(|_| spec.path.ends_with("roleRef/name"));
                let search = Search {
                    own,
                    target: &target,
                    role,
                    reachable: &reachable,
                };
                // the object's kind may have changed since, and the field is looked for all the same
                let field = FieldSpec::anywhere(&spec.path);
                visit(&field, Make::Nothing, object, &mut |value| search.follow(value))?;
            }
        }
    }
    Ok(())
}

/// What an object may refer to: what is cluster-scoped or in its own namespace, and, for the subjects of a binding, in
/// theirs.
fn reachable<'a>(object: &Object, own: &Candidate, all: &'a [Candidate]) -> Vec<&'a Candidate> {
    if own.current.cluster {
        return all.iter().collect();
    }
    let subjects = object.value.get("subjects").and_then(Value::as_array);
    let namespaces: Vec<&str> = subjects
        .into_iter()
        .flatten()
        .filter(|subject| {
            object.kind() == "RoleBinding" && subject.get("kind") == Some(&Value::from("ServiceAccount"))
        })
        .filter_map(|subject| subject.get("namespace")?.as_str())
        .collect();
    let reaches = |other: &&Candidate| {
        other.current.cluster
            || other.current.effective_namespace() == own.current.effective_namespace()
            || namespaces.contains(&other.current.namespace.as_str())
    };
    all.iter().filter(reaches).collect()
}

/// The kind that a binding's `roleRef` asks for.
fn role_ref(object: &Object) -> Option<Gvk> {
    let field = |name: &str| object.value.get("roleRef")?.get(name).map(text);
    Some(Gvk {
        group: field("apiGroup")?,
        version: String::new(),
        kind: field("kind")?,
    })
}

struct Search<'a> {
    own: &'a Candidate,
    target: &'a Gvk,
    role: Option<&'a Gvk>,
    reachable: &'a [&'a Candidate],
}

impl Search<'_> {
    fn follow(&self, value: &mut Value) -> Result<(), String> {
        match value {
            Value::Null => Ok(()),
            Value::Array(items) => items.iter_mut().try_for_each(|item| match item {
                Value::Array(_) => Err("there is a list in a list of references".to_owned()),
                item => self.follow(item),
            }),
            Value::Object(_) => self.follow_map(value),
            plain => {
                let found = self.find(&text(plain), self.reachable.iter().copied(), false)?;
                if let Some(found) = found.filter(|found| found.current.name != text(plain)) {
                    *plain = Value::from(found.current.name.as_str());
                }
                Ok(())
            }
        }
    }

    /// A map with `name` and perhaps `namespace`.
    fn follow_map(&self, value: &mut Value) -> Result<(), String> {
        let Some(map) = value.as_object_mut() else {
            return Ok(());
        };
        let name = map.get("name").map(text).ok_or("a reference needs a name")?;
        let found = match map.get("namespace").map(text) {
            None => self.find(&name, self.reachable.iter().copied(), true)?,
            Some(namespace) => {
                let within = |original: bool| {
                    let namespace = namespace.clone();
                    self.reachable.iter().copied().filter(move |other| {
                        let id = if original { &other.original } else { &other.current };
                        let own = id.effective_namespace();
                        own == namespace && own != CLUSTER
                    })
                };
                let originally = within(true).next().is_some();
                self.find(&name, within(originally), true)?
            }
        };
        let Some(found) = found else { return Ok(()) };
        let Id {
            name: now, namespace, ..
        } = &found.current;
        if *now == name && namespace.is_empty() {
            return Ok(());
        }
        map.insert("name".to_owned(), Value::from(now.as_str()));
        if !namespace.is_empty() {
            map.insert("namespace".to_owned(), Value::from(namespace.as_str()));
        }
        Ok(())
    }

    /// The one object that had this name.
    fn find<'a>(
        &self,
        name: &str,
        among: impl Iterator<Item = &'a Candidate>,
        with_namespace: bool,
    ) -> Result<Option<&'a Candidate>, String> {
        let mut found: Vec<&Candidate> = among
            .filter(|other| {
                other.was(|id| id.name == name)
                    && other.was(|id| id.gvk.selected_by(self.target))
                    && self
                        .role
                        .is_none_or(|role| other.was(|id| id.gvk.selected_by(role)))
                    && self.same_namespace(other)
            })
            .collect();
        if found.len() > 1 {
            found.retain(|other| other.built_with(self.own, true));
        }
        if found.len() > 1 {
            found.retain(|other| other.built_with(self.own, false));
        }
        let Some((first, rest)) = found.split_first() else {
            return Ok(None);
        };
        let same = |other: &&Candidate| {
            other.current.name == first.current.name
                && (!with_namespace || other.current.namespace == first.current.namespace)
        };
        if rest.iter().all(same) {
            return Ok(Some(first));
        }
        let ids: Vec<String> = found.iter().map(|other| other.current.text()).collect();
        Err(format!("`{name}` may mean {}", ids.join(" or ")))
    }

    fn same_namespace(&self, other: &Candidate) -> bool {
        self.own.current.cluster
            || other.current.cluster
            || other.current.gvk.kind == "ServiceAccount"
            || other.current.effective_namespace() == self.own.current.effective_namespace()
    }
}
