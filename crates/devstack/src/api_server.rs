//! Kubernetes' API server with an etcd of its own.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    free_port,
    process::{Process, Spec, base_env},
    ready::Ready,
    tools::tool,
};

const TOKEN: &str = "weft";

/// A kube-apiserver on loopback, without controllers and nodes: objects are validated and stored, and nothing runs. Derefs to the
/// process of kube-apiserver.
#[derive(Debug)]
pub struct ApiServer {
    // Dropped in this order: each needs the next.
    _proxy: Process,
    server: Process,
    _etcd: Process,
    proxy_url: String,
    kubeconfig: PathBuf,
}

impl ApiServer {
    /// Starts etcd, kube-apiserver and `kubectl proxy` with data and logs in `folder`.
    ///
    /// # Errors
    /// When a tool is missing or is not ready in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let (etcd, etcd_url) = start_etcd(folder).await?;
        let port = free_port()?;
        let server = start_server(folder, &etcd_url, port).await?;
        let kubeconfig = write_kubeconfig(folder, port)?;
        let (proxy, proxy_url) = start_proxy(folder, &kubeconfig).await.with_context(|| server.log_tail())?;
        Ok(Self { _proxy: proxy, server, _etcd: etcd, proxy_url, kubeconfig })
    }

    /// A kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same API without TLS and without credentials, for clients that have neither.
    #[must_use]
    pub fn proxy_url(&self) -> &str {
        &self.proxy_url
    }
}

impl Deref for ApiServer {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.server
    }
}

async fn start_etcd(folder: &Path) -> Result<(Process, String)> {
    let [clients, peers] = [free_port()?, free_port()?].map(|port| format!("http://127.0.0.1:{port}"));
    let args = vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        "--auto-compaction-mode=periodic".into(),
        "--auto-compaction-retention=10m".into(),
        "--quota-backend-bytes=4294967296".into(),
    ];
    let ready = Ready::Http(format!("{clients}/readyz"));
    Ok((launch(folder, ("etcd", "etcd"), args, ready).await?, clients))
}

async fn start_server(folder: &Path, etcd: &str, port: u16) -> Result<Process> {
    let (key, public) = (folder.join("sa.key"), folder.join("sa.pub"));
    let curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    openssl(curve.map(OsStr::new).into_iter().chain([key.as_os_str()]))?;
    let public_of = ["pkey", "-pubout", "-in"].map(OsStr::new).into_iter();
    openssl(public_of.chain([key.as_os_str(), OsStr::new("-out"), public.as_os_str()]))?;
    let tokens = folder.join("tokens.csv");
    fs::write(&tokens, format!("{TOKEN},weft,weft,\"system:masters\"\n"))?;
    let args = vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", folder.join("certs").display()),
        format!("--token-auth-file={}", tokens.display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", public.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-cluster-ip-range=10.96.0.0/12".into(),
        "--authorization-mode=AlwaysAllow".into(),
        "--anonymous-auth=false".into(),
        // No controller creates the service accounts that it would require.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--profiling=false".into(),
    ];
    let ready = Ready::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    launch(folder, ("kube-apiserver", "kubernetes"), args, ready).await
}

/// Ready when kube-apiserver is: it answers with that one's readiness.
async fn start_proxy(folder: &Path, kubeconfig: &Path) -> Result<(Process, String)> {
    let port = free_port()?;
    let args =
        vec!["proxy".into(), format!("--port={port}"), format!("--kubeconfig={}", kubeconfig.display())];
    let url = format!("http://127.0.0.1:{port}");
    let ready = Ready::Http(format!("{url}/readyz"));
    Ok((launch(folder, ("kubectl", "kubernetes"), args, ready).await?, url))
}

async fn launch(
    folder: &Path,
    (name, family): (&str, &str),
    args: Vec<String>,
    ready: Ready,
) -> Result<Process> {
    Process::launch(Spec {
        name: name.into(),
        program: tool(name, family)?,
        args,
        env: base_env(),
        folder: folder.to_owned(),
        ready,
        start_within: Duration::from_secs(120),
        stop_within: Duration::from_secs(30),
    })
    .await
}

fn openssl<'a>(args: impl Iterator<Item = &'a OsStr>) -> Result<()> {
    let output = Command::new("openssl").args(args).output().context("failed to run openssl")?;
    ensure!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn write_kubeconfig(folder: &Path, port: u16) -> Result<PathBuf> {
    let path = folder.join("kubeconfig");
    let text = format!(
        "\
apiVersion: v1
kind: Config
clusters: [{{name: weft, cluster: {{server: \"https://127.0.0.1:{port}\", insecure-skip-tls-verify: true}}}}]
users: [{{name: weft, user: {{token: {TOKEN}}}}}]
contexts: [{{name: weft, context: {{cluster: weft, user: weft}}}}]
current-context: weft
"
    );
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}
