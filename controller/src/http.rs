//! `/metrics`, `/healthz` and `/readyz`.

use std::net::Ipv6Addr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

/// What the pages say.
pub(crate) trait Pages: Send + Sync + 'static {
    /// `/metrics`.
    fn metrics(&self) -> String;
    /// `/readyz`: what is missing, nothing when all is well.
    fn missing(&self) -> Vec<String>;
}

/// Binds a port on all addresses, of both families where there are two.
pub(crate) async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await;
    let bound = match both {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    };
    bound.with_context(|| {
        format!(
            "port {port} cannot be used: choose another by --metricsPort, --healthzPort or --webhook-port"
        )
    })
}

/// Serves metrics on one port and health on the other, for ever.
pub(crate) async fn serve(metrics: TcpListener, health: TcpListener, pages: Arc<dyn Pages>) {
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    let ready = {
        let pages = Arc::clone(&pages);
        move || {
            let missing = pages.missing();
            async move {
                if missing.is_empty() {
                    (StatusCode::OK, "ok".to_owned())
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n"))
                }
            }
        }
    };
    let metrics_page = move || {
        let page = pages.metrics();
        async move { ([content_type], page) }
    };
    let metrics_router = Router::new().route("/metrics", get(metrics_page));
    let health_router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready));
    let servers = futures::future::join(
        axum::serve(metrics, metrics_router).into_future(),
        axum::serve(health, health_router).into_future(),
    );
    let (metrics, health) = servers.await;
    for error in [metrics, health].into_iter().filter_map(Result::err) {
        tracing::error!(%error, "a web server ended");
    }
}
