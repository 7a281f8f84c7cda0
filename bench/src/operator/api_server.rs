//! etcd and kube-apiserver on loopback, in a folder that goes with them. `kubectl proxy` speaks TLS for this process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use weft_devstack::{StateDir, free_port, our_binary, tool};

use super::client::Client;
use super::program::Program;

const TOKEN: &str = "weft-bench";

#[derive(Debug)]
pub(super) struct ApiServer {
    pub(super) client: Client,
    pub(super) folder: StateDir,
    pub(super) server: Program,
    _etcd: Program,
    _proxy: Program,
}

impl ApiServer {
    pub(super) async fn start() -> Result<Self> {
        let folder = StateDir::temporary()?;
        let (path, http) = (folder.path().to_owned(), reqwest::Client::new());
        let (etcd, etcd_url) = start_etcd(&path).await?;
        etcd.serves(&http, &format!("{etcd_url}/readyz")).await.context("etcd")?;
        let port = free_port()?;
        let server = start_server(&path, &etcd_url, port).await?;
        kubeconfig(&path, port)?;
        let proxy_port = free_port()?;
        let arguments = [
            "proxy".to_owned(),
            format!("--port={proxy_port}"),
            format!("--kubeconfig={}", path.join("kubeconfig").display()),
        ];
        let proxy = Program::start(&tool("kubectl", "kubernetes")?, arguments, &[], path.join("proxy.log"))?;
        let client = Client::new(http, proxy_port);
        proxy.serves(client.http(), &client.url("/readyz")).await.with_context(|| server.tail())?;
        let api = Self { client, folder, server, _etcd: etcd, _proxy: proxy };
        api.define().await?;
        Ok(api)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The definition of Stack, as this build of the operator prints it.
    async fn define(&self) -> Result<()> {
        let printed = Command::new(our_binary("weft-operator")?).arg("crd").output().await?;
        ensure!(printed.status.success(), "weft-operator crd failed");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.client.post_yaml(path, printed.stdout).await?;
        self.client.waits("/apis/weft.dev/v1alpha1/stacks").await
    }
}

async fn start_etcd(path: &Path) -> Result<(Program, String)> {
    let [clients, peers] = [free_port()?, free_port()?].map(|port| format!("http://127.0.0.1:{port}"));
    let arguments = [
        format!("--data-dir={}", path.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=10m".to_owned(),
        "--quota-backend-bytes=4294967296".to_owned(),
    ];
    let etcd = Program::start(&tool("etcd", "etcd")?, arguments, &[], path.join("etcd.log"))?;
    Ok((etcd, clients))
}

async fn start_server(path: &Path, etcd: &str, port: u16) -> Result<Program> {
    let (key, public) = (path.join("sa.key"), path.join("sa.pub"));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"], &key).await?;
    openssl(&["pkey", "-pubout", "-in", &key.display().to_string(), "-out"], &public).await?;
    let tokens = path.join("tokens.csv");
    fs::write(&tokens, format!("{TOKEN},bench,bench,\"system:masters\"\n"))?;
    let arguments = [
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", path.join("certs").display()),
        format!("--token-auth-file={}", tokens.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", public.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
        "--authorization-mode=AlwaysAllow".to_owned(),
        "--anonymous-auth=false".to_owned(),
        // Nobody makes the accounts that pods of no node would use.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Program::start(&tool("kube-apiserver", "kubernetes")?, arguments, &[], path.join("apiserver.log"))
}

async fn openssl(arguments: &[&str], out: &Path) -> Result<()> {
    let made = Command::new("openssl").args(arguments).arg(out).output().await;
    let made = made.context("failed to run openssl")?;
    ensure!(made.status.success(), "openssl made no key: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

fn kubeconfig(path: &Path, port: u16) -> Result<()> {
    let text = format!(
        "\
apiVersion: v1
kind: Config
clusters: [{{name: bench, cluster: {{server: \"https://127.0.0.1:{port}\", insecure-skip-tls-verify: true}}}}]
users: [{{name: bench, user: {{token: {TOKEN}}}}}]
contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]
current-context: bench
"
    );
    fs::write(path.join("kubeconfig"), text).context("failed to write the kubeconfig")
}
