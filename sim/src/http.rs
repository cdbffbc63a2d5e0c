//! The simulated API server as real clients see it: HTTP/1.1 on a loopback port.
//!
//! `kubectl`, `kubectl argo rollouts` and kube-rs programs talk to it as to any cluster: discovery, OpenAPI v3, reads,
//! writes in all four patch forms, Tables, watches with bookmarks. The store stays behind [`Backend`], so that a
//! runner with actors, faults and virtual time can stand there too; [`SharedStore`] is the plain one.
//!
//! There is no TLS, and everybody who can reach the port may do everything, unless [`ServerOptions::tokens`] says
//! otherwise. Bind it to loopback.

mod accept;
mod cells;
pub(crate) mod discovery;
mod jsonpath;
mod kubeconfig;
mod openapi;
mod protobuf;
mod route;
mod serve;
mod shared;
mod table;
mod watch;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{net::TcpListener, sync::watch as signal, task::JoinHandle};

pub use self::{kubeconfig::kubeconfig, shared::SharedStore};
use crate::store::{Request, Response, Status, Store};

/// What stands behind the HTTP face. All three are called from many tasks at once and must not block for long.
pub trait Backend: Send + Sync + 'static {
    /// Answers a request.
    ///
    /// # Errors
    /// What the server refuses; sent to the client as it is.
    fn request(&self, request: Request) -> Result<Response, Status>;

    /// Lets `look` see the store: for discovery and watches.
    fn read(&self, look: &mut dyn FnMut(&Store));

    /// The revision of the last commit, as it changes: what wakes the watches.
    fn subscribe(&self) -> signal::Receiver<u64>;

    /// The cluster's time, for the ages in Tables.
    fn now(&self) -> Timestamp;
}

/// How the face behaves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Bearer tokens and the users that they stand for. Empty: no token is asked for.
    pub tokens: BTreeMap<String, String>,
    /// The user of a request without a token.
    pub anonymous: String,
    /// Time between bookmarks of an idle watch.
    pub bookmark_every: Duration,
    /// A watch without `timeoutSeconds` ends after this time.
    pub watch_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tokens: BTreeMap::new(),
            anonymous: "kubernetes-admin".to_owned(),
            bookmark_every: Duration::from_mins(1),
            watch_timeout: Duration::from_mins(30),
        }
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: signal::Sender<bool>,
    task: Option<JoinHandle<()>>,
    token: Option<String>,
}

impl Server {
    /// Starts to serve a backend. Port 0 takes a free one: see [`Server::port`].
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start(backend: Arc<dyn Backend>, address: SocketAddr) -> io::Result<Self> {
        Self::start_with(backend, address, ServerOptions::default()).await
    }

    /// The same, with options.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start_with(
        backend: Arc<dyn Backend>,
        address: SocketAddr,
        options: ServerOptions,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, mut stopped) = signal::channel(false);
        let token = options.tokens.keys().next().cloned();
        let router = serve::router(serve::App {
            backend,
            options,
            stopped: stopped.clone(),
        });
        let task = tokio::spawn(async move {
            let until = async move {
                // an error means that the handle is gone: stop as well
                drop(stopped.wait_for(|stop| *stop).await);
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!(%error, "the HTTP face of the simulated cluster has failed");
            }
        });
        Ok(Self {
            address,
            stop,
            task: Some(task),
            token,
        })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for this server, with `namespace` as the default one.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        kubeconfig(&self.url(), namespace, self.token.as_deref())
    }

    /// Ends the watches, lets the other requests finish (at most two seconds) and stops.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(Duration::from_secs(2), &mut task)
                .await
                .is_err()
        {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
