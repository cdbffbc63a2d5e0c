//! End-to-end tests on a real API server with real pods, data plane and Prometheus, and the app they release.
