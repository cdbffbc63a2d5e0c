//! What watches say.

use crate::object::Object;

/// What a watch says about one kind of object.
#[derive(Clone, Copy, Debug)]
pub enum Signal<'a> {
    /// A list begins; what it does not show is gone when it ends.
    ListStart,
    /// An object, of a list or changed.
    Applied(Object<'a>),
    /// An object is gone.
    Deleted(Object<'a>),
    /// The list is complete.
    ListEnd {
        /// resourceVersion of the list.
        version: &'a str,
    },
    /// The kind cannot be seen. Of use for kinds of route objects that not every cluster has.
    Unserved {
        /// What the API server says.
        why: &'a str,
        /// It does not know the kind, or not any more.
        gone: bool,
    },
}
