//! Certificates are verified, unless a metric says otherwise.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tidegate_analysis::Trouble;
use tidegate_providers::ProviderConfig;

use crate::setup::{FakeJobs, error, measure, providers, value};

/// Serves `1` over TLS with a certificate that nobody trusts, and answers with the address.
fn server() -> String {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut request = [0; 4096];
            // A client that does not trust us leaves in the handshake.
            if tls.read(&mut request).is_ok() {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n1");
                let _ = tls.flush();
            }
        }
    });
    format!("https://localhost:{}", address.port())
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    // Installs the cryptography that the server needs as well.
    drop(providers(ProviderConfig::default(), FakeJobs::default()));
    let url = server();
    let (trouble, message) = error(measure(json!({"web": {"url": url}})).await);
    assert_eq!(trouble, Trouble::Unreachable);
    assert!(
        message.starts_with("request to localhost failed: ") && message.contains("certificate"),
        "{message}"
    );
    assert_eq!(
        value(measure(json!({"web": {"url": url, "insecure": true}})).await),
        "1"
    );
}
