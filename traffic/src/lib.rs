//! Traffic routers as pure functions: intended traffic and live objects in, patches out.
