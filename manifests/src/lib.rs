//! YAML and JSON manifests with the place of every value.
