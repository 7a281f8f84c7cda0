//! Where the cluster and its tools are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What the environment says of the cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
    /// The chart values that name the images on the cluster.
    pub values: PathBuf,
    pub(crate) chart: PathBuf,
    pub(crate) node_is_ours: bool,
}

impl Settings {
    /// Reads the variables that the crate's front page lists.
    ///
    /// # Errors
    /// When one is missing, or names nothing that is there.
    pub fn from_env() -> Result<Self> {
        path("KUBECONFIG")?;
        let tools = path("WEFT_TOOLS_BIN")?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/weft");
        let settings = Self {
            kubectl: tools.join("kubectl"),
            helm: tools.join("helm"),
            values: path("WEFT_VALUES")?,
            chart,
            node_is_ours: env::var("WEFT_NODE_IS_OURS").is_ok_and(|value| value == "1"),
        };
        for tool in [&settings.kubectl, &settings.helm] {
            ensure!(
                tool.is_file(),
                "{} is not there: build it with k8s/local/tools/build.sh",
                tool.display()
            );
        }
        Ok(settings)
    }

    /// The version of the services that the values name images for.
    ///
    /// # Errors
    /// When the values can't be read or name none.
    pub fn version(&self) -> Result<String> {
        let text = std::fs::read_to_string(&self.values)?;
        let values: serde_json::Value = serde_yaml_ng::from_str(&text)?;
        let versions = values["versions"].as_object().context("the values name no versions")?;
        versions.keys().next_back().cloned().context("the values name no version")
    }
}

fn path(name: &str) -> Result<PathBuf> {
    let value = env::var_os(name)
        .with_context(|| format!("{name} is not set: run this through `make test` or `make bench`"))?;
    let path = PathBuf::from(value);
    ensure!(
        path.exists(),
        "{name} is {}, and that is not there: is the node up (`make up`)?",
        path.display()
    );
    Ok(path)
}
