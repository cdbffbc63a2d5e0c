//! Objects of one kind, by name: the newest version wins, whichever way it came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use crate::object::ObjectKey;

/// How many ends of objects are remembered: more than there are requests under way.
const MOST_ENDED: usize = 1024;

/// What is known of one object.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub(crate) uid: Box<str>,
    pub(crate) version: Box<str>,
    pub(crate) data: T,
}

/// Objects of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Store<T> {
    objects: BTreeMap<ObjectKey, Entry<T>>,
    /// uids that we deleted and whose end the watch has not told yet.
    deleted: BTreeSet<Box<str>>,
    /// Versions of the last objects whose end the watch told, by uid: an answer to a write of before may come after it. One that only went
    /// out of the selection of the watch may come back, with a newer version.
    ended: BTreeMap<Box<str>, Box<str>>,
    /// Their uids, oldest first.
    ends: VecDeque<Box<str>>,
    /// What a list that is under way has shown so far.
    listed: Option<BTreeSet<ObjectKey>>,
    synced: bool,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            deleted: BTreeSet::new(),
            ended: BTreeMap::new(),
            ends: VecDeque::new(),
            listed: None,
            synced: false,
        }
    }
}

impl<T> Store<T> {
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Entry<T>> {
        self.objects.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Entry<T>> {
        self.objects.get_mut(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry<T>)> {
        self.objects.iter()
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (ObjectKey, Entry<T>)> {
        self.objects.into_iter()
    }

    /// Objects of one namespace.
    pub(crate) fn within(&self, namespace: &str) -> impl Iterator<Item = (&ObjectKey, &Entry<T>)> {
        let from = Bound::Included(ObjectKey::new(namespace, ""));
        let objects = self.objects.range::<ObjectKey, _>((from, Bound::Unbounded));
        objects.take_while(move |(key, _)| key.namespace == namespace)
    }

    /// Whether a version would be news: not older than what is there, and not of an object that is gone.
    pub(crate) fn is_news(&self, key: &ObjectKey, uid: &str, version: &str) -> bool {
        !self.deleted.contains(uid)
            && self.ended.get(uid).is_none_or(|end| newer(version, end))
            && self.get(key).is_none_or(|entry| newer(version, &entry.version))
    }

    /// Notes that a list has shown this object.
    pub(crate) fn list_shows(&mut self, key: &ObjectKey) {
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
    }

    pub(crate) fn put(&mut self, key: ObjectKey, entry: Entry<T>) -> Option<Entry<T>> {
        self.objects.insert(key, entry)
    }

    /// Takes out what the watch says is gone, with the version that it had then. A later object of the same name stays.
    pub(crate) fn end(&mut self, key: &ObjectKey, uid: &str, version: &str) -> Option<Entry<T>> {
        let buried = self.deleted.remove(uid);
        let removed = self.remove(key, uid);
        // What was never here, as what is another instance's, leaves no trace: there may be any number of it.
        if buried || removed.is_some() {
            self.remember_end(uid, version);
        }
        removed
    }

    fn remember_end(&mut self, uid: &str, version: &str) {
        if self.ended.insert(uid.into(), version.into()).is_none() {
            self.ends.push_back(uid.into());
        }
        if self.ends.len() > MOST_ENDED
            && let Some(oldest) = self.ends.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &ObjectKey, uid: &str) -> Option<Entry<T>> {
        let same = self
            .objects
            .get(key)
            .is_some_and(|entry| uid.is_empty() || *entry.uid == *uid);
        if same { self.objects.remove(key) } else { None }
    }

    /// Takes out what we deleted ourselves; news of it that are still under way are old.
    pub(crate) fn bury(&mut self, key: &ObjectKey, uid: &str) -> Option<Entry<T>> {
        let removed = self.remove(key, uid)?;
        self.deleted.insert(removed.uid.clone());
        Some(removed)
    }

    pub(crate) fn list_start(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// Takes out what a list has not shown, but for what is newer than the list.
    pub(crate) fn list_end(&mut self, version: &str) -> Vec<(ObjectKey, Entry<T>)> {
        self.synced = true;
        let Some(listed) = self.listed.take() else {
            return Vec::new();
        };
        let gone: Vec<ObjectKey> = self
            .objects
            .iter()
            .filter(|(key, entry)| !listed.contains(key) && !newer(&entry.version, version))
            .map(|(key, _)| key.clone())
            .collect();
        self.deleted.clear();
        let gone: Vec<_> = gone
            .into_iter()
            .filter_map(|key| self.objects.remove(&key).map(|entry| (key, entry)))
            .collect();
        for (_, entry) in &gone {
            self.remember_end(&entry.uid, version);
        }
        gone
    }

    /// Whether it has been listed completely once.
    pub(crate) fn synced(&self) -> bool {
        self.synced
    }
}

/// Whether one resourceVersion is newer than another. They are numbers that only grow; what is no number cannot be
/// ordered, and is taken as newer when it differs.
fn newer(one: &str, other: &str) -> bool {
    match (one.parse::<u128>(), other.parse::<u128>()) {
        (Ok(one), Ok(other)) => one > other,
        _ => one != other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    fn put(store: &mut Store<()>, name: &str, uid: &str, version: &str) -> bool {
        store.list_shows(&key(name));
        let news = store.is_news(&key(name), uid, version);
        if news {
            store.put(
                key(name),
                Entry {
                    uid: uid.into(),
                    version: version.into(),
                    data: (),
                },
            );
        }
        news
    }

    fn names(store: &Store<()>) -> Vec<&str> {
        store.iter().map(|(key, _)| key.name.as_str()).collect()
    }

    #[test]
    fn old_news_are_no_news() {
        let mut store = Store::default();
        assert!(put(&mut store, "a", "u", "9"));
        assert!(!put(&mut store, "a", "u", "9"));
        assert!(!put(&mut store, "a", "u", "8"));
        assert!(put(&mut store, "a", "u", "10"));
    }

    #[test]
    fn what_we_deleted_does_not_rise_again() {
        let mut store = Store::default();
        put(&mut store, "a", "u", "1");
        assert!(store.bury(&key("a"), "u").is_some());
        assert!(!put(&mut store, "a", "u", "2"));
        // Another object of that name is another object.
        assert!(put(&mut store, "a", "v", "3"));
        // The end of the first one does not take the second along.
        assert!(store.end(&key("a"), "u", "2").is_none());
        assert_eq!(names(&store), ["a"]);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_is_old() {
        let mut store = Store::default();
        put(&mut store, "a", "u", "1");
        assert!(store.end(&key("a"), "u", "3").is_some());
        // Written before, and answered late.
        assert!(!put(&mut store, "a", "u", "2"));
        assert!(!put(&mut store, "a", "u", "3"));
        // It was not deleted: it is one again that the watch selects.
        assert!(put(&mut store, "a", "u", "4"));
        // What was never here, as what is another instance's, is not remembered, or it would drive out what was.
        store.end(&key("b"), "v", "5");
        assert_eq!(store.ended.len(), 1);
        for number in 0..2 * MOST_ENDED {
            let uid = number.to_string();
            put(&mut store, "b", &uid, "5");
            store.end(&key("b"), &uid, "6");
        }
        assert_eq!((store.ends.len(), store.ended.len()), (MOST_ENDED, MOST_ENDED));
    }

    #[test]
    fn a_list_takes_out_what_is_gone_but_not_what_is_newer_than_it() {
        let mut store = Store::default();
        put(&mut store, "old", "u1", "1");
        put(&mut store, "kept", "u2", "2");
        assert!(!store.synced());
        store.list_start();
        put(&mut store, "kept", "u2", "2");
        // Answer to a write of ours after the list was taken.
        store.put(
            key("new"),
            Entry {
                uid: "u3".into(),
                version: "50".into(),
                data: (),
            },
        );
        let gone: Vec<_> = store
            .list_end("40")
            .into_iter()
            .map(|(key, _)| key.name)
            .collect();
        assert_eq!(
            (gone, names(&store), store.synced()),
            (vec!["old".to_owned()], vec!["kept", "new"], true)
        );
        // Nor does an answer bring back what a list has not shown.
        assert!(!put(&mut store, "old", "u1", "39"));
    }
}
