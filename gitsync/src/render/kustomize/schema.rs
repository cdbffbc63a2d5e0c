//! What Kustomize knows of Kubernetes' own kinds; of others it knows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// A type, by its name in the table; `None` for one in which nothing is merged by key.
pub(super) type Type = Option<&'static str>;

/// A field of a type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    /// The type of its value, or of the items if it is a list or a map.
    of: Type,
    list: bool,
    map: bool,
    merges: bool,
    keys: &'static str,
}

impl Field {
    /// Whether it is a list that a patch adds to, and the keys that its items are told apart by: none if it holds
    /// plain values.
    pub(super) fn merge_keys(&self) -> Option<Vec<&'static str>> {
        let keys = self.keys.split(',').filter(|key| !key.is_empty());
        self.merges.then(|| keys.collect())
    }

    /// What stands under a key of its value.
    pub(super) fn field(&self, name: &str) -> Self {
        if self.map {
            return Self {
                of: self.of,
                ..Self::default()
            };
        }
        let found = self.of.and_then(|of| TABLE.fields.get(&(of, name)));
        found.copied().unwrap_or_default()
    }

    /// An item of its value.
    pub(super) fn item(&self) -> Self {
        Self {
            of: self.of.filter(|_| self.list),
            ..Self::default()
        }
    }
}

/// What stands at the root of an object of a kind, `None` for a kind that is not known.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<Field> {
    TABLE.kinds.get(&(api_version, kind)).map(|of| Field {
        of: Some(of),
        ..Field::default()
    })
}

/// Whether a kind is known to be cluster-scoped.
pub(super) fn is_cluster_scoped(api_version: &str, kind: &str) -> bool {
    TABLE.cluster.contains(&(api_version, kind))
}

#[derive(Default)]
struct Table {
    cluster: BTreeSet<(&'static str, &'static str)>,
    kinds: BTreeMap<(&'static str, &'static str), &'static str>,
    fields: BTreeMap<(&'static str, &'static str), Field>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    let lines = include_str!("schema.tsv").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap_or_default();
        let (what, first, second, third) = (column(), column(), column(), column());
        let (strategy, keys) = (column(), column());
        match what {
            "cluster" => drop(table.cluster.insert((first, second))),
            "kind" => drop(table.kinds.insert((first, second), third)),
            _ => {
                let of = third.trim_start_matches(['[', ']', '{', '}']);
                let field = Field {
                    of: Some(of).filter(|of| !of.is_empty()),
                    list: third.starts_with("[]"),
                    map: third.starts_with("{}"),
                    merges: strategy == "merge",
                    keys,
                };
                table.fields.insert((first, second), field);
            }
        }
    }
    table
});
