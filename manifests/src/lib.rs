//! YAML and JSON manifests with the place of every value.
//!
//! The dialect is that of `kubectl`, which is YAML 1.1 on its way to JSON: `0644` is octal, `yes` and `on` are booleans,
//! `<<` merges, keys become strings, and a float without a fraction is an integer. Where `kubectl` lets the last of two
//! equal keys win, this reader refuses them, as `kubectl --validate=strict` does.
//!
//! Files come out of other people's repositories, so size, depth, number of documents and of nodes, and what aliases
//! may expand to are limited.
//!
//! ```
//! use tidegate_manifests::{Limits, path, read};
//!
//! let text = "kind: Rollout\nspec:\n  replicas: 3\n";
//! let documents = read("web.yaml", text, &Limits::default())?;
//! let place = documents[0].place(&path("spec.replicas"));
//! assert_eq!(place.to_string(), "web.yaml:3:13");
//! # Ok::<(), tidegate_manifests::ReadError>(())
//! ```

mod node;
mod place;

use std::sync::Arc;

use serde_saphyr::options::AliasLimits;
use serde_saphyr::{Error as YamlError, MessageFormatter, UserMessageFormatter};

pub use self::place::{PathPart, Place, path};

use self::node::{Duplicate, Node};
use self::place::Spot;

/// What a file may cost to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of the text in bytes.
    pub bytes: usize,
    /// The number of documents, empty ones included.
    pub documents: usize,
    /// How deep lists and maps may be nested. Reading reserves 64 KiB of stack for each level.
    pub depth: usize,
    /// The number of lists, maps and scalars as they are written.
    pub nodes: usize,
    /// How many nodes aliases may add to those that are written.
    pub alias_nodes: usize,
}

impl Default for Limits {
    /// Enough for the largest bundles of custom resource definitions: 16 MiB, 2000 documents, depth 100, a million
    /// nodes, and 100 000 more from aliases.
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            documents: 2000,
            depth: 100,
            nodes: 1_000_000,
            alias_nodes: 100_000,
        }
    }
}

/// A file that cannot be read. Its text names the file, and the line and column where it is a matter of one place;
/// it never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The text is larger than the limit.
    #[error("{file}: file is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: Arc<str>,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text is not valid, or exceeds one of the other limits.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
}

/// One document of a file.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it says.
    pub value: serde_json::Value,
    file: Arc<str>,
    spot: Spot,
}

impl Document {
    /// Where a value starts. When there is no such value: where the key of its nearest ancestor stands that there is,
    /// or where the document starts.
    ///
    /// Values that come from an alias or a merge are where the alias stands.
    pub fn place(&self, path: &[PathPart]) -> Place {
        let (spot, found) = self.spot.find(path);
        self.at(if found { spot.value } else { spot.key })
    }

    /// Where the key of a value stands, for errors about the field as such; for items of a list, the item. When there
    /// is no such value, as for [`Document::place`].
    pub fn key_place(&self, path: &[PathPart]) -> Place {
        self.at(self.spot.find(path).0.key)
    }

    /// The file that the document is from.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn at(&self, (line, column): (u32, u32)) -> Place {
        Place {
            file: self.file.clone(),
            line,
            column,
        }
    }
}

/// Reads a file of YAML or JSON documents. Documents that are empty, or nothing but comments, are left out.
///
/// `file` is the path or whatever else errors and places should call the text.
///
/// # Errors
/// When the text is not valid or exceeds a limit.
pub fn read(file: &str, text: &str, limits: &Limits) -> Result<Vec<Document>, ReadError> {
    let file: Arc<str> = Arc::from(file);
    if text.len() > limits.bytes {
        return Err(ReadError::TooLarge {
            file,
            limit: limits.bytes,
        });
    }
    let nodes = parse(&file, text, limits)?;
    let mut documents = Vec::with_capacity(nodes.len());
    for node in nodes {
        if let Some(Duplicate {
            key,
            at: (line, column),
        }) = node.duplicate
        {
            let message = format!("duplicate mapping key `{}` is not allowed here", printable(&key));
            return Err(ReadError::Invalid {
                place: Place { file, line, column },
                message,
            });
        }
        documents.push(Document {
            value: node.value,
            file: file.clone(),
            spot: node.spot,
        });
    }
    Ok(documents)
}

/// The reader recurses, with frames of up to 40 KiB without optimization: it gets a stack of its own that fits the
/// limit, whatever the caller has left of its stack.
fn parse(file: &Arc<str>, text: &str, limits: &Limits) -> Result<Vec<Node>, ReadError> {
    let stack = (1 << 20) + limits.depth.saturating_mul(64 << 10);
    let failed = |message: String| ReadError::Invalid {
        place: start_of(file),
        message,
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(stack)
            .spawn_scoped(scope, || {
                serde_saphyr::from_multiple_with_options::<Node>(text, options(limits))
            })
            .map_err(|error| failed(format!("cannot start a thread to read the file: {error}")))?
            .join()
            .map_err(|_| failed("the reader failed".to_owned()))?
            .map_err(|error| invalid(file, &error))
    })
}

fn start_of(file: &Arc<str>) -> Place {
    Place {
        file: file.clone(),
        line: 1,
        column: 1,
    }
}

fn options(limits: &Limits) -> serde_saphyr::Options {
    let aliases: AliasLimits = serde_saphyr::alias_limits! {
        max_total_replayed_events: limits.alias_nodes,
        max_replay_stack_depth: limits.depth,
    };
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        emit_comments: false,
        // the text of a manifest may hold a secret: no excerpts in errors
        with_snippet: false,
        alias_limits: aliases,
        budget: serde_saphyr::budget! {
            max_documents: limits.documents,
            max_depth: limits.depth,
            flow_nesting_limit: limits.depth,
            max_nodes: limits.nodes,
            // every node has at most a start and an end, every document as well
            max_events: 2 * (limits.nodes + limits.documents + limits.alias_nodes),
            max_aliases: limits.alias_nodes,
            max_anchors: limits.alias_nodes,
            max_recorded_anchor_events: limits.nodes,
            max_merge_keys: limits.alias_nodes,
            // what aliases expand to is limited; how many there are for one anchor is nobody's business
            enforce_alias_anchor_ratio: false,
            // JSON has keys of any length
            simple_key_max_lookahead: limits.bytes,
        },
    }
}

fn invalid(file: &Arc<str>, error: &YamlError) -> ReadError {
    let (line, column) = error
        .location()
        .map_or((1, 1), |at| (at.line() as u32, at.column() as u32));
    let message = match error.without_snippet() {
        // the value may be anything
        YamlError::NonFiniteFloat { .. } => "numbers must be finite".to_owned(),
        YamlError::Budget { breach, .. } => format!("document is too large or too complex: {breach:?}"),
        error => printable(&UserMessageFormatter.format_message(error)),
    };
    ReadError::Invalid {
        place: Place {
            file: file.clone(),
            line: line.max(1),
            column: column.max(1),
        },
        message,
    }
}

/// A text in which control characters are escaped, so that a log stays one line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
