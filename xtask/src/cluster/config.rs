//! What the box starts with: keys and certificates, tokens, kubeconfigs and the configurations of its programs.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
};

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{folder::Folder, images::hex};

/// The node's own address. 198.18.0.0/15 is the benchmark range of RFC 2544: it is routed nowhere.
pub(crate) const NODE_ADDRESS: &str = "198.18.0.1";
/// The addresses of Services; the first one is the API server's.
pub(crate) const SERVICES: &str = "198.19.0.0/16";

/// The cluster's administrator.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
pub(crate) const SCHEDULER: &str = "system:kube-scheduler";
pub(crate) const KUBELET: &str = "system:node:node-1";
pub(crate) const PROXY: &str = "system:kube-proxy";

/// Users and their groups. The requests of those in `tidegate.io:counted` are in the audit log.
const USERS: [(&str, &str); 7] = [
    (ADMIN, "system:masters"),
    (CONTROLLER_MANAGER, ""),
    (SCHEDULER, ""),
    (KUBELET, "system:nodes"),
    (PROXY, ""),
    // a controller that runs as a process beside the box
    ("tidegate", "tidegate.io:counted"),
    // a command line client
    ("client", "tidegate.io:counted"),
];

/// Writes everything into the folder of a box.
pub(crate) fn write(folder: &Folder) -> Result<()> {
    let authority = certificates(folder)?;
    let mut tokens = String::new();
    for (user, groups) in USERS {
        let token = random()?;
        writeln!(tokens, "{token},{user},{user},\"{groups}\"")?;
        fs::write(
            folder.kubeconfig(user),
            kubeconfig(folder.name(), user, &token, &authority)?,
        )?;
    }
    fs::write(folder.path("tokens.csv"), tokens)?;
    let state = folder.root().to_string_lossy();
    for (name, text) in [
        (
            "audit-policy.yaml",
            include_str!("../../../e2e/cluster/audit-policy.yaml"),
        ),
        (
            "cni/box.conflist",
            include_str!("../../../e2e/cluster/cni.conflist"),
        ),
        (
            "containerd.toml",
            include_str!("../../../e2e/cluster/containerd.toml"),
        ),
        ("kubelet.yaml", include_str!("../../../e2e/cluster/kubelet.yaml")),
        (
            "kube-proxy.yaml",
            include_str!("../../../e2e/cluster/kube-proxy.yaml"),
        ),
    ] {
        fs::write(folder.path(name), text.replace("@STATE@", &state))?;
    }
    Ok(())
}

/// Writes the API server's certificate and the key of the service accounts, and returns the authority's certificate.
fn certificates(folder: &Folder) -> Result<String> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "box");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let names = [
        "localhost",
        "kubernetes.default.svc",
        "127.0.0.1",
        NODE_ADDRESS,
        "198.19.0.1",
    ];
    let mut server = CertificateParams::new(names.map(str::to_owned))?;
    server
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    fs::write(folder.path("ca.pem"), &authority_certificate)?;
    fs::write(
        folder.path("server.pem"),
        server.signed_by(&server_key, &issuer)?.pem(),
    )?;
    fs::write(folder.path("server-key.pem"), server_key.serialize_pem())?;
    let accounts_key = KeyPair::generate()?;
    fs::write(
        folder.path("service-accounts-key.pem"),
        accounts_key.serialize_pem(),
    )?;
    fs::write(folder.path("service-accounts.pem"), accounts_key.public_key_pem())?;
    Ok(authority_certificate)
}

fn kubeconfig(cluster: &str, user: &str, token: &str, authority: &str) -> Result<String> {
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "users": [{"name": user, "user": {"token": token}}],
        "clusters": [{"name": cluster, "cluster": {
            "server": format!("https://{NODE_ADDRESS}:6443"),
            "certificate-authority-data": STANDARD.encode(authority.as_bytes()),
        }}],
    }))?;
    Ok(text)
}

fn random() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}
