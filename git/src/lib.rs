//! Repositories by a `git` child process, and the forges that host them.
