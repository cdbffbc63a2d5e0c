//! From flags to a client: kubeconfig or the service account of the pod.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::args::ClusterArgs;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// A client, and the namespace that goes with it.
pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<(Client, String)> {
    let mut config = config(args).await?;
    if let Some(server) = &args.server {
        config.cluster_url = server
            .parse()
            .with_context(|| format!("--server {server} is no URL"))?;
    }
    if let Some(token) = &args.token {
        config.auth_info.token = Some(token.clone().into());
    }
    if let Some(file) = &args.certificate_authority {
        let file = std::path::absolute(file)?;
        std::fs::metadata(&file).with_context(|| format!("--certificate-authority {}", file.display()))?;
        config.root_cert_file = Some(file);
    }
    let auth = &mut config.auth_info;
    for (flag, file, field) in [
        (
            "--client-certificate",
            &args.client_certificate,
            &mut auth.client_certificate,
        ),
        ("--client-key", &args.client_key, &mut auth.client_key),
    ] {
        if let Some(file) = file {
            std::fs::metadata(file).with_context(|| format!("{flag} {}", file.display()))?;
            *field = Some(file.display().to_string());
        }
    }
    auth.username = args.username.clone().or(auth.username.take());
    if let Some(password) = &args.password {
        auth.password = Some(password.clone().into());
    }
    if let Some(proxy) = &args.proxy_url {
        config.proxy_url = Some(
            proxy
                .parse()
                // It may hold a password.
                .context("--proxy-url is no URL: write http://HOST:PORT")?,
        );
    }
    config.tls_server_name = args.tls_server_name.clone().or(config.tls_server_name);
    config.accept_invalid_certs |= args.insecure_skip_tls_verify;
    config.auth_info.impersonate = args.impersonate.clone().or(config.auth_info.impersonate);
    if !args.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(args.impersonate_groups.clone());
    }
    // The work queue tries again, by itself and object by object.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("the client cannot be set up from this configuration")?;
    Ok((client, namespace))
}

async fn config(args: &ClusterArgs) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        cluster: args.cluster.clone(),
        user: args.user.clone(),
    };
    if let Some(file) = &args.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(file)
            .with_context(|| format!("kubeconfig {} cannot be read", file.display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        return config.with_context(|| format!("kubeconfig {} cannot be used", file.display()));
    }
    if args.server.is_some() && std::env::var_os("KUBECONFIG").is_none() {
        return Ok(Config::new("http://localhost".parse()?));
    }
    let from_file = match Config::from_kubeconfig(&options).await {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    // A kubeconfig that was asked for must not be passed over in silence.
    if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        return Err(anyhow!(from_file).context("the kubeconfig in $KUBECONFIG cannot be used"));
    }
    Config::incluster().map_err(|error| {
        anyhow!(
            "no way to the cluster: neither a kubeconfig ({from_file}) nor a service account ({error}); give --kubeconfig"
        )
    })
}
