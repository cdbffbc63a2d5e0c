//! kubectl tidegate: promote, abort, watch, explain, lint, demo.
