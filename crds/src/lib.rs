//! The argoproj.io/v1alpha1 API, field for field, and the hashes that name its versions.
