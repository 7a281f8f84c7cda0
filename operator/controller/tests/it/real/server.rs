//! One kube-apiserver for all tests of this process: started by the first that needs it, killed by the kernel when the process ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, Config, CustomResourceExt as _, ResourceExt as _};
use weft_devstack::ApiServer;
use weft_operator_api::Stack;

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    // A runtime of its own: that of the test which comes first ends with that test.
    let started = thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(Server::start()));
    started.join().unwrap()
});

struct Server {
    api: ApiServer,
    _cleaner: Child,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("weft-real-").tempdir().unwrap().keep();
        // Statics are never dropped: the folder is removed by a process whose standard input ends with this one. What is killed with
        // this one may still write: hence twice.
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", "cat; rm -rf \"$0\" || rm -rf \"$0\""]).arg(&folder);
        let cleaner = cleaner.stdin(Stdio::piped()).process_group(0).spawn();
        let server = Self { api: ApiServer::start(&folder).await.unwrap(), _cleaner: cleaner.unwrap() };
        let client = connect(&server.api).await;
        let crd = Stack::crd();
        let crds = Api::<CustomResourceDefinition>::all(client.clone());
        crds.create(&PostParams::default(), &crd).await.unwrap();
        await_condition(crds, &crd.name_any(), is_crd_established()).await.unwrap();
        server
    }
}

async fn connect(api: &ApiServer) -> Client {
    let kubeconfig = Kubeconfig::read_from(api.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    ClientBuilder::try_from(config).unwrap().build()
}

/// A client for the runtime of the test that asks.
pub(super) async fn client() -> Client {
    connect(&SERVER.api).await
}
