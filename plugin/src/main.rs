//! The `kubectl tidegate` binary.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // The only place that chooses a TLS provider; an error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tidegate_plugin::main().await
}
